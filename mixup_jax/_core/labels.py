"""Integer labels: the class that each one names, and those that name none.

One rule for whatever takes integer labels of K classes. A label outside of [0, K) is
refused where it is concrete, and worth NaN where it is traced. One that the caller's
``ignored`` tells, which is asked first, is worth 0 and reaches no gradient.
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
      ids: int32 ``[B, ...]`` in [0, K), 0 for a label that names none.
      unknown: bool ``[B, ...]``, which labels are worth NaN.
      ignored: bool ``[B, ...]``, which are worth 0; None if nothing is ignored.
    """

    ids: Array
    unknown: Array
    ignored: Array | None

    def worth(self, value: Array) -> Array:
        """Return ``value``, ``[B, ...]`` and further axes, by what the labels name."""
        return self.counted(_where(self.unknown, jnp.nan, value))

    def counted(self, value: Array) -> Array:
        """Return ``value``, ``[B, ...]`` and further axes, 0 for an ignored label."""
        return value if self.ignored is None else _where(self.ignored, 0, value)


def classes_of(
    labels: ArrayLike, count: int, name: str, advice: str, ignored: Ignored | None
) -> Classes:
    """Return the classes, of ``count``, that ``labels`` name.

    Raises TypeError unless the labels are integers (``advice`` is for those who have
    none), ValueError for a concrete one that is not in [0, count).
    """
    values = arrays.array(labels)
    if ignored is None and jnp.issubdtype(values.dtype, jnp.integer):
        # Before a label is refused for its width.
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
    """Return which of the labels are ignored, bool in their shape.

    Raises TypeError or ValueError if ``ignored`` does not tell.
    """
    example = "lambda labels: labels == 255"
    checks.function(ignored, "ignored", example)
    told = ignored(ids)
    if getattr(told, "dtype", None) != np.bool_:
        raise TypeError(
            "ignored: expected a function from labels to bools; got one that returns "
            f"{arrays.describe(told)}. Pass one such as {example}."
        )
    checks.shaped(told, "ignored", [ids.shape], "Tell it of each label.")
    return told


def _refuse_unknown(labels: Any, ignored: Any, count: int, name: str) -> None:
    if not arrays.is_concrete(labels):
        return
    values = np.asarray(labels)
    if values.dtype.itemsize < 4:  # such as int4, which NumPy does not know
        values = values.astype(np.int32)
    wrong = values[((values < 0) | (values >= count)) & ~np.asarray(ignored)]
    if wrong.size:
        such = "< 0" if wrong[0] < 0 else f">= {count}"
        raise ValueError(
            f"{name}: expected a number in [0, {count - 1}], a class; got {wrong[0]}. "
            "Drop or mask such examples, or tell which labels to ignore: "
            f"ignored=lambda labels: labels {such}."
        )


def _where(told: Array, this: float, value: Array) -> Array:
    told = told.reshape(told.shape + (1,) * (value.ndim - told.ndim))
    return jnp.where(told, this, value)
