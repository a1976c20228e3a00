"""Samplers of Beta variates without loops.

Each sampler takes positive float32 parameters, scalars or ``[size]``, and returns
float32 ``[size]``. Its derivative with respect to them gives unbiased gradients of the
mean of any function of ``lam``; ``_implicit`` has the derivative of the samplers that
reject.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._core.random import uniforms
from mixup_jax.ratios._implicit import MAX_EXPONENT, in_place

_GAMMA_ROUNDS = 5
ASYMMETRIC_WORDS = 4 * _GAMMA_ROUNDS + 2


def symmetric(key: Array, a: Array, size: int) -> Array:
    """Draw ``Beta(a, a)`` from two uniforms by Devroye's method."""
    u, v = uniforms(key, (2, size))
    return _symmetric(a, u, v)


@jax.custom_jvp
def _symmetric(a: Array, u: Array, v: Array) -> Array:
    _, _, q, root = _symmetric_parts(a, u, v)
    # (1 - sqrt(1 - q)) / 2 for q = 1 / (1 + z), without cancellation at either end.
    smaller = q / (2 * (1 + root))
    return jnp.where(_own_is_larger(v), 1 - smaller, smaller)


@_symmetric.defjvp
def _symmetric_jvp(primals, tangents):
    a, u, v = primals
    a_dot, _, _ = tangents
    # In closed form, since the chain rule would multiply 0 by infinity at both ends:
    # where z is 0, lam is constant at 1/2; where the exponent is clipped, lam is
    # constant at 0 or 1.
    _, z, _, _ = _symmetric_parts(a, u, v)
    moves = (z > 0) & (-jnp.log(1 - u) < MAX_EXPONENT * a)
    safe = jnp.where(moves, a, 1.0)
    exponent, z, q, root = _symmetric_parts(safe, jnp.where(moves, u, 0.5), v)
    slope = exponent / safe * (q * (q * (z + _cosine_squared(v)))) / (4 * root)
    slope = jnp.where(moves, slope, 0.0)
    slope = jnp.where(_own_is_larger(v), -slope, slope)
    return _symmetric(a, u, v), slope * a_dot


def _symmetric_parts(a: Array, u: Array, v: Array) -> tuple[Array, ...]:
    # 1 - u is exact, so log suffices; XLA takes far longer to compile log1p.
    exponent = jnp.minimum(-jnp.log(1 - u) / a, MAX_EXPONENT)
    z = jnp.expm1(exponent) * _cosine_squared(v)
    q = 1 / (1 + z)
    return exponent, z, q, jnp.sqrt(jnp.where(z < 1, z * q, 1 - q))


def _cosine_squared(v: Array) -> Array:
    return jnp.cos(2 * jnp.pi * v) ** 2


def _own_is_larger(v: Array) -> Array:
    # The sign of cos(2 pi v), without the cosine: compilers recompute lam at each use.
    return jnp.abs(v - 0.5) > 0.25


def asymmetric(key: Array, a: Array, b: Array, size: int) -> Array:
    """Draw ``Beta(a, b)`` from two Gamma variates by the Marsaglia-Tsang method."""
    # One Box-Muller pair of normals is enough for both Gamma variates.
    rounds = _GAMMA_ROUNDS
    u = uniforms(key, (ASYMMETRIC_WORDS, size))
    radius = jnp.sqrt(-2 * jnp.log(1 - u[:rounds]))
    angle = 2 * jnp.pi * u[rounds : 2 * rounds]
    log_u = jnp.log(1 - u[2 * rounds :])
    still_a, still_b = jax.lax.stop_gradient((a, b))
    own = _log_gamma(still_a, radius * jnp.cos(angle), log_u[:rounds], log_u[-2])
    other = _log_gamma(still_b, radius * jnp.sin(angle), log_u[rounds:-2], log_u[-1])
    return in_place(own - other, a, b, (-math.inf, math.inf))


def _log_gamma(a: Array, normal: Array, log_u: Array, log_boost: Array) -> Array:
    """Return ``log G`` for ``G ~ Gamma(a)``: that of a + 1, plus ``log(boost) / a``."""
    # Beyond these bounds, the logarithms of both Gamma variates could be infinite,
    # and their difference NaN.
    a = jnp.clip(a, 2.0**-120, 2.0**100)
    d = (a + 1 - 1 / 3)[None]
    root = 1 + normal / jnp.sqrt(9 * d)
    log_v = 3 * jnp.log(jnp.maximum(root, jnp.finfo(jnp.float32).tiny))
    bound = normal**2 / 2 + d * (1 - root**3 + log_v)
    accept = (root > 0) & (log_u < bound)
    return jnp.log(d[0]) + first_accepted(log_v, accept) + log_boost / a


def first_accepted(values: Array, accept: Array) -> Array:
    """Return the first accepted value of each column, or the last if there is none."""
    chosen = values[-1]
    for value, good in zip(values[::-1], accept[::-1]):
        chosen = jnp.where(good, value, chosen)
    return chosen
