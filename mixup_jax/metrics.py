"""What to watch while training on mixed targets."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax import _checks
from mixup_jax._mix import Mix
from mixup_jax.losses import two_term


def accuracy(logits: Array, targets: ArrayLike) -> Array:
    """Return what share of its target each prediction hits.

    ``targets[argmax(logits)]`` for soft targets, 1 or 0 for integer labels. Against
    mixed targets 1 is out of reach: who always names the heavier label has
    ``max(lam, 1 - lam)``.

    Args:
      logits: ``[B, K]``.
      targets: floating ``[B, K]``, mixed or not, or integer labels ``[B]``.

    Returns:
      float32 ``[B]``.

    Raises:
      TypeError: targets are neither floating nor integers.
      ValueError: the shapes do not fit.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.metrics.accuracy(jnp.eye(3)[:2], jnp.array([[0.7, 0.3, 0], [1.0, 0, 0]]))
      Array([0.7, 0. ], dtype=float32)
    """
    targets = jnp.asarray(targets)
    dense = jnp.issubdtype(targets.dtype, jnp.floating)
    expected = logits.shape if dense else logits.shape[:-1]
    if targets.shape != expected:
        raise ValueError(
            f"accuracy: expected {targets.dtype} targets of shape {expected} for "
            f"logits {logits.shape}; got {targets.shape}. Give floating targets one "
            "value a class, and integer labels none."
        )
    if dense:
        return _at(_predicted(logits), targets).astype(jnp.float32)
    advice = "Give the classes by their numbers."
    ids = _checks.class_ids(targets, "accuracy: targets", advice)
    return (_predicted(logits) == ids).astype(jnp.float32)


def two_term_accuracy(logits: Array, labels: ArrayLike, mix: Mix) -> Array:
    """Return ``accuracy`` on the mixed targets of integer labels, without making them.

    ``lam[i]`` if the prediction is the own label, plus ``1 - lam[i]`` if it is the
    partner's.

    Args:
      logits: ``[B, K]``.
      labels: integer ``[B]``.
      mix: what the batch was mixed by.

    Returns:
      float32 ``[B]``.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mix = mx.Mix(lam=jnp.array([0.75, 1.0]), partner=jnp.array([1, 0]))
      >>> mx.metrics.two_term_accuracy(jnp.eye(2)[::-1], jnp.array([0, 1]), mix)
      Array([0.25, 0.  ], dtype=float32)
    """
    return two_term(accuracy)(logits, labels, mix)


def nll(logits: Array, labels: ArrayLike) -> Array:
    """Return the negative log likelihood of each label, in nats.

    Args:
      logits: ``[B, K]``.
      labels: integer ``[B]``.

    Returns:
      float32 ``[B]``.

    Raises:
      TypeError: labels are not integers.
      ValueError: the shapes do not fit.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.metrics.nll(jnp.zeros((1, 4)), jnp.array([2])).round(4)
      Array([1.3863], dtype=float32)
    """
    labels = _labels(logits, labels, "nll")
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    return -_at(labels, log_p)


def brier(logits: Array, labels: ArrayLike) -> Array:
    """Return each prediction's Brier score, in [0, 2].

    ``sum_k (p[k] - [k == label])^2``

    Arguments and errors: as ``nll``.

    Returns:
      float32 ``[B]``.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.metrics.brier(jnp.zeros((1, 2)), jnp.array([1]))
      Array([0.5], dtype=float32)

    Source: Brier, "Verification of forecasts expressed in terms of probability", 1950.
    """
    labels = _labels(logits, labels, "brier")
    p = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=jnp.float32)
    return jnp.sum((p - hot) ** 2, axis=-1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """How often predictions hold, over how sure they were: sums, which add up.

    A pytree: ``jax.tree.map(jnp.add, a, b)`` joins batches, ``jax.lax.psum`` devices.

    Attributes:
      count: float32 ``[bins]``, the predictions whose confidence fell into the bin.
      confidence: float32 ``[bins]``, the sum of their confidences.
      hits: float32 ``[bins]``, how many of them were right.
    """

    count: Array
    confidence: Array
    hits: Array


def reliability(logits: Array, labels: ArrayLike, *, bins: int = 15) -> Reliability:
    """Sort predictions into ``bins`` of equal width by their largest probability.

    Bin m of M holds the confidences in ``(m / M, (m + 1) / M]``.

    Args:
      logits: ``[B, K]``.
      labels: integer ``[B]``.
      bins: how many, at least 1.

    Raises:
      TypeError: labels are not integers.
      ValueError: the shapes do not fit, or there are no bins.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> logits = jnp.log(jnp.array([[0.9, 0.1], [0.6, 0.4]]))
      >>> labels = jnp.array([0, 1])
      >>> mx.metrics.reliability(logits, labels, bins=2).hits
      Array([0., 1.], dtype=float32)
    """
    labels = _labels(logits, labels, "reliability")
    if bins < 1:
        raise ValueError(
            f"reliability: expected at least 1 bin; got {bins}. Usual: 15."
        )
    p = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    sure = jnp.max(p, axis=-1)
    place = jnp.clip(jnp.ceil(sure * bins).astype(jnp.int32) - 1, 0, bins - 1)
    within = jax.nn.one_hot(place, bins, axis=0, dtype=jnp.float32)
    hit = (_predicted(logits) == labels).astype(jnp.float32)
    confidence, hits = (jnp.sum(within * each[None], axis=1) for each in (sure, hit))
    return Reliability(jnp.sum(within, axis=1), confidence, hits)


def ece(found: Reliability) -> Array:
    """Return the expected calibration error, a float32 scalar in [0, 1].

    ``sum_m count[m] / n * |hits[m] / count[m] - confidence[m] / count[m]|``

    Args:
      found: from ``reliability``, whose bins ``m`` are, or a sum of several.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> logits = jnp.log(jnp.array([[0.9, 0.1], [0.6, 0.4]]))
      >>> labels = jnp.array([0, 1])
      >>> mx.metrics.ece(mx.metrics.reliability(logits, labels)).round(4)
      Array(0.35, dtype=float32)

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017,
    arXiv:1706.04599.
    """
    gaps = jnp.sum(jnp.abs(found.hits - found.confidence))
    return gaps / jnp.maximum(jnp.sum(found.count), 1)


def _predicted(logits: Array) -> Array:
    """Return the class of the largest logit, int32 with 64-bit types too."""
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def _at(classes: Array, values: Array) -> Array:
    """Return ``values[i, classes[i]]``, without a gather."""
    hit = jax.nn.one_hot(classes, values.shape[-1], dtype=bool)
    return jnp.sum(jnp.where(hit, values, 0), axis=-1)


def _labels(logits: Array, labels: ArrayLike, name: str) -> Array:
    unmixed = "Measure on data that are not mixed."
    labels = _checks.class_ids(labels, f"{name}: labels", unmixed)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"{name}: expected logits [B, K] and labels [B]; got {tuple(logits.shape)} "
            f"and {tuple(labels.shape)}. Put all but the classes on axis 0."
        )
    return labels
