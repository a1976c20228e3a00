"""Selection of all but the lowest values of each row, by counting, not sorting."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

_SIGN = np.uint32(1 << 31)
_INFINITY = np.uint32(0xFF800000)  # the code that ``_ordered`` gives it


def above_lowest(x: Array, count: Array) -> Array:
    """Return a mask of the values that are not among the ``count`` lowest of their row.

    This searches for the largest of these ``count`` values, a few bits at a time, which
    is much faster than sorting on a CPU and than compiling a sort for a TPU.

    Args:
      x: float32 ``[B, N]`` without NaN.
      count: int32 ``[B]``, from 0 to ``N``.

    Returns:
      Bool ``[B, N]``.

    Example:
      >>> import jax.numpy as jnp
      >>> from mixup_jax.regions._lowest import above_lowest
      >>> above_lowest(jnp.array([[0.5, -2.0, 1.0]]), jnp.array([1]))
      Array([[ True, False,  True]], dtype=bool)
    """
    x = jax.lax.stop_gradient(x)
    return jax.lax.platform_dependent(
        x, count, cuda=_in_few_passes, default=_in_few_counts
    )


def _in_few_counts(x: Array, count: Array) -> Array:
    """Search two bits at a time, which takes the fewest comparisons."""
    ordered = _ordered(x)

    def below(tried: Array) -> Array:
        return (ordered[:, None] < tried[:, :, None]).sum(axis=2, dtype=jnp.int32)

    highest = _search(below, count, bits=2)
    return (ordered > highest[:, None]) | (count == 0)[:, None]


def _in_few_passes(x: Array, count: Array) -> Array:
    """Search four bits at a time, without a copy of ``x``.

    On a GPU, each pass is two kernels.
    """
    rows, total = x.shape
    # XLA splits the sum over a long row into two kernels, but not one over two axes.
    parts = math.gcd(total, 8)
    apart = x.reshape(rows, parts, total // parts).transpose(1, 0, 2)

    def below(tried: Array) -> Array:
        # Codes above infinity are NaN, and no value compares below NaN.
        values = _floats(jnp.minimum(tried, _INFINITY))[None, :, :, None]
        return (apart[:, :, None] < values).sum(axis=(0, 3), dtype=jnp.int32)

    highest = _search(below, count, bits=4)
    return (x > _floats(highest)[:, None]) | (count == 0)[:, None]


def _search(below: Callable[[Array], Array], count: Array, *, bits: int) -> Array:
    """Return the highest 32-bit code below which there are fewer than ``count`` values.

    ``below`` returns how many values of each row are below each of the codes
    ``[B, C]``.
    """
    highest = jnp.zeros_like(count, jnp.uint32)
    for shift in reversed(range(0, 32, bits)):
        digits = jnp.arange(1, 1 << bits, dtype=jnp.uint32)[None] << shift
        fewer = below(highest[:, None] | digits) < count[:, None]
        highest |= fewer.sum(axis=1, dtype=jnp.uint32) << shift
    return highest


def _ordered(x: Array) -> Array:
    """Return 32-bit codes in the order of the floats."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    return jnp.where(bits >= _SIGN, ~bits, bits | _SIGN)


def _floats(ordered: Array) -> Array:
    """Return the floats with these codes."""
    bits = jnp.where(ordered >= _SIGN, ordered ^ _SIGN, ~ordered)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)
