"""Layouts of arrays on a given mesh, and changes of layout.

A layout determines the sharding of a leaf: ``(leaf, mesh) -> sharding``. A leaf is a
JAX or NumPy array, a traced array, or a ``jax.ShapeDtypeStruct``.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import jax
from jax.core import Tracer

from mixup_jax._core.mesh import AxisName, axes

Layout: TypeAlias = Callable[[Any, jax.sharding.Mesh], jax.NamedSharding]
"""The layout that a driver gives to a leaf: ``(leaf, mesh) -> sharding``."""


def kept(x: Any, mesh: jax.sharding.Mesh) -> jax.NamedSharding:
    """Keep the sharding of a leaf that is on the mesh; replicate any other leaf."""
    there = on(x, mesh)
    return jax.NamedSharding(mesh, jax.P()) if there is None else there


def whole(x: Any, mesh: jax.sharding.Mesh) -> jax.NamedSharding:
    """Replicate a leaf on all devices."""
    return _exactly(x, mesh, jax.P())


def divided(axis_name: AxisName) -> Layout:
    """Divide the examples over ``axis_name``, whatever the previous sharding."""
    return lambda x, mesh: _exactly(x, mesh, jax.P(axis_name))


def kept_and_divided(axis_name: AxisName) -> Layout:
    """Keep the sharding of leaves on the mesh, but divide replicated examples.

    These are divided over the axes of ``axis_name`` that shard no other axis of the
    leaf.
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
        return there  # an equal spec, so that the step is traced only once
    return wanted


def on(x: Any, mesh: jax.sharding.Mesh) -> jax.NamedSharding | None:
    """Return the sharding of a leaf on the mesh, or ``None`` if it is not on it."""
    sharding = sharding_of(x)
    if isinstance(sharding, jax.NamedSharding):
        if sharding.mesh == mesh:
            return sharding
        if sharding.mesh.shape == mesh.shape:  # the types of its axes differ
            return jax.NamedSharding(mesh, sharding.spec)
        if sharding.is_fully_replicated and sharding.mesh.size == mesh.size:
            return jax.NamedSharding(mesh, jax.P())
    return None


def sharding_of(x: Any) -> Any:
    """Return the sharding of a leaf as far as it is known, otherwise ``None``."""
    if isinstance(x, Tracer):  # only Explicit axes appear in types
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
    """Return the number of shards into which the examples are divided."""
    names = [_names(each) for each in sharding.spec[:1]]
    return _size(sharding.mesh, names[0]) if names else 1


def spec_of(x: Any) -> jax.P | None:
    """Return the canonical spec of an array, or ``None`` if it has no mesh."""
    if not isinstance(x.sharding, jax.NamedSharding):
        return None
    spec = [each or None for each in x.sharding.spec]
    while spec and spec[-1] is None:
        spec.pop()
    return jax.P(*spec)


def described(x: Any, sharding: jax.NamedSharding) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of a leaf together with a sharding."""
    of = x if isinstance(x, jax.ShapeDtypeStruct) else jax.typeof(x)
    return jax.ShapeDtypeStruct(
        of.shape, of.dtype, sharding=sharding, weak_type=of.weak_type
    )


# Layouts of traced arrays, whose types contain Explicit axes only.


def laid(x: Any, sharding: jax.NamedSharding, mesh: jax.sharding.Mesh) -> Any:
    """Return ``x`` with this sharding, as far as its type can express it.

    Over Auto axes, the sharding of traced arrays is left to the caller of the program.
    """
    explicit = mesh.abstract_mesh.explicit_axes
    if not isinstance(x, Tracer):
        x = jax.device_put(x, sharding)
        return x if explicit else constrained(x, sharding.spec, mesh)
    if not explicit:
        return x
    if jax.typeof(x).sharding.mesh.empty:  # it may be on other devices
        x = jax.device_put(x, jax.NamedSharding(mesh, jax.P()))
    return typed(x, sharding.spec, mesh)


def typed_as(x: Any, y: Any, mesh: jax.sharding.Mesh) -> Any:
    """Return ``x`` sharded like ``y`` over the Explicit axes of the mesh."""
    return typed(x, jax.typeof(y).sharding.spec, mesh)


def typed(x: Any, spec: jax.P, mesh: jax.sharding.Mesh) -> Any:
    """Return ``x`` sharded by ``spec`` over the Explicit axes of the mesh."""
    mesh_of_types = mesh.abstract_mesh
    if not mesh_of_types.explicit_axes:
        return x
    spec = _of_names(spec, mesh_of_types.explicit_axes)
    return jax.sharding.reshard(x, jax.NamedSharding(mesh_of_types, spec))


def constrained(x: Any, spec: jax.P, mesh: jax.sharding.Mesh) -> Any:
    """Return ``x`` sharded by ``spec`` over the Auto axes of the mesh."""
    names = mesh.abstract_mesh.auto_axes
    if not names:
        return x
    sharding = jax.NamedSharding(mesh, _of_names(spec, names))
    return jax.lax.with_sharding_constraint(x, sharding)


def _of_names(spec: jax.P, names: Iterable[str]) -> jax.P:
    """Return a spec restricted to these names."""

    def entry(each: Any) -> Any:
        if each is None or each is jax.P.UNCONSTRAINED:
            return None
        kept = tuple(name for name in axes(each) if name in names)
        return kept[0] if len(kept) == 1 else kept or None

    return jax.P(*map(entry, spec))
