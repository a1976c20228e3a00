"""How rows lie on a mesh, and how partners travel to each other.

A move describes a movement that is carried out on one leaf at a time. It is static
data that can be compared and hashed, so it passes through jit in the structure of a
`Mix` and costs nothing there. It becomes a gather only where nothing cheaper does.

`block` is the number of examples that the move was made for. A move acts on each block
of a larger array by itself, so what one device did to its share is the same description
when the shares are read as one array.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._checks import is_concrete


@dataclasses.dataclass(frozen=True)
class Stay:
    """Everybody is its own partner; nothing moves."""

    pairs_off: ClassVar[bool] = True
    structural: ClassVar[bool] = True

    def __call__(self, x: Array, partner: Array) -> Array:
        del partner
        return x


@dataclasses.dataclass(frozen=True)
class Gather:
    """Rows picked by index: any map, and on a sharded axis a collective."""

    pairs_off: ClassVar[bool] = False
    structural: ClassVar[bool] = False

    def __call__(self, x: Array, partner: Array) -> Array:
        # Partners count over the whole batch, and ``x`` may be one device's share.
        index = partner % x.shape[0]
        sharding = jax.typeof(x).sharding
        return x.at[index].get(
            mode="promise_in_bounds",
            out_sharding=sharding if sharding.mesh.explicit_axes else None,
        )


@dataclasses.dataclass(frozen=True)
class Flip:
    """Each block of an even number of examples, in reverse order."""

    block: int
    pairs_off: ClassVar[bool] = True
    structural: ClassVar[bool] = True

    def __call__(self, x: Array, partner: Array) -> Array:
        if not _splits(x, self.block):
            return Gather()(x, partner)
        return _in_blocks(x, self.block, lambda b: jax.lax.rev(b, (1,)))


@dataclasses.dataclass(frozen=True)
class Roll:
    """Each block rolled by ``shift``, the first rows following the last."""

    block: int
    shift: int
    pairs_off: ClassVar[bool] = False
    structural: ClassVar[bool] = True

    def __call__(self, x: Array, partner: Array) -> Array:
        if _shards(x) > 1:
            return Gather()(x, partner)
        cut = self.block - self.shift
        return _in_blocks(
            x, self.block, lambda b: jnp.concatenate([b[:, cut:], b[:, :cut]], axis=1)
        )


def per_example(w: Array, x: Array) -> Array:
    """Return ``w``, ``[B]``, with an axis of size 1 for each further axis of ``x``."""
    return laid_like(w.reshape(w.shape + (1,) * (x.ndim - w.ndim)), x)


def laid_like(w: Array, x: Array) -> Array:
    """Return ``w`` laid out over the mesh as ``x`` is, which costs a slice at most.

    Only axes of an Explicit mesh are in the types; elsewhere nothing is to be done.
    """
    axes = jax.typeof(x).sharding.spec
    spec = (axis if n > 1 else None for axis, n in zip(axes, w.shape))
    return laid_out(w, x, jax.P(*spec))


def laid_out(w: Array, x: Array, spec: jax.P) -> Array:
    """Return ``w`` laid out by ``spec`` over the mesh of ``x``, if that is Explicit."""
    mesh = jax.typeof(x).sharding.mesh
    if not mesh.explicit_axes:
        return w
    if is_concrete(x):  # outside jit there need be no mesh in the context
        there = x.sharding
        assert isinstance(there, jax.NamedSharding)
        return jax.device_put(w, jax.NamedSharding(there.mesh, spec))
    return jax.sharding.reshard(w, jax.NamedSharding(mesh, spec))


def _in_blocks(x, block, function):
    if x.shape[0] == block:
        return function(x[None])[0]
    return function(x.reshape(-1, block, *x.shape[1:])).reshape(x.shape)


def _splits(x: Array, block: int) -> bool:
    """Whether blocks of ``block`` end where the shares of an Explicit mesh end."""
    shards = _shards(x)
    return (x.shape[0] == block and shards == 1) or x.shape[0] // shards % block == 0


def _shards(x: Array) -> int:
    sharding = jax.typeof(x).sharding
    if not sharding.mesh.explicit_axes:
        return 1
    return x.shape[0] // sharding.shard_shape(x.shape)[0]
