"""Placing a state and a batch on a mesh, and checking that they can be placed."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mixup_jax._core import arrays, checks, layouts
from mixup_jax._core.layouts import Layout


def check_here(leaves: Iterable[tuple[str, Any]], mesh: jax.sharding.Mesh) -> None:
    """Raise ValueError if a leaf is on several devices other than the mesh's."""
    for where, x in leaves:
        if (got := _elsewhere(x, mesh)) is not None:
            raise ValueError(
                f"{where}: expected an array on the devices of the mesh, "
                f"{_written(mesh.devices.flat)}, in this order, or on one device; got "
                f"one {got}. Create it on this mesh, or move it there: "
                "jax.device_put(x, jax.NamedSharding(mesh, jax.P(...)))."
            )


def check_kept(leaves: Iterable[tuple[str, Any]], mesh: jax.sharding.Mesh) -> None:
    """Raise ValueError as ``check_here``, or if a leaf is sharded over another mesh."""
    leaves = list(leaves)
    check_here(leaves, mesh)
    for where, x in leaves:
        sharding = layouts.sharding_of(x)
        several = sharding is not None and _devices(sharding) != 1
        if several and layouts.on(x, mesh) is None and not _is_part(x):
            raise ValueError(
                f"{where}: expected an array on the mesh, {dict(mesh.shape)}; got one "
                f"with the sharding {sharding}. Move it to the mesh: "
                "jax.device_put(x, jax.NamedSharding(mesh, jax.P(...)))."
            )


def _devices(sharding: Any) -> int:
    named = isinstance(sharding, jax.NamedSharding)
    return sharding.mesh.size if named else len(sharding.device_set)


def _elsewhere(x: Any, mesh: jax.sharding.Mesh) -> str | None:
    """Describe where a leaf is if on several devices other than the mesh's."""
    sharding = layouts.sharding_of(x)
    if sharding is None or _is_part(x):
        return None
    own = list(mesh.devices.flat)
    if not isinstance(sharding, jax.NamedSharding):
        found = sharding.device_set
        other = len(found) > 1 and found != set(own)
        return f"on {_written(sorted(found, key=lambda d: d.id))}" if other else None
    if isinstance(sharding.mesh, jax.sharding.AbstractMesh):
        same = sharding.mesh.shape == mesh.shape
        return None if same else f"on the mesh {dict(sharding.mesh.shape)}"
    if sharding.mesh == mesh or sharding.mesh.size == 1:
        return None
    found = list(sharding.mesh.devices.flat)
    return None if found == own else f"on {_written(found)}"


def _is_part(x: Any) -> bool:
    """Return whether a leaf is this process's part of a global array."""
    several = jax.process_count() > 1
    return several and isinstance(x, Array) and x.is_fully_addressable


def _written(devices: Iterable[Any]) -> str:
    ids = [device.id for device in devices]
    few = ", ".join(map(str, ids[:8]))
    return f"devices [{few}{', ...' if len(ids) > 8 else ''}]"


def check_batch(batch: Any, mesh: jax.sharding.Mesh, layout: Layout) -> None:
    """Raise ValueError if a batch is malformed, elsewhere, or does not divide."""
    size = checks.examples(of_all(batch))
    check_here(checks.leaves(batch, "batch"), mesh)
    for x in jax.tree.leaves(batch):
        shares = layouts.shares(layout(x, mesh))
        if size % shares:
            raise ValueError(
                f"batch: expected a batch size divisible by {shares} devices; got "
                f"{size}. Drop or pad the last batch in the loader, or use a mesh "
                "that divides it."
            )


def of_all(batch: Any) -> Any:
    """Return ``batch`` with each process-local leaf replaced by its global shape."""
    count = jax.process_count()

    def shape(x: Any) -> Any:
        part = not isinstance(x, Array | jax.ShapeDtypeStruct) or _is_part(x)
        if count == 1 or not part or not getattr(x, "shape", ()):
            return x
        return jax.ShapeDtypeStruct((x.shape[0] * count, *x.shape[1:]), x.dtype)

    return jax.tree.map(shape, batch)


def fitting(batch: Any) -> Any:
    """Return ``batch`` with integers cast to dtypes that are enabled in JAX."""

    def fits(path: Any, x: Any) -> Any:
        if isinstance(x, jax.ShapeDtypeStruct):
            return x
        return arrays.fitting(x, "batch" + jax.tree_util.keystr(path))

    return jax.tree.map_with_path(fits, batch)


def placed(tree: Any, mesh: jax.sharding.Mesh, layout: Layout) -> Any:
    """Move the leaves of ``tree`` to the shardings that ``layout`` specifies.

    With several processes, each passes its own part of a leaf that is to be sharded, in
    the order of the processes, and the whole of a leaf that is to be replicated.
    """
    leaves, structure = jax.tree.flatten(tree)
    shardings = [layout(x, mesh) for x in leaves]
    moving = [
        k
        for k, (x, sharding) in enumerate(zip(leaves, shardings))
        if not isinstance(x, Array) or x.sharding != sharding
    ]
    few = [leaves[k] for k in moving], [shardings[k] for k in moving]
    moved = jax.device_put(*few) if jax.process_count() == 1 else map(_put, *few)
    for k, x in zip(moving, moved):
        leaves[k] = x
    return jax.tree.unflatten(structure, leaves)


def _put(x: Any, sharding: jax.NamedSharding) -> Array:
    if isinstance(x, Array) and not x.is_fully_addressable:
        return jax.device_put(x, sharding)
    # Each process fills its own devices. ``device_put`` would compare the values across
    # processes in every step, and rejects typed keys.
    if not isinstance(x, np.ndarray):
        x = jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        data = _put(jax.random.key_data(x), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    return jax.make_array_from_process_local_data(sharding, np.asarray(x))


def described(tree: Any, mesh: jax.sharding.Mesh, layout: Layout) -> Any:
    """Return the shapes of ``tree`` with the shardings that ``layout`` specifies."""
    return jax.tree.map(lambda x: layouts.described(x, layout(x, mesh)), tree)
