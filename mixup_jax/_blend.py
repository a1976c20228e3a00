"""The equation, the only arithmetic on examples.

    x~[i] = w[i] * x[i] + (1 - w[i]) * x[partner(i)]

`w` is float32 (blend) or bool (paste: True keeps the example's own content), one value
an example or one a position. Nothing here draws.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._moves import laid_like, laid_out, per_example
from mixup_jax._types import Move


def mixed(w: Array, x: Array, move: Move, partner: Array) -> Array:
    """Return ``w * x + (1 - w) * x[partner]`` in the dtype of ``x``.

    bfloat16 and float16 are blended in float32, inside the fused pass, and rounded
    once.

    Args:
      w: bool or float32 in [0, 1], shape that broadcasts to that of ``x``.
      x: ``[B, ...]``, any dtype if ``w`` is bool, floating or complex otherwise.
      move: how partners travel.
      partner: int32 ``[B]``.
    """
    w = laid_like(w, x)
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        words = mixed(w[..., None], jax.random.key_data(x), move, partner)
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(x))

    def widened_first(x: Array, w: Array) -> Array:
        return widened_last(x.astype(jnp.float32), w)

    def widened_last(x: Array, w: Array) -> Array:
        return move.map(blend, x, partner, w)

    if w.dtype == jnp.bool_ or x.dtype.itemsize > 2:
        return widened_last(x, w)
    if not move.fuses:  # what moves by itself should move narrow
        return widened_last(x, w).astype(x.dtype)
    # XLA converts at every use on a CPU, and on a TPU moves what it has converted.
    blended = jax.lax.platform_dependent(x, w, tpu=widened_last, default=widened_first)
    return blended.astype(x.dtype)


def selected(own: Array, x: Array, y: Array) -> Array:
    """Return the rows of ``x`` where ``own``, bool ``[B]``, else those of ``y``.

    Of any dtype, and laid out over the mesh as ``y``.
    """
    spec = jax.typeof(y).sharding.spec
    return jnp.where(per_example(own, y), laid_out(x, y, spec), y)


def blend(w: Array, x: Array, partner_x: Array) -> Array:
    """Return ``w * x + (1 - w) * partner_x``, in float32 if the dtype is narrower.

    Where the weight of one side is exactly 0 the other side comes back bit for bit, and
    a NaN or an infinity behind the zero stays where it is. The gradient by ``w`` is 0
    there.

    Example:
      >>> import jax.numpy as jnp
      >>> from mixup_jax._blend import blend
      >>> x = jnp.array([[0.0], [8.0]])
      >>> blend(jnp.array([[0.75], [1.0]]), x, x[::-1])
      Array([[2.],
             [8.]], dtype=float32)
    """
    if w.dtype == jnp.bool_:
        return jnp.where(w, x, partner_x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        # A complex weight would multiply 0 by an infinite imaginary part.
        return jax.lax.complex(
            blend(w, x.real, partner_x.real), blend(w, x.imag, partner_x.imag)
        )
    x, partner_x = widened(x), widened(partner_x)
    w = w.astype(x.dtype)
    alone = (w == 0) | (w == 1)
    # The derivative by w there is 0 and not 0 times what stands behind a weight of 0.
    w = jnp.where(alone, jax.lax.stop_gradient(w), w)
    inner = w * x + (1 - w) * partner_x
    return jnp.where(alone, jnp.where(w == 1, x, partner_x), inner)


def widened(x: ArrayLike) -> Array:
    """Return ``x`` in float32 if it is floating and narrower, else as it is.

    Example:
      >>> import jax.numpy as jnp
      >>> from mixup_jax._blend import widened
      >>> widened(jnp.ones(2, jnp.bfloat16)).dtype, widened(jnp.ones(2, jnp.int8)).dtype
      (dtype('float32'), dtype('int8'))
    """
    x = jnp.asarray(x)
    narrow = jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize < 4
    return x.astype(jnp.float32) if narrow else x
