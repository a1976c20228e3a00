"""What is known of a mesh: how the rows of an array lie on it.

Axes of an Explicit mesh are in the types, and arrays that meet have to be laid out
alike. Axes of an Auto mesh are not, nor shardings that only ``jit`` knows: there the
compiler decides, and all that can be told is what surely lies on one device. Bound axes
(``jax.shard_map``, ``jax.pmap``, ``jax.vmap``) have a name, and the program sees the
rows of one device.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import jax
from jax import Array
from jax.core import Tracer

from mixup_jax._core.versions import set_mesh, varying

AxisName: TypeAlias = str | tuple[str, ...]
"""The name of one axis of a mesh or of ``jax.pmap``, or the names of several."""


def axes(axis_name: AxisName) -> tuple[str, ...]:
    """Return the names of one axis or several."""
    return (axis_name,) if isinstance(axis_name, str) else tuple(axis_name)


def per_example(w: Array, x: Array) -> Array:
    """Return ``w``, ``[B]``, with an axis of size 1 for each further axis of ``x``."""
    return laid_like(w.reshape(w.shape + (1,) * (x.ndim - w.ndim)), x)


def sharding_of_rows(x: Array, size: int) -> jax.NamedSharding | None:
    """Return how ``size`` rows lie as those of ``x``, None if no type says so."""
    sharding = jax.typeof(x).sharding
    if not sharding.mesh.explicit_axes or size != x.shape[0]:
        return None
    return jax.NamedSharding(sharding.mesh, jax.P(sharding.spec[0]))


def laid_like(w: Array, x: Array) -> Array:
    """Return ``w`` laid out over the mesh as ``x`` is, which costs a slice at most.

    Only axes of an Explicit mesh are in the types; elsewhere nothing is to be done.
    """
    spec = jax.typeof(x).sharding.spec
    kept = (None if n in (0, 1) else axis for axis, n in zip(spec, w.shape))
    return _laid_out(w, x, jax.P(*kept))


def laid_as(x: Array, y: Array) -> Array:
    """Return ``x``, of the shape of ``y``, laid out as ``y`` is."""
    return _laid_out(x, y, jax.typeof(y).sharding.spec)


def divided_as(w: Array, x: Array) -> Array:
    """Return ``w`` divided along axis 0 as ``x`` is, and whole along the others."""
    return _laid_out(w, x, jax.P(*jax.typeof(x).sharding.spec[:1]))


def whole(x: Array) -> Array:
    """Return ``x`` with all of it on each device."""
    return _laid_out(x, x, jax.P())


def whole_along(x: Array, axis: int) -> Array:
    """Return ``x`` with all that lies along ``axis`` on one device."""
    spec = list(jax.typeof(x).sharding.spec)
    spec[axis] = None
    return _laid_out(x, x, jax.P(*spec))


def alike(*arrays: Array) -> tuple[Array, ...]:
    """Return arrays with the examples on axis 0, laid out as the most divided of them.

    Draws from the batch are divided as the batch is, draws from a key are whole on each
    device, and an Explicit mesh selects from arrays that are laid out alike.
    """
    most = max(arrays, key=shards)
    return tuple(x if x is most else divided_as(x, most) for x in arrays)


def _laid_out(w: Array, x: Array, spec: jax.P) -> Array:
    """Return ``w`` laid out by ``spec`` over the mesh of ``x``, if that is Explicit."""
    mesh = jax.typeof(x).sharding.mesh
    if not mesh.explicit_axes:
        return w
    if not isinstance(x, Tracer):  # outside jit there need be no mesh in the context
        there = x.sharding
        assert isinstance(there, jax.NamedSharding)
        return jax.device_put(w, jax.NamedSharding(there.mesh, spec))
    return jax.sharding.reshard(w, jax.NamedSharding(mesh, spec))


def around(x: Any) -> AbstractContextManager[Any]:
    """Return a context in which new arrays may meet ``x``, one of its mesh if needed.

    Outside jit, what JAX makes by itself, the ones that a gradient starts with among
    it, lies on an Explicit mesh only if that is the one in the context.
    """
    sharding = None if isinstance(x, Tracer) else getattr(x, "sharding", None)
    is_meant = not jax.sharding.get_abstract_mesh().empty  # the caller's own
    if is_meant or not isinstance(sharding, jax.NamedSharding):
        return nullcontext()
    is_explicit = bool(jax.typeof(x).sharding.mesh.explicit_axes)
    return set_mesh(sharding.mesh) if is_explicit else nullcontext()


def rows_at(x: Array, index: Array) -> Array:
    """Return ``x[index]``, laid out as ``x``."""
    sharding = jax.typeof(x).sharding
    return x.at[index].get(
        mode="promise_in_bounds",
        out_sharding=sharding if sharding.mesh.explicit_axes else None,
    )


def rows_for_all(x: Array, index: Array) -> Array:
    """Return ``x[index]``, whole on each device."""
    mesh = jax.typeof(x).sharding.mesh  # which there need not be in the context
    out = jax.NamedSharding(mesh, jax.P()) if mesh.explicit_axes else None
    return x.at[index].get(mode="promise_in_bounds", out_sharding=out)


def is_auto(x: Array) -> bool:
    """Whether the compiler divides ``x`` over axes of a mesh."""
    return bool(jax.typeof(x).sharding.mesh.auto_axes)


def rows_together(x: Array) -> int:
    """Return how many examples surely lie on one device, in order."""
    size, devices = x.shape[0], _devices(x)
    if jax.typeof(x).sharding.mesh.empty:
        # Shardings that only jit's in_shardings knows are not in the types.
        return size if devices == 1 else 2
    return size // devices if size % devices == 0 else 2


def _devices(x: Array) -> int:
    """Return over how many devices the rows that the program sees may be divided."""
    mesh = jax.typeof(x).sharding.mesh
    if mesh.empty:
        return jax.device_count()
    seen = set(mesh.axis_names) - set(mesh.manual_axes)
    return math.prod(mesh.shape[axis] for axis in seen)


def blocks_fit(x: Array, block: int) -> bool:
    """Whether blocks surely end where the shares of the devices end."""
    return x.shape[0] % (_devices(x) * block) == 0


def blocks_split(x: Array, block: int) -> bool:
    """Whether blocks of ``block`` end where the shares of an Explicit mesh end."""
    size = x.shape[0] // shards(x)
    return size == block == x.shape[0] or size % block == 0


def shards(x: Any) -> int:
    """Return into how many shares an Explicit mesh divides the examples of ``x``."""
    # Not `shard_shape`, which knows no mesh that is partly manual (JAX 0.7 to 0.12).
    sharding = jax.typeof(x).sharding
    names = sharding.spec[0] if sharding.mesh.explicit_axes else None
    return math.prod(sharding.mesh.shape[axis] for axis in axes(names or ()))


def is_bound(axis_name: AxisName) -> bool:
    """Whether the program sees what one device has of an axis."""
    try:
        jax.lax.axis_size(axis_name)
    except NameError:
        return False
    return True


def bound(axis_name: AxisName) -> int:
    """Return over how many devices a bound axis goes, or several.

    Raises:
      ValueError: If it is not bound.
    """
    if is_bound(axis_name):
        return jax.lax.axis_size(axis_name)
    manual = jax.sharding.get_abstract_mesh().manual_axes
    raise ValueError(
        f"axis_name: expected an axis that is bound here; got {axis_name!r}"
        + (f", and jax.shard_map binds {manual}" if manual else "")
        + ". Call this inside jax.shard_map or jax.pmap over that axis, and apply the "
        "mix there too. Under plain jit no axis is named: a mixer sees the whole "
        "batch, so leave per_device and whole_batch out."
    )


def refuse_unnamed(tree: Any, axis_name: AxisName) -> None:
    """Raise ValueError if examples are divided over further bound axes than are named.

    Types tell over which axes of a ``jax.shard_map`` a leaf varies, not which of its
    axes those divide: examples are what all leaves have. Nothing is known under
    ``jax.pmap``, ``jax.vmap`` and ``check_vma=False``.
    """
    bound(axis_name)
    told = [found for leaf in jax.tree.leaves(tree) if (found := _varying(leaf))]
    over = frozenset.intersection(*told) if told else frozenset[str]()
    if over <= set(axes(axis_name)):
        return
    mesh = jax.sharding.get_abstract_mesh()
    wanted = tuple(
        axis for axis in mesh.axis_names if axis in over | set(axes(axis_name))
    )
    raise ValueError(
        "axis_name: expected all axes that the examples are divided over; got "
        f"{axis_name!r}, and every leaf of the batch varies over {sorted(over)}. Write "
        f"{wanted}, in the order of the batch's jax.P. If one of them divides "
        "something else, such as channels, let the batch have a leaf that it does not "
        "divide, such as labels."
    )


def refuse_alike(tree: Any, axis_name: AxisName) -> None:
    """Raise ValueError if all devices of an axis that is named have the same examples.

    Where types tell nothing, nothing is raised.
    """
    named = {axis for axis in axes(axis_name) if bound(axis) > 1}
    told = frozenset[str]().union(*map(_varying, jax.tree.leaves(tree)))
    if told and not named <= told:
        raise ValueError(
            "axis_name: expected axes that the examples are divided over; got "
            f"{axis_name!r}, and they vary over {sorted(told)} alone. Name the axes of "
            "the batch's jax.P, in its order, and apply a mix under the names that it "
            "was drawn under."
        )


def _varying(x: Any) -> frozenset[str]:
    """Return the axes of several devices over which ``x`` is known to vary."""
    if not isinstance(x, Tracer):
        return frozenset()
    return frozenset(
        axis
        for axis in varying(jax.typeof(x))
        if is_bound(axis) and jax.lax.axis_size(axis) > 1
    )


def own_key(key: Array, axis_name: AxisName) -> Array:
    """Return this device's own key, of one for each device of a bound axis."""
    # Not `fold_in`, which is an XOR for keys of `unsafe_rbg`: the device and the step,
    # if that was folded in before, could trade places.
    keys = jax.random.split(key, bound(axis_name))
    return keys[jax.lax.axis_index(axis_name)]


def first_row(axis_name: AxisName, rows: int) -> Array:
    """Return where the rows of this device start, of so many on each."""
    return jax.lax.axis_index(axis_name) * rows


def own_rows(tree: Any, axis_name: AxisName, rows: int) -> Any:
    """Return the rows of this device, of a tree that holds those of all."""
    start = first_row(axis_name, rows)
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, rows), tree)


def rows_across(x: Array, index: Array, axis_name: AxisName, size: int) -> Array:
    """Return ``x[index]`` of the ``size`` rows on all devices, laid out as ``x``.

    Costs one all-gather.

    Raises:
      ValueError: If the axis is not the one that ``size`` rows are divided over.
    """
    refuse_alike(x, axis_name)
    found = x.shape[0] * bound(axis_name)
    if found != size:
        raise ValueError(
            f"mix: expected a share of the {size} examples that it was drawn for, "
            f"divided over {axis_name!r}; got {x.shape[0]} on each of "
            f"{bound(axis_name)} devices. Apply it where it was drawn, under the same "
            "axis names, or outside to the whole batch."
        )
    sharding = jax.typeof(x).sharding
    return (
        gathered(x, axis_name)
        .at[index]
        .get(
            mode="promise_in_bounds",
            out_sharding=sharding if sharding.mesh.explicit_axes else None,
        )
    )


def gathered(tree: Any, axis_name: AxisName) -> Any:
    """Return the rows of all devices of a bound axis: one all-gather a leaf."""
    return jax.tree.map(
        lambda x: jax.lax.all_gather(x, axis_name, axis=0, tiled=True), tree
    )


def averaged(tree: Any, axis_name: AxisName) -> Any:
    """Return the mean over the devices of a bound axis."""
    return jax.lax.pmean(tree, axis_name)
