"""How much: ratios draw `lam`, the weight of each example's own content.

A ratio is any callable `(key, partners) -> lam`, float32 `[B]` in [0, 1]. It may say
how it is drawn in a range, see `truncated`. The samplers are loop-free:
`jax.random.beta` costs while loops, 0.6 MB of HLO and more than a second of compile
time, and under automatic sharding all-reduces. What is promised is the distribution,
not the numbers drawn for a key.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import checks
from mixup_jax._core.made import made
from mixup_jax._core.moves import alike, laid_out
from mixup_jax._core.types import Partners, Ratio
from mixup_jax.ratios import _beta

# A float object of its own, so that `alpha=1.0` from a caller can be told apart.
DEFAULT_ALPHA = float("1")

_REDRAWS = 64
_RATIO = "mixup_jax.ratios.beta(0.2)"
_ONE_OR_EACH = "Give one value for all examples, or one for each."


@dataclasses.dataclass(frozen=True, eq=False)
class _Known:
    """A ratio that knows its distribution.

    Attributes:
      draw: the ratio itself.
      within: returns the ratio conditioned on ``low <= lam <= high``, two numbers.
      symmetric: whether ``1 - lam`` is distributed as ``lam``, but for no mixing.
    """

    draw: Ratio
    within: Callable[[float, float], Ratio]
    symmetric: bool = False

    def __call__(self, key: Array, partners: Partners) -> Array:
        return self.draw(key, partners)


@made
def beta(a: ArrayLike, b: ArrayLike | None = None) -> Ratio:
    """Return a ratio that draws ``lam ~ Beta(a, b)``, one per example.

    ``Beta(a, a)`` comes from two uniforms u, v without any rejection::

        z   = (u^(-1/a) - 1) cos^2(2 pi v)
        lam = 1/2 + sign(cos(2 pi v)) / 2 / sqrt(1 + 1/z)

    and ``Beta(a, b)`` from two Gamma variates in the logarithm, each the first accepted
    of 5 vectorised Marsaglia-Tsang rounds (none is, about once in 10^7 draws).

    The gradient of the mean of any function of ``lam`` by ``a`` and ``b`` is right: for
    ``Beta(a, b)``, which rejects, it is that of a draw which keeps its place in the
    distribution, worked out by quadrature in a loop. Where ``lam`` is exactly 0 or 1
    it is 0, and so it is at ``a = 0``, where the distribution jumps. A second
    derivative by the two parameters of ``Beta(a, b)`` is not right.

    Args:
      a: real scalar, at least 0, or ``[B]`` one per example; may be traced (a
        schedule). 0 or less at run time, like a static 0, is empirical risk
        minimisation: ``lam`` is exactly 1.
      b: the same for the partner's side; None means ``b = a``.

    Raises:
      TypeError: it was given for a ratio, not called to make one.
      ValueError: ``a`` or ``b`` is a concrete number that is negative or NaN, or has a
        shape that does not fit.

    Example:
      >>> import jax, mixup_jax as mx
      >>> ratio = mx.ratios.beta(0.2)
      >>> x = jax.numpy.zeros((256, 8))
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), ratio=ratio)
      >>> mix.lam.shape, mix.lam.dtype
      ((256,), dtype('float32'))

    Sources: L. Devroye, "Random variate generation in one line of code", WSC 1996
    (symmetric); G. Marsaglia and W. W. Tsang, "A simple method for generating gamma
    variables", ACM TOMS 26, 2000.
    """
    if isinstance(b, Partners):
        raise TypeError(
            "beta: expected alpha, a number; got a key and partners. It returns a "
            "ratio: pass ratio=mixup_jax.ratios.beta(0.2)."
        )
    given = {"alpha": a} if b is None else {"alpha": a, "b": b}
    for name, value in given.items():
        checks.number(value, name, 0, advice="Use 0 for no mixing at all.")

    def parameters(size: int) -> tuple[Array, ...]:
        for name, value in given.items():
            checks.shaped(value, name, [(), (size,)], _ONE_OR_EACH)
        return tuple(_everywhere(value) for value in given.values())

    def draw(key: Array, partners: Partners) -> Array:
        size = partners.index.shape[0]
        own, *rest = (jnp.broadcast_to(x, (size,)) for x in parameters(size))
        if not rest:
            lam = _beta.symmetric(key, _positive(own), size)
            return jnp.where(own > 0, lam, 1.0)
        (other,) = rest
        lam = _beta.asymmetric(key, _positive(own), _positive(other), size)
        return jnp.where((own > 0) & (other > 0), lam, 1.0)

    def within(low: float, high: float) -> Ratio:
        def draw(key: Array, partners: Partners) -> Array:
            size = partners.index.shape[0]
            own, *rest = parameters(size)
            other = rest[0] if rest else own
            bounds = low, high
            lam = _beta.truncated(key, _positive(own), _positive(other), size, bounds)
            return jnp.where((own > 0) & (other > 0), lam, 1.0)

        return draw

    return _Known(draw, within, symmetric=b is None)


@made
def uniform(*, low: ArrayLike = 0.0, high: ArrayLike = 1.0) -> Ratio:
    """Return a ratio that draws ``lam`` uniformly from [low, high], one per example.

    Args:
      low: in [0, 1], may be traced.
      high: in [0, 1], may be traced; not less than ``low``.

    Raises:
      ValueError: a concrete bound outside [0, 1], or the two the wrong way round.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.zeros((4, 3))
      >>> ratio = mx.ratios.uniform(low=0.8)
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), ratio=ratio)
      >>> bool(((mix.lam >= 0.8) & (mix.lam <= 1)).all())
      True
    """
    advice = "lam is a share; give 0 <= low <= high <= 1."
    checks.shaped(low, "uniform: low", [()], advice)
    checks.shaped(high, "uniform: high", [()], advice)
    checks.number(high, "uniform: high", 0, 1, advice)
    most = np.asarray(high, np.float64).item() if checks.is_concrete(high) else 1
    checks.number(low, "uniform: low", 0, most, advice)

    def bounds() -> tuple[Array, Array]:
        return jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)

    def between(first: Array, last: Array, key: Array, partners: Partners) -> Array:
        u = jax.random.uniform(key, partners.index.shape, jnp.float32)
        return first + (last - first) * u

    def draw(key: Array, partners: Partners) -> Array:
        return between(*bounds(), key, partners)

    def within(least: float, most: float) -> Ratio:
        def draw(key: Array, partners: Partners) -> Array:
            first, last = bounds()
            edges = _beta.inner_bounds(least, most)
            lam = between(
                jnp.clip(first, *edges), jnp.clip(last, *edges), key, partners
            )
            return jnp.where(first == 1, 1.0, lam)

        return draw

    concrete = checks.is_concrete(low) and checks.is_concrete(high)
    return _Known(draw, within, symmetric=concrete and bool(low + high == 1))


@made
def constant(lam: ArrayLike) -> Ratio:
    """Return a ratio that is always ``lam``: a scalar, or ``[B]`` one per example.

    It may be traced and differentiated by. Where it is exactly 0 or 1, the inputs and
    targets are one side alone, bit for bit, and their gradient by ``lam`` is 0.

    Raises:
      ValueError: a concrete ``lam`` outside [0, 1], or a shape that does not fit.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.zeros((4, 3))
      >>> ratio = mx.ratios.constant(0.25)
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), ratio=ratio)
      >>> mix.lam
      Array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """
    checks.number(lam, "lam", 0, 1, advice="It is the share of the own content.")

    def draw(key: Array, partners: Partners) -> Array:
        del key
        checks.shaped(lam, "lam", [(), partners.index.shape], _ONE_OR_EACH)
        return jnp.broadcast_to(jnp.asarray(lam, jnp.float32), partners.index.shape)

    return _Known(draw, lambda low, high: _clipped(draw, low, high))


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
    checks.function(ratio, "truncated: ratio", _RATIO)
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
        return _clipped(cut, least, most)

    return _Known(cut, narrower, _is_symmetric(ratio) and low + high == 1)


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
    checks.function(ratio, "folded: ratio", _RATIO)

    def draw(key: Array, partners: Partners) -> Array:
        lam = ratio(key, partners)
        return jnp.maximum(lam, 1 - lam)

    def within(low: float, high: float) -> Ratio:
        if high > 0.5:
            return truncated(ratio, max(low, 0.5), high)
        return _clipped(draw, low, high)

    # Otherwise the two halves that are folded together differ.
    return _Known(draw, within) if _is_symmetric(ratio) else draw


@made
def per_pair(ratio: Ratio) -> Ratio:
    """Return ``ratio`` drawn once a pair: both partners keep the same share.

    Raises:
      ValueError: the pairing does not pair off (a roll, a permutation, odd batches).

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.zeros((4, 3))
      >>> ratio = mx.ratios.per_pair(mx.ratios.uniform())
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), ratio=ratio)
      >>> bool((mix.lam[::2] == mix.lam[1::2]).all())
      True
    """
    checks.function(ratio, "per_pair: ratio", _RATIO)

    def draw(key: Array, partners: Partners) -> Array:
        if not partners.move.pairs_off:
            raise ValueError(
                "per_pair: expected a pairing in which the partner of everybody's "
                f"partner is that example; got {partners.move}. Use "
                "pairings.neighbour or pairings.reverse on an even batch, or one lam "
                "per example."
            )
        lam = ratio(key, partners)
        first = jnp.arange(lam.shape[0], dtype=jnp.int32) <= partners.index
        first, lam = alike(first, lam)
        return jnp.where(first, lam, partners.move.take(lam, partners.index))

    def within(low: float, high: float) -> Ratio:
        return per_pair(truncated(ratio, low, high))

    return _Known(draw, within, _is_symmetric(ratio))


@made
def per_batch(ratio: Ratio) -> Ratio:
    """Return ``ratio`` drawn once a batch: every example keeps the same share.

    For a box or a choice that is drawn once as well, see ``once_per_batch``.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.zeros((4, 3))
      >>> ratio = mx.ratios.per_batch(mx.ratios.uniform())
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), ratio=ratio)
      >>> bool((mix.lam == mix.lam[0]).all())
      True
    """
    checks.function(ratio, "per_batch: ratio", _RATIO)

    def draw(key: Array, partners: Partners) -> Array:
        lam = ratio(key, Partners(partners.index[:1], partners.move))
        return jnp.broadcast_to(lam, partners.index.shape)

    def within(low: float, high: float) -> Ratio:
        return per_batch(truncated(ratio, low, high))

    return _Known(draw, within, _is_symmetric(ratio))


def of(alpha: ArrayLike, ratio: Ratio | None) -> Ratio:
    """Return the ratio that a mixer's ``alpha`` and ``ratio`` ask for.

    Raises:
      ValueError: both were given.
    """
    if ratio is None:
        return beta(alpha)
    if alpha is not DEFAULT_ALPHA:
        raise ValueError(
            f"expected alpha or ratio; got both alpha={alpha} and ratio={ratio}. Leave "
            "one out: alpha=a is short for ratio=mixup_jax.ratios.beta(a)."
        )
    return ratio


def _everywhere(value: ArrayLike) -> Array:
    """Return ``value`` in float32 and whole on every device, as what is drawn is."""
    x = jnp.asarray(value, jnp.float32)
    return laid_out(x, x, jax.P())


def _positive(a: Array) -> Array:
    # Where a is 0 nothing is drawn, but the gradient of 1 / a would be infinite there.
    return jnp.where(a > 0, a, 1.0)


def _is_symmetric(ratio: Ratio) -> bool:
    return getattr(ratio, "symmetric", False)


def _clipped(ratio: Ratio, low: float, high: float) -> Ratio:
    least, most = _beta.inner_bounds(low, high)

    def draw(key: Array, partners: Partners) -> Array:
        lam = ratio(key, partners)
        return jnp.where(lam == 1, 1.0, jnp.clip(lam, least, most))

    return draw


def _redrawn(ratio: Ratio, low: float, high: float) -> Ratio:
    least, most = _beta.inner_bounds(low, high)

    def draw(key: Array, partners: Partners) -> Array:
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

    return draw
