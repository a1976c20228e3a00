"""What is known of a mesh: how the rows of an array lie on it.

Axes of an Explicit mesh are in the types, and arrays that meet have to be laid out
alike. Axes of an Auto mesh are not, nor shardings that only ``jit`` knows: there the
compiler decides, and all that can be told is what surely lies on one device. Bound axes
(``jax.shard_map``, ``jax.pmap``, ``jax.vmap``) have a name, and the program sees the
rows of one device.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
from jax import Array
from jax.core import Tracer

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


def replicated(x: Array) -> Array:
    """Return ``x`` with all of it on each device, of an Auto mesh too.

    Left to itself the compiler divides what is worked out of rows, and gathers it again
    for each step that needs to see all of them.
    """
    return _pinned(whole(x), x, jax.P())


def examples_whole(w: Array, x: Array) -> Array:
    """Return ``w``, no example of which is divided, on the Auto mesh of ``x``.

    Which devices have which examples is left to the compiler.
    """
    return _pinned(w, x, jax.P(jax.P.UNCONSTRAINED))


def _pinned(w: Array, x: Array, spec: jax.P) -> Array:
    """Return ``w`` laid out by ``spec`` over the Auto axes of the mesh of ``x``.

    Shardings that only ``jit`` knows are not in the types, and nothing is done.
    """
    mesh = jax.typeof(x).sharding.mesh
    if not mesh.auto_axes or not isinstance(w, Tracer):
        return w
    return jax.lax.with_sharding_constraint(w, jax.NamedSharding(mesh, spec))


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


def rows_at(x: Array, index: Array) -> Array:
    """Return ``x[index]``, laid out as ``x``: one all-gather where rows are divided.

    Left to itself the compiler sums over the axes of a mesh that do not divide ``x``.
    """
    sharding = jax.typeof(x).sharding
    spec = jax.P(None, *[jax.P.UNCONSTRAINED] * (x.ndim - 1))
    rows = _pinned(whole_along(x, 0), x, spec)
    return rows.at[laid_like(index, x)].get(
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


def may_be_auto(x: Array) -> bool:
    """Whether ``as_auto`` can be asked: of a traced array on an Explicit mesh."""
    mesh = jax.typeof(x).sharding.mesh
    return bool(mesh.explicit_axes) and not mesh.manual_axes and isinstance(x, Tracer)


def as_auto(function: Callable[..., Array], x: Array, *given: Any) -> Array:
    """Return ``function(x, *given)``, laid out as ``x``; the compiler divides the rest.

    For what the types of an Explicit mesh do not admit, and a compiler knows how to do.
    """
    sharding = jax.typeof(x).sharding
    axes = sharding.mesh.explicit_axes
    run: Any = jax.sharding.auto_axes(function, axes=axes, out_sharding=sharding)
    return run(x, *given)


def rows_together(x: Array) -> int:
    """Return how many examples surely lie on one device, in order."""
    mesh = jax.typeof(x).sharding.mesh
    if _is_manual(mesh):
        return x.shape[0]
    if mesh.empty:
        # Shardings that only jit's in_shardings knows are not in the types.
        return x.shape[0] if jax.device_count() == 1 else 2
    return x.shape[0] // mesh.size if x.shape[0] % mesh.size == 0 else 2


def _is_manual(mesh: jax.sharding.AbstractMesh) -> bool:
    return len(mesh.manual_axes) == len(mesh.axis_names) > 0


def blocks_fit(x: Array, block: int) -> bool:
    """Whether blocks surely end where the shares of the devices end."""
    mesh = jax.typeof(x).sharding.mesh
    if _is_manual(mesh):
        return True
    devices = jax.device_count() if mesh.empty else mesh.size
    return x.shape[0] % (devices * block) == 0


def blocks_split(x: Array, block: int) -> bool:
    """Whether blocks of ``block`` end where the shares of an Explicit mesh end."""
    size = x.shape[0] // shards(x)
    return size == block == x.shape[0] or size % block == 0


def shards(x: Any) -> int:
    """Return into how many shares an Explicit mesh divides the examples of ``x``."""
    sharding = jax.typeof(x).sharding
    if not sharding.mesh.explicit_axes:
        return 1
    return x.shape[0] // sharding.shard_shape(x.shape)[0]


def own_key(key: Array, axis_name: AxisName) -> Array:
    """Return this device's own key, of one for each device of a bound axis."""
    # Not `fold_in`, which is an XOR for keys of `unsafe_rbg`: the device and the step,
    # if that was folded in before, could trade places.
    keys = jax.random.split(key, jax.lax.axis_size(axis_name))
    return keys[jax.lax.axis_index(axis_name)]


def first_row(axis_name: AxisName, rows: int) -> Array:
    """Return where the rows of this device start, of so many on each."""
    return jax.lax.axis_index(axis_name) * rows


def own_rows(tree: Any, axis_name: AxisName, rows: int) -> Any:
    """Return the rows of this device, of a tree that holds those of all."""
    start = first_row(axis_name, rows)
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, rows), tree)


def gathered(tree: Any, axis_name: AxisName) -> Any:
    """Return the rows of all devices of a bound axis: one all-gather a leaf."""
    return jax.tree.map(
        lambda x: jax.lax.all_gather(x, axis_name, axis=0, tiled=True), tree
    )


def averaged(tree: Any, axis_name: AxisName) -> Any:
    """Return the mean over the devices of a bound axis."""
    return jax.lax.pmean(tree, axis_name)
