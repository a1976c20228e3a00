"""``jax.random.bits``, bit for bit, as a program that compiles faster.

On CPUs JAX implements the rounds of its hash as a loop, each iteration of which
compiles to several programs. Unrolled, they are a single program, which also runs
faster.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array

_ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)


def bits(key: Array, shape: tuple[int, ...]) -> Array:
    """Return ``jax.random.bits(key, shape, "uint32")`` for any kind of key.

    References:
      Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011,
      https://doi.org/10.1145/2063384.2063405.
    """
    if 0 in shape:
        return jnp.zeros(shape, jnp.uint32)
    if not _is_known(key) or math.prod(shape) >= 2**32:
        return jax.random.bits(key, shape, "uint32")
    return _bits(jax.random.key_data(key), shape)


def _is_known(key: Array) -> bool:
    """Return whether JAX would apply this hash, without tracking the reuse of keys."""
    config = jax.config
    return (
        str(jax.random.key_impl(key)) == "threefry2x32"
        and bool(config.jax_threefry_partitionable)  # type: ignore[attr-defined]
        and not config.jax_debug_key_reuse  # type: ignore[attr-defined]
    )


@functools.partial(jax.jit, static_argnames="shape")
def _bits(key: Array, shape: tuple[int, ...]) -> Array:
    def in_one_turn(key: Array) -> Array:
        # XLA would repeat the hash in each program that reads words. The result of a
        # loop is computed once, if XLA cannot tell that it has a single iteration.
        once = jnp.minimum(key[0] | 1, 1).astype(jnp.int32)
        none = jnp.broadcast_to(key[0] ^ key[0], shape)  # of the type of the hash
        return jax.lax.fori_loop(0, once, lambda _, none: _hash(key, none.shape), none)

    hashed = functools.partial(_hash, shape=shape)
    return jax.lax.platform_dependent(key, cpu=in_one_turn, default=hashed)


def _hash(key: Array, shape: tuple[int, ...]) -> Array:
    """Return the XOR of the two words of the hash at each place."""
    first, second = key[0], key[1]
    keys = first, second, first ^ second ^ 0x1BD11BDA
    places = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    left, right = jnp.broadcast_to(first, shape), places + second
    for turn in range(5):
        for rotation in _ROTATIONS[turn % 2]:
            left = left + right
            right = left ^ ((right << rotation) | (right >> (32 - rotation)))
        left = left + keys[(turn + 1) % 3]
        right = right + keys[(turn + 2) % 3] + (turn + 1)
    return left ^ right
