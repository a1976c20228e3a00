"""The gradient of a Beta variate that keeps its place in the distribution.

``d lam / d a = -(d cdf / d a) / density``, by quadrature. The chain rule over the steps
of a sampler that rejects would not be right: they also decide what is rejected.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

MAX_EXPONENT = 80.0  # exp of it is still finite in float32
# Parameters between which their squares stay finite. Those below differ from the least
# in one of 10^7 draws, and those above from the most by the rounding of float32.
_LEAST, _MOST = 2.0**-30, 2.0**40
_FLAT = 120.0  # beyond it the sigmoid is 0 or 1 in float32
_NODES = 20
_DEEP = 20.0  # exp(-20) of the density at the mode is left out of an integral


def within_reason(a: Array, b: Array) -> tuple[Array, Array]:
    """Return parameters of which squares and sums stay finite in float32."""
    a, b = (jnp.minimum(x, jnp.finfo(jnp.float32).max) for x in (a, b))
    shrunk = _MOST / jnp.maximum(jnp.maximum(a, b), _MOST)
    return jnp.maximum(a * shrunk, _LEAST), jnp.maximum(b * shrunk, _LEAST)


def slope_at(far: Array, near: Array, y: Array, t: ArrayLike) -> Array:
    """Return how fast the log density falls at a distance ``t`` below ``y``."""
    return far * jax.nn.sigmoid(t - y) - near * jax.nn.sigmoid(y - t)


def reach(far: Array, near: Array, y: Array, fall: float) -> Array:
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

    slope = jnp.maximum(slope_at(far, near, y, 0.0), 0.0)
    curvature = (far + near) * jax.nn.sigmoid(y) * jax.nn.sigmoid(-y)
    square, linear = curvature / 2 + slope / 3, slope - fall / 3
    root = jnp.sqrt(linear**2 + 4 * fall * square)
    curved = jnp.where(
        linear > 0, 2 * fall / (linear + root), (root - linear) / (2 * square)
    )
    return jnp.minimum(jnp.minimum(tail, before), curved)


def softplus_rise(y: Array, x: Array) -> Array:
    """Return ``softplus(y + x) - softplus(y)``, to its own precision where x is small.

    It is ``-log(sigmoid(-y - x) / sigmoid(-y))``.
    """
    near = jnp.log1p(jax.nn.sigmoid(y) * jnp.expm1(jnp.clip(x, -1.0, 1.0)))
    far = jax.nn.softplus(y + x) - jax.nn.softplus(y)
    return jnp.where(jnp.abs(x) < 1, near, far)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def in_place(y: Array, a: Array, b: Array, ends: tuple[float, float]) -> Array:
    """Return ``sigmoid(y)``, which moves with a and b and keeps its place among draws.

    Args:
      y: float32 ``[size]``, drawn; no derivative passes to it.
      a: float32, scalar or ``[size]``.
      b: the same.
      ends: what ``y`` lies between.
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
    """Return ``d lam / d a`` and ``d lam / d b`` at the same place in the distribution.

    With f the density of y, and both integrals over s on one side of y::

        below, above       = integral of f(s) / f(y)
        A_below, A_above   = integral of f(s) / f(y) * log(lam(s) / lam(y))
        d lam / d a        = lam (1 - lam) (below A_above - above A_below)
                             / (below + above)

    and for b with 1 - lam in the place of lam. Each of the three pieces that y and the
    mode divide the range into is integrated by Gauss's rule.
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

    # Only where somebody differentiates; without the loop it takes 40 times the memory.
    zero = left - left  # laid out over the devices as the terms are
    integrals = jax.lax.fori_loop(
        0, _NODES, lambda k, sums: jax.tree.map(jnp.add, sums, term(k)), (zero,) * 3
    )
    y, is_above = y[0], y[0] <= mode[0]  # where the piece up to the mode lies
    below = [part[0] + jnp.where(is_above, 0.0, part[1]) for part in integrals]
    above = [part[2] + jnp.where(is_above, part[1], 0.0) for part in integrals]
    share = below[0] / jnp.maximum(below[0] + above[0], jnp.finfo(jnp.float32).tiny)
    spread = jax.nn.sigmoid(y) * jax.nn.sigmoid(-y)
    by_a, by_b = (spread * (share * above[k] - (1 - share) * below[k]) for k in (1, 2))
    return by_a, by_b
