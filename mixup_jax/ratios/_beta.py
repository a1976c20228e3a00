"""Beta variates without loops, and how they move with their parameters.

Each sampler takes float32 parameters above 0, scalars or ``[size]``, and returns
float32 ``[size]``. Its derivative by them gives the right gradient of the mean of any
function of ``lam``. The chain rule over the steps of a sampler that rejects would not:
they also decide what is rejected. There it is that of the draw which keeps its place in
the distribution, ``d lam / d a = -(d cdf / d a) / density``.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

_GAMMA_ROUNDS = 5
_HAT_ROUNDS = 8
_MAX_EXPONENT = 80.0  # exp of it is still finite in float32
# Parameters between which their squares stay finite. Those below differ from the least
# in one of 10^7 draws, and those above from the most by the rounding of float32.
_LEAST, _MOST = 2.0**-30, 2.0**40
_FLAT = 120.0  # beyond it the sigmoid is 0 or 1 in float32
_NODES = 20
_DEEP = 20.0  # exp(-20) of the density at the mode is left out of an integral


def symmetric(key: Array, a: Array, size: int) -> Array:
    """Draw ``Beta(a, a)`` from two uniforms, after Devroye."""
    u, v = jax.random.uniform(key, (2, size), jnp.float32)
    return _symmetric(a, u, v)


@jax.custom_jvp
def _symmetric(a: Array, u: Array, v: Array) -> Array:
    _, _, q, root = _symmetric_parts(a, u, v)
    # q / 2 / (1 + sqrt(1 - q)) for q = 1 / (1 + z), without cancellation on either side
    smaller = q / (2 * (1 + root))
    return jnp.where(_own_is_larger(v), 1 - smaller, smaller)


@_symmetric.defjvp
def _symmetric_jvp(primals, tangents):
    a, u, v = primals
    a_dot, _, _ = tangents
    # In closed form, since the chain rule meets 0 times infinity on both ends: where z
    # is 0, lam is 1/2 and stays; where the exponent is cut, lam is 0 or 1 and stays.
    _, z, _, _ = _symmetric_parts(a, u, v)
    moves = (z > 0) & (-jnp.log(1 - u) < _MAX_EXPONENT * a)
    safe = jnp.where(moves, a, 1.0)
    exponent, z, q, root = _symmetric_parts(safe, jnp.where(moves, u, 0.5), v)
    slope = exponent / safe * (q * (q * (z + _cosine_squared(v)))) / (4 * root)
    slope = jnp.where(moves, slope, 0.0)
    slope = jnp.where(_own_is_larger(v), -slope, slope)
    return _symmetric(a, u, v), slope * a_dot


def _symmetric_parts(a: Array, u: Array, v: Array) -> tuple[Array, ...]:
    # 1 - u is exact, and XLA takes far longer to compile log1p than log.
    exponent = jnp.minimum(-jnp.log(1 - u) / a, _MAX_EXPONENT)
    z = jnp.expm1(exponent) * _cosine_squared(v)
    q = 1 / (1 + z)
    return exponent, z, q, jnp.sqrt(jnp.where(z < 1, z * q, 1 - q))


def _cosine_squared(v: Array) -> Array:
    return jnp.cos(2 * jnp.pi * v) ** 2


def _own_is_larger(v: Array) -> Array:
    # The sign of the cosine; compilers draw lam anew wherever it is used.
    return jnp.abs(v - 0.5) > 0.25


def asymmetric(key: Array, a: Array, b: Array, size: int) -> Array:
    """Draw ``Beta(a, b)`` from two Gamma variates, after Marsaglia and Tsang."""
    # One call for all uniforms, since each further one costs compile time; and one
    # Box-Muller pair of normals serves both Gamma variates.
    rounds = _GAMMA_ROUNDS
    u = jax.random.uniform(key, (4 * rounds + 2, size), jnp.float32)
    radius = jnp.sqrt(-2 * jnp.log(1 - u[:rounds]))
    angle = 2 * jnp.pi * u[rounds : 2 * rounds]
    log_u = jnp.log(1 - u[2 * rounds :])
    still_a, still_b = jax.lax.stop_gradient((a, b))
    own = _log_gamma(still_a, radius * jnp.cos(angle), log_u[:rounds], log_u[-2])
    other = _log_gamma(still_b, radius * jnp.sin(angle), log_u[rounds:-2], log_u[-1])
    return _in_place(own - other, a, b, (-math.inf, math.inf))


def _log_gamma(a: Array, normal: Array, log_u: Array, log_boost: Array) -> Array:
    """Return log G for G ~ Gamma(a), as log Gamma(a + 1) + log(boost) / a."""
    # Outside these bounds what follows would be infinite for a and for b alike.
    a = jnp.clip(a, 2.0**-120, 2.0**100)
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


class _Side(NamedTuple):
    """The hat on one side of the mode, by the distance from it, 1 at the mode.

    It falls as ``exp(-gentle * t)`` up to ``corner`` and as ``exp(-steep * t)`` behind.
    """

    gentle: Array
    corner: Array
    steep: Array
    near: Array
    """The area up to the corner."""
    area: Array
    """The area of the whole side."""


def truncated(
    key: Array, a: Array, b: Array, size: int, bounds: tuple[float, float]
) -> Array:
    """Draw ``Beta(a, b)`` conditioned on ``low <= lam <= high``, by rejection.

    The density of ``y = logit(lam)`` is ``sigmoid(y)^a sigmoid(-y)^b``, log-concave for
    every a and b, so that it lies below its tangents. Three of them make the hat: at
    the mode, and on either side where the density has fallen to about 1/e of that.
    """
    ends = _logit(bounds[0]), _logit(bounds[1])
    still = _within_reason(*jax.lax.stop_gradient((a, b)))
    own, other = (jnp.atleast_1d(x)[None] for x in still)
    mode = jnp.clip(jnp.log(own) - jnp.log(other), *ends)
    below = _side(own, other, mode, mode - ends[0])
    above = _side(other, own, -mode, ends[1] - mode)

    u = jax.random.uniform(key, (2 * _HAT_ROUNDS, size), jnp.float32)
    place = u[:_HAT_ROUNDS] * (below.area + above.area)
    is_below = place < below.area
    side = _Side(*(jnp.where(is_below, *pair) for pair in zip(below, above)))
    place = jnp.where(is_below, place, place - below.area)
    is_near = place < side.near
    rate = jnp.where(is_near, side.gentle, side.steep)
    start = jnp.where(is_near, 0.0, side.corner)
    level = side.gentle * start
    area = jnp.where(is_near, place, (place - side.near) * jnp.exp(level))
    past = _length(rate, area)
    y = jnp.where(is_below, -1.0, 1.0) * (start + past)
    fall = own * _softplus_rise(-mode, -y) + other * _softplus_rise(mode, y)
    accept = fall - level - rate * past <= -jnp.log(1 - u[_HAT_ROUNDS:])
    y = jnp.broadcast_to(mode[0], (size,)) + _first(y, accept)
    return jnp.clip(_in_place(y, a, b, ends), *inner_bounds(*bounds))


def _within_reason(a: Array, b: Array) -> tuple[Array, Array]:
    a, b = (jnp.minimum(x, jnp.finfo(jnp.float32).max) for x in (a, b))
    shrunk = _MOST / jnp.maximum(jnp.maximum(a, b), _MOST)
    return jnp.maximum(a * shrunk, _LEAST), jnp.maximum(b * shrunk, _LEAST)


def _side(far: Array, near: Array, mode: Array, width: Array) -> _Side:
    """Return the hat below the mode; that above it is below that of ``Beta(b, a)``."""
    gentle = jnp.maximum(_slope(far, near, mode, 0.0), 0.0)
    touch = jnp.minimum(_reach(far, near, mode, 1.0), width)
    steep = jnp.maximum(_slope(far, near, mode, touch), gentle)
    fall = far * _softplus_rise(-mode, touch) + near * _softplus_rise(mode, -touch)
    # Where the two tangents meet; if they are the same line, anywhere.
    turn = jnp.where(steep > gentle, steep - gentle, 1.0)
    corner = jnp.clip((steep * touch - fall) / turn, 0.0, touch)
    area = _area(gentle, corner)
    rest = jnp.exp(-gentle * corner) * _area(steep, width - corner)
    return _Side(gentle, corner, steep, area, area + rest)


def _slope(far: Array, near: Array, y: Array, t: ArrayLike) -> Array:
    """Return how fast the log density falls at a distance ``t`` below ``y``."""
    return far * jax.nn.sigmoid(t - y) - near * jax.nn.sigmoid(y - t)


def _reach(far: Array, near: Array, y: Array, fall: float) -> Array:
    """Return a distance below ``y <= mode`` at which the log density fell by ``fall``.

    Rather too long than too short. Three bounds on how far it falls over a distance t,
    each of them good where the others are not: in the tail, where y - t is 0 or above,
    and near the mode::

        far * t - (far + near) * softplus(y)
        far * (log(2) * exp(t - y) - exp(-y)) - near * t
        slope * t + curvature * t^2 / (2 + 2 t / 3)
    """
    tail = (fall + (far + near) * jax.nn.softplus(y)) / far
    above = jnp.maximum(y, 0.0)
    grown = (fall + far * jnp.exp(-above) + near * above) / (far * math.log(2))
    before = above + jnp.log(grown)
    before = jnp.where(before <= y, before, tail)

    slope = jnp.maximum(_slope(far, near, y, 0.0), 0.0)
    curvature = (far + near) * jax.nn.sigmoid(y) * jax.nn.sigmoid(-y)
    square, linear = curvature / 2 + slope / 3, slope - fall / 3
    root = jnp.sqrt(linear**2 + 4 * fall * square)
    curved = jnp.where(
        linear > 0, 2 * fall / (linear + root), (root - linear) / (2 * square)
    )
    return jnp.minimum(jnp.minimum(tail, before), curved)


def _area(rate: Array, length: Array) -> Array:
    """Return the integral of ``exp(-rate * t)`` over [0, length]."""
    flat = rate * length < 1e-6
    return jnp.where(
        flat, length, -jnp.expm1(-rate * length) / jnp.where(flat, 1.0, rate)
    )


def _length(rate: Array, area: Array) -> Array:
    """Return the length of which ``_area`` is ``area``."""
    share = jnp.minimum(rate * area, 1 - 2.0**-24)
    flat = share < 1e-4
    log = jnp.log1p(-share) / jnp.where(flat, 1.0, rate)
    return jnp.where(flat, area * (1 + share / 2), -log)


def _softplus_rise(y: Array, x: Array) -> Array:
    """Return ``softplus(y + x) - softplus(y)``, to its own precision where x is small.

    It is ``-log(sigmoid(-y - x) / sigmoid(-y))``.
    """
    near = jnp.log1p(jax.nn.sigmoid(y) * jnp.expm1(jnp.clip(x, -1.0, 1.0)))
    far = jax.nn.softplus(y + x) - jax.nn.softplus(y)
    return jnp.where(jnp.abs(x) < 1, near, far)


def inner_bounds(low: float, high: float) -> tuple[np.float32, np.float32]:
    """Return the float32 numbers next to the bounds, inside where there are any."""
    least, most = np.float32(low), np.float32(high)
    above = least if float(least) >= low else np.nextafter(least, np.float32(2))
    below = most if float(most) <= high else np.nextafter(most, np.float32(-1))
    return (above, below) if above <= below else (least, most)


def _logit(share: float) -> float:
    if 0 < share < 1:
        return math.log(share) - math.log1p(-share)
    return math.copysign(math.inf, share - 0.5)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _in_place(y: Array, a: Array, b: Array, ends: tuple[float, float]) -> Array:
    """Return ``sigmoid(y)``, which moves with a and b and keeps its place among draws.

    Args:
      y: float32 ``[size]``, drawn; no derivative passes to it.
      a: float32, scalar or ``[size]``.
      b: the same.
      ends: what ``y`` lies between.
    """
    del a, b, ends
    return jax.nn.sigmoid(y)


@_in_place.defjvp
def _in_place_jvp(ends, primals, tangents):
    y, a, b = primals
    _, a_dot, b_dot = tangents
    lam = jax.nn.sigmoid(y)
    by_a, by_b = _in_place_slopes(y, a, b, ends)
    return lam, by_a * a_dot + by_b * b_dot


def _in_place_slopes(
    y: Array, a: Array, b: Array, ends: tuple[float, float]
) -> tuple[Array, Array]:
    """Return ``d lam / d a`` and ``d lam / d b`` at the same place in the distribution.

    With f the density of y, and both integrals over s on one side of y::

        below, above       = integral of f(s) / f(y)
        A_below, A_above   = integral of f(s) / f(y) * log(lam(s) / lam(y))
        d lam / d a        = lam (1 - lam) (below A_above - above A_below)
                             / (below + above)

    and for b with 1 - lam in the place of lam. Each of the three pieces that y and the
    mode divide the range into is integrated by Gauss's rule.
    """
    a, b = (jnp.atleast_1d(x)[None] for x in _within_reason(a, b))
    y = jnp.clip(y, -_FLAT, _FLAT)[None]
    mode = jnp.clip(jnp.log(a) - jnp.log(b), *ends)
    first, last = jnp.minimum(y, mode), jnp.maximum(y, mode)
    start = jnp.maximum(first - _reach(a, b, first, _DEEP), ends[0])
    stop = jnp.minimum(last + _reach(b, a, -last, _DEEP), ends[1])
    pieces = zip((start, first, last), (first, last, stop))
    left, length = (
        jnp.concatenate(x) for x in zip(*((x, end - x) for x, end in pieces))
    )
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    nodes = jnp.asarray((1 + nodes) / 2, jnp.float32)
    weights = jnp.asarray(weights / 2, jnp.float32)

    def term(k: ArrayLike) -> tuple[Array, Array, Array]:
        x = left - y + length * nodes[k]
        log_lam, log_rest = -_softplus_rise(-y, -x), -_softplus_rise(y, x)
        log_f = jnp.minimum(a * log_lam + b * log_rest, _MAX_EXPONENT / 2)
        f = jnp.exp(log_f) * length * weights[k]
        return f, f * log_lam, f * log_rest

    # Only where somebody differentiates; without the loop it takes 40 times the memory.
    zero = left - left  # laid out over the devices as the terms are
    integrals = jax.lax.fori_loop(
        0, _NODES, lambda k, sums: jax.tree.map(jnp.add, sums, term(k)), (zero,) * 3
    )
    y, is_above = y[0], y[0] <= mode[0]  # where the piece up to the mode lies
    below = [part[0] + jnp.where(is_above, 0.0, part[1]) for part in integrals]
    above = [part[2] + jnp.where(is_above, part[1], 0.0) for part in integrals]
    share = below[0] / jnp.maximum(below[0] + above[0], jnp.finfo(jnp.float32).tiny)
    at = jax.nn.sigmoid(y) * jax.nn.sigmoid(-y)
    by_a, by_b = (at * (share * above[k] - (1 - share) * below[k]) for k in (1, 2))
    return by_a, by_b
