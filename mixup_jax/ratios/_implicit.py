"""The gradient of a Beta variate at a fixed quantile (implicit reparameterization).

``d lam / d a = -(d cdf / d a) / density``, by quadrature. Differentiating the steps of
a rejection sampler would be biased, since the parameters also decide which draws are
rejected.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

MAX_EXPONENT = 80.0  # exp(80) is finite in float32
# Parameters in this range have finite squares. Smaller ones differ from the least in
# one of 10^7 draws, and larger ones from the most by float32 rounding alone.
_LEAST, _MOST = 2.0**-30, 2.0**40
_FLAT = 120.0  # beyond, the sigmoid is 0 or 1 in float32
_NODES = 20
_DEEP = 20.0  # integrals omit densities below exp(-20) of that at the mode


def within_reason(a: Array, b: Array) -> tuple[Array, Array]:
    """Return the parameters, rescaled to have finite squares and sums in float32."""
    a, b = (jnp.minimum(x, jnp.finfo(jnp.float32).max) for x in (a, b))
    shrunk = _MOST / jnp.maximum(jnp.maximum(a, b), _MOST)
    return jnp.maximum(a * shrunk, _LEAST), jnp.maximum(b * shrunk, _LEAST)


def slope_at(far: Array, near: Array, y: Array, t: ArrayLike) -> Array:
    """Return the slope of the log density at a distance ``t`` below ``y``."""
    return far * jax.nn.sigmoid(t - y) - near * jax.nn.sigmoid(y - t)


def reach(far: Array, near: Array, y: Array, fall: float) -> Array:
    """Return how far below ``y <= mode`` the log density has fallen by ``fall``.

    The distance is an upper bound. It comes from three lower bounds on the fall over a
    distance t, each of which is tight where the others are not: in the tail, where y -
    t is at least 0, and near the mode::

        far * t - (far + near) * softplus(y)
        far * (log(2) * exp(t - y) - exp(-y)) - near * t
        slope * t + curvature * t^2 / (2 + 2 t / 3)
    """
    tail = (fall + (far + near) * jax.nn.softplus(y)) / far
    above = jnp.maximum(y, 0.0)
    grown = (fall + far * jnp.exp(-above) + near * above) / (far * math.log(2))
    before = above + jnp.log(grown)
    before = jnp.where(before <= y, before, tail)

    slope = jnp.maximum(slope_at(far, near, y, 0.0), 0.0)
    curvature = (far + near) * jax.nn.sigmoid(y) * jax.nn.sigmoid(-y)
    square, linear = curvature / 2 + slope / 3, slope - fall / 3
    root = jnp.sqrt(linear**2 + 4 * fall * square)
    curved = jnp.where(
        linear > 0, 2 * fall / (linear + root), (root - linear) / (2 * square)
    )
    return jnp.minimum(jnp.minimum(tail, before), curved)


def softplus_rise(y: Array, x: Array) -> Array:
    """Return ``softplus(y + x) - softplus(y)``, accurately also for small ``x``.

    It equals ``-log(sigmoid(-y - x) / sigmoid(-y))``.
    """
    near = jnp.log1p(jax.nn.sigmoid(y) * jnp.expm1(jnp.clip(x, -1.0, 1.0)))
    far = jax.nn.softplus(y + x) - jax.nn.softplus(y)
    return jnp.where(jnp.abs(x) < 1, near, far)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def in_place(y: Array, a: Array, b: Array, ends: tuple[float, float]) -> Array:
    """Return ``sigmoid(y)``, differentiable by a and b at a fixed quantile.

    Args:
      y: float32 ``[size]``, the draws; not differentiated.
      a: float32, scalar or ``[size]``.
      b: float32, scalar or ``[size]``.
      ends: range of ``y``.
    """
    del a, b, ends
    return jax.nn.sigmoid(y)


@in_place.defjvp
def _in_place_jvp(ends, primals, tangents):
    y, a, b = primals
    _, a_dot, b_dot = tangents
    lam = jax.nn.sigmoid(y)
    by_a, by_b = _in_place_slopes(y, a, b, ends)
    return lam, by_a * a_dot + by_b * b_dot


def _in_place_slopes(
    y: Array, a: Array, b: Array, ends: tuple[float, float]
) -> tuple[Array, Array]:
    """Return ``d lam / d a`` and ``d lam / d b`` at a fixed quantile.

    With f the density of y, and both integrals over s on one side of y::

        below, above       = integral of f(s) / f(y)
        A_below, A_above   = integral of f(s) / f(y) * log(lam(s) / lam(y))
        d lam / d a        = lam (1 - lam) (below A_above - above A_below)
                             / (below + above)

    For b, 1 - lam takes the place of lam in the logarithm. The range is divided at y
    and the mode into three pieces, each of which is integrated by Gaussian quadrature.
    """
    a, b = (jnp.atleast_1d(x)[None] for x in within_reason(a, b))
    y = jnp.clip(y, -_FLAT, _FLAT)[None]
    mode = jnp.clip(jnp.log(a) - jnp.log(b), *ends)
    first, last = jnp.minimum(y, mode), jnp.maximum(y, mode)
    start = jnp.maximum(first - reach(a, b, first, _DEEP), ends[0])
    stop = jnp.minimum(last + reach(b, a, -last, _DEEP), ends[1])
    pieces = zip((start, first, last), (first, last, stop))
    left, length = (
        jnp.concatenate(x) for x in zip(*((x, end - x) for x, end in pieces))
    )
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    nodes = jnp.asarray((1 + nodes) / 2, jnp.float32)
    weights = jnp.asarray(weights / 2, jnp.float32)

    def term(k: ArrayLike) -> tuple[Array, Array, Array]:
        x = left - y + length * nodes[k]
        log_lam, log_rest = -softplus_rise(-y, -x), -softplus_rise(y, x)
        log_f = jnp.minimum(a * log_lam + b * log_rest, MAX_EXPONENT / 2)
        f = jnp.exp(log_f) * length * weights[k]
        return f, f * log_lam, f * log_rest

    # A loop, which runs only if the draw is differentiated: unrolled, it takes 40 times
    # the memory.
    zero = left - left  # sharded as the terms are
    integrals = jax.lax.fori_loop(
        0, _NODES, lambda k, sums: jax.tree.map(jnp.add, sums, term(k)), (zero,) * 3
    )
    y, is_above = y[0], y[0] <= mode[0]  # the side of the piece between y and the mode
    below = [part[0] + jnp.where(is_above, 0.0, part[1]) for part in integrals]
    above = [part[2] + jnp.where(is_above, part[1], 0.0) for part in integrals]
    share = below[0] / jnp.maximum(below[0] + above[0], jnp.finfo(jnp.float32).tiny)
    spread = jax.nn.sigmoid(y) * jax.nn.sigmoid(-y)
    by_a, by_b = (spread * (share * above[k] - (1 - share) * below[k]) for k in (1, 2))
    return by_a, by_b
