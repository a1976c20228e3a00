"""Where a state and a batch lie: laid out over devices, and donated but once."""

import math
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from mixup_jax._core import arrays, checks
from mixup_jax._core.mesh import AxisName, axes


def stacked(batch: Any, devices: int) -> Any:
    """Return ``batch`` with axis 0 split into ``[devices, B / devices]``.

    Raises:
      ValueError: If the batch does not divide, or holds integers that JAX would wrap.
    """
    size = _divided(checks.examples(batch), devices)
    batch = fitting(batch)
    return jax.tree.map(lambda x: x.reshape(devices, size, *x.shape[1:]), batch)


def over_mesh(batch: Any, mesh: jax.sharding.Mesh, axis_name: AxisName) -> Any:
    """Return ``batch`` as global arrays, axis 0 divided over a mesh axis.

    With several processes each hands in its own part, and the parts lie in the order of
    the processes.

    Raises:
      ValueError: If the global batch does not divide, or holds integers that JAX would
        wrap.
    """
    _divided(
        checks.examples(batch) * jax.process_count(),
        math.prod(mesh.shape[axis] for axis in axes(axis_name)),
    )
    batch = fitting(batch)
    sharding = jax.NamedSharding(mesh, jax.P(axis_name))

    def put(x: Any) -> Array:
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return x
        return jax.make_array_from_process_local_data(sharding, x)

    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    return jax.tree.map(put, batch)


def fitting(batch: Any) -> Any:
    """Return ``batch``, its integers in dtypes that JAX has at hand."""

    def fits(path: Any, x: Any) -> Any:
        return arrays.fitting(x, "batch" + jax.tree_util.keystr(path))

    return jax.tree.map_with_path(fits, batch)


def on_mesh(tree: Any, mesh: jax.sharding.Mesh) -> Any:
    """Return ``tree`` on the mesh: what is there stays, the rest is copied to all."""
    sharding = jax.NamedSharding(mesh, jax.P())

    def there(x: Array) -> bool:
        # On one device an array may be on no mesh at all.
        alone = isinstance(x.sharding, jax.sharding.SingleDeviceSharding)
        return x.sharding.device_set == sharding.device_set and not alone

    def put(x: Any) -> Array:
        if isinstance(x, jax.Array) and there(x):
            return x
        if jax.process_count() == 1:
            return jax.device_put(x, sharding)
        # Each process fills its own devices. `device_put` would compare the values of
        # all processes, in every step, and refuses typed keys.
        x = jnp.asarray(x)
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            data = put(jax.random.key_data(x))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))

    return jax.tree.map(put, tree)


class Returned:
    """The state that a step with donation returned last, which may be donated again.

    What else comes in a state is looked at before it is donated: XLA ends the process
    where one buffer is donated twice, is an argument too, or is gone.
    """

    def __init__(self):
        self._leaves: list[weakref.ref] = []

    def keep(self, state: Any) -> None:
        """Remember ``state``, without keeping it alive."""
        self._leaves = [weakref.ref(leaf) for leaf in jax.tree.leaves(state)]

    def or_placed(self, state: Any, mesh: jax.sharding.Mesh, *, beside: Any) -> Any:
        """Return ``state`` on the mesh, each buffer once and none of ``beside``.

        Raises:
          ValueError: If a leaf was donated before.
        """
        leaves, structure = jax.tree.flatten(state)
        if any(map(_gone, leaves)):
            _refuse_donated(state)
        known = {id(leaf) for each in self._leaves if (leaf := each()) is not None}
        fresh = []
        for leaf in leaves:
            fresh.append(id(leaf) not in known)
            known.discard(id(leaf))  # a second time it is another's buffer
        leaves = [on_mesh(x, mesh) if new else x for x, new in zip(leaves, fresh)]
        others = jax.tree.leaves(beside)
        # One buffer has one size, and few leaves are of that of a key.
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
        f"{where}: expected an array that has its values; got one that was donated to "
        "an earlier step, or deleted. Go on with the state that the step returned, or "
        "copy the state before the step: jax.tree.map(jax.numpy.copy, state)."
    )


def _gone(leaf: Any) -> bool:
    return (
        isinstance(leaf, Array) and not isinstance(leaf, Tracer) and leaf.is_deleted()
    )


def _each_once(leaves: list[Array], beside: list[Any]) -> list[Array]:
    """Return ``leaves``, copied where a buffer was met before or is in ``beside``."""
    seen = {place for leaf in beside for place in _buffers(leaf)}

    def once(leaf: Array) -> Array:
        places = _buffers(leaf)
        if not seen.isdisjoint(places):
            # With the sharding as it was written, so that the step is traced once.
            leaf = jax.device_put(jnp.copy(leaf), leaf.sharding)
        seen.update(places)
        return leaf

    return [once(leaf) for leaf in leaves]


def _buffers(leaf: Any) -> list[Any]:
    """Return where the values of an array lie, device by device."""
    if not isinstance(leaf, Array) or isinstance(leaf, Tracer) or not leaf.size:
        return []
    try:
        return [
            (shard.device, shard.data.unsafe_buffer_pointer())
            for shard in leaf.addressable_shards
        ]
    except Exception:  # not every backend tells; each has errors of its own
        return [id(leaf)]


def _divided(size: int, devices: int) -> int:
    if size % devices:
        raise ValueError(
            f"batch: expected a number of examples that {devices} devices divide; got "
            f"{size}. Drop or pad the last batch in the loader, or use a mesh that "
            "divides it."
        )
    return size // devices
