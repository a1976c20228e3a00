"""Integer labels: the class that each one names, and labels that name no class.

One rule for every function that takes integer labels of K classes. A label outside of
[0, K) is an error where it is concrete, and yields NaN where it is traced. Labels
selected by the caller's ``ignored``, which is checked first, yield 0 and contribute no
gradient.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import arrays, checks

Ignored: TypeAlias = Callable[[Array], Array]


class Classes(NamedTuple):
    """The classes that integer labels name.

    Attributes:
      ids: int32 ``[B, ...]`` in [0, K), 0 for labels without a class.
      unknown: bool ``[B, ...]``, True for labels that yield NaN.
      ignored: bool ``[B, ...]``, True for labels that yield 0; ``None`` if there are
        none.
    """

    ids: Array
    unknown: Array
    ignored: Array | None

    def worth(self, value: Array) -> Array:
        """Return ``value``, ``[B, ...]`` and further axes, with NaN and 0 filled in."""
        return self.counted(_where(self.unknown, jnp.nan, value))

    def counted(self, value: Array) -> Array:
        """Return ``value``, ``[B, ...]`` and further axes, 0 for ignored labels."""
        return value if self.ignored is None else _where(self.ignored, 0, value)


def classes_of(
    labels: ArrayLike, count: int, name: str, advice: str, ignored: Ignored | None
) -> Classes:
    """Return the classes, out of ``count``, that ``labels`` name.

    Raises:
      TypeError: If the labels are not integers; ``advice`` ends the message.
      ValueError: If a concrete label is not in [0, count).
    """
    values = arrays.array(labels)
    if ignored is None and jnp.issubdtype(values.dtype, jnp.integer):
        # This message is more useful than the one about the width of integers.
        _refuse_unknown(values, np.False_, count, name)
    ids = checks.class_ids(labels, name, advice)
    unknown = (ids < 0) | (ids >= count)
    told = None
    if ignored is not None:
        told = ignored_among(ids, ignored)
        if arrays.is_concrete(told):
            _refuse_unknown(ids, told, count, name)
        unknown = unknown & ~told
        ids = jnp.where(told, 0, ids)
    ids = jnp.where(unknown, 0, ids).astype(jnp.int32)
    return Classes(ids, unknown, told)


def ignored_among(ids: Array, ignored: Ignored) -> Array:
    """Return which of the labels are ignored, bool, of the same shape.

    Raises:
      TypeError: If ``ignored`` is not callable, or does not return bools.
      ValueError: If it returns another shape.
    """
    example = "lambda labels: labels == 255"
    checks.function(ignored, "ignored", example)
    told = ignored(ids)
    if getattr(told, "dtype", None) != np.bool_:
        raise TypeError(
            "ignored: expected a function from labels to bools; got one that returns "
            f"{arrays.describe(told)}. Pass one such as {example}."
        )
    checks.shaped(told, "ignored", [ids.shape], "Return a bool for each label.")
    return told


def _refuse_unknown(labels: Any, ignored: Any, count: int, name: str) -> None:
    if not arrays.is_concrete(labels):
        return
    values = np.asarray(labels)
    if values.dtype.itemsize < 4:  # such as int4, which NumPy does not support
        values = values.astype(np.int32)
    wrong = values[((values < 0) | (values >= count)) & ~np.asarray(ignored)]
    if wrong.size:
        such = "< 0" if wrong[0] < 0 else f">= {count}"
        raise ValueError(
            f"{name}: expected a class id in [0, {count - 1}]; got {wrong[0]}. "
            "Drop or mask such examples, or specify which labels to ignore: "
            f"ignored=lambda labels: labels {such}."
        )


def _where(told: Array, this: float, value: Array) -> Array:
    told = told.reshape(told.shape + (1,) * (value.ndim - told.ndim))
    return jnp.where(told, this, value)
