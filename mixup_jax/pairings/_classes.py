"""Pairings within and between the classes of the labels."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import arrays, checks
from mixup_jax._core.follow import blended
from mixup_jax._core.mesh import around, laid_like, replicated
from mixup_jax._core.moves import Gather
from mixup_jax._core.random import integers_below, uniforms
from mixup_jax._core.types import Batch, Partners
from mixup_jax._core.words import Whole, reads
from mixup_jax.pairings._positions import positions


@reads(Whole(1))
def same_class(
    key: Array, batch: Batch, *, labels: ArrayLike | None = None
) -> Partners:
    """Pair each example with a random other example of its class.

    Each other example of the class is equally likely, so the result need not be a
    permutation. The only example of a class is its own partner, with ``lam = 1``.

    On a sharded batch, the labels are gathered once, then the batch, and each device
    sorts all labels. If the sharding is known to ``jit`` alone (``in_shardings`` for
    arrays that are placed elsewhere), the labels are gathered several times.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)``; the targets determine the classes unless
        ``labels`` is given.
      labels: class ids, integer ``[B]`` of any size and sign, or class weights,
        floating-point ``[B, K]`` with K of at least 2, of which the largest determines
        the class. An example whose weights contain a NaN is in its own class. ``None``
        takes the targets of the batch.

    Returns:
      The partners.

    Raises:
      ValueError: If the batch is empty or its leaves disagree on the batch size. If
        ``labels`` is ``None`` and the targets are not a single array. If the labels are
        neither class ids ``[B]`` nor class weights ``[B, K]``.

    Example:
      >>> import jax, mixup_jax as mx
      >>> labels = jax.numpy.array([0, 1, 0, 2, 1])
      >>> batch = (jax.numpy.zeros((5, 3)), labels)
      >>> mx.pairings.same_class(jax.random.key(0), batch).index
      Array([2, 4, 0, 3, 1], dtype=int32)
    """
    start, stop, order, rank = _classes(_ordered(class_ids(batch, labels)))
    others = stop - start - 1
    step = 1 + integers_below(uniforms(key, others.shape), others)
    position = start + (rank - start + step) % jnp.maximum(stop - start, 1)
    # The labels are replicated, so the partners drawn from them are as well.
    return Partners(replicated(order[jnp.where(others > 0, position, rank)]), Gather())


@reads(Whole(1))
def other_class(
    key: Array, batch: Batch, *, labels: ArrayLike | None = None
) -> Partners:
    """Pair each example with a random example of another class.

    Each example of another class is equally likely, so the result need not be a
    permutation. In a batch of a single class, each example is its own partner, with
    ``lam = 1``. The cost on a sharded batch is as for ``same_class``.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)``; the targets determine the classes unless
        ``labels`` is given.
      labels: class ids, integer ``[B]`` of any size and sign, or class weights,
        floating-point ``[B, K]`` with K of at least 2, of which the largest determines
        the class. An example whose weights contain a NaN is in its own class. ``None``
        takes the targets of the batch.

    Returns:
      The partners.

    Raises:
      ValueError: If the batch is empty or its leaves disagree on the batch size. If
        ``labels`` is ``None`` and the targets are not a single array. If the labels are
        neither class ids ``[B]`` nor class weights ``[B, K]``.

    Example:
      >>> import jax, mixup_jax as mx
      >>> labels = jax.numpy.array([0, 0, 0, 1])
      >>> batch = (jax.numpy.zeros((4, 3)), labels)
      >>> partners = mx.pairings.other_class(jax.random.key(0), batch)
      >>> labels[partners.index]
      Array([1, 1, 1, 0], dtype=int32)
    """
    start, stop, order, rank = _classes(_ordered(class_ids(batch, labels)))
    size = order.shape[0]
    others = size - (stop - start)
    position = (stop + integers_below(uniforms(key, (size,)), others)) % size
    # The labels are replicated, so the partners drawn from them are as well.
    return Partners(replicated(order[jnp.where(others > 0, position, rank)]), Gather())


def class_ids(batch: Batch, labels: ArrayLike | None, *, unknown: int = -1) -> Any:
    """Return integer class ids ``[B]``; a NumPy array stays one, in its dtype.

    For class weights ``[B, K]``, examples that contain a NaN get distinct ids, from
    ``unknown`` downwards.
    """
    size = checks.examples(batch)
    found: list[Any] = blended(batch[1]) if labels is None else [labels]
    if len(found) != 1:
        raise ValueError(
            f"labels: expected an array of class labels; got {len(found)} arrays of "
            "targets. Pass functools.partial(pairing, labels=...), or a single array "
            "of targets."
        )
    ids = arrays.array(found[0])
    checks.sized(ids, size, "labels", "Pass the labels of this batch.")
    if jnp.issubdtype(ids.dtype, jnp.floating) and ids.ndim == 2:
        if ids.shape[1] == 1:  # All would be of class 0.
            raise ValueError(
                "labels: expected class weights [B, K] of at least 2 classes; got "
                f"{arrays.describe(ids)}. Pass class ids as integers [B]."
            )
        weights = jnp.asarray(ids)
        largest = jnp.max(weights, axis=1, keepdims=True)
        own = laid_like((unknown - positions(size))[:, None], weights)
        classes = laid_like(positions(ids.shape[1])[None], weights)
        # A single reduction at the end, so that its result is all that a compiler has
        # to gather.
        these = jnp.where(weights == largest, classes, ids.shape[1])
        return jnp.min(jnp.where(jnp.isnan(weights), own, these), axis=1)
    if ids.ndim != 1 or not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(
            "labels: expected integer class ids of shape [B] or floating-point class "
            f"weights of shape [B, K]; got {arrays.describe(ids)}. Bin real-valued "
            "targets into classes first."
        )
    return ids


def _ordered(ids: Any) -> Array:
    """Return integers ``[B]`` ordered as ``ids`` are, and equal where those are."""
    if arrays.holding(ids) is None:
        ids = np.unique(np.asarray(ids), return_inverse=True)[1]
    ids = checks.class_ids(ids, "labels", "Encode classes as integers.")
    # Sorting needs all of them on each device.
    return replicated(ids)


def _classes(ids: Array) -> tuple[Array, Array, Array, Array]:
    """Return start and stop of each class in sorted order, the order, and the ranks.

    Starts and stops are those of each example's class: ``order[rank[i]] == i``, and
    ``rank[i]`` is in ``[start[i], stop[i])``.
    """
    with around(ids):
        order = jnp.argsort(ids).astype(jnp.int32)
        rank = jnp.zeros_like(order).at[order].set(positions(ids.shape[0]))
        # The default method of ``searchsorted`` compiles to a loop.
        start, stop = (
            jnp.searchsorted(ids[order], ids, side=side, method="sort")
            for side in ("left", "right")
        )
        return start.astype(jnp.int32), stop.astype(jnp.int32), order, rank
