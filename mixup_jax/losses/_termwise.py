"""Losses on integer labels, one term for each source of the mix."""

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
"""``(logits, labels) -> [B, ...]``, one loss for each label."""

_SOFT = "Soft targets need no terms: use the loss on mix.targets(targets)."


class TermwiseLoss(Protocol):
    """A loss of mixed integer labels: what ``termwise`` returns."""

    def __call__(
        self, logits: ArrayLike, labels: Labels, mix: Mix | None = None
    ) -> Array: ...


class TermwiseMean(Protocol):
    """The mean of a loss of mixed integer labels: what ``termwise_mean`` returns."""

    def __call__(
        self,
        logits: ArrayLike,
        labels: Labels,
        mix: Mix | None = None,
        weights: ArrayLike | None = None,
    ) -> Array: ...


@made
def termwise(loss: ExampleLoss, *, ignored: Ignored | None = None) -> TermwiseLoss:
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
        logits: Any,
        labels: Labels,
        mix: Mix | None = None,
        weights: ArrayLike | None = None,
    ) -> Array:
        y, labels = _class_ids(labels, mix)
        kept = _kept(y, ignored)
        if weights is not None:
            checks.number(weights, "weights", 0, advice="Weights are at least 0.")
            weights = jnp.asarray(weights, jnp.float32)
            checks.sized(weights, y.shape[0], "weights", "Give each example its own.")
            each = "Give each example its own, or each label."
            checks.shaped(weights, "weights", [y.shape[:1], y.shape], each)
            kept = jnp.where(kept > 0, per_example(weights, kept), 0.0)
        each, left = _of_kept(loss, logits, labels, mix, kept)
        return jnp.sum(left * each) / or_one(jnp.sum(left))

    return mean


def _class_ids(labels: Labels, mix: Mix | None) -> tuple[Array, Labels]:
    """Return integer labels, and the same in the container that they came in."""
    if mix is not None:
        positions_of(labels)  # refuses what was mixed before
    y = checks.class_ids(content(labels, "labels"), "labels", _SOFT)
    return y, held_as(labels, y)


def _terms(mix: Mix | None, labels: Any) -> Sequence[tuple[Array, Array]]:
    """Return the terms of labels, of which without a mix there is one."""
    if isinstance(mix, Mix):
        found = [(share, content(y, "labels")) for share, y in mix.terms(labels)]
        return [(_of_positions(share, y), y) for share, y in found]
    if mix is not None:
        raise TypeError(
            f"mix: expected the Mix that a mixer returned, or None for no mixing; got "
            f"{arrays.describe(mix)}."
        )
    y = content(labels, "labels")
    return [(jnp.ones(y.shape[0], jnp.float32), y)]


def _of_positions(share: Array, y: Array) -> Array:
    """Return the share of each position, if those have shares of their own."""
    if share.ndim == 1:
        return share
    return laid_as(jnp.broadcast_to(share, y.shape), y)


def _sum_of(
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
    return (~ignored_among(y, ignored)).astype(jnp.float32)


def _of_kept(
    loss: ExampleLoss, logits: Array, labels: Any, mix: Mix | None, kept: Array
) -> tuple[Array, Array]:
    """Return the mean loss of the terms that are left of each label, and their weight.

    Args:
      loss: as in ``termwise``.
      logits: what ``loss`` takes.
      labels: integer ``[B, ...]``, or a container of such.
      mix: what the batch was mixed by.
      kept: float32, like the labels: what each counts, 0 for an ignored one.
    """
    weights = [
        per_example(share, each) * each
        for share, each in _terms(mix, held_as(labels, kept))
    ]
    mixed = [label for _, label in _terms(mix, labels)]
    left = functools.reduce(jnp.add, weights)
    some = left > 0
    # Where no term is left the loss may be infinite, and 0 times its gradient NaN.
    terms = [
        (jnp.where(some, w / or_one(left), 0), jnp.where(some, label, 0))
        for w, label in zip(weights, mixed)
    ]
    counts = jnp.any(some, axis=tuple(range(1, kept.ndim)))
    each = _sum_of(loss, _felt(logits, counts), terms)
    left = left.astype(each.dtype)
    return jnp.where(left > 0, each, 0), left


def or_one(weight: Array) -> Array:
    """Return ``weight``, 1 where there is none, to divide by."""
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
