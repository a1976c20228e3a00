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
    """Blend each example with its partner, and their targets with the same weight.

    ::

        x~[i] = lam[i] * x[i] + (1 - lam[i]) * x[partner(i)]
        y~[i] = lam[i] * y[i] + (1 - lam[i]) * y[partner(i)]
        lam[i] ~ Beta(alpha, alpha)

    The result is differentiable with respect to ``alpha`` and to a traced ``lam``.
    Where ``lam`` is exactly 1 or 0, the result is the example or its partner, bit for
    bit, and the gradient is 0.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)``, each a pytree of floating-point or complex
        arrays with the examples on axis 0. ``targets`` may be ``None``.
      alpha: concentration of ``Beta(alpha, alpha)``, a scalar or ``[B]``; may be a
        traced value. 0 disables mixing; the default of 1 draws ``lam`` uniformly.
      ratio: draws ``lam`` in place of ``ratios.beta(alpha)``; see ``mixup_jax.ratios``.
      pairing: draws the partners; see ``mixup_jax.pairings``. The default pairs
        neighbors and relies on a shuffled batch.

    Returns:
      The mixed batch, whose leaves keep their dtype, shape and sharding, and the
      ``Mix`` that was applied to it.

    Raises:
      TypeError: If ``key`` is not a PRNG key, or a leaf is neither floating-point nor
        complex.
      ValueError: If the batch is not a pair, is empty, or its leaves disagree on the
        batch size. If a concrete ``alpha`` is negative or NaN, or both ``alpha`` and
        ``ratio`` are given.

    Example:
      >>> import jax, mixup_jax as mx
      >>> images = jax.random.uniform(jax.random.key(0), (8, 32, 32, 3))
      >>> labels = jax.nn.one_hot(jax.numpy.arange(8), 10)
      >>> key = jax.random.key(1)
      >>> (images, labels), mix = mx.mixup(key, (images, labels), alpha=0.2)
      >>> mix.partner
      Array([1, 0, 3, 2, 5, 4, 7, 6], dtype=int32)

    References:
      Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018,
      https://arxiv.org/abs/1710.09412.
    """
    return compose(
        key,
        batch,
        ratio=ratio_of(alpha, ratio),
        pairing=pairing,
        region=everywhere,
    )
