"""Mixup: convex combinations of pairs of examples and of their labels."""

from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core.compose import compose
from mixup_jax._core.mix import Mix
from mixup_jax._core.mixer import method
from mixup_jax._core.types import Batch, Pairing, Ratio
from mixup_jax.pairings import neighbour
from mixup_jax.ratios._known import DEFAULT_ALPHA, ratio_of
from mixup_jax.regions import everywhere


@method
def mixup(
    key: Array,
    batch: Batch,
    *,
    alpha: ArrayLike = DEFAULT_ALPHA,
    ratio: Ratio | None = None,
    pairing: Pairing = neighbour,
) -> Mix:
    """Blend every example with its partner, and their targets alike.

    ::

        x~[i] = lam[i] * x[i] + (1 - lam[i]) * x[partner(i)],  lam ~ Beta(alpha, alpha)

    The result has a gradient by ``alpha`` and by a traced ``lam``; it is 0 for examples
    with ``lam`` exactly 0 or 1, which are one side alone, bit for bit.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)``; each any pytree of floating or complex arrays
        with the examples on axis 0. ``targets`` may be None.
      alpha: parameter of the Beta distribution, may be traced; 0 is no mixing.
      ratio: draws ``lam`` in place of ``beta(alpha)``.
      pairing: draws the partners. The default relies on a shuffled batch.

    Returns:
      The mixed batch, every leaf with its dtype, shape and sharding; and the ``Mix``.

    Raises:
      TypeError: ``key`` is no key, or a leaf is of integers.
      ValueError: the batch is no pair, is empty, or its leaves disagree on its size;
        ``alpha`` is negative or NaN; both ``alpha`` and ``ratio`` are given.

    Example:
      >>> import jax, mixup_jax as mx
      >>> images = jax.random.uniform(jax.random.key(0), (8, 32, 32, 3))
      >>> labels = jax.nn.one_hot(jax.numpy.arange(8), 10)
      >>> key = jax.random.key(1)
      >>> (images, labels), mix = mx.mixup(key, (images, labels), alpha=0.2)
      >>> mix.partner
      Array([1, 0, 3, 2, 5, 4, 7, 6], dtype=int32)

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018,
    arXiv:1710.09412.
    """
    return compose(
        key,
        batch,
        ratio=ratio_of(alpha, ratio),
        pairing=pairing,
        region=everywhere,
    )
