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
    """Pair everybody with a random other example of its own class.

    Each other example of the class is equally likely, so the map need not be a
    permutation. The only example of a class keeps itself, with ``lam = 1``.

    Cost on a sharded batch: the labels are gathered once, then the batch; each device
    sorts all labels. Shardings that ``jit`` alone knows are in no type: with arrays
    that lie elsewhere and ``in_shardings``, labels are gathered several times.

    Args:
      key: PRNG key.
      batch: the batch; its targets give the classes unless ``labels`` does.
      labels: ``[B]`` integer class ids of any size and sign, or ``[B, K]`` floats (the
        largest counts; with a NaN among them the example is of a class of its own), K
        at least 2.

    Raises:
      ValueError: If there are neither ``labels`` nor a single array of targets to take
        them from, or if they have another shape.

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
    # What is drawn from labels that all devices hold is the same on each of them.
    return Partners(replicated(order[jnp.where(others > 0, position, rank)]), Gather())


@reads(Whole(1))
def other_class(
    key: Array, batch: Batch, *, labels: ArrayLike | None = None
) -> Partners:
    """Pair everybody with a random example of another class.

    Each example of another class is equally likely, so the map need not be a
    permutation. In a batch of one class everybody keeps itself, with ``lam = 1``.

    Arguments, cost and errors: as ``same_class``.

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
    # What is drawn from labels that all devices hold is the same on each of them.
    return Partners(replicated(order[jnp.where(others > 0, position, rank)]), Gather())


def class_ids(batch: Batch, labels: ArrayLike | None, *, nobody: int = -1) -> Any:
    """Return integers ``[B]`` that tell the classes, of JAX or NumPy, as they came.

    Of floats ``[B, K]`` with a NaN a class of its own: ``nobody`` and below.
    """
    size = checks.examples(batch)
    found: list[Any] = blended(batch[1]) if labels is None else [labels]
    if len(found) != 1:
        raise ValueError(
            f"labels: expected an array that tells the classes; got {len(found)} "
            "arrays of targets. Pass partial(pairing, labels=...), or a single array "
            "of targets."
        )
    ids = arrays.array(found[0])
    checks.sized(ids, size, "labels", "Pass the labels of this batch.")
    if jnp.issubdtype(ids.dtype, jnp.floating) and ids.ndim == 2:
        if ids.shape[1] == 1:  # the largest of one is always the same
            raise ValueError(
                "labels: expected weights of at least 2 classes, floating [B, K]; got "
                f"{arrays.describe(ids)}. Give the ids as integers [B]."
            )
        weights = jnp.asarray(ids)
        largest = jnp.max(weights, axis=1, keepdims=True)
        own = laid_like((nobody - positions(size))[:, None], weights)
        classes = laid_like(positions(ids.shape[1])[None], weights)
        # One reduction at the end: a compiler that gathers what it gives has to gather
        # nothing else.
        these = jnp.where(weights == largest, classes, ids.shape[1])
        return jnp.min(jnp.where(jnp.isnan(weights), own, these), axis=1)
    if ids.ndim != 1 or not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(
            "labels: expected integer class ids [B] or floating class weights [B, K]; "
            f"got {arrays.describe(ids)}. Bin real-valued targets into classes first."
        )
    return ids


def _ordered(ids: Any) -> Array:
    """Return integers ``[B]`` in the order of ``ids``, equal where those are."""
    if arrays.holding(ids) is None:
        ids = np.unique(np.asarray(ids), return_inverse=True)[1]
    ids = checks.class_ids(ids, "labels", "Number the classes.")
    # Sorting needs to see all of them.
    return replicated(ids)


def _classes(ids: Array) -> tuple[Array, Array, Array, Array]:
    """Return where each example's class starts and stops in class order, and the order.

    ``order[rank[i]] == i``, and ``rank[i]`` lies in ``[start[i], stop[i])``.
    """
    with around(ids):
        order = jnp.argsort(ids).astype(jnp.int32)
        rank = jnp.zeros_like(order).at[order].set(positions(ids.shape[0]))
        # The default method of searchsorted is a loop.
        start, stop = (
            jnp.searchsorted(ids[order], ids, side=side, method="sort")
            for side in ("left", "right")
        )
        return start.astype(jnp.int32), stop.astype(jnp.int32), order, rank
