"""What is known of a mesh: how the rows of an array lie on it."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer


def per_example(w: Array, x: Array) -> Array:
    """Return ``w``, ``[B]``, with an axis of size 1 for each further axis of ``x``."""
    return laid_like(w.reshape(w.shape + (1,) * (x.ndim - w.ndim)), x)


def normal_rows(key: Array, shape: tuple[int, ...], x: Array) -> Array:
    """Draw standard normals, float32 ``shape``, each device the rows it has of ``x``.

    On an Explicit mesh every device would draw those of all others as well.
    """
    sharding = jax.typeof(x).sharding
    rows = None
    if sharding.mesh.explicit_axes and shape[0] == x.shape[0]:
        rows = jax.NamedSharding(sharding.mesh, jax.P(sharding.spec[0]))
    return jax.random.normal(key, shape, jnp.float32, out_sharding=rows)


def laid_like(w: Array, x: Array) -> Array:
    """Return ``w`` laid out over the mesh as ``x`` is, which costs a slice at most.

    Only axes of an Explicit mesh are in the types; elsewhere nothing is to be done.
    """
    axes = jax.typeof(x).sharding.spec
    spec = (axis if n > 1 else None for axis, n in zip(axes, w.shape))
    return laid_out(w, x, jax.P(*spec))


def alike(*arrays: Array) -> tuple[Array, ...]:
    """Return arrays with the examples on axis 0, laid out as the most divided of them.

    Draws from the batch are divided as the batch is, draws from a key are whole on each
    device, and an Explicit mesh selects from arrays that are laid out alike.
    """
    most = max(arrays, key=shards)
    spec = jax.P(*jax.typeof(most).sharding.spec[:1])
    return tuple(x if x is most else laid_out(x, most, spec) for x in arrays)


def laid_out(w: Array, x: Array, spec: jax.P) -> Array:
    """Return ``w`` laid out by ``spec`` over the mesh of ``x``, if that is Explicit."""
    mesh = jax.typeof(x).sharding.mesh
    if not mesh.explicit_axes:
        return w
    if not isinstance(x, Tracer):  # outside jit there need be no mesh in the context
        there = x.sharding
        assert isinstance(there, jax.NamedSharding)
        return jax.device_put(w, jax.NamedSharding(there.mesh, spec))
    return jax.sharding.reshard(w, jax.NamedSharding(mesh, spec))


def rows_together(x: Array) -> int:
    """Return how many examples surely lie on one device, in order."""
    mesh = jax.typeof(x).sharding.mesh
    if mesh.are_all_axes_manual and not mesh.empty:
        return x.shape[0]
    if mesh.empty:
        # Shardings that only jit's in_shardings knows are not in the types.
        return x.shape[0] if jax.device_count() == 1 else 2
    return x.shape[0] // mesh.size if x.shape[0] % mesh.size == 0 else 2


def blocks_fit(x: Array, block: int) -> bool:
    """Whether blocks surely end where the shares of the devices end."""
    mesh = jax.typeof(x).sharding.mesh
    if mesh.are_all_axes_manual and not mesh.empty:
        return True
    devices = jax.device_count() if mesh.empty else mesh.size
    return x.shape[0] % (devices * block) == 0


def blocks_split(x: Array, block: int) -> bool:
    """Whether blocks of ``block`` end where the shares of an Explicit mesh end."""
    share = x.shape[0] // shards(x)
    return share == block == x.shape[0] or share % block == 0


def shards(x: Any) -> int:
    """Return into how many shares an Explicit mesh divides the examples of ``x``."""
    sharding = jax.typeof(x).sharding
    if not sharding.mesh.explicit_axes:
        return 1
    return x.shape[0] // sharding.shard_shape(x.shape)[0]
