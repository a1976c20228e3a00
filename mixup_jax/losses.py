"""Targets and losses: what a mixed label is worth.

Two paths lead to the same number for every loss that is linear in the target: mix
dense targets and use the loss as it is, or keep integer labels and weigh two terms. The
second never makes an array of the size of the classes.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from mixup_jax import _checks
from mixup_jax._blend import blend
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
) -> Array:
    """Return soft targets for integer labels, ready to be mixed.

    ``target[k] = (1 - smoothing) * [k == label] + smoothing / num_classes``

    Args:
      labels: integer ``[B, ...]`` in [0, num_classes).
      num_classes: K.
      smoothing: in [0, 1], may be traced.
      dtype: floating dtype of the targets.

    Returns:
      ``[B, ..., K]``.

    Raises:
      TypeError: ``labels`` are not integers, or ``dtype`` is not floating.
      ValueError: a concrete label or ``smoothing`` is out of range.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.losses.one_hot(jnp.array([0, 2]), 4, smoothing=0.5)
      Array([[0.625, 0.125, 0.125, 0.125],
             [0.125, 0.125, 0.625, 0.125]], dtype=float32)
    """
    soft = "Floating targets are soft already: mix them."
    ids = _checks.class_ids(labels, "labels", soft)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"dtype: expected a floating dtype, which can hold shares; got "
            f"{jnp.dtype(dtype)}. Cast what is not to be mixed afterwards."
        )
    _checks.number(num_classes, "num_classes", 1, advice="Count the classes.")
    _checks.number(labels, "labels", 0, num_classes - 1, "Drop or mask such examples.")
    _checks.number(smoothing, "smoothing", 0, 1, "0 is none.")
    smoothing = jnp.asarray(smoothing, dtype)
    hot = jax.nn.one_hot(ids, num_classes, dtype=dtype)
    return (1 - smoothing) * hot + smoothing / num_classes


def two_term(loss: ExampleLoss) -> ExampleLoss:
    """Return ``loss`` on mixed integer labels: the two-term loss of each example.

    ``lam[i] * loss(logits[i], y[i]) + (1 - lam[i]) * loss(logits[i], y[partner[i]])``

    Equal to the loss on mixed dense targets, where the loss is linear in the target,
    and made without them. A term of weight 0 adds 0 to the value and to the gradient.

    Args:
      loss: ``(logits, labels) -> [B, ...]``, such as
        ``optax.losses.softmax_cross_entropy_with_integer_labels``.

    Returns:
      ``(logits, labels, mix) -> [B, ...]``, float32 or wider; take its mean.

    Raises:
      TypeError: ``labels`` are not integers.
      ValueError: the mix was drawn for another batch size, or ``loss`` takes a mean.

    Example:
      >>> import jax, jax.numpy as jnp, optax, mixup_jax as mx
      >>> logits, labels = jnp.zeros((2, 10)), jnp.array([3, 4])
      >>> mix = mx.Mix(lam=jnp.array([0.5, 1.0]), partner=jnp.array([1, 0]))
      >>> entropy = optax.losses.softmax_cross_entropy_with_integer_labels
      >>> mx.losses.two_term(entropy)(logits, labels, mix)
      Array([2.3025851, 2.3025851], dtype=float32)
    """

    def mixed(logits: Array, labels: ArrayLike, mix: Mix) -> Array:
        labels = _checks.class_ids(labels, "labels", _SOFT)
        lam = jnp.asarray(mix.lam, jnp.float32)
        return _blended(loss, logits, labels, mix.partners(labels), lam)

    return mixed


def two_term_mean(
    loss: ExampleLoss, *, ignored: Callable[[Array], Array] = lambda labels: labels < 0
) -> Callable[..., Array]:
    """Return the mean two-term loss over the labels that are not ignored.

    The term of an ignored label is dropped, and the mean divides by the weight left::

        sum_i(w_i * loss(logits_i, y_i) + v_i * loss(logits_i, y_j)) / sum_i(w_i + v_i)
        w_i = lam_i * weight_i * kept(y_i),  v_i = (1 - lam_i) * weight_j * kept(y_j)
        j = partner(i)

    An example of which no term is left gets no gradient. Where it has many labels and
    some are left, the loss at class 0 stands in for the others, and must be finite.

    Args:
      loss: as in ``two_term``.
      ignored: tells from the labels which to ignore; negative ones by default.

    Returns:
      ``(logits, labels, mix, weights=None) -> scalar``, float32 or wider; 0 where no
      weight is left. ``weights``, ``[B]`` or one for each label, are what the examples
      count; they are mixed as targets are.

    Raises:
      TypeError, ValueError: as for ``two_term``; ``weights`` for another batch size.

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
        drop = ignored(jnp.asarray(labels))
        kept = jnp.where(drop, 0.0, jnp.ones(y.shape, jnp.float32))
        if weights is not None:
            weights = jnp.asarray(weights, jnp.float32)
            _checks.sized(weights, y.shape[0], "weights", "Give each example its own.")
            kept = kept * per_example(weights, kept)
        # An ignored label is no class, and its term is taken at the other one's. Where
        # both are ignored the loss may be infinite, and 0 times its gradient NaN.
        y = jnp.where(drop, 0, y)
        lam = per_example(jnp.asarray(mix.lam, jnp.float32), y)
        w, v = lam * kept, (1 - lam) * mix.partners(kept)
        share = jnp.where(w + v > 0, w / _or_one(w + v), 0)
        counts = jnp.any(w + v > 0, axis=tuple(range(1, y.ndim)))
        each = _blended(loss, _felt(logits, counts), y, mix.partners(y), share)
        left = (w + v).astype(each.dtype)
        total = jnp.sum(left * jnp.where(left > 0, each, 0))
        return total / _or_one(jnp.sum(left))

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
    if own_loss.shape[:1] != own.shape[:1]:
        got = f"shape {own_loss.shape}" if own_loss.shape else "a scalar"
        raise ValueError(
            f"loss: expected one loss an example, [{own.shape[0]}, ...]; got {got}. "
            "Leave out the mean."
        )
    return blend(per_example(w, own_loss), own_loss, partner_loss)


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
