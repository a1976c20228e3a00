"""Losses on integer labels, with one term per source of the mix."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import arrays, checks
from mixup_jax._core.blend import summable
from mixup_jax._core.follow import Labels, content, held_as, positions_of
from mixup_jax._core.labels import Ignored, ignored_among
from mixup_jax._core.made import made
from mixup_jax._core.mesh import laid_as, per_example
from mixup_jax._core.mix import Mix
from mixup_jax.losses._targets import negative

ExampleLoss: TypeAlias = Callable[[Array, Array], Array]
"""``(logits, labels) -> [B, ...]``, one loss per label."""

_SOFT = "For soft targets, apply the loss to mix.targets(targets)."


class TermwiseLoss(Protocol):
    """A loss on mixed integer labels, as returned by ``termwise``."""

    def __call__(
        self, logits: ArrayLike, labels: Labels, mix: Mix | None = None
    ) -> Array: ...


class TermwiseMean(Protocol):
    """A mean loss on mixed integer labels, as returned by ``termwise_mean``."""

    def __call__(
        self,
        logits: ArrayLike,
        labels: Labels,
        mix: Mix | None = None,
        weights: ArrayLike | None = None,
    ) -> Array: ...


@made
def termwise(loss: ExampleLoss, *, ignored: Ignored | None = None) -> TermwiseLoss:
    """Return ``loss`` for mixed integer labels, with one term per source of the mix.

    ::

        sum_k share_k[i] * loss(logits[i], y_k[i])

    over ``mix.terms(labels)``. For a mix of pairs, with j = partner(i), this is
    ``lam[i] * loss(logits[i], y[i]) + (1 - lam[i]) * loss(logits[i], y[j])``.

    If ``loss`` is linear in the target, this equals the loss on mixed dense targets,
    without materializing them. A term of weight 0 adds 0 to the value and to the
    gradient, whatever its label.

    Labels outside the range of classes are passed to ``loss`` unchanged.
    ``metrics.nll`` raises an error or returns NaN for them; Optax's integer
    cross-entropy counts -1 as the last class, -2 as the one before, and returns NaN
    from K on. Labels selected by ``ignored`` never reach ``loss``.

    Args:
      loss: function ``(logits, labels) -> [B, ...]``, such as
        ``optax.losses.softmax_cross_entropy_with_integer_labels``. It receives labels
        with at least 32 bits.
      ignored: function from labels ``[B, ...]`` to a mask of those to ignore, such as
        ``negative``; ``None`` ignores none.

    Returns:
      A function ``(logits, labels, mix=None) -> [B, ...]`` in float32 or wider; take
      the mean of its result. Without a mix it is the loss on unmixed labels, so
      training and evaluation can share it. Pass per-position labels as
      ``follow.maps(labels)``, before mixing; each position then has its own shares. The
      term of an ignored label adds 0 to the value and to the gradient, and other terms
      keep their weights; ``termwise_mean`` divides by the remaining weight. If only
      some of an example's labels are ignored, its logits must be finite at these too.

    Raises:
      TypeError: If, when called, ``labels`` are not integers, or ``ignored`` is not a
        function that returns bools.
      ValueError: If, when called, the mix was drawn for another batch size. If ``loss``
        returns a mean (with ``ignored``, a mean or sum over an example's labels). If
        labels have the spatial sizes of the inputs and are not declared as maps.

    Example:
      >>> import jax.numpy as jnp, optax, mixup_jax as mx
      >>> logits, labels = jnp.zeros((2, 10)), jnp.array([3, 4])
      >>> mix = mx.Mix.from_pairs(jnp.array([0.5, 1.0]), jnp.array([1, 0]))
      >>> entropy = optax.losses.softmax_cross_entropy_with_integer_labels
      >>> mx.losses.termwise(entropy)(logits, labels, mix)
      Array([2.3025851, 2.3025851], dtype=float32)
    """

    def summed(logits: Any, labels: Labels, mix: Mix | None = None) -> Array:
        y, labels = _class_ids(labels, mix)
        if ignored is None:
            return _sum_of(loss, logits, _terms(mix, labels))
        each, left = _of_kept(loss, logits, labels, mix, _kept(y, ignored))
        return left * each

    return summed


@made
def termwise_mean(
    loss: ExampleLoss, *, ignored: Ignored | None = negative
) -> TermwiseMean:
    """Return the mean of ``termwise`` over labels that are not ignored.

    ::

        sum_ik(w_ik * loss(logits_i, y_ik)) / sum_ik(w_ik)
        w_ik = share_k[i] * weight_j * kept(y_j)

    where j is the example that term k of example i comes from. The terms of ignored
    labels are dropped, and the mean divides by the remaining weight. Examples without
    remaining terms get no gradient. If only some of an example's labels are ignored,
    the loss is evaluated at class 0 in their place and must be finite there.

    Args:
      loss: as for ``termwise``, which describes labels outside the range of classes.
      ignored: function from labels to a mask of those to ignore, by default
        ``negative``; ``None`` ignores none.

    Returns:
      A function ``(logits, labels, mix=None, weights=None) -> scalar`` in float32 or
      wider, 0 if no weight remains. ``weights`` are nonnegative, one per example
      (``[B]``) or per label, and are mixed like targets. Without a mix it is the mean
      over unmixed labels.

    Raises:
      TypeError: As for ``termwise``.
      ValueError: As for ``termwise``. If, when called, ``weights`` are negative, or are
        for another batch size.

    Example:
      >>> import jax.numpy as jnp, optax, mixup_jax as mx
      >>> logits, labels = jnp.zeros((2, 10)), jnp.array([3, -1])
      >>> mix = mx.Mix.from_pairs(0.5, jnp.array([1, 0]))
      >>> entropy = optax.losses.softmax_cross_entropy_with_integer_labels
      >>> mx.losses.termwise_mean(entropy)(logits, labels, mix)
      Array(2.3025851, dtype=float32)
    """

    def mean(
        logits: Any,
        labels: Labels,
        mix: Mix | None = None,
        weights: ArrayLike | None = None,
    ) -> Array:
        y, labels = _class_ids(labels, mix)
        kept = _kept(y, ignored)
        if weights is not None:
            checks.number(weights, "weights", 0, advice="Weights are nonnegative.")
            weights = jnp.asarray(weights, jnp.float32)
            checks.sized(weights, y.shape[0], "weights", "Pass one per example.")
            each = "Pass one per example, or one per label."
            checks.shaped(weights, "weights", [y.shape[:1], y.shape], each)
            kept = jnp.where(kept > 0, per_example(weights, kept), 0.0)
        each, left = _of_kept(loss, logits, labels, mix, kept)
        return jnp.sum(left * each) / or_one(jnp.sum(left))

    return mean


def _class_ids(labels: Labels, mix: Mix | None) -> tuple[Array, Labels]:
    """Return integer labels, and the same labels in their original container."""
    if mix is not None:
        positions_of(labels)  # raises if they were already mixed
    y = checks.class_ids(content(labels, "labels"), "labels", _SOFT)
    return y, held_as(labels, y)


def _terms(mix: Mix | None, labels: Any) -> Sequence[tuple[Array, Array]]:
    """Return the terms of labels: a single one without a mix."""
    if isinstance(mix, Mix):
        found = [(share, content(y, "labels")) for share, y in mix.terms(labels)]
        return [(_of_positions(share, y), y) for share, y in found]
    if mix is not None:
        raise TypeError(
            f"mix: expected the Mix that a mixer returned, or None for no mixing; got "
            f"{arrays.describe(mix)}. Pass the second result of the mixer."
        )
    y = content(labels, "labels")
    return [(jnp.ones(y.shape[0], jnp.float32), y)]


def _of_positions(share: Array, y: Array) -> Array:
    """Return per-example shares unchanged, and per-position shares broadcast."""
    if share.ndim == 1:
        return share
    return laid_as(jnp.broadcast_to(share, y.shape), y)


def _sum_of(
    loss: ExampleLoss, logits: Array, terms: Sequence[tuple[Array, Array]]
) -> Array:
    """Return ``sum_k share_k * loss(logits, label_k)``, float32 or wider."""
    # A term of weight 0 is evaluated at the label of a term with weight: if the loss is
    # finite there, so are both terms and their gradients, and 0 times them is 0.
    (_, other), *rest = reversed(terms)
    for share, y in rest:
        other = jnp.where(per_example(share, y) == 0, other, y)
    total = None
    for share, y in terms:
        each = loss(logits, jnp.where(per_example(share, y) == 0, other, y))
        each = summable(each)
        if each.shape[: share.ndim] != share.shape:
            got = f"shape {each.shape}" if each.shape else "a scalar"
            one = "example" if share.ndim == 1 else "label, since some are ignored"
            raise ValueError(
                f"loss: expected one loss per {one}, "
                f"[{', '.join(map(str, share.shape))}, ...]; got {got}. Leave out the "
                "mean or the sum."
            )
        # As for mixed inputs, shares of 0 and 1 have no gradient.
        alone = (share == 0) | (share == 1)
        share = jnp.where(alone, jax.lax.stop_gradient(share), share)
        share = per_example(share, each).astype(each.dtype)
        term = jnp.where(share == 0, 0, share * each)
        total = term if total is None else total + term
    assert total is not None
    return total


def _kept(y: Array, ignored: Ignored | None) -> Array:
    """Return 0 for ignored labels and 1 for others, float32."""
    if ignored is None:
        return jnp.ones_like(y, jnp.float32)
    return (~ignored_among(y, ignored)).astype(jnp.float32)


def _of_kept(
    loss: ExampleLoss, logits: Array, labels: Any, mix: Mix | None, kept: Array
) -> tuple[Array, Array]:
    """Return the mean loss over the remaining terms of each label, and their weight.

    Args:
      loss: as in ``termwise``.
      logits: as for ``loss``.
      labels: integer ``[B, ...]``, or a container of such an array.
      mix: the mix of the batch.
      kept: float32, with the shape of the labels: the weight of each label, 0 if it is
        ignored.
    """
    mixed = [label for _, label in _terms(mix, labels)]
    weights = [
        per_example(share, each) * each
        for share, each in _terms(mix, held_as(labels, kept))
    ]
    left = functools.reduce(jnp.add, weights)
    some = left > 0
    # Without remaining terms the loss may be infinite, and 0 * inf would be NaN.
    terms = [
        (jnp.where(some, w / or_one(left), 0), jnp.where(some, label, 0))
        for w, label in zip(weights, mixed)
    ]
    counts = jnp.any(some, axis=tuple(range(1, kept.ndim)))
    each = _sum_of(loss, _felt(logits, counts), terms)
    left = left.astype(each.dtype)
    return jnp.where(left > 0, each, 0), left


def or_one(weight: Array) -> Array:
    """Return ``weight`` as a divisor, with 1 in place of 0."""
    return jnp.where(weight > 0, weight, 1)


@jax.custom_jvp
def _felt(logits: Array, counts: Array) -> Array:
    """Return ``logits``, blocking the gradient of examples that do not count."""
    del counts
    return logits


@_felt.defjvp
def _felt_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    logits, counts = primals
    return logits, jnp.where(per_example(counts, logits), tangents[0], 0)
