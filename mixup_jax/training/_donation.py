"""Donation: each buffer is donated at most once, and never while still in use."""

import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer

from mixup_jax._core import checks


class Returned:
    """The state most recently returned by a donating step, safe to donate again.

    Any other leaf is checked before it is donated: XLA aborts the process if a buffer
    is donated twice, is also passed as another argument, or has been deleted.
    """

    def __init__(self):
        self._leaves: list[weakref.ref] = []

    def keep(self, state: Any) -> None:
        """Remember ``state``, without keeping it alive."""
        self._leaves = [weakref.ref(leaf) for leaf in jax.tree.leaves(state)]

    def or_placed(
        self, state: Any, place: Callable[[list[Any]], list[Any]], *, beside: Any
    ) -> Any:
        """Return ``state`` with distinct buffers, none of them shared with ``beside``.

        Args:
          state: pytree of arrays.
          place: moves leaves to their devices. It receives the list of the leaves of
            ``state``, with ``None`` in place of those that the last step returned.
          beside: pytree of the other arguments.

        Raises:
          ValueError: If a leaf was already donated.
        """
        leaves, structure = jax.tree.flatten(state)
        if any(map(_gone, leaves)):
            _refuse_donated(state)
        known = {id(leaf) for each in self._leaves if (leaf := each()) is not None}
        fresh = []
        for leaf in leaves:
            fresh.append(id(leaf) not in known)
            known.discard(id(leaf))  # a second occurrence shares the buffer
        if any(fresh):
            put = place([x if new else None for x, new in zip(leaves, fresh)])
            leaves = [y if new else x for x, y, new in zip(leaves, put, fresh)]
        others = jax.tree.leaves(beside)
        # Shared buffers have equal sizes, so only leaves as large as a new leaf or as
        # another argument need a closer look.
        new = [leaf for leaf, each in zip(leaves, fresh) if each]
        sizes = {_bytes(leaf) for leaf in [*others, *new]}
        suspects = [k for k, leaf in enumerate(leaves) if _bytes(leaf) in sizes]
        for k, leaf in zip(suspects, _each_once([leaves[k] for k in suspects], others)):
            leaves[k] = leaf
        return jax.tree.unflatten(structure, leaves)


def _bytes(leaf: Any) -> int:
    return leaf.size * leaf.dtype.itemsize if isinstance(leaf, Array) else -1


def _refuse_donated(state: Any) -> None:
    where = next(w for w, leaf in checks.leaves(state, "state") if _gone(leaf))
    raise ValueError(
        f"{where}: expected an array that still holds its values; got one that was "
        "donated to an earlier step, or deleted. Continue with the state that the step "
        "returned, or copy the state first: jax.tree.map(jax.numpy.copy, state)."
    )


def _gone(leaf: Any) -> bool:
    return (
        isinstance(leaf, Array) and not isinstance(leaf, Tracer) and leaf.is_deleted()
    )


def _each_once(leaves: list[Array], beside: list[Any]) -> list[Array]:
    """Return ``leaves``, copying those whose buffer was seen or is in ``beside``."""
    seen = {place for leaf in beside for place in _buffers(leaf)}

    def once(leaf: Array) -> Array:
        places = _buffers(leaf)
        if not seen.isdisjoint(places):
            # An equivalent sharding written differently would trace the step again.
            leaf = jax.device_put(jnp.copy(leaf), leaf.sharding)
        seen.update(places)
        return leaf

    return [once(leaf) for leaf in leaves]


def _buffers(leaf: Any) -> list[Any]:
    """Return the device and address of each shard of an array."""
    if not isinstance(leaf, Array) or isinstance(leaf, Tracer) or not leaf.size:
        return []
    try:
        return [
            (shard.device, shard.data.unsafe_buffer_pointer())
            for shard in leaf.addressable_shards
        ]
    except Exception:  # not every backend has pointers, and errors differ
        return [id(leaf)]
