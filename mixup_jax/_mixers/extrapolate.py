"""Extrapolation: examples moved away from a partner, which keep their targets."""

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
    """Move every example away from its partner; targets stay as they are.

    ::

        x~[i] = x[i] + by * (x[i] - x[partner(i)])
        y~[i] = y[i]

    Meant for features, and for partners of the same class, whose label is the same on
    either side. The interpolation that belongs to it is ``mixup`` with the same pairing
    and ``ratios.constant(1 - by)``.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)``; inputs any pytree of floating or complex
        arrays. The default pairing takes the classes from the targets.
      by: how far, as a share of the distance, in [0, 1]; one number or ``[B]``, may be
        traced. 0 is no mixing: there the gradient by it is 0 too.
      pairing: draws the partners; who has none stays as it is.

    Returns:
      The batch, every leaf with its dtype, shape and sharding; and the ``Mix``, whose
      ``lam`` is 1 throughout.

    Raises:
      TypeError: ``key`` is no key, or an input leaf is of integers.
      ValueError: the batch is no pair, is empty, or its leaves disagree on its size;
        ``by`` lies outside [0, 1].

    Example:
      >>> import jax, mixup_jax as mx
      >>> x, labels = jax.numpy.array([[0.0], [1.0]]), jax.numpy.array([7, 7])
      >>> (x, _), _ = mx.extrapolate(jax.random.key(0), (x, labels), by=0.5)
      >>> x
      Array([[-0.5],
             [ 1.5]], dtype=float32)

    Source: DeVries & Taylor, "Dataset Augmentation in Feature Space", 2017,
    arXiv:1702.05538.
    """
    advice = "It is a share of the distance to the partner."
    checks.number(by, "extrapolate: by", 0, 1, advice)
    ratio = ratios.constant(1 - jnp.asarray(by, jnp.float32))
    return from_sources(key, batch, [Parts(ratio, pairing, everywhere)], _away)


def _away(toward: Source) -> Mix:
    away = dataclasses.replace(toward, lam=1 + (1 - toward.lam))
    return Mix(jnp.ones_like(away.lam), (away,), mixes_targets=False)
