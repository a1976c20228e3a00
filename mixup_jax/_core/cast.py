"""Casting of inputs inside the pass that mixes them.

uint8 inputs take a half or a quarter of the memory of the floating-point values they
are cast to. So the uint8 rows travel, and are cast in the fused pass that reads them.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
from jax import Array

from mixup_jax._core import arrays, checks

Cast: TypeAlias = Callable[[Array], Array]
"""Converts a leaf, each example independently, to another dtype of the same shape."""

_ADVICE = (
    "It converts each value separately, as lambda x: x / 255 does, and returns leaves "
    "that are to stay unchanged."
)


def shape_of(cast: Cast, x: Array, where: str) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of ``cast(x)``.

    Raises:
      TypeError: If ``cast`` is not callable, or does not return an array.
      ValueError: If ``cast`` changes the shape.
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
    """Return ``cast`` for the rows of ``x`` in any view that a move gives them.

    A view splits the example axis into several; ``cast`` still sees one of them, so
    that it may act on whole examples or channels.
    """

    def seen(rows: Array) -> Array:
        function = cast
        for _ in range(rows.ndim - x.ndim):
            function = jax.vmap(function)
        return function(rows)

    return seen
