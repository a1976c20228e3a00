"""How much: ratios draw `lam`, the weight of each example's own content.

A ratio is any callable `(key, partners) -> lam`, float32 `[B]` in [0, 1]. The samplers
are loop-free: `jax.random.beta` costs while loops, 0.6 MB of HLO and more than a second
of compile time, and under automatic sharding all-reduces. What is promised is the
distribution, not the numbers drawn for a key.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mixup_jax import _checks
from mixup_jax._moves import moved
from mixup_jax._types import Partners, Ratio

# A float object of its own, so that `alpha=1.0` from a caller can be told apart.
DEFAULT_ALPHA = float("1")

_GAMMA_ROUNDS = 5
_REDRAWS = 64
_RATIO = "mixup_jax.ratios.beta(0.2)"
_ONE_OR_EACH = "Give one value for all examples, or one for each."
_MAX_EXPONENT = 80.0  # exp of it is still finite in float32


def beta(a: ArrayLike, b: ArrayLike | None = None) -> Ratio:
    """Return a ratio that draws ``lam ~ Beta(a, b)``, one per example.

    ``Beta(a, a)`` comes from two uniforms u, v without any rejection::

        z   = (u^(-1/a) - 1) cos^2(2 pi v)
        lam = 1/2 + sign(cos(2 pi v)) / 2 / sqrt(1 + 1/z)

    and ``Beta(a, b)`` from two Gamma variates in the logarithm, each the first accepted
    of 5 vectorised Marsaglia-Tsang rounds (none is, about once in 10^7 draws).

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
        _checks.number(value, name, 0, advice="Use 0 for no mixing at all.")

    def draw(key: Array, partners: Partners) -> Array:
        size = partners.index.shape[0]
        for name, value in given.items():
            _checks.shaped(value, name, [(), (size,)], _ONE_OR_EACH)
        own, *rest = (
            jnp.broadcast_to(jnp.asarray(value, jnp.float32), (size,))
            for value in given.values()
        )
        if not rest:
            lam = _symmetric_beta(key, _positive(own), size)
            return jnp.where(own > 0, lam, 1.0)
        (other,) = rest
        lam = _asymmetric_beta(key, _positive(own), _positive(other), size)
        return jnp.where((own > 0) & (other > 0), lam, 1.0)

    return draw


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
    _checks.shaped(low, "uniform: low", [()], advice)
    _checks.shaped(high, "uniform: high", [()], advice)
    _checks.number(high, "uniform: high", 0, 1, advice)
    most = np.asarray(high, np.float64).item() if _checks.is_concrete(high) else 1
    _checks.number(low, "uniform: low", 0, most, advice)

    def draw(key: Array, partners: Partners) -> Array:
        u = jax.random.uniform(key, partners.index.shape, jnp.float32)
        first, last = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
        return first + (last - first) * u

    return draw


def constant(lam: ArrayLike) -> Ratio:
    """Return a ratio that is always ``lam``: a scalar, or ``[B]`` one per example.

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
    _checks.number(lam, "lam", 0, 1, advice="It is the share of the own content.")

    def draw(key: Array, partners: Partners) -> Array:
        del key
        _checks.shaped(lam, "lam", [(), partners.index.shape], _ONE_OR_EACH)
        return jnp.broadcast_to(jnp.asarray(lam, jnp.float32), partners.index.shape)

    return draw


def truncated(ratio: Ratio, low: float, high: float) -> Ratio:
    """Return ``ratio`` conditioned on ``low <= lam <= high``.

    The first of 64 independent draws that falls into the range is taken. Where none
    does, with probability ``(1 - P[low <= lam <= high])^64``, the last one is clipped.

    Raises:
      ValueError: not ``0 <= low < high <= 1``.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.zeros((4, 3))
      >>> ratio = mx.ratios.truncated(mx.ratios.beta(0.2), 0.4, 0.6)
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), ratio=ratio)
      >>> bool(((mix.lam >= 0.4) & (mix.lam <= 0.6)).all())
      True
    """
    _checks.function(ratio, "truncated: ratio", _RATIO)
    if not 0 <= low < high <= 1:
        raise ValueError(
            f"truncated: expected a range with 0 <= low < high <= 1; got low={low}, "
            f"high={high}. For a single value use mixup_jax.ratios.constant."
        )

    def draw(key: Array, partners: Partners) -> Array:
        keys = jax.random.split(key, _REDRAWS)
        lams = jax.vmap(ratio, in_axes=(0, None))(keys, partners)
        lam = _first(lams, (lams >= low) & (lams <= high))
        return jnp.clip(lam, low, high)

    return draw


def folded(ratio: Ratio) -> Ratio:
    """Return ``max(lam, 1 - lam)``: the own content always outweighs the partner's.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.zeros((4, 3))
      >>> ratio = mx.ratios.folded(mx.ratios.constant(0.25))
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), ratio=ratio)
      >>> mix.lam
      Array([0.75, 0.75, 0.75, 0.75], dtype=float32)
    """
    _checks.function(ratio, "folded: ratio", _RATIO)

    def draw(key: Array, partners: Partners) -> Array:
        lam = ratio(key, partners)
        return jnp.maximum(lam, 1 - lam)

    return draw


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
    _checks.function(ratio, "per_pair: ratio", _RATIO)

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
        return jnp.where(first, lam, moved(partners.move, lam, partners.index))

    return draw


def per_batch(ratio: Ratio) -> Ratio:
    """Return ``ratio`` drawn once a batch: every example keeps the same share.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.zeros((4, 3))
      >>> ratio = mx.ratios.per_batch(mx.ratios.uniform())
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), ratio=ratio)
      >>> bool((mix.lam == mix.lam[0]).all())
      True
    """
    _checks.function(ratio, "per_batch: ratio", _RATIO)

    def draw(key: Array, partners: Partners) -> Array:
        lam = ratio(key, Partners(partners.index[:1], partners.move))
        return jnp.broadcast_to(lam, partners.index.shape)

    return draw


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


def _positive(a: Array) -> Array:
    # Where a is 0 nothing is drawn, but the gradient of 1 / a would be infinite there.
    return jnp.where(a > 0, a, 1.0)


def _symmetric_beta(key: Array, a: Array, size: int) -> Array:
    u, v = jax.random.uniform(key, (2, size), jnp.float32)
    # 1 - u is exact, and XLA takes far longer to compile log1p than log.
    exponent = jnp.minimum(-jnp.log(1 - u) / a, _MAX_EXPONENT)
    z = jnp.expm1(exponent) * jnp.cos(2 * jnp.pi * v) ** 2
    # q / 2 / (1 + sqrt(1 - q)) for q = 1 / (1 + z), without cancellation on either side
    q = 1 / (1 + z)
    smaller = q / (2 * (1 + jnp.sqrt(jnp.where(z < 1, z * q, 1 - q))))
    # The sign of the cosine; compilers draw lam anew wherever it is used.
    return jnp.where(jnp.abs(v - 0.5) > 0.25, 1 - smaller, smaller)


def _asymmetric_beta(key: Array, a: Array, b: Array, size: int) -> Array:
    # One call for all uniforms, since each further one costs compile time; and one
    # Box-Muller pair of normals serves both Gamma variates.
    rounds = _GAMMA_ROUNDS
    u = jax.random.uniform(key, (4 * rounds + 2, size), jnp.float32)
    radius = jnp.sqrt(-2 * jnp.log(1 - u[:rounds]))
    angle = 2 * jnp.pi * u[rounds : 2 * rounds]
    log_u = jnp.log(1 - u[2 * rounds :])
    own = _log_gamma(a, radius * jnp.cos(angle), log_u[:rounds], log_u[-2])
    other = _log_gamma(b, radius * jnp.sin(angle), log_u[rounds:-2], log_u[-1])
    return jax.nn.sigmoid(own - other)


def _log_gamma(a: Array, normal: Array, log_u: Array, log_boost: Array) -> Array:
    """Return log G for G ~ Gamma(a), as log Gamma(a + 1) + log(boost) / a."""
    d = (a + 1 - 1 / 3)[None]
    root = 1 + normal / jnp.sqrt(9 * d)
    log_v = 3 * jnp.log(jnp.maximum(root, jnp.finfo(jnp.float32).tiny))
    bound = normal**2 / 2 + d * (1 - root**3 + log_v)
    accept = (root > 0) & (log_u < bound)
    return jnp.log(d[0]) + _first(log_v, accept) + log_boost / a


def _first(values: Array, accept: Array) -> Array:
    """Return the first accepted row for each column, else the last row."""
    chosen = values[-1]
    for value, good in zip(values[::-1], accept[::-1]):
        chosen = jnp.where(good, value, chosen)
    return chosen
