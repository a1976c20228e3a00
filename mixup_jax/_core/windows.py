"""The partner's content through a window: positions gathered along one axis.

On a TPU a gather of positions costs many times as much as reading the batch, a product
with a one-hot matrix little. On other platforms the opposite holds.
"""

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._core.mesh import laid_like, whole_along


def shown(x: Array, axis: int, index: Array) -> Array:
    """Return ``x`` with the positions ``index[i]`` of example i along ``axis``.

    Args:
      x: ``[B, ...]``, any dtype.
      axis: the axis of the positions, at least 1.
      index: int32 ``[B, n]`` for n positions, each in [0, n).
    """
    # A position may come from anywhere along the axis.
    x = whole_along(x, axis)
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        words = jax.random.key_data(x)
        return jax.random.wrap_key_data(
            _by_index(words, axis, index), impl=jax.random.key_impl(x)
        )
    if _product_dtype(x) is None:
        return _by_index(x, axis, index)

    def by_product(x: Array, index: Array) -> Array:
        return _by_product(x, axis, index)

    def by_index(x: Array, index: Array) -> Array:
        return _by_index(x, axis, index)

    return jax.lax.platform_dependent(x, index, tpu=by_product, default=by_index)


def divided(a: Array, b: Array, c: Array) -> Array:
    """Return ``floor(a * b / c)`` for integers; only the result must fit 32 bits."""
    # An approximate quotient, and a remainder small enough for wrapping to be exact.
    wide = a.astype(jnp.float32) * b.astype(jnp.float32) / c.astype(jnp.float32)
    near = wide.astype(jnp.int32)
    return near + jnp.floor_divide(a * b - near * c, c)


def _by_index(x: Array, axis: int, index: Array) -> Array:
    shape = [n if k in (0, axis) else 1 for k, n in enumerate(x.shape)]
    index = laid_like(index.reshape(shape), x)
    return jnp.take_along_axis(x, index, axis=axis, mode="promise_in_bounds")


def _by_product(x: Array, axis: int, index: Array) -> Array:
    """Gather by a product, exact for finite values; others spread along the axis."""
    dtype = _product_dtype(x)
    assert dtype is not None
    places = jnp.arange(x.shape[axis], dtype=jnp.int32)
    one_hot = (index[:, :, None] == places[None, None]).astype(dtype)
    axes, q = list(range(x.ndim)), x.ndim
    rows = jnp.einsum(
        laid_like(one_hot, x),
        [0, q, axis],
        x.astype(dtype),
        axes,
        [q if k == axis else k for k in axes],
        precision=_precision(x),
        preferred_element_type=jnp.float32,
    )
    return rows.astype(x.dtype)


def _product_dtype(x: Array) -> jnp.dtype | None:
    """Return the dtype whose products represent ``x`` exactly, or ``None``."""
    if x.dtype == jnp.bool_ or x.dtype == jnp.bfloat16:
        return jnp.dtype(jnp.bfloat16)
    if jnp.issubdtype(x.dtype, jnp.integer) and x.dtype.itemsize < 4:
        return jnp.dtype(jnp.bfloat16 if x.dtype.itemsize == 1 else jnp.float32)
    if x.dtype in (jnp.float16, jnp.float32):
        return jnp.dtype(jnp.float32)
    return None


def _precision(x: Array) -> jax.lax.Precision:
    """Return the precision that preserves all bits of ``x``."""
    if x.dtype == jnp.float32:
        return jax.lax.Precision.HIGHEST
    high = x.dtype.itemsize == 2 and x.dtype != jnp.bfloat16
    return jax.lax.Precision.HIGH if high else jax.lax.Precision.DEFAULT
