"""Ratios in a range."""

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

    An example that is not mixed stays unmixed: where a parameter of ``beta`` is 0, or a
    ``constant`` is 1, ``lam`` is 1, whatever the range. So a schedule to ``alpha = 0``
    switches mixing off. A ratio with no value in the range is clipped to it.

    The range holds for ``lam`` as it is drawn. ``cutmix`` and ``fmix`` count ``lam``
    anew from whole pixels, and what they count may lie outside. For labels in the range
    pass ``region=partial(regions.box, share=regions.as_drawn)``; likewise with
    ``regions.blob``, where the two differ by half a pixel at most.

    A truncated ``beta`` is the first accepted of 8 vectorised rounds of rejection (none
    is, less than once in 30,000 draws; the last one is taken then, within the range
    too), and its gradient by ``a`` and ``b`` is right as that of ``beta`` is. The other
    ratios of this module are drawn in a range without a loop as well, except a
    ``folded`` one that is not symmetric.

    So is a ratio of your own that has a method ``within(low, high)``, which returns the
    ratio to draw from. One that has none is drawn 64 times, in a loop, and each example
    takes the first draw in the range. Where there is none, with probability
    ``(1 - P[low <= lam <= high])^64``, the last one is clipped; an example of which all
    64 are exactly 1 is not mixed. No gradient passes to the parameters of these draws:
    it would leave out that they also decide which of the draws is taken.

    Args:
      ratio: what to draw from.
      low: a number in [0, 1), the least ``lam``.
      high: a number in (0, 1], the largest ``lam``; above ``low``.

    Raises:
      TypeError: If ``ratio`` is no function.
      ValueError: If not ``0 <= low < high <= 1``.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.zeros((4, 3))
      >>> ratio = mx.ratios.truncated(mx.ratios.beta(0.2), 0.4, 0.6)
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), ratio=ratio)
      >>> bool(((mix.lam >= 0.4) & (mix.lam <= 0.6)).all())
      True

    Source: for the tangents as a hat, W. R. Gilks and P. Wild, "Adaptive rejection
    sampling for Gibbs sampling", Applied Statistics 41, 1992; for the gradient,
    M. Figurnov et al., "Implicit reparameterization gradients", NeurIPS 2018,
    arXiv:1805.08498.
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
    """Return ``max(lam, 1 - lam)``: the own content is drawn to outweigh the partner's.

    This holds for ``lam`` as it is drawn, at least 1/2. What ``cutmix`` and ``fmix``
    count anew from whole pixels may be less: of 4 x 4 pixels, a box of 3 x 3 is pasted
    for ``lam = 0.5``, and 7/16 are left. For labels of at least 1/2 pass
    ``region=partial(regions.box, share=regions.as_drawn)``, or ``regions.blob`` so.

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

    # Otherwise the two halves that are folded together differ.
    reads(words_of(ratio))(sample)
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
