"""Ratios that know their distribution: Beta, uniform, constant."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import arrays, checks
from mixup_jax._core.made import made
from mixup_jax._core.mesh import whole
from mixup_jax._core.random import uniforms
from mixup_jax._core.types import Partners, Ratio
from mixup_jax._core.words import reads, words_of
from mixup_jax.ratios import _beta, _hat


class _Default(float):
    """A number that nobody gave, told apart from the same number of a caller's."""


DEFAULT_ALPHA = _Default(1.0)
RATIO = "mixup_jax.ratios.beta(0.2)"
ONE_OR_EACH = "Give one value for all examples, or one for each."


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """A ratio that knows its distribution.

    Attributes:
      sample: the ratio itself.
      within: returns the ratio conditioned on ``low <= lam <= high``, two numbers.
      symmetric: whether ``1 - lam`` is distributed as ``lam``, but for no mixing.
      words: how many random words an example ``sample`` reads; None if it takes a key.
    """

    sample: Ratio
    within: Callable[[float, float], Ratio]
    symmetric: bool = False
    words: int | None = None

    def __post_init__(self):
        reads(self.words)(self)

    def __call__(self, key: Array, partners: Partners) -> Array:
        return self.sample(key, partners)


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
    named = {"alpha": a} if b is None else {"alpha": a, "b": b}
    for name, value in named.items():
        checks.number(value, name, 0, advice="Use 0 for no mixing at all.")

    def parameters(size: int) -> tuple[Array, ...]:
        for name, value in named.items():
            checks.shaped(value, name, [(), (size,)], ONE_OR_EACH)
        return tuple(_everywhere(value) for value in named.values())

    def sample(key: Array, partners: Partners) -> Array:
        size = partners.index.shape[0]
        own, *rest = (jnp.broadcast_to(x, (size,)) for x in parameters(size))
        if not rest:
            lam = _beta.symmetric(key, _positive(own), size)
            return jnp.where(own > 0, lam, 1.0)
        (other,) = rest
        lam = _beta.asymmetric(key, _positive(own), _positive(other), size)
        return jnp.where((own > 0) & (other > 0), lam, 1.0)

    def within(low: float, high: float) -> Ratio:
        def sample(key: Array, partners: Partners) -> Array:
            size = partners.index.shape[0]
            own, *rest = parameters(size)
            other = rest[0] if rest else own
            bounds = low, high
            lam = _hat.truncated(key, _positive(own), _positive(other), size, bounds)
            return jnp.where((own > 0) & (other > 0), lam, 1.0)

        return reads(_hat.WORDS)(sample)

    return Known(sample, within, b is None, 2 if b is None else _beta.ASYMMETRIC_WORDS)


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
    most = np.asarray(high, np.float64).item() if arrays.is_concrete(high) else 1
    checks.number(low, "uniform: low", 0, most, advice)

    def bounds() -> tuple[Array, Array]:
        return jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)

    def between(first: Array, last: Array, key: Array, partners: Partners) -> Array:
        return first + (last - first) * uniforms(key, partners.index.shape)

    def sample(key: Array, partners: Partners) -> Array:
        return between(*bounds(), key, partners)

    def within(least: float, most: float) -> Ratio:
        def sample(key: Array, partners: Partners) -> Array:
            first, last = bounds()
            edges = _hat.inner_bounds(least, most)
            lam = between(
                jnp.clip(first, *edges), jnp.clip(last, *edges), key, partners
            )
            return jnp.where(first == 1, 1.0, lam)

        return reads(1)(sample)

    concrete = arrays.is_concrete(low) and arrays.is_concrete(high)
    return Known(sample, within, concrete and bool(low + high == 1), words=1)


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

    def sample(key: Array, partners: Partners) -> Array:
        del key
        checks.shaped(lam, "lam", [(), partners.index.shape], ONE_OR_EACH)
        return jnp.broadcast_to(jnp.asarray(lam, jnp.float32), partners.index.shape)

    return Known(reads(0)(sample), lambda a, b: clipped(sample, a, b), words=0)


def ratio_of(alpha: ArrayLike, ratio: Ratio | None) -> Ratio:
    """Return the ratio that a mixer's ``alpha`` and ``ratio`` ask for.

    Raises:
      ValueError: If both are given.
    """
    if ratio is None:
        return beta(float(alpha) if isinstance(alpha, _Default) else alpha)
    if not isinstance(alpha, _Default):
        raise ValueError(
            f"expected alpha or ratio; got both alpha={alpha} and ratio={ratio}. Leave "
            "one out: alpha=a is short for ratio=mixup_jax.ratios.beta(a)."
        )
    return ratio


def _everywhere(value: ArrayLike) -> Array:
    """Return ``value`` in float32 and whole on every device, as what is drawn is."""
    x = jnp.asarray(value, jnp.float32)
    return whole(x)


def _positive(a: Array) -> Array:
    # Where a is 0 nothing is drawn, but the gradient of 1 / a would be infinite there.
    return jnp.where(a > 0, a, 1.0)


def is_symmetric(ratio: Ratio) -> bool:
    """Whether a ratio says that ``1 - lam`` is distributed as ``lam``."""
    return getattr(ratio, "symmetric", False)


def clipped(ratio: Ratio, low: float, high: float) -> Ratio:
    """Return ``ratio`` clipped to a range; examples that are not mixed stay so."""
    least, most = _hat.inner_bounds(low, high)

    def sample(key: Array, partners: Partners) -> Array:
        lam = ratio(key, partners)
        return jnp.where(lam == 1, 1.0, jnp.clip(lam, least, most))

    return reads(words_of(ratio))(sample)
