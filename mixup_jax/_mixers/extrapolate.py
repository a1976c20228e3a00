"""Extrapolation: examples moved away from their partners, with unchanged targets."""

import dataclasses

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax import ratios
from mixup_jax._core import checks
from mixup_jax._core.compose import Parts, from_sources
from mixup_jax._core.mix import Mix
from mixup_jax._core.mixer import method
from mixup_jax._core.source import Source
from mixup_jax._core.types import Batch, Pairing
from mixup_jax.pairings import same_class
from mixup_jax.regions import everywhere


@method
def extrapolate(
    key: Array, batch: Batch, *, by: ArrayLike = 0.5, pairing: Pairing = same_class
) -> Mix:
    """Move each example away from its partner; targets are unchanged.

    ::

        x~[i] = x[i] + by * (x[i] - x[partner(i)])
        y~[i] = y[i]

    This is meant for features, and for partners of the same class. The corresponding
    interpolation is ``mixup`` with the same pairing and ``ratios.constant(1 - by)``.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)``; inputs are a pytree of floating-point or
        complex arrays with the examples on axis 0. The default pairing takes the
        classes from the targets.
      by: distance to move, as a share of the distance to the partner, in [0, 1]; a
        scalar or ``[B]``; may be a traced value. 0 disables mixing, with a gradient of
        0 with respect to ``by``.
      pairing: draws the partners; see ``mixup_jax.pairings``. Examples paired with
        themselves are unchanged.

    Returns:
      The batch, whose leaves keep their dtype, shape and sharding, and the ``Mix``,
      whose ``lam`` is 1 for all examples.

    Raises:
      TypeError: If ``key`` is not a PRNG key, or an input leaf is neither
        floating-point nor complex.
      ValueError: If the batch is not a pair, is empty, or its leaves disagree on the
        batch size. If a concrete ``by`` is outside [0, 1].

    Example:
      >>> import jax, mixup_jax as mx
      >>> x, labels = jax.numpy.array([[0.0], [1.0]]), jax.numpy.array([7, 7])
      >>> (x, _), _ = mx.extrapolate(jax.random.key(0), (x, labels), by=0.5)
      >>> x
      Array([[-0.5],
             [ 1.5]], dtype=float32)

    References:
      DeVries & Taylor, "Dataset Augmentation in Feature Space", 2017,
      https://arxiv.org/abs/1702.05538.
    """
    advice = "It is a share of the distance to the partner."
    checks.number(by, "extrapolate: by", 0, 1, advice)
    ratio = ratios.constant(1 - jnp.asarray(by, jnp.float32))
    return from_sources(key, batch, [Parts(ratio, pairing, everywhere)], _away)


def _away(toward: Source) -> Mix:
    away = dataclasses.replace(toward, lam=1 + (1 - toward.lam))
    return Mix(jnp.ones_like(away.lam), (away,), mixes_targets=False)
