"""Empirical risk minimization: the data without mixing."""

from jax import Array

from mixup_jax._core.compose import from_sources
from mixup_jax._core.mix import Mix, unmixed
from mixup_jax._core.mixer import method
from mixup_jax._core.types import Batch


@method
def erm(key: Array, batch: Batch) -> Mix:
    """Return the batch unchanged: each example is its own partner, with ``lam = 1``.

    This is the mixer to choose or switch to where no mixing is wanted. It accepts any
    dtype, integer labels included.

    Args:
      key: PRNG key; not used.
      batch: pair ``(inputs, targets)``.

    Returns:
      The batch unchanged, and a ``Mix`` with ``lam = 1``.

    Raises:
      TypeError: If ``key`` is not a PRNG key.
      ValueError: If the batch is not a pair, is empty, or its leaves disagree on the
        batch size.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.ones((4, 3))
      >>> (same, _), mix = mx.erm(jax.random.key(0), (x, None))
      >>> bool((same == x).all()), mix.lam
      (True, Array([1., 1., 1., 1.], dtype=float32))
    """
    return from_sources(key, batch, [], lambda: unmixed(batch))
