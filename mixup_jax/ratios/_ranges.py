"""Ratios restricted to a range."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import checks
from mixup_jax._core.made import made
from mixup_jax._core.types import Partners, Ratio
from mixup_jax._core.words import reads, words_of
from mixup_jax.ratios import _hat
from mixup_jax.ratios._known import RATIO, Known, clipped, is_symmetric

_REDRAWS = 64


@made
def truncated(ratio: Ratio, low: float, high: float) -> Ratio:
    """Return ``ratio`` conditioned on ``low <= lam <= high``.

    Examples that are not mixed stay unmixed: where a parameter of ``beta`` is 0, or a
    ``constant`` is 1, ``lam`` is 1 for any range. Hence a schedule that reaches
    ``alpha = 0`` disables mixing. A ratio without values in the range is clipped to it.

    The range applies to ``lam`` as it is drawn. ``cutmix`` and ``fmix`` recompute
    ``lam`` from whole positions, which may be outside the range. To keep targets in the
    range, pass ``region=partial(regions.box, share=regions.as_drawn)``, or the same
    with ``regions.blob``, where the two differ by at most half a position.

    A truncated ``beta`` is the first accepted of 8 vectorized rounds of rejection
    sampling. If all are rejected, which happens less than once in 30,000 draws, the
    last one is taken, which is in the range too. Its gradients with respect to ``a``
    and ``b`` are unbiased, as for ``beta``. The other ratios of this module are also
    drawn from a range without a loop, except for a ``folded`` ratio that is not
    symmetric.

    A user-defined ratio may have a method ``within(low, high)`` that returns the
    conditioned ratio. Without it, the ratio is drawn 64 times, in a loop, and each
    example takes its first draw in the range. If there is none, with probability
    ``(1 - P[low <= lam <= high])^64``, the last draw is clipped; an example whose 64
    draws are all exactly 1 is not mixed. No gradient flows to the parameters of these
    draws: it would be biased, since the parameters also decide which draw is taken.

    Args:
      ratio: the ratio to draw from.
      low: least ``lam``, a number in [0, 1).
      high: largest ``lam``, a number in (0, 1] above ``low``.

    Returns:
      The conditioned ratio.

    Raises:
      TypeError: If ``ratio`` is not callable.
      ValueError: If ``0 <= low < high <= 1`` does not hold.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.zeros((4, 3))
      >>> ratio = mx.ratios.truncated(mx.ratios.beta(0.2), 0.4, 0.6)
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), ratio=ratio)
      >>> bool(((mix.lam >= 0.4) & (mix.lam <= 0.6)).all())
      True

    References:
      Gilks & Wild, "Adaptive Rejection Sampling for Gibbs Sampling", Applied Statistics
      41, 1992, https://doi.org/10.2307/2347565 (the tangents as a hat).

      Figurnov et al., "Implicit Reparameterization Gradients", NeurIPS 2018,
      https://arxiv.org/abs/1805.08498 (the gradients).
    """
    checks.function(ratio, "truncated: ratio", RATIO)
    if not 0 <= low < high <= 1:
        raise ValueError(
            f"truncated: expected a range with 0 <= low < high <= 1; got low={low}, "
            f"high={high}. For a single value use mixup_jax.ratios.constant."
        )
    if (low, high) == (0, 1):
        return ratio
    within = getattr(ratio, "within", None)
    cut = within(low, high) if within else _redrawn(ratio, low, high)

    def narrower(least: float, most: float) -> Ratio:
        first, last = max(low, least), min(high, most)
        if first < last:
            return truncated(ratio, first, last)
        return clipped(cut, least, most)

    symmetric = is_symmetric(ratio) and low + high == 1
    return Known(cut, narrower, symmetric, words_of(cut))


@made
def folded(ratio: Ratio) -> Ratio:
    """Return ``max(lam, 1 - lam)``: each example's own content outweighs its partner's.

    This applies to ``lam`` as it is drawn, which is at least 1/2. ``cutmix`` and
    ``fmix`` recompute ``lam`` from whole positions, which may be less: on 4 x 4
    positions, ``lam = 0.5`` pastes a box of 3 x 3, which leaves 7/16. To keep the
    targets at 1/2 or above, pass
    ``region=partial(regions.box, share=regions.as_drawn)``, or the same with
    ``regions.blob``.

    Args:
      ratio: the ratio to draw from.

    Returns:
      The folded ratio.

    Raises:
      TypeError: If ``ratio`` is not callable.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.zeros((4, 3))
      >>> ratio = mx.ratios.folded(mx.ratios.constant(0.25))
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), ratio=ratio)
      >>> mix.lam
      Array([0.75, 0.75, 0.75, 0.75], dtype=float32)
    """
    checks.function(ratio, "folded: ratio", RATIO)

    def sample(key: Array, partners: Partners) -> Array:
        lam = ratio(key, partners)
        return jnp.maximum(lam, 1 - lam)

    def within(low: float, high: float) -> Ratio:
        if high > 0.5:
            return truncated(ratio, max(low, 0.5), high)
        return clipped(sample, low, high)

    reads(words_of(ratio))(sample)
    # ``within`` truncates the unfolded ratio, which is right only if it is symmetric.
    return (
        Known(sample, within, words=words_of(ratio)) if is_symmetric(ratio) else sample
    )


def _redrawn(ratio: Ratio, low: float, high: float) -> Ratio:
    least, most = _hat.inner_bounds(low, high)

    def sample(key: Array, partners: Partners) -> Array:
        def drawn(k: ArrayLike) -> Array:
            lam = ratio(jax.random.fold_in(key, k), partners)
            return jax.lax.stop_gradient(lam.astype(jnp.float32))

        def is_inside(lam: Array) -> Array:
            return (lam >= least) & (lam <= most)

        def redraw(k: Array, so_far: tuple[Array, Array]) -> tuple[Array, Array]:
            lam, mixes = so_far
            lam = jnp.where(is_inside(lam), lam, drawn(k))
            return lam, mixes | (lam != 1)

        lam = drawn(0)
        lam, mixes = jax.lax.fori_loop(1, _REDRAWS, redraw, (lam, lam != 1))
        clipped = jnp.clip(lam, least, most)
        return jnp.where(mixes, clipped, lam)

    return sample
