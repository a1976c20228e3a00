"""Metrics for training on mixed targets.

A concrete label outside [0, K) raises an error; a traced one makes the value of its
example NaN. Labels selected by ``ignored``, such as ``losses.negative`` or
``lambda labels: labels == 255``, are exempt and contribute 0 to values and gradients.
To average over the other labels, divide by their number, like
``losses.termwise_mean(nll)``.
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
    """Return the share of the target that each prediction hits.

    This is ``targets[argmax(logits)]`` for soft targets, and 1 or 0 for integer labels;
    with a mix, it is the sum of the shares of the labels that the prediction hits. It
    cannot reach 1 on mixed targets: a model that always predicts the label of larger
    weight scores ``max(lam, 1 - lam)``. Logits that contain NaN, or are all -inf,
    predict no class and count as a miss.

    Args:
      logits: ``[B, ..., K]``.
      targets: floating-point ``[B, ..., K]``, mixed or not, or integer labels
        ``[B, ...]`` in [0, K); per-position labels as ``follow.maps``.
      mix: the mix to apply to integer labels, without materializing dense targets.
        ``None`` for unmixed labels.
      ignored: function from labels to a mask of those to ignore; ``None`` ignores none.

    Returns:
      float32 ``[B, ...]``. Ignored labels add 0, and others keep their weights. A
      traced label outside [0, K) with nonzero weight gives NaN.

    Raises:
      TypeError: If ``targets`` are neither floating-point nor integers, or ``ignored``
        or ``mix`` is passed with floating-point targets.
      ValueError: If the shapes do not match, a concrete label that is not ignored is
        outside [0, K), or the mix was drawn for another batch size.

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
            f"logits {logits.shape}; got {values.shape}. Floating-point targets have a "
            "class axis, integer labels do not."
        )
    if not dense and mix is None:
        return _hits(logits, values, ignored)
    if not dense:
        unmixed = functools.partial(_hits, ignored=None)
        return termwise(unmixed, ignored=ignored)(logits, targets, mix)
    if mix is not None:
        raise TypeError(
            "accuracy: expected integer targets with `mix`; got "
            f"{_arrays.describe(values)}. Mix soft targets first: mix.targets(targets)."
        )
    if ignored is not None:
        raise TypeError(
            "accuracy: expected integer targets with `ignored`; got "
            f"{_arrays.describe(values)}. Leave ignored out: the accuracy on a target "
            "of zeros is 0."
        )
    return _at(_predicted(logits), jnp.asarray(values)).astype(jnp.float32)


def nll(logits: Array, labels: Labels, *, ignored: Ignored | None = None) -> Array:
    """Return the negative log likelihood of each label, in nats.

    Args:
      logits: ``[B, K]``.
      labels: integer ``[B]`` in [0, K).
      ignored: function from labels to a mask of those to ignore; ``None`` ignores none.

    Returns:
      float32 ``[B]``: 0 for an ignored label, NaN for a traced one outside [0, K).

    Raises:
      TypeError: If ``labels`` are not integers.
      ValueError: If the shapes do not match, or a concrete label that is not ignored is
        outside [0, K).

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.metrics.nll(jnp.zeros((1, 4)), jnp.array([2])).round(4)
      Array([1.3863], dtype=float32)
    """
    logits, classes = _classes(logits, labels, "nll", ignored)
    log_p = jax.nn.log_softmax(logits, axis=-1)
    return classes.worth(-_at(classes.ids, log_p))


def brier(logits: Array, labels: Labels, *, ignored: Ignored | None = None) -> Array:
    """Return the Brier score of each prediction, in [0, 2].

    ``sum_k (p[k] - [k == label])^2``

    Arguments and errors are those of ``nll``.

    Returns:
      float32 ``[B]``: 0 for an ignored label, NaN for a traced one outside [0, K).

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.metrics.brier(jnp.zeros((1, 2)), jnp.array([1]))
      Array([0.5], dtype=float32)

    References:
      Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950.
    """
    logits, classes = _classes(logits, labels, "brier", ignored)
    p = jax.nn.softmax(logits, axis=-1)
    hot = jax.nn.one_hot(classes.ids, logits.shape[-1], dtype=jnp.float32)
    return classes.worth(jnp.sum((p - hot) ** 2, axis=-1))


@_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """Sums over predictions, binned by confidence.

    As a pytree of sums, it can be accumulated over batches with
    ``jax.tree.map(jnp.add, a, b)`` and over devices with ``jax.lax.psum``.

    Attributes:
      count: float32 ``[bins]``, number of predictions per bin.
      confidence: float32 ``[bins]``, sum of their confidences; NaN if one is NaN.
      hits: float32 ``[bins]``, number of them that are correct; NaN if the label of one
        is traced and outside the classes.
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
    """Bin predictions by confidence, their largest probability.

    Bin m of M holds the confidences in ``(m / M, (m + 1) / M]``. A traced label outside
    [0, K) makes the ``hits`` of its bin NaN, and therefore ``ece``; other bins are
    unaffected. A prediction with NaN probabilities falls into the first bin and makes
    its ``confidence`` NaN; it is a miss if its logits contain NaN.

    Args:
      logits: ``[B, K]``.
      labels: integer ``[B]`` in [0, K).
      bins: number of bins of equal width, at least 1.
      ignored: function from labels to a mask of those to ignore; ``None`` ignores none.

    Returns:
      The sums, from which ``ece`` computes the calibration error.

    Raises:
      TypeError: If ``labels`` are not integers.
      ValueError: If the shapes do not match, a concrete label that is not ignored is
        outside [0, K), or ``bins`` is less than 1.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> logits = jnp.log(jnp.array([[0.9, 0.1], [0.6, 0.4]]))
      >>> labels = jnp.array([0, 1])
      >>> mx.metrics.reliability(logits, labels, bins=2).hits
      Array([0., 1.], dtype=float32)
    """
    if bins < 1:
        raise ValueError(
            f"reliability: expected at least 1 bin; got {bins}. 15 is usual."
        )
    logits, classes = _classes(logits, labels, "reliability", ignored)
    sure = jnp.max(jax.nn.softmax(logits, axis=-1), axis=-1)
    bin_ = jnp.ceil(jnp.where(jnp.isnan(sure), 0, sure) * bins).astype(jnp.int32) - 1
    place = jnp.clip(bin_, 0, bins - 1)
    hit = classes.worth(_equal(_predicted(logits), classes))
    one = classes.counted(jnp.ones_like(sure))
    within = jax.nn.one_hot(place, bins, axis=0, dtype=bool)
    # In a product, NaN would spread to every bin.
    sums = (
        jnp.sum(jnp.where(within, each[None], 0), axis=1)
        for each in (one, classes.counted(sure), hit)
    )
    return Reliability(*sums)


def ece(found: Reliability) -> Array:
    """Return the expected calibration error, a float32 scalar in [0, 1].

    ``sum_m count[m] / n * |hits[m] / count[m] - confidence[m] / count[m]|``

    over the bins m. It is NaN if any sum is, and 0 without predictions.

    Args:
      found: the result of ``reliability``, or the sum of several.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> logits = jnp.log(jnp.array([[0.9, 0.1], [0.6, 0.4]]))
      >>> labels = jnp.array([0, 1])
      >>> mx.metrics.ece(mx.metrics.reliability(logits, labels)).round(4)
      Array(0.35, dtype=float32)

    References:
      Guo et al., "On Calibration of Modern Neural Networks", ICML 2017,
      https://arxiv.org/abs/1706.04599.
    """
    gaps = jnp.sum(jnp.abs(found.hits - found.confidence))
    return gaps / jnp.maximum(jnp.sum(found.count), 1)


def _predicted(logits: Array) -> Array:
    """Return the int32 class of the largest logit; -1 if all are -inf or one is NaN."""
    largest = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        return largest
    return jnp.where(jnp.max(logits, axis=-1) > -jnp.inf, largest, -1)


def _count(logits: Array, name: str) -> int:
    """Return the number of classes, or raise ValueError if it is 0."""
    if not logits.shape or logits.shape[-1] == 0:
        raise ValueError(
            f"{name}: expected logits of at least one class, [B, ..., K]; got shape "
            f"{tuple(logits.shape)}. Put the classes on the last axis."
        )
    return logits.shape[-1]


def _equal(predicted: Array, classes: Classes) -> Array:
    return (predicted == classes.ids).astype(jnp.float32)


def _hits(logits: Array, labels: ArrayLike, ignored: Ignored | None) -> Array:
    """Return 1 where the prediction equals the label, otherwise 0, float32."""
    advice, name = "Pass class ids.", "accuracy: targets"
    count = _count(logits, "accuracy")
    classes = classes_of(labels, count, name, advice, ignored)
    return classes.worth(_equal(_predicted(logits), classes))


def _at(classes: Array, values: Array) -> Array:
    """Return ``values[i, classes[i]]`` without a gather, or 0 for class -1."""
    hit = jax.nn.one_hot(classes, values.shape[-1], dtype=bool)
    return jnp.sum(jnp.where(hit, values, 0), axis=-1)


def _classes(
    logits: Array, labels: Labels, name: str, ignored: Ignored | None
) -> tuple[Array, Classes]:
    """Return float32 logits, zeroed for ignored labels, and the checked labels."""
    unmixed = "Evaluate on unmixed data."
    values = _arrays.array(_content(labels, f"{name}: labels"))
    if jnp.issubdtype(values.dtype, jnp.integer) and (
        logits.ndim != 2 or values.shape != logits.shape[:1]
    ):
        raise ValueError(
            f"{name}: expected logits [B, K] and labels [B]; got {tuple(logits.shape)} "
            f"and {tuple(values.shape)}. Flatten the other axes into axis 0."
        )
    count = _count(logits, name)
    classes = classes_of(values, count, f"{name}: labels", unmixed, ignored)
    # Otherwise 0 times a NaN gradient would be NaN.
    return classes.counted(logits.astype(jnp.float32)), classes
