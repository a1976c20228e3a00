"""Ratios with a known distribution: Beta, uniform, constant."""

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
    """A default, which can be told apart from the same number passed by a caller."""


DEFAULT_ALPHA = _Default(1.0)
RATIO = "mixup_jax.ratios.beta(0.2)"
ONE_OR_EACH = "Pass one value for all examples, or one for each."


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """A ratio that knows its distribution.

    Attributes:
      sample: the ratio itself.
      within: returns the ratio conditioned on ``low <= lam <= high``, two numbers.
      symmetric: whether ``1 - lam`` has the distribution of ``lam``, except for
        examples that are not mixed.
      words: number of random words that ``sample`` reads per example; ``None`` if it
        takes a key.
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
    """Return a ratio that draws ``lam ~ Beta(a, b)`` for each example.

    ``Beta(a, a)`` is computed from two uniforms u, v without rejection::

        z   = (u^(-1/a) - 1) cos^2(2 pi v)
        lam = 1/2 + sign(cos(2 pi v)) / 2 / sqrt(1 + 1/z)

    ``Beta(a, b)`` is computed from the logarithms of two Gamma variates, each the first
    accepted of 5 vectorized Marsaglia-Tsang rounds (all 5 are rejected about once in
    10^7 draws).

    Gradients with respect to ``a`` and ``b`` of the mean of any function of ``lam`` are
    unbiased. For ``Beta(a, b)``, which rejects, the gradient is that of a draw at a
    fixed quantile, computed by quadrature in a loop. Gradients are 0 where ``lam`` is
    exactly 0 or 1, and at ``a = 0``, where the distribution is discontinuous. Second
    derivatives with respect to the two parameters of ``Beta(a, b)`` are not correct.

    Args:
      a: real scalar of at least 0, or ``[B]`` with one value per example; may be a
        traced value, such as a schedule. 0 disables mixing (``lam`` is exactly 1), and
        so does a traced value that is negative at run time.
      b: as ``a``, for the partner's side. ``None`` takes ``a``.

    Returns:
      The ratio.

    Raises:
      TypeError: If ``beta`` is passed as a ratio instead of what it returns, or a
        parameter is not a real number.
      ValueError: If a concrete ``a`` or ``b`` is negative or NaN. If, when called, the
        shape of a parameter is neither ``()`` nor ``[B]``.

    Example:
      >>> import jax, mixup_jax as mx
      >>> ratio = mx.ratios.beta(0.2)
      >>> x = jax.numpy.zeros((256, 8))
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), ratio=ratio)
      >>> mix.lam.shape, mix.lam.dtype
      ((256,), dtype('float32'))

    References:
      Devroye, "Random Variate Generation in One Line of Code", WSC 1996,
      https://doi.org/10.1145/256562.256623.

      Marsaglia & Tsang, "A Simple Method for Generating Gamma Variables", ACM TOMS 26,
      2000, https://doi.org/10.1145/358407.358414.
    """
    if isinstance(b, Partners):
        raise TypeError(
            "beta: expected alpha, a number; got a key and partners. Call it to "
            "make a ratio: ratio=mixup_jax.ratios.beta(0.2)."
        )
    named = {"alpha": a} if b is None else {"alpha": a, "b": b}
    for name, value in named.items():
        checks.number(value, name, 0, advice="Use 0 to disable mixing.")

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
    """Return a ratio that draws ``lam ~ Uniform(low, high)`` for each example.

    Args:
      low: scalar in [0, 1]; may be a traced value.
      high: scalar in [0, 1], not less than ``low``; may be a traced value.

    Returns:
      The ratio.

    Raises:
      TypeError: If a bound is not a real number.
      ValueError: If a bound is not a scalar, a concrete bound is outside [0, 1], or
        ``low`` exceeds ``high``.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.zeros((4, 3))
      >>> ratio = mx.ratios.uniform(low=0.8)
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), ratio=ratio)
      >>> bool(((mix.lam >= 0.8) & (mix.lam <= 1)).all())
      True
    """
    advice = "Pass 0 <= low <= high <= 1."
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
    """Return a ratio whose ``lam`` is constant.

    It is differentiable with respect to ``lam``. Where ``lam`` is exactly 1 or 0,
    inputs and targets are those of the example or its partner, bit for bit, and the
    gradient is 0.

    Args:
      lam: scalar, or ``[B]`` with one value per example, in [0, 1]; may be a traced
        value.

    Returns:
      The ratio.

    Raises:
      TypeError: If ``lam`` is not a real number.
      ValueError: If a concrete ``lam`` is outside [0, 1]. If, when called, its shape is
        neither ``()`` nor ``[B]``.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.zeros((4, 3))
      >>> ratio = mx.ratios.constant(0.25)
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), ratio=ratio)
      >>> mix.lam
      Array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """
    advice = "It is the share of each example's own content."
    checks.number(lam, "lam", 0, 1, advice)

    def sample(key: Array, partners: Partners) -> Array:
        del key
        checks.shaped(lam, "lam", [(), partners.index.shape], ONE_OR_EACH)
        return jnp.broadcast_to(jnp.asarray(lam, jnp.float32), partners.index.shape)

    return Known(reads(0)(sample), lambda a, b: clipped(sample, a, b), words=0)


def ratio_of(alpha: ArrayLike, ratio: Ratio | None) -> Ratio:
    """Return the ratio given by a mixer's arguments ``alpha`` and ``ratio``.

    Raises:
      ValueError: If both are given.
    """
    if ratio is None:
        return beta(float(alpha) if isinstance(alpha, _Default) else alpha)
    if not isinstance(alpha, _Default):
        raise ValueError(
            f"ratio: expected alpha or ratio; got both alpha={alpha} and "
            f"ratio={ratio}. Omit one: alpha=a is short for "
            "ratio=mixup_jax.ratios.beta(a)."
        )
    return ratio


def _everywhere(value: ArrayLike) -> Array:
    """Return ``value`` in float32, replicated as the draws are."""
    x = jnp.asarray(value, jnp.float32)
    return whole(x)


def _positive(a: Array) -> Array:
    # Nothing is drawn where a is 0, but the gradient of 1 / a would be infinite there.
    return jnp.where(a > 0, a, 1.0)


def is_symmetric(ratio: Ratio) -> bool:
    """Return whether a ratio declares ``1 - lam`` to be distributed as ``lam``."""
    return getattr(ratio, "symmetric", False)


def clipped(ratio: Ratio, low: float, high: float) -> Ratio:
    """Return ``ratio`` clipped to a range; examples that are not mixed stay unmixed."""
    least, most = _hat.inner_bounds(low, high)

    def sample(key: Array, partners: Partners) -> Array:
        lam = ratio(key, partners)
        return jnp.where(lam == 1, 1.0, jnp.clip(lam, least, most))

    return reads(words_of(ratio))(sample)
