"""Sharding of rows over a mesh.

Explicit mesh axes are part of the types, and arrays that are combined must have the
same sharding. Auto axes are not, nor are shardings that only ``jit`` knows: there the
compiler decides, and a trace can only tell which rows are certain to be on one device.
Axes that are bound by name are handled in ``bound``.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import jax
from jax import Array
from jax.core import Tracer

from mixup_jax._core.versions import set_mesh

AxisName: TypeAlias = str | tuple[str, ...]
"""The name of one axis of a mesh or of ``jax.pmap``, or the names of several."""


def axes(axis_name: AxisName) -> tuple[str, ...]:
    """Return the names of one axis or several as a tuple."""
    return (axis_name,) if isinstance(axis_name, str) else tuple(axis_name)


def per_example(w: Array, x: Array) -> Array:
    """Return ``w``, ``[B]``, with an axis of size 1 for each further axis of ``x``."""
    return laid_like(w.reshape(w.shape + (1,) * (x.ndim - w.ndim)), x)


def sharding_of_rows(x: Array, size: int) -> jax.NamedSharding | None:
    """Return the sharding of ``size`` rows like those of ``x``, if types show it."""
    sharding = jax.typeof(x).sharding
    if not sharding.mesh.explicit_axes or size != x.shape[0]:
        return None
    return jax.NamedSharding(sharding.mesh, jax.P(sharding.spec[0]))


def laid_like(w: Array, x: Array) -> Array:
    """Return ``w``, which broadcasts with ``x``, sharded like ``x``: a slice at most.

    Only Explicit axes appear in types; over others nothing is done.
    """
    spec = jax.typeof(x).sharding.spec
    kept = (None if n in (0, 1) else axis for axis, n in zip(spec, w.shape))
    return _laid_out(w, x, jax.P(*kept))


def laid_as(x: Array, y: Array) -> Array:
    """Return ``x``, of the shape of ``y``, sharded like ``y``."""
    return _laid_out(x, y, jax.typeof(y).sharding.spec)


def divided_as(w: Array, x: Array) -> Array:
    """Return ``w`` with axis 0 sharded like that of ``x``, and others replicated."""
    return _laid_out(w, x, jax.P(*jax.typeof(x).sharding.spec[:1]))


def on_mesh_of(y: Array, x: Array) -> Array:
    """Return ``x`` with its examples sharded like those of ``y``, if it is on no mesh.

    This concerns Explicit meshes outside jit, whose arrays cannot be combined with
    others.
    """
    there, here = (jax.typeof(each).sharding for each in (y, x))
    if isinstance(y, Tracer) or not here.mesh.empty or not there.mesh.explicit_axes:
        return x
    return _laid_out(x, y, jax.P(*there.spec[:1]))


def whole(x: Array) -> Array:
    """Return ``x`` replicated over Explicit axes."""
    return _laid_out(x, x, jax.P())


def replicated(x: Array) -> Array:
    """Return ``x`` replicated over Explicit and Auto axes.

    Otherwise the compiler divides values computed from rows, and gathers them again for
    each operation that needs all of them.
    """
    return _pinned(whole(x), x, jax.P())


def examples_whole(w: Array, x: Array) -> Array:
    """Return ``w`` with no example divided over the Auto mesh of ``x``.

    The compiler decides which devices hold which examples.
    """
    return _pinned(w, x, jax.P(jax.P.UNCONSTRAINED))


def _pinned(w: Array, x: Array, spec: jax.P) -> Array:
    """Return ``w`` sharded by ``spec`` over the Auto axes of the mesh of ``x``.

    Shardings that only ``jit`` knows are not in the types; there nothing is done.
    """
    mesh = jax.typeof(x).sharding.mesh
    if not mesh.auto_axes or not isinstance(w, Tracer):
        return w
    return jax.lax.with_sharding_constraint(w, jax.NamedSharding(mesh, spec))


def whole_along(x: Array, axis: int) -> Array:
    """Return ``x`` with ``axis`` undivided."""
    spec = list(jax.typeof(x).sharding.spec)
    spec[axis] = None
    return _laid_out(x, x, jax.P(*spec))


def alike(*arrays: Array) -> tuple[Array, ...]:
    """Return arrays with the examples on axis 0, sharded like the most divided one.

    Draws from the batch are divided like the batch, draws from a key are replicated,
    and an Explicit mesh requires equal shardings for a selection among arrays.
    """
    most = max(arrays, key=shards)
    return tuple(x if x is most else divided_as(x, most) for x in arrays)


def _laid_out(w: Array, x: Array, spec: jax.P) -> Array:
    """Return ``w`` sharded by ``spec`` over the mesh of ``x``, if it is Explicit."""
    mesh = jax.typeof(x).sharding.mesh
    if not mesh.explicit_axes:
        return w
    if not isinstance(x, Tracer):  # outside jit, the context may have no mesh
        there = x.sharding
        assert isinstance(there, jax.NamedSharding)
        return jax.device_put(w, jax.NamedSharding(there.mesh, spec))
    return jax.sharding.reshard(w, jax.NamedSharding(mesh, spec))


def around(x: Any) -> AbstractContextManager[Any]:
    """Return a context in which new arrays may be combined with ``x``.

    Outside jit, arrays that JAX creates, such as the ones that a gradient starts from,
    are on an Explicit mesh only if it is the mesh in the context.
    """
    sharding = None if isinstance(x, Tracer) else getattr(x, "sharding", None)
    is_meant = not jax.sharding.get_abstract_mesh().empty  # set by the caller
    if is_meant or not isinstance(sharding, jax.NamedSharding):
        return nullcontext()
    is_explicit = bool(jax.typeof(x).sharding.mesh.explicit_axes)
    return set_mesh(sharding.mesh) if is_explicit else nullcontext()


def rows_at(x: Array, index: Array) -> Array:
    """Return ``x[index]`` sharded like ``x``: one all-gather where rows are divided.

    Otherwise the compiler sums over the mesh axes that do not divide ``x``.
    """
    if not x.size:  # outside jit, JAX reports wrong shardings of empty arrays
        return x
    spec = jax.P(None, *[jax.P.UNCONSTRAINED] * (x.ndim - 1))
    rows = _pinned(whole_along(x, 0), x, spec)
    return picked(rows, laid_like(index, x), jax.typeof(x).sharding)


def rows_for_all(x: Array, index: Array) -> Array:
    """Return ``x[index]``, replicated."""
    mesh = jax.typeof(x).sharding.mesh  # the context may have none
    return picked(x, index, jax.NamedSharding(mesh, jax.P()))


def picked(x: Array, index: Array, sharding: jax.NamedSharding) -> Array:
    """Return ``x[index]`` with this sharding over the Explicit axes of a mesh."""
    out = sharding if sharding.mesh.explicit_axes else None
    return x.at[index].get(mode="promise_in_bounds", out_sharding=out)


def is_auto(x: Array) -> bool:
    """Return whether the compiler may divide ``x`` over Auto axes."""
    return bool(jax.typeof(x).sharding.mesh.auto_axes)


def may_be_auto(x: Array) -> bool:
    """Return whether ``as_auto`` works for ``x``: traced, on an Explicit mesh."""
    mesh = jax.typeof(x).sharding.mesh
    return bool(mesh.explicit_axes) and not mesh.manual_axes and isinstance(x, Tracer)


def as_auto(function: Callable[..., Array], x: Array, *given: Any) -> Array:
    """Return ``function(x, *given)`` sharded like ``x``, partitioned by the compiler.

    For operations that the types of an Explicit mesh do not admit.
    """
    sharding = jax.typeof(x).sharding
    axes = sharding.mesh.explicit_axes
    run: Any = jax.sharding.auto_axes(function, axes=axes, out_sharding=sharding)
    return run(x, *given)


def are_untold(x: Array) -> bool:
    """Return whether only ``jit`` may know the sharding: ``in_shardings``, no mesh."""
    return jax.typeof(x).sharding.mesh.empty


def devices_lowered_for(ctx: Any) -> int | None:
    """Return the number of devices that a program is lowered for, if known.

    It is known for programs without a mesh.

    Args:
      ctx: the context of a lowering rule, see ``jax.interpreters.mlir``.
    """
    return getattr(ctx.module_context.axis_context, "num_devices", None)


def rows_together(x: Array) -> int:
    """Return how many consecutive examples are certain to be on one device."""
    size, devices = x.shape[0], _devices(x)
    if are_untold(x):
        return size if devices == 1 else 2
    return size // devices if size % devices == 0 else 2


def _devices(x: Array) -> int:
    """Return the number of devices over which the visible rows may be divided."""
    mesh = jax.typeof(x).sharding.mesh
    if mesh.empty:
        return jax.device_count()
    seen = set(mesh.axis_names) - set(mesh.manual_axes)
    return math.prod(mesh.shape[axis] for axis in seen)


def blocks_fit(x: Array, block: int) -> bool:
    """Return whether no block can cross the boundary between two shards."""
    return x.shape[0] % (_devices(x) * block) == 0


def blocks_split(x: Array, block: int) -> bool:
    """Return whether no block of ``block`` rows crosses shards of an Explicit mesh."""
    size = x.shape[0] // shards(x)
    return size == block == x.shape[0] or size % block == 0


def shards(x: Any) -> int:
    """Return the number of shards into which an Explicit mesh divides the examples."""
    # Not ``shard_shape``, which fails on partly manual meshes (JAX 0.7 to 0.12).
    sharding = jax.typeof(x).sharding
    names = sharding.spec[0] if sharding.mesh.explicit_axes else None
    return math.prod(sharding.mesh.shape[axis] for axis in axes(names or ()))
