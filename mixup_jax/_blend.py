"""The equation, the only arithmetic on examples.

    x~[i] = w[i] * x[i] + (1 - w[i]) * x[partner(i)]

`w` is float32 (blend) or bool (paste: True keeps the example's own content), one value
an example or one a position. Nothing here draws, and nothing here knows who the partner
is: `partner_x` comes already moved.
"""

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._moves import laid_like


def blend(w: Array, x: Array, partner_x: Array) -> Array:
    """Return ``w * x + (1 - w) * partner_x`` in the dtype of ``x``.

    Where the weight of one side is exactly 0 the other side comes back bit for bit, and
    a NaN or an infinity behind the zero stays where it is.

    Args:
      w: bool or float32 in [0, 1], shape that broadcasts to that of ``x``.
      x: ``[B, ...]``, any dtype if ``w`` is bool, floating or complex otherwise.
      partner_x: as ``x``, row ``i`` holds the partner of example ``i``.

    Example:
      >>> import jax.numpy as jnp
      >>> from mixup_jax._blend import blend
      >>> x = jnp.array([[0.0], [8.0]])
      >>> blend(jnp.array([[0.75], [1.0]]), x, x[::-1])
      Array([[2.],
             [8.]], dtype=float32)
    """
    w = laid_like(w, x)
    if w.dtype == jnp.bool_:
        return jnp.where(w, x, partner_x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        # A complex weight would multiply 0 by an infinite imaginary part.
        return jax.lax.complex(
            _lerp(w, x.real, partner_x.real), _lerp(w, x.imag, partner_x.imag)
        )
    return _lerp(w, x, partner_x)


def _lerp(w: Array, x: Array, partner_x: Array) -> Array:
    # Rounded last, each by itself: 1 - bfloat16(w) would lose the small weights.
    w = w.astype(max(w.dtype, x.dtype, key=lambda dtype: jnp.finfo(dtype).bits))
    own, other = w.astype(x.dtype), (1 - w).astype(x.dtype)
    mixed = own * x + other * partner_x
    unmixed = jnp.where(other == 0, x, partner_x)
    return jnp.where((own == 0) | (other == 0), unmixed, mixed)
