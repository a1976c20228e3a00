"""Inputs that travel as they came, and are cast where they are mixed.

Bytes are a half or a quarter of the floats that are made of them. So the rows that
travel are bytes, and what reads them in the fused pass casts them.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
from jax import Array

from mixup_jax._core import arrays, checks

Cast: TypeAlias = Callable[[Array], Array]
"""Makes of a leaf, each example by itself, one of the same shape and another dtype."""

_ADVICE = (
    "It makes of each number another one, such as lambda x: x / 255, and hands on "
    "leaves that are to stay as they are."
)


def shape_of(cast: Cast, x: Array, where: str) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of ``cast(x)``.

    Raises:
      TypeError: If ``cast`` is no function, or returns no array.
      ValueError: If it returns another shape.
    """
    checks.function(cast, "cast", "lambda x: x / 255")
    made: Any = jax.eval_shape(cast, x)
    if not isinstance(made, jax.ShapeDtypeStruct):
        raise TypeError(
            f"cast: expected an array for {where}; got {arrays.describe(made)}. "
            f"{_ADVICE}"
        )
    if made.shape != x.shape:
        raise ValueError(
            f"cast: expected the shape of {where}, {tuple(x.shape)}; got "
            f"{tuple(made.shape)}. {_ADVICE}"
        )
    return made


def of_rows(cast: Cast, x: Array) -> Cast:
    """Return ``cast`` of rows of ``x``, in whatever view of them a move has.

    A view has the examples on several axes, of which ``cast`` sees one, so that it
    may be of each example by itself, and of each channel.
    """

    def seen(rows: Array) -> Array:
        function = cast
        for _ in range(rows.ndim - x.ndim):
            function = jax.vmap(function)
        return function(rows)

    return seen
