"""Beta variates in a range, by rejection sampling under a hat of tangents."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mixup_jax._core.random import uniforms
from mixup_jax.ratios._beta import first_accepted
from mixup_jax.ratios._implicit import (
    in_place,
    reach,
    slope_at,
    softplus_rise,
    within_reason,
)

_HAT_ROUNDS = 8
WORDS = 2 * _HAT_ROUNDS


class _Side(NamedTuple):
    """The hat on one side of the mode, as a function of the distance t from it.

    Relative to its height at the mode, it decays as ``exp(-gentle * t)`` up to
    ``corner`` and as ``exp(-steep * t)`` beyond.
    """

    gentle: Array
    corner: Array
    steep: Array
    near: Array
    """Area up to the corner."""
    area: Array
    """Area of the whole side."""


def truncated(
    key: Array, a: Array, b: Array, size: int, bounds: tuple[float, float]
) -> Array:
    """Draw ``Beta(a, b)`` conditioned on ``low <= lam <= high``, by rejection sampling.

    The density of ``y = logit(lam)`` is ``sigmoid(y)^a sigmoid(-y)^b``. It is
    log-concave for all a and b, so it is bounded by its tangents. Three of them form
    the hat: one at the mode, and one on each side, where the density has fallen to
    about 1/e of its maximum.
    """
    ends = _logit(bounds[0]), _logit(bounds[1])
    still = within_reason(*jax.lax.stop_gradient((a, b)))
    own, other = (jnp.atleast_1d(x)[None] for x in still)
    mode = jnp.clip(jnp.log(own) - jnp.log(other), *ends)
    below = _side(own, other, mode, mode - ends[0])
    above = _side(other, own, -mode, ends[1] - mode)

    u = uniforms(key, (WORDS, size))
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
    fall = own * softplus_rise(-mode, -y) + other * softplus_rise(mode, y)
    accept = fall - level - rate * past <= -jnp.log(1 - u[_HAT_ROUNDS:])
    y = jnp.broadcast_to(mode[0], (size,)) + first_accepted(y, accept)
    return jnp.clip(in_place(y, a, b, ends), *inner_bounds(*bounds))


def _side(far: Array, near: Array, mode: Array, width: Array) -> _Side:
    """Return the hat below the mode; above, it is the same for ``Beta(b, a)``."""
    gentle = jnp.maximum(slope_at(far, near, mode, 0.0), 0.0)
    touch = jnp.minimum(reach(far, near, mode, 1.0), width)
    steep = jnp.maximum(slope_at(far, near, mode, touch), gentle)
    fall = far * softplus_rise(-mode, touch) + near * softplus_rise(mode, -touch)
    # The tangents meet at the corner; if they coincide, any point will do.
    turn = jnp.where(steep > gentle, steep - gentle, 1.0)
    corner = jnp.clip((steep * touch - fall) / turn, 0.0, touch)
    area = _area(gentle, corner)
    rest = jnp.exp(-gentle * corner) * _area(steep, width - corner)
    return _Side(gentle, corner, steep, area, area + rest)


def _area(rate: Array, length: Array) -> Array:
    """Return the integral of ``exp(-rate * t)`` over ``[0, length]``."""
    flat = rate * length < 1e-6
    return jnp.where(
        flat, length, -jnp.expm1(-rate * length) / jnp.where(flat, 1.0, rate)
    )


def _length(rate: Array, area: Array) -> Array:
    """Return the inverse of ``_area``: the length for which it is ``area``."""
    share = jnp.minimum(rate * area, 1 - 2.0**-24)
    flat = share < 1e-4
    log = jnp.log1p(-share) / jnp.where(flat, 1.0, rate)
    return jnp.where(flat, area * (1 + share / 2), -log)


def inner_bounds(low: float, high: float) -> tuple[np.float32, np.float32]:
    """Return the float32 values nearest to the bounds, inside of them if possible."""
    least, most = np.float32(low), np.float32(high)
    above = least if float(least) >= low else np.nextafter(least, np.float32(2))
    below = most if float(most) <= high else np.nextafter(most, np.float32(-1))
    return (above, below) if above <= below else (least, most)


def _logit(share: float) -> float:
    if 0 < share < 1:
        return math.log(share) - math.log1p(-share)
    return math.copysign(math.inf, share - 0.5)
