"""Targets and losses: what a mixed label is worth.

Two paths lead to the same number for every loss that is linear in the target: mix
dense targets and use the loss as it is, or keep integer labels and weigh two terms. The
second never makes an array of the size of the classes.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from mixup_jax import _checks, _labels
from mixup_jax._blend import blend
from mixup_jax._labels import Ignored
from mixup_jax._made import made
from mixup_jax._mix import Mix
from mixup_jax._moves import per_example
from mixup_jax._types import Batch

ExampleLoss = Callable[..., Array]

_BELOW_ONE = 1 - 1e-6
_SOFT = "Soft targets need no two terms: use the loss on mix.targets(targets)."


def one_hot(
    labels: ArrayLike,
    num_classes: int,
    *,
    smoothing: ArrayLike = 0.0,
    dtype: DTypeLike = jnp.float32,
    ignored: Ignored | None = None,
) -> Array:
    """Return soft targets for integer labels, ready to be mixed.

    ``target[k] = (1 - smoothing) * [k == label] + smoothing / num_classes``

    Args:
      labels: integer ``[B, ...]`` in [0, num_classes).
      num_classes: K.
      smoothing: in [0, 1], may be traced.
      dtype: floating dtype of the targets.
      ignored: tells from the labels which to ignore, such as ``negative``; None
        ignores nothing.

    Returns:
      ``[B, ..., K]``. The row of an ignored label is 0, without smoothing: a loss that
      is linear in the target drops the term. A traced label outside of [0, K) gives a
      row of NaN.

    Raises:
      TypeError: If ``labels`` or ``num_classes`` are not integers, or ``dtype`` is not
        floating.
      ValueError: If ``smoothing``, or a concrete label that is not ignored, is out of
        range.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.losses.one_hot(jnp.array([0, 2]), 4, smoothing=0.5)
      Array([[0.625, 0.125, 0.125, 0.125],
             [0.125, 0.125, 0.625, 0.125]], dtype=float32)
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"dtype: expected a floating dtype, which can hold shares; got "
            f"{jnp.dtype(dtype)}. Cast what is not to be mixed afterwards."
        )
    if not isinstance(num_classes, int | np.integer):
        raise TypeError(
            f"num_classes: expected an integer; got {_checks.describe(num_classes)}. "
            "Count the classes."
        )
    count = int(num_classes)
    _checks.number(count, "num_classes", 1, advice="Count the classes.")
    soft = "Floating targets are soft already: mix them."
    classes = _labels.classes_of(labels, count, "labels", soft, ignored)
    _checks.number(smoothing, "smoothing", 0, 1, "0 is none.")
    smoothing = jnp.asarray(smoothing, dtype)
    hot = jax.nn.one_hot(classes.ids, count, dtype=dtype)
    return classes.worth((1 - smoothing) * hot + smoothing / count)


def negative(labels: Array) -> Array:
    """Return which labels are below 0: those that ``two_term_mean`` ignores.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.losses.one_hot(jnp.array([1, -1]), 2, ignored=mx.losses.negative)
      Array([[0., 1.],
             [0., 0.]], dtype=float32)
    """
    return labels < 0


@made
def two_term(loss: ExampleLoss, *, ignored: Ignored | None = None) -> ExampleLoss:
    """Return ``loss`` on mixed integer labels: the two-term loss of each example.

    ``lam[i] * loss(logits[i], y[i]) + (1 - lam[i]) * loss(logits[i], y[partner[i]])``

    Equal to the loss on mixed dense targets, where the loss is linear in the target,
    and made without them. A term of weight 0 adds 0 to the value and to the gradient,
    whatever its label.

    How many classes there are, ``loss`` knows alone, and what a label outside of them
    is worth: ``metrics.nll`` refuses it or gives NaN; Optax's integer cross-entropy
    counts -1 as the last class, -2 as the one before, and gives NaN from K on. With
    ``ignored`` it never sees such labels.

    Args:
      loss: ``(logits, labels) -> [B, ...]``, such as
        ``optax.losses.softmax_cross_entropy_with_integer_labels``. Labels reach it as
        they are, in 32 bits or more.
      ignored: tells from the labels, ``[B, ...]``, which to ignore, before ``loss`` is
        asked; such as ``negative``. None ignores nothing.

    Returns:
      ``(logits, labels, mix) -> [B, ...]``, float32 or wider; take its mean. The term
      of an ignored label adds 0 to the value and to the gradient, and the other one
      keeps its weight; ``two_term_mean`` divides by the weight left. Where an example
      has many labels and some are left, its logits must be finite at the others too.

    Raises:
      TypeError: If ``labels`` are not integers, or ``ignored`` is no function that
        returns bools.
      ValueError: If the mix was drawn for another batch size, or ``loss`` takes a mean
        (with ``ignored``, a mean or a sum of an example's labels).

    Example:
      >>> import jax, jax.numpy as jnp, optax, mixup_jax as mx
      >>> logits, labels = jnp.zeros((2, 10)), jnp.array([3, 4])
      >>> mix = mx.Mix(lam=jnp.array([0.5, 1.0]), partner=jnp.array([1, 0]))
      >>> entropy = optax.losses.softmax_cross_entropy_with_integer_labels
      >>> mx.losses.two_term(entropy)(logits, labels, mix)
      Array([2.3025851, 2.3025851], dtype=float32)
    """

    def mixed(logits: Array, labels: ArrayLike, mix: Mix) -> Array:
        y = _checks.class_ids(labels, "labels", _SOFT)
        if ignored is None:
            lam = jnp.asarray(mix.lam, jnp.float32)
            return _blended(loss, logits, y, mix.partners(y), lam)
        each, left = _of_kept(loss, logits, y, mix, _kept(y, ignored))
        return left * each

    return mixed


@made
def two_term_mean(
    loss: ExampleLoss, *, ignored: Ignored | None = negative
) -> Callable[..., Array]:
    """Return the mean two-term loss over the labels that are not ignored.

    The term of an ignored label is dropped, and the mean divides by the weight left::

        sum_i(w_i * loss(logits_i, y_i) + v_i * loss(logits_i, y_j)) / sum_i(w_i + v_i)
        w_i = lam_i * weight_i * kept(y_i),  v_i = (1 - lam_i) * weight_j * kept(y_j)
        j = partner(i)

    An example of which no term is left gets no gradient. Where it has many labels and
    some are left, the loss at class 0 stands in for the others, and must be finite.

    Args:
      loss: as in ``two_term``, which says what becomes of labels that no class has.
      ignored: tells from the labels which to ignore, before ``loss`` is asked; negative
        ones by default. None ignores nothing.

    Returns:
      ``(logits, labels, mix, weights=None) -> scalar``, float32 or wider; 0 where no
      weight is left. ``weights``, ``[B]`` or one for each label, are what the examples
      count; they are mixed as targets are.

    Raises:
      TypeError, ValueError: As for ``two_term``; if ``weights`` are for another batch
        size.

    Example:
      >>> import jax.numpy as jnp, optax, mixup_jax as mx
      >>> logits, labels = jnp.zeros((2, 10)), jnp.array([3, -1])
      >>> mix = mx.Mix(lam=jnp.array([0.5, 0.5]), partner=jnp.array([1, 0]))
      >>> entropy = optax.losses.softmax_cross_entropy_with_integer_labels
      >>> mx.losses.two_term_mean(entropy)(logits, labels, mix)
      Array(2.3025851, dtype=float32)
    """

    def mean(
        logits: Array, labels: ArrayLike, mix: Mix, weights: ArrayLike | None = None
    ) -> Array:
        y = _checks.class_ids(labels, "labels", _SOFT)
        kept = _kept(y, ignored)
        if weights is not None:
            weights = jnp.asarray(weights, jnp.float32)
            _checks.sized(weights, y.shape[0], "weights", "Give each example its own.")
            each = "Give each example its own, or each label."
            _checks.shaped(weights, "weights", [y.shape[:1], y.shape], each)
            kept = kept * per_example(weights, kept)
        each, left = _of_kept(loss, logits, y, mix, kept)
        return jnp.sum(left * each) / _or_one(jnp.sum(left))

    return mean


def binary_targets(
    targets: ArrayLike, *, threshold: ArrayLike = 0.0, smoothing: ArrayLike = 0.0
) -> Array:
    """Return 1 for each class with more than ``threshold`` of the mixed label, else 0.

    For binary cross-entropy on mixed labels. ``smoothing`` is the amount that the
    targets carry, which makes no class positive: ``target > s / K + (1 - s) threshold``
    by more than rounding.

    Args:
      targets: floating ``[B, K]``, mixed.
      threshold: share of the label, in [0, 1).
      smoothing: s, in [0, 1), as given to ``one_hot``.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> targets = jnp.array([[0.825, 0.125, 0.025, 0.025]])
      >>> mx.losses.binary_targets(targets, smoothing=0.1)
      Array([[1., 1., 0., 0.]], dtype=float32)
    """
    targets = jnp.asarray(targets)
    _checks.blendable(targets, "targets", "Mix one-hot targets.")
    _checks.number(threshold, "threshold", 0, _BELOW_ONE, "At 1 no class is left.")
    _checks.number(smoothing, "smoothing", 0, _BELOW_ONE, "At 1 no label is left.")
    s, t = jnp.asarray(smoothing, jnp.float32), jnp.asarray(threshold, jnp.float32)
    # What is compared was rounded twice: as a target, and to float32.
    rounding = max(float(jnp.finfo(d).eps) for d in (targets.dtype, jnp.float32))
    least = s / targets.shape[-1] + (1 - s) * t + rounding
    return (targets.astype(jnp.float32) > least).astype(targets.dtype)


def real_and_fake(real: Any, fake: Any) -> Batch:
    """Return the discriminator's batch: what is real, then what is made; targets 1, 0.

    The discriminator of a GAN is then trained on ``mixer(key, real_and_fake(x, g(z)))``
    with a binary cross-entropy that takes soft targets. The authors' code mixes the
    pool with itself, real with real too: ``pairing=pairings.permutation,
    ratio=ratios.uniform(low=0.8)``; their generator's loss is of unmixed examples. The
    paper's formula mixes each real example with a made one, in the loss of both
    networks: ``pairing=partial(pairings.roll, shift=B)``, ``alpha=0.2``.

    Args:
      real: pytree of floating arrays ``[B, ...]``.
      fake: the same, made by the generator.

    Returns:
      ``(inputs, targets)``: ``[2 B, ...]`` and float32 ``[2 B]``.

    Raises:
      ValueError: the two differ in structure or shapes.

    Example:
      >>> import jax, optax, mixup_jax as mx
      >>> real, fake = jax.numpy.ones((4, 2)), jax.numpy.zeros((4, 2))
      >>> batch = mx.losses.real_and_fake(real, fake)
      >>> (x, y), _ = mx.mixup(
      ...     jax.random.key(0),
      ...     batch,
      ...     ratio=mx.ratios.uniform(low=0.8),
      ...     pairing=mx.pairings.permutation,
      ... )
      >>> loss = optax.sigmoid_binary_cross_entropy(x.sum(axis=1), y).mean()

    Source: Zhang et al., "mixup", section 3.7, arXiv:1710.09412, and its authors' code.
    """
    _checks.no_list(real, "real")
    _checks.no_list(fake, "fake")
    shapes = [jax.tree.map(jnp.shape, half) for half in (real, fake)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"real_and_fake: expected as many made examples as real ones, in the same "
            f"shapes; got {shapes[0]} and {shapes[1]}. Draw one latent per example."
        )
    size = _checks.examples(real, "real")
    inputs = jax.tree.map(lambda *halves: jnp.concatenate(halves), real, fake)
    return inputs, (jnp.arange(2 * size) < size).astype(jnp.float32)


def _blended(
    loss: ExampleLoss, logits: Array, own: Array, partner: Array, w: Array
) -> Array:
    """Return ``w * loss(logits, own) + (1 - w) * loss(logits, partner)``."""
    # A term of weight 0 is taken at the other one's label: where that is finite, so are
    # both values and both gradients, and 0 times them is 0.
    share = per_example(w, own)
    y, z = jnp.where(share == 0, partner, own), jnp.where(share == 1, own, partner)
    own_loss, partner_loss = loss(logits, y), loss(logits, z)
    if own_loss.shape[: w.ndim] != w.shape:
        got = f"shape {own_loss.shape}" if own_loss.shape else "a scalar"
        each = "an example" if w.ndim == 1 else "a label, some of which are ignored"
        raise ValueError(
            f"loss: expected one loss {each}, [{', '.join(map(str, w.shape))}, ...]; "
            f"got {got}. Leave out the mean or the sum."
        )
    return blend(per_example(w, own_loss), own_loss, partner_loss)


def _kept(y: Array, ignored: Ignored | None) -> Array:
    """Return 0 for the labels that are ignored, 1 for others, float32."""
    if ignored is None:
        return jnp.ones_like(y, jnp.float32)
    return (~_labels.ignored_among(y, ignored)).astype(jnp.float32)


def _of_kept(
    loss: ExampleLoss, logits: Array, y: Array, mix: Mix, kept: Array
) -> tuple[Array, Array]:
    """Return the mean loss of the terms that are left of each label, and their weight.

    Args:
      loss: as in ``two_term``.
      logits: what ``loss`` takes.
      y: integer ``[B, ...]``.
      mix: what the batch was mixed by.
      kept: float32, like ``y``: what each label counts, 0 for an ignored one.
    """
    partner_kept = mix.partners(kept)  # refuses a mix for another batch size
    lam = per_example(jnp.asarray(mix.lam, jnp.float32), y)
    w, v = lam * kept, (1 - lam) * partner_kept
    some = w + v > 0
    share = jnp.where(some, w / _or_one(w + v), 0)
    # A term of weight 0 is taken at the other one's label. Where both have none the
    # loss may be infinite, and 0 times its gradient NaN.
    own, partner = (jnp.where(some, each, 0) for each in (y, mix.partners(y)))
    counts = jnp.any(some, axis=tuple(range(1, y.ndim)))
    each = _blended(loss, _felt(logits, counts), own, partner, share)
    left = (w + v).astype(each.dtype)
    return jnp.where(left > 0, each, 0), left


def _or_one(weight: Array) -> Array:
    return jnp.where(weight > 0, weight, 1)


@jax.custom_jvp
def _felt(logits: Array, counts: Array) -> Array:
    """Return ``logits``, to which no gradient passes of examples that do not count."""
    del counts
    return logits


@_felt.defjvp
def _felt_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    logits, counts = primals
    return logits, jnp.where(per_example(counts, logits), tangents[0], 0)
