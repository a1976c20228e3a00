"""Where a state and a batch lie on a mesh, and how they get there."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mixup_jax._core import arrays, checks, layouts
from mixup_jax._core.layouts import Layout

# What is refused.


def check_here(leaves: Iterable[tuple[str, Any]], mesh: jax.sharding.Mesh) -> None:
    """Raise ValueError if a leaf lies on several devices other than the mesh's."""
    for where, x in leaves:
        if (got := _elsewhere(x, mesh)) is not None:
            raise ValueError(
                f"{where}: expected an array on the devices of the mesh, "
                f"{_written(mesh.devices.flat)}, in this order, or on one device; got "
                f"one {got}. Make it on this mesh, or lay it out anew: "
                "jax.device_put(x, jax.NamedSharding(mesh, jax.P(...)))."
            )


def check_kept(leaves: Iterable[tuple[str, Any]], mesh: jax.sharding.Mesh) -> None:
    """Raise as ``check_here``, and where a leaf is divided over another mesh."""
    leaves = list(leaves)
    check_here(leaves, mesh)
    for where, x in leaves:
        sharding = layouts.sharding_of(x)
        several = sharding is not None and _devices(sharding) != 1
        if several and layouts.on(x, mesh) is None and not _is_part(x):
            raise ValueError(
                f"{where}: expected an array on the mesh, {dict(mesh.shape)}; got one "
                f"laid out by {sharding}. Lay it out anew: "
                "jax.device_put(x, jax.NamedSharding(mesh, jax.P(...)))."
            )


def _devices(sharding: Any) -> int:
    named = isinstance(sharding, jax.NamedSharding)
    return sharding.mesh.size if named else len(sharding.device_set)


def _elsewhere(x: Any, mesh: jax.sharding.Mesh) -> str | None:
    """Return where a leaf lies if that is on several devices but not the mesh's."""
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
    """Whether a leaf is this process's part of an array of several processes."""
    several = jax.process_count() > 1
    return several and isinstance(x, Array) and x.is_fully_addressable


def _written(devices: Iterable[Any]) -> str:
    ids = [device.id for device in devices]
    few = ", ".join(map(str, ids[:8]))
    return f"devices [{few}{', ...' if len(ids) > 8 else ''}]"


def check_batch(batch: Any, mesh: jax.sharding.Mesh, layout: Layout) -> None:
    """Raise ValueError if a batch is none, lies elsewhere, or does not divide."""
    size = checks.examples(of_all(batch))
    check_here(checks.leaves(batch, "batch"), mesh)
    for x in jax.tree.leaves(batch):
        shares = layouts.shares(layout(x, mesh))
        if size % shares:
            raise ValueError(
                f"batch: expected a number of examples that {shares} devices divide; "
                f"got {size}. Drop or pad the last batch in the loader, or use a mesh "
                "that divides it."
            )


def of_all(batch: Any) -> Any:
    """Return ``batch`` with the shapes of the whole in place of this process's part."""
    count = jax.process_count()

    def shape(x: Any) -> Any:
        part = not isinstance(x, Array | jax.ShapeDtypeStruct) or _is_part(x)
        if count == 1 or not part or not getattr(x, "shape", ()):
            return x
        return jax.ShapeDtypeStruct((x.shape[0] * count, *x.shape[1:]), x.dtype)

    return jax.tree.map(shape, batch)


def fitting(batch: Any) -> Any:
    """Return ``batch``, its integers in dtypes that JAX has at hand."""

    def fits(path: Any, x: Any) -> Any:
        if isinstance(x, jax.ShapeDtypeStruct):
            return x
        return arrays.fitting(x, "batch" + jax.tree_util.keystr(path))

    return jax.tree.map_with_path(fits, batch)


# How a tree gets there.


def placed(tree: Any, mesh: jax.sharding.Mesh, layout: Layout) -> Any:
    """Return ``tree`` as ``layout`` says; what lies so already is not touched.

    With several processes each hands in its own part of what is to be divided, in the
    order of the processes, and the whole of what is to be copied.
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
    # Each process fills its own devices. `device_put` would compare the values of all
    # processes, in every step, and refuses typed keys.
    if not isinstance(x, np.ndarray):
        x = jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        data = _put(jax.random.key_data(x), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    return jax.make_array_from_process_local_data(sharding, np.asarray(x))


def described(tree: Any, mesh: jax.sharding.Mesh, layout: Layout) -> Any:
    """Return the shapes of ``tree``, laid out as ``layout`` says."""
    return jax.tree.map(lambda x: layouts.described(x, layout(x, mesh)), tree)
