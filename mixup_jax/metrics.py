"""What to watch while training on mixed targets.

A label outside of [0, K), which no class has, is refused where it is concrete, and
makes the value of its example NaN where it is traced. ``ignored`` is asked first which
labels do not count (``losses.negative``, or ``lambda labels: labels == 255``): they are
worth 0, in value and gradient. For the mean over the others divide by their number, as
``losses.termwise_mean(nll)`` does.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import arrays as _arrays
from mixup_jax._core.follow import Labels
from mixup_jax._core.follow import content as _content
from mixup_jax._core.labels import Classes, Ignored, classes_of
from mixup_jax._core.mix import Mix
from mixup_jax._core.register import pytree as _pytree
from mixup_jax.losses import termwise


def accuracy(
    logits: Array,
    targets: Labels,
    *,
    mix: Mix | None = None,
    ignored: Ignored | None = None,
) -> Array:
    """Return what share of its target each prediction hits.

    ``targets[argmax(logits)]`` for soft targets, 1 or 0 for integer labels; with a mix
    the sum of the shares of the labels that it hits. Against mixed targets 1 is out of
    reach: a model that always names the heavier label has ``max(lam, 1 - lam)``. Logits
    with a NaN, or without a number above -inf, predict no class: a miss.

    Args:
      logits: ``[B, ..., K]``.
      targets: floating ``[B, ..., K]``, mixed or not, or integer labels ``[B, ...]`` in
        [0, K); of positions, ``follow.maps`` of such.
      mix: what integer labels are to be mixed by, which makes no dense targets; None
        is not at all.
      ignored: tells from integer labels which to ignore; None ignores nothing.

    Returns:
      float32 ``[B, ...]``. An ignored label adds 0, and others keep their weights; a
      traced label outside of [0, K) with a weight above 0 gives NaN.

    Raises:
      TypeError: If targets are neither floating nor integers, or ``ignored`` or ``mix``
        is given for floating ones.
      ValueError: If the shapes do not fit, a concrete label that is not ignored is
        outside of [0, K), or the mix was drawn for another batch size.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.metrics.accuracy(jnp.eye(3)[:2], jnp.array([[0.7, 0.3, 0], [1.0, 0, 0]]))
      Array([0.7, 0. ], dtype=float32)
      >>> mix = mx.Mix.from_pairs(jnp.array([0.75, 1.0]), jnp.array([1, 0]))
      >>> mx.metrics.accuracy(jnp.eye(2)[::-1], jnp.array([0, 1]), mix=mix)
      Array([0.25, 0.  ], dtype=float32)
    """
    _count(logits, "accuracy")
    values = _arrays.array(_content(targets, "targets"))
    dense = jnp.issubdtype(values.dtype, jnp.floating)
    expected = logits.shape if dense else logits.shape[:-1]
    if values.shape != expected:
        raise ValueError(
            f"accuracy: expected {values.dtype} targets of shape {expected} for "
            f"logits {logits.shape}; got {values.shape}. Give floating targets one "
            "value a class, and integer labels none."
        )
    if not dense and mix is None:
        return _hits(logits, values, ignored)
    if not dense:
        unmixed = functools.partial(_hits, ignored=None)
        return termwise(unmixed, ignored=ignored)(logits, targets, mix)
    if mix is not None:
        raise TypeError(
            "accuracy: expected integer targets, to mix by `mix`; got "
            f"{_arrays.describe(values)}. Mix soft targets first: mix.targets(targets)."
        )
    if ignored is not None:
        raise TypeError(
            "accuracy: expected integer targets, to ask `ignored` of; got "
            f"{_arrays.describe(values)}. Leave ignored out: against a target of zeros "
            "the accuracy is 0."
        )
    return _at(_predicted(logits), jnp.asarray(values)).astype(jnp.float32)


def nll(logits: Array, labels: Labels, *, ignored: Ignored | None = None) -> Array:
    """Return the negative log likelihood of each label, in nats.

    Args:
      logits: ``[B, K]``.
      labels: integer ``[B]`` in [0, K).
      ignored: tells from the labels which to ignore; None ignores nothing.

    Returns:
      float32 ``[B]``; 0 for an ignored label, NaN for a traced one outside of [0, K).

    Raises:
      TypeError: If labels are not integers.
      ValueError: If the shapes do not fit, or a concrete label that is not ignored is
        outside of [0, K).

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.metrics.nll(jnp.zeros((1, 4)), jnp.array([2])).round(4)
      Array([1.3863], dtype=float32)
    """
    logits, classes = _classes(logits, labels, "nll", ignored)
    log_p = jax.nn.log_softmax(logits, axis=-1)
    return classes.worth(-_at(classes.ids, log_p))


def brier(logits: Array, labels: Labels, *, ignored: Ignored | None = None) -> Array:
    """Return each prediction's Brier score, in [0, 2].

    ``sum_k (p[k] - [k == label])^2``

    Arguments and errors: as ``nll``.

    Returns:
      float32 ``[B]``; 0 for an ignored label, NaN for a traced one outside of [0, K).

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.metrics.brier(jnp.zeros((1, 2)), jnp.array([1]))
      Array([0.5], dtype=float32)

    Source: Brier, "Verification of forecasts expressed in terms of probability", 1950.
    """
    logits, classes = _classes(logits, labels, "brier", ignored)
    p = jax.nn.softmax(logits, axis=-1)
    hot = jax.nn.one_hot(classes.ids, logits.shape[-1], dtype=jnp.float32)
    return classes.worth(jnp.sum((p - hot) ** 2, axis=-1))


@_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """How often predictions hold, over how sure they were: sums, which add up.

    A pytree: ``jax.tree.map(jnp.add, a, b)`` joins batches, ``jax.lax.psum`` devices.

    Attributes:
      count: float32 ``[bins]``, the predictions whose confidence fell into the bin.
      confidence: float32 ``[bins]``, the sum of their confidences; NaN if one of them
        had none.
      hits: float32 ``[bins]``, how many of them were right; NaN if that is not known
        of one of them.
    """

    count: Array
    confidence: Array
    hits: Array


def reliability(
    logits: Array,
    labels: Labels,
    *,
    bins: int = 15,
    ignored: Ignored | None = None,
) -> Reliability:
    """Sort predictions into ``bins`` of equal width by their largest probability.

    Bin m of M holds the confidences in ``(m / M, (m + 1) / M]``.

    What is not known makes its own bin NaN, and with it ``ece``; the other bins stay as
    they are. Of a traced label outside of [0, K) that is whether the prediction hit. A
    prediction whose probabilities are NaN has no confidence: it counts in the first
    bin, and as a miss if the logits have a NaN.

    Args:
      logits: ``[B, K]``.
      labels: integer ``[B]`` in [0, K).
      bins: how many, at least 1.
      ignored: tells from the labels which predictions not to count; None counts all.

    Raises:
      TypeError: If labels are not integers.
      ValueError: If the shapes do not fit, a concrete label that is not ignored is
        outside of [0, K), or there are no bins.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> logits = jnp.log(jnp.array([[0.9, 0.1], [0.6, 0.4]]))
      >>> labels = jnp.array([0, 1])
      >>> mx.metrics.reliability(logits, labels, bins=2).hits
      Array([0., 1.], dtype=float32)
    """
    if bins < 1:
        raise ValueError(
            f"reliability: expected at least 1 bin; got {bins}. Usual: 15."
        )
    logits, classes = _classes(logits, labels, "reliability", ignored)
    sure = jnp.max(jax.nn.softmax(logits, axis=-1), axis=-1)
    bin_ = jnp.ceil(jnp.where(jnp.isnan(sure), 0, sure) * bins).astype(jnp.int32) - 1
    place = jnp.clip(bin_, 0, bins - 1)
    hit = classes.worth(_equal(_predicted(logits), classes))
    one = classes.counted(jnp.ones_like(sure))
    within = jax.nn.one_hot(place, bins, axis=0, dtype=bool)
    # 0 times NaN would be NaN in every bin.
    sums = (
        jnp.sum(jnp.where(within, each[None], 0), axis=1)
        for each in (one, classes.counted(sure), hit)
    )
    return Reliability(*sums)


def ece(found: Reliability) -> Array:
    """Return the expected calibration error, a float32 scalar in [0, 1].

    ``sum_m count[m] / n * |hits[m] / count[m] - confidence[m] / count[m]|``

    NaN if a sum is, which ``reliability`` explains; 0 of no predictions.

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
    """Return the class of the largest logit, int32; -1 if none is a number above -inf.

    With a NaN among them there is no largest.
    """
    largest = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        return largest
    return jnp.where(jnp.max(logits, axis=-1) > -jnp.inf, largest, -1)


def _count(logits: Array, name: str) -> int:
    """Return how many classes there are, or raise ValueError if there are none."""
    if not logits.shape or logits.shape[-1] == 0:
        raise ValueError(
            f"{name}: expected logits of at least one class, [B, ..., K]; got shape "
            f"{tuple(logits.shape)}. Put the classes on the last axis."
        )
    return logits.shape[-1]


def _equal(predicted: Array, classes: Classes) -> Array:
    return (predicted == classes.ids).astype(jnp.float32)


def _hits(logits: Array, labels: ArrayLike, ignored: Ignored | None) -> Array:
    """Return 1 where the prediction is the label, 0 elsewhere, float32 ``[B, ...]``."""
    advice, name = "Give the classes by their numbers.", "accuracy: targets"
    count = _count(logits, "accuracy")
    classes = classes_of(labels, count, name, advice, ignored)
    return classes.worth(_equal(_predicted(logits), classes))


def _at(classes: Array, values: Array) -> Array:
    """Return ``values[i, classes[i]]`` without a gather; 0 where the class is -1."""
    hit = jax.nn.one_hot(classes, values.shape[-1], dtype=bool)
    return jnp.sum(jnp.where(hit, values, 0), axis=-1)


def _classes(
    logits: Array, labels: Labels, name: str, ignored: Ignored | None
) -> tuple[Array, Classes]:
    """Return logits in float32, 0 for ignored labels, and what the labels name."""
    unmixed = "Measure on data that are not mixed."
    values = _arrays.array(_content(labels, f"{name}: labels"))
    if jnp.issubdtype(values.dtype, jnp.integer) and (
        logits.ndim != 2 or values.shape != logits.shape[:1]
    ):
        raise ValueError(
            f"{name}: expected logits [B, K] and labels [B]; got {tuple(logits.shape)} "
            f"and {tuple(values.shape)}. Put all but the classes on axis 0."
        )
    count = _count(logits, name)
    classes = classes_of(values, count, f"{name}: labels", unmixed, ignored)
    # Else 0 times a gradient of NaN would be one.
    return classes.counted(logits.astype(jnp.float32)), classes
