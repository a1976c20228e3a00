"""How an array lies on a mesh that is given, and how it is laid out anew.

A layout says where a leaf goes: ``(leaf, mesh) -> sharding``. A leaf is an array, a
traced one, of NumPy, or a ``jax.ShapeDtypeStruct``.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import jax
from jax.core import Tracer

from mixup_jax._core.mesh import AxisName, axes

Layout: TypeAlias = Callable[[Any, jax.sharding.Mesh], jax.NamedSharding]
"""How a driver lays out a leaf: ``(leaf, mesh) -> sharding``."""


def kept(x: Any, mesh: jax.sharding.Mesh) -> jax.NamedSharding:
    """As it lies on the mesh; copied to each device if it lies elsewhere."""
    there = on(x, mesh)
    return jax.NamedSharding(mesh, jax.P()) if there is None else there


def whole(x: Any, mesh: jax.sharding.Mesh) -> jax.NamedSharding:
    """Copied to each device."""
    return _exactly(x, mesh, jax.P())


def divided(axis_name: AxisName) -> Layout:
    """Its examples divided over ``axis_name``, whatever its layout was."""
    return lambda x, mesh: _exactly(x, mesh, jax.P(axis_name))


def kept_and_divided(axis_name: AxisName) -> Layout:
    """As it lies on the mesh; examples that are whole are divided over what is free.

    Free are those of ``axis_name`` that divide no other axis of the leaf.
    """

    def layout(x: Any, mesh: jax.sharding.Mesh) -> jax.NamedSharding:
        there = on(x, mesh)
        if there is None:
            return jax.NamedSharding(mesh, jax.P(axis_name))
        names = [_names(each) for each in there.spec]
        if names and _size(mesh, names[0]) > 1:
            return there
        taken = {name for each in names[1:] for name in each}
        free = tuple(name for name in axes(axis_name) if name not in taken)
        return jax.NamedSharding(mesh, jax.P(free or None, *there.spec[1:]))

    return layout


def _exactly(x: Any, mesh: jax.sharding.Mesh, spec: jax.P) -> jax.NamedSharding:
    wanted, there = jax.NamedSharding(mesh, spec), on(x, mesh)
    if there is not None and there.is_equivalent_to(wanted, len(x.shape)):
        return there  # as it was written, so that the step is traced once
    return wanted


def on(x: Any, mesh: jax.sharding.Mesh) -> jax.NamedSharding | None:
    """Return how a leaf lies on the mesh, or None."""
    sharding = sharding_of(x)
    if isinstance(sharding, jax.NamedSharding):
        if sharding.mesh == mesh:
            return sharding
        if sharding.mesh.shape == mesh.shape:  # of axes of other types
            return jax.NamedSharding(mesh, sharding.spec)
        if sharding.is_fully_replicated and sharding.mesh.size == mesh.size:
            return jax.NamedSharding(mesh, jax.P())
    return None


def sharding_of(x: Any) -> Any:
    """Return what is known of where a leaf lies, None for nothing."""
    if isinstance(x, Tracer):  # axes that are not Explicit are in no type
        sharding = jax.typeof(x).sharding
        return sharding if sharding.mesh.explicit_axes else None
    return getattr(x, "sharding", None)


def _names(entry: Any) -> tuple[str, ...]:
    """Return the axes that an entry of a spec names."""
    if entry is None or entry is jax.P.UNCONSTRAINED:
        return ()
    return axes(entry)


def _size(
    mesh: jax.sharding.Mesh | jax.sharding.AbstractMesh, names: Iterable[str]
) -> int:
    return math.prod(mesh.shape[name] for name in names)


def shares(sharding: jax.NamedSharding) -> int:
    """Return into how many shares the examples are divided."""
    names = [_names(each) for each in sharding.spec[:1]]
    return _size(sharding.mesh, names[0]) if names else 1


def spec_of(x: Any) -> jax.P | None:
    """Return how an array lies, written in one way; None if no mesh says so."""
    if not isinstance(x.sharding, jax.NamedSharding):
        return None
    spec = [each or None for each in x.sharding.spec]
    while spec and spec[-1] is None:
        spec.pop()
    return jax.P(*spec)


def described(x: Any, sharding: jax.NamedSharding) -> jax.ShapeDtypeStruct:
    """Return the shape of a leaf that is to lie so."""
    of = x if isinstance(x, jax.ShapeDtypeStruct) else jax.typeof(x)
    return jax.ShapeDtypeStruct(
        of.shape, of.dtype, sharding=sharding, weak_type=of.weak_type
    )


# In a program. Types know of Explicit axes alone.


def laid(x: Any, sharding: jax.NamedSharding, mesh: jax.sharding.Mesh) -> Any:
    """Return ``x`` laid out, as far as its type tells how it lies.

    Over Auto axes traced arrays are left to whoever calls the program.
    """
    explicit = mesh.abstract_mesh.explicit_axes
    if not isinstance(x, Tracer):
        x = jax.device_put(x, sharding)
        return x if explicit else constrained(x, sharding.spec, mesh)
    if not explicit:
        return x
    if jax.typeof(x).sharding.mesh.empty:  # on no mesh, and not on its devices
        x = jax.device_put(x, jax.NamedSharding(mesh, jax.P()))
    return typed(x, sharding.spec, mesh)


def typed_as(x: Any, y: Any, mesh: jax.sharding.Mesh) -> Any:
    """Return ``x`` laid out over the Explicit axes of the mesh as ``y`` is."""
    return typed(x, jax.typeof(y).sharding.spec, mesh)


def typed(x: Any, spec: jax.P, mesh: jax.sharding.Mesh) -> Any:
    """Return ``x`` laid out over the Explicit axes of the mesh."""
    mesh_of_types = mesh.abstract_mesh
    if not mesh_of_types.explicit_axes:
        return x
    spec = _of_names(spec, mesh_of_types.explicit_axes)
    return jax.sharding.reshard(x, jax.NamedSharding(mesh_of_types, spec))


def constrained(x: Any, spec: jax.P, mesh: jax.sharding.Mesh) -> Any:
    """Return ``x`` laid out over the Auto axes of the mesh."""
    names = mesh.abstract_mesh.auto_axes
    if not names:
        return x
    sharding = jax.NamedSharding(mesh, _of_names(spec, names))
    return jax.lax.with_sharding_constraint(x, sharding)


def _of_names(spec: jax.P, names: Iterable[str]) -> jax.P:
    """Return a spec with those of the names alone."""

    def entry(each: Any) -> Any:
        if each is None or each is jax.P.UNCONSTRAINED:
            return None
        kept = tuple(name for name in axes(each) if name in names)
        return kept[0] if len(kept) == 1 else kept or None

    return jax.P(*map(entry, spec))
