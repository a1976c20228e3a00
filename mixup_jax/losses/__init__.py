"""Targets and losses: what a mixed label is worth.

Two paths lead to the same number for every loss that is linear in the target: mix
dense targets and use the loss as it is, or keep integer labels and weigh one term for
each source of the mix. The second never makes an array of the size of the classes.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from mixup_jax._core import checks
from mixup_jax._core import labels as _labels
from mixup_jax._core.blend import summable, widened
from mixup_jax._core.labels import Ignored
from mixup_jax._core.made import made
from mixup_jax._core.mix import Mix
from mixup_jax._core.moves import alike, per_example
from mixup_jax._core.types import Batch

ExampleLoss = Callable[..., Array]

_BELOW_ONE = 1 - 1e-6
_SOFT = "Soft targets need no terms: use the loss on mix.targets(targets)."


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
    count = checks.count(num_classes, "num_classes", "Count the classes.")
    soft = "Floating targets are soft already: mix them."
    classes = _labels.classes_of(labels, count, "labels", soft, ignored)
    checks.number(smoothing, "smoothing", 0, 1, "0 is none.")
    smoothing = jnp.asarray(smoothing, dtype)
    hot = jax.nn.one_hot(classes.ids, count, dtype=dtype)
    return classes.worth((1 - smoothing) * hot + smoothing / count)


def negative(labels: Array) -> Array:
    """Return which labels are below 0: those that ``termwise_mean`` ignores.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.losses.one_hot(jnp.array([1, -1]), 2, ignored=mx.losses.negative)
      Array([[0., 1.],
             [0., 0.]], dtype=float32)
    """
    return labels < 0


@made
def termwise(loss: ExampleLoss, *, ignored: Ignored | None = None) -> ExampleLoss:
    """Return ``loss`` on mixed integer labels, term by term: one for each source.

    ``sum_k share_k[i] * loss(logits[i], y_k[i])`` for the ``mix.terms`` of the labels,
    of pairs ``lam[i] * loss(logits[i], y[i]) + (1 - lam[i]) * loss(logits[i], y_j)``,
    j = partner(i).

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
      ``(logits, labels, mix=None) -> [B, ...]``, float32 or wider; take its mean.
      Without a mix nothing was mixed, so training and evaluation can share the loss.
      The term of an ignored label adds 0 to the value and to the gradient, and the
      others keep their weights; ``termwise_mean`` divides by the weight left. Where an
      example has many labels and some are left, its logits must be finite at the others
      too.

    Raises:
      TypeError: If ``labels`` are not integers, or ``ignored`` is not a function that
        returns bools.
      ValueError: If the mix was drawn for another batch size, or ``loss`` takes a mean
        (with ``ignored``, a mean or a sum of an example's labels).

    Example:
      >>> import jax.numpy as jnp, optax, mixup_jax as mx
      >>> logits, labels = jnp.zeros((2, 10)), jnp.array([3, 4])
      >>> mix = mx.Mix.from_pairs(jnp.array([0.5, 1.0]), jnp.array([1, 0]))
      >>> entropy = optax.losses.softmax_cross_entropy_with_integer_labels
      >>> mx.losses.termwise(entropy)(logits, labels, mix)
      Array([2.3025851, 2.3025851], dtype=float32)
    """

    def mixed(logits: Array, labels: ArrayLike, mix: Mix | None = None) -> Array:
        y = checks.class_ids(labels, "labels", _SOFT)
        if ignored is None:
            return _summed(loss, logits, _terms(mix, y))
        each, left = _of_kept(loss, logits, y, mix, _kept(y, ignored))
        return left * each

    return mixed


@made
def termwise_mean(
    loss: ExampleLoss, *, ignored: Ignored | None = negative
) -> Callable[..., Array]:
    """Return the mean of ``termwise`` over the labels that are not ignored.

    The term of an ignored label is dropped, and the mean divides by the weight left::

        sum_ik(w_ik * loss(logits_i, y_ik)) / sum_ik(w_ik)
        w_ik = share_k[i] * weight_j * kept(y_j),  j the source of term k

    An example of which no term is left gets no gradient. Where it has many labels and
    some are left, the loss at class 0 stands in for the others, and must be finite.

    Args:
      loss: as in ``termwise``, which says what becomes of labels that no class has.
      ignored: tells from the labels which to ignore, before ``loss`` is asked; negative
        ones by default. None ignores nothing.

    Returns:
      ``(logits, labels, mix=None, weights=None) -> scalar``, float32 or wider; 0 where
      no weight is left. ``weights``, ``[B]`` or one for each label, are what the
      examples count; they are mixed as targets are. Without a mix nothing was mixed.

    Raises:
      TypeError, ValueError: As for ``termwise``; if ``weights`` are for another batch
        size.

    Example:
      >>> import jax.numpy as jnp, optax, mixup_jax as mx
      >>> logits, labels = jnp.zeros((2, 10)), jnp.array([3, -1])
      >>> mix = mx.Mix.from_pairs(0.5, jnp.array([1, 0]))
      >>> entropy = optax.losses.softmax_cross_entropy_with_integer_labels
      >>> mx.losses.termwise_mean(entropy)(logits, labels, mix)
      Array(2.3025851, dtype=float32)
    """

    def mean(
        logits: Array,
        labels: ArrayLike,
        mix: Mix | None = None,
        weights: ArrayLike | None = None,
    ) -> Array:
        y = checks.class_ids(labels, "labels", _SOFT)
        kept = _kept(y, ignored)
        if weights is not None:
            checks.number(weights, "weights", 0, advice="Weights are at least 0.")
            weights = jnp.asarray(weights, jnp.float32)
            checks.sized(weights, y.shape[0], "weights", "Give each example its own.")
            each = "Give each example its own, or each label."
            checks.shaped(weights, "weights", [y.shape[:1], y.shape], each)
            kept = jnp.where(kept > 0, per_example(weights, kept), 0.0)
        each, left = _of_kept(loss, logits, y, mix, kept)
        return jnp.sum(left * each) / _or_one(jnp.sum(left))

    return mean


def mean(area: Array, attention: Array) -> Array:
    """Return the mean of both: how ``by_attention`` combines them by default.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.losses.mean(jnp.array([0.5]), jnp.array([0.25]))
      Array([0.375], dtype=float32)
    """
    return (area + attention) / 2


def by_attention(
    mix: Mix,
    attention: ArrayLike,
    sizes: Sequence[int],
    *,
    combine: Callable[[Array, Array], Array] = mean,
) -> Mix:
    """Return the mix whose own label weighs what the model attends to (TransMix).

    ::

        lam[i] = combine(lam[i], sum_q a[i, q] * s[i, q] / sum_q a[i, q])

    where ``a`` is the attention to each patch of the mixed input and ``s`` the own
    share of the patch, by area. No gradient passes through ``lam``. Examples without
    attention keep their ``lam``. Inputs stay as they were mixed.

    Args:
      mix: what the batch was mixed by.
      attention: floating ``[B, P]`` or ``[B, heads, P]``, at least 0: what the model
        attends to, such as from the class token to the P patches in the last block.
        The mean is taken over heads.
      sizes: patches on each spatial axis, ``(14, 14)``; their product is P.
      combine: ``(area, attention) -> lam``, each ``[B]`` in [0, 1]. The default is that
        of the authors' code; their paper takes the attention alone:
        ``lambda area, attention: attention``.

    Raises:
      TypeError: If ``attention`` is not floating.
      ValueError: If ``attention`` is for another batch size or number of patches, or
        ``sizes`` do not fit the inputs.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> grid = mx.regions.grid(jnp.zeros((1, 4, 4, 1)))
      >>> box = mx.regions.Box(jnp.array([[0, 0]]), jnp.array([[2, 3]]), grid)
      >>> mix = mx.Mix.from_pairs(0.625, jnp.array([0]), region=box)
      >>> attention = jnp.array([[0.4, 0.3, 0.2, 0.1]])
      >>> mx.losses.by_attention(mix, attention, (2, 2)).lam
      Array([0.5375], dtype=float32)

    References:
      Chen et al., "TransMix: Attend to Mix for Vision Transformers", CVPR 2022,
      arXiv:2111.09833.
    """
    advice = "Give the weights that the model attends with."
    checks.floating(attention, "attention", "to weigh patches by", advice)
    checks.number(attention, "attention", 0, advice=advice)
    checks.function(combine, "combine", "mixup_jax.losses.mean")
    given = jnp.asarray(attention)
    advice = "Count the patches along each axis: (14, 14)."
    sizes = checks.counts(sizes, "by_attention: sizes", advice)
    batch, patches = mix.lam.shape[0], math.prod(sizes)
    if given.ndim not in (2, 3) or (given.shape[0], given.shape[-1]) != (
        batch,
        patches,
    ):
        raise ValueError(
            f"attention: expected shape [{batch}, {patches}] or [{batch}, heads, "
            f"{patches}], for patches {sizes}; got {checks.describe(given)}. "
            "Drop the class token's own place, and take one block."
        )
    a = widened(given)
    if a.ndim == 3:
        a = jnp.mean(a, axis=1)
    own = mix.coverage(sizes, like=a).reshape(a.shape).astype(a.dtype)
    total = jnp.sum(a, axis=1)
    attended = jnp.sum(a * own, axis=1) / _or_one(total)
    # A mean is no more than the largest, but for rounding.
    attended = jnp.clip(attended, jnp.min(own, axis=1), jnp.max(own, axis=1))
    lam, attended = alike(jnp.asarray(mix.lam, jnp.float32), attended)
    combined = combine(lam, attended.astype(jnp.float32))
    advice = "Return the weight of the own label of each example."
    checks.shaped(combined, "combine", [lam.shape], advice)
    total, combined, lam = alike(total, jnp.asarray(combined), lam)
    return mix.with_label_weight(jnp.where(total > 0, combined, lam))


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
    checks.blendable(targets, "targets", "Mix one-hot targets.")
    checks.number(threshold, "threshold", 0, _BELOW_ONE, "At 1 no class is left.")
    checks.number(smoothing, "smoothing", 0, _BELOW_ONE, "At 1 no label is left.")
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
    checks.no_list(real, "real")
    checks.no_list(fake, "fake")
    shapes = [jax.tree.map(jnp.shape, half) for half in (real, fake)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"real_and_fake: expected as many made examples as real ones, in the same "
            f"shapes; got {shapes[0]} and {shapes[1]}. Draw one latent per example."
        )
    size = checks.examples(real, "real")
    inputs = jax.tree.map(lambda *halves: jnp.concatenate(halves), real, fake)
    return inputs, (jnp.arange(2 * size) < size).astype(jnp.float32)


def _terms(mix: Mix | None, tree: Array) -> Sequence[tuple[Array, Array]]:
    """Return the terms of labels, of which without a mix there is one."""
    if isinstance(mix, Mix):
        return mix.terms(tree)
    if mix is not None:
        raise TypeError(
            f"mix: expected the Mix that a mixer returned, or None for no mixing; got "
            f"{checks.describe(mix)}."
        )
    return [(jnp.ones(tree.shape[0], jnp.float32), tree)]


def _summed(
    loss: ExampleLoss, logits: Array, terms: Sequence[tuple[Array, Array]]
) -> Array:
    """Return ``sum_k share_k * loss(logits, label_k)``, float32 or wider."""
    # A term of weight 0 is taken at the label of one that has some: where that is
    # finite, so are both values and both gradients, and 0 times them is 0.
    (_, other), *rest = reversed(terms)
    for share, y in rest:
        other = jnp.where(per_example(share, y) == 0, other, y)
    total = None
    for share, y in terms:
        each = loss(logits, jnp.where(per_example(share, y) == 0, other, y))
        each = summable(each)
        if each.shape[: share.ndim] != share.shape:
            got = f"shape {each.shape}" if each.shape else "a scalar"
            one = "an example" if share.ndim == 1 else "a label, some being ignored"
            raise ValueError(
                f"loss: expected one loss {one}, "
                f"[{', '.join(map(str, share.shape))}, ...]; got {got}. Leave out the "
                "mean or the sum."
            )
        # The gradient by a share is 0 where it is 0 or 1, as in the mixed inputs.
        alone = (share == 0) | (share == 1)
        share = jnp.where(alone, jax.lax.stop_gradient(share), share)
        share = per_example(share, each).astype(each.dtype)
        term = jnp.where(share == 0, 0, share * each)
        total = term if total is None else total + term
    assert total is not None
    return total


def _kept(y: Array, ignored: Ignored | None) -> Array:
    """Return 0 for the labels that are ignored, 1 for others, float32."""
    if ignored is None:
        return jnp.ones_like(y, jnp.float32)
    return (~_labels.ignored_among(y, ignored)).astype(jnp.float32)


def _of_kept(
    loss: ExampleLoss, logits: Array, y: Array, mix: Mix | None, kept: Array
) -> tuple[Array, Array]:
    """Return the mean loss of the terms that are left of each label, and their weight.

    Args:
      loss: as in ``termwise``.
      logits: what ``loss`` takes.
      y: integer ``[B, ...]``.
      mix: what the batch was mixed by.
      kept: float32, like ``y``: what each label counts, 0 for an ignored one.
    """
    weights = [per_example(share, y) * each for share, each in _terms(mix, kept)]
    labels = [label for _, label in _terms(mix, y)]
    left = functools.reduce(jnp.add, weights)
    some = left > 0
    # Where no term is left the loss may be infinite, and 0 times its gradient NaN.
    terms = [
        (jnp.where(some, w / _or_one(left), 0), jnp.where(some, label, 0))
        for w, label in zip(weights, labels)
    ]
    counts = jnp.any(some, axis=tuple(range(1, y.ndim)))
    each = _summed(loss, _felt(logits, counts), terms)
    left = left.astype(each.dtype)
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
