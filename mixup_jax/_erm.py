"""Empirical risk minimisation: the data as they are."""

import jax.numpy as jnp
from jax import Array

from mixup_jax import _checks
from mixup_jax._mix import Mix
from mixup_jax._moves import Stay
from mixup_jax._types import Batch
from mixup_jax.regions import Untouched


def erm(key: Array, batch: Batch) -> tuple[Batch, Mix]:
    """Return the batch as it is: ``lam = 1`` and everybody its own partner.

    The mixer of the empirical distribution, to be chosen between or switched to. It
    takes any dtype, integer labels included.

    Args:
      key: PRNG key, not used.
      batch: pair ``(inputs, targets)``.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.ones((4, 3))
      >>> (same, _), mix = mx.erm(jax.random.key(0), (x, None))
      >>> bool((same == x).all()), mix.lam
      (True, Array([1., 1., 1., 1.], dtype=float32))
    """
    _checks.key(key)
    inputs, targets = _checks.pair(batch)
    size = _checks.examples(batch)
    lam, partner = jnp.ones(size, jnp.float32), jnp.arange(size, dtype=jnp.int32)
    return (inputs, targets), Mix(lam, partner, Untouched(), Stay())
