"""What is known of a mesh: how the rows of an array lie on it.

Axes of an Explicit mesh are in the types, and arrays that meet have to be laid out
alike. Axes of an Auto mesh are not, nor shardings that only ``jit`` knows: there the
compiler decides, and all that can be told is what surely lies on one device. Axes that
are bound by name are another matter: `bound`.
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


def on_mesh_of(y: Array, x: Array) -> Array:
    """Return ``x`` with its examples where those of ``y`` are, if it is on no mesh.

    Outside jit, that is, and of an Explicit mesh, on which arrays of others meet none.
    """
    there, here = (jax.typeof(each).sharding for each in (y, x))
    if isinstance(y, Tracer) or not here.mesh.empty or not there.mesh.explicit_axes:
        return x
    return _laid_out(x, y, jax.P(*there.spec[:1]))


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
    """Return ``x[index]``, laid out as ``x``: one all-gather where rows are divided.

    Left to itself the compiler sums over the axes of a mesh that do not divide ``x``.
    """
    if not x.size:  # of whose layout JAX has too much, outside jit
        return x
    spec = jax.P(None, *[jax.P.UNCONSTRAINED] * (x.ndim - 1))
    rows = _pinned(whole_along(x, 0), x, spec)
    return picked(rows, laid_like(index, x), jax.typeof(x).sharding)


def rows_for_all(x: Array, index: Array) -> Array:
    """Return ``x[index]``, whole on each device."""
    mesh = jax.typeof(x).sharding.mesh  # which there need not be in the context
    return picked(x, index, jax.NamedSharding(mesh, jax.P()))


def picked(x: Array, index: Array, sharding: jax.NamedSharding) -> Array:
    """Return ``x[index]``, laid out so over the Explicit axes of a mesh."""
    out = sharding if sharding.mesh.explicit_axes else None
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


def are_untold(x: Array) -> bool:
    """Whether rows may lie as only ``jit`` knows: its ``in_shardings``, no mesh."""
    return jax.typeof(x).sharding.mesh.empty


def devices_lowered_for(ctx: Any) -> int | None:
    """Return for how many devices a program without a mesh is lowered, if that is told.

    Args:
      ctx: what JAX tells a lowering rule, ``jax.interpreters.mlir``.
    """
    return getattr(ctx.module_context.axis_context, "num_devices", None)


def rows_together(x: Array) -> int:
    """Return how many examples surely lie on one device, in order."""
    size, devices = x.shape[0], _devices(x)
    if are_untold(x):
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
