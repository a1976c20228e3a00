"""Distances between examples, to the precision of float32."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mixup_jax._core import arrays, checks
from mixup_jax._core.mesh import replicated, rows_for_all
from mixup_jax.pairings._positions import positions

_MOST_DIFFERENCES = 2**24  # for more, a product is faster but less exact


def squared_distances(own: Any, others: Any, name: str) -> Array:
    """Return the squared Euclidean distances over all leaves, float32 ``[A, B]``.

    The distance from or to an example that is not finite is infinite, even to itself.
    """
    size, count = checks.examples(own, name), checks.examples(others, name)

    def between(a: Any, b: Any) -> Array:
        a, b = aligned(parts(a), parts(b))
        few = _are_few(size, count, a[0].shape[1])
        return _known(_by_differences(a, b) if few else _by_product(a, b))

    return jax.tree.reduce(jnp.add, jax.tree.map(between, own, others))


def distances_of_rows(batch: Any, name: str) -> Callable[[Array], Array]:
    """Return a function from positions to rows of the squared distances in a batch.

    It returns ``squared_distances(batch, batch, name)[positions]``. Whatever does not
    depend on the positions is computed once, outside of it.
    """
    size = checks.examples(batch, name)

    def of_leaf(leaf: Any) -> Callable[[Array], Array]:
        found = parts(leaf)
        if _are_few(size, size, found[0].shape[1]):
            return lambda places: _by_differences(taken(found, places), found)
        _, x = _centred(found, found)
        return lambda places: _product(rows_for_all(x, places), x)

    leaves = [of_leaf(leaf) for leaf in jax.tree.leaves(batch)]

    def of_rows(places: Array) -> Array:
        return functools.reduce(jnp.add, (_known(of(places)) for of in leaves))

    return of_rows


def taken(parts: list[Array], places: Array) -> list[Array]:
    """Return the rows of ``parts`` at these positions, replicated."""
    return [rows_for_all(part, places) for part in parts]


def _are_few(size: int, count: int, features: int) -> bool:
    return features == 1 or size * count * features <= _MOST_DIFFERENCES


def _known(squares: Array) -> Array:
    return jnp.where(jnp.isnan(squares), jnp.inf, squares)


def _by_differences(a: list[Array], b: list[Array]) -> Array:
    """Return ``|a[i] - b[j]|^2`` from exact differences."""
    return jnp.sum(differences(a, b) ** 2, axis=2)


def _by_product(a_parts: list[Array], b_parts: list[Array]) -> Array:
    """Return ``|a[i] - b[j]|^2`` by a matrix product."""
    return _product(*_centred(a_parts, b_parts))


def _centred(a_parts: list[Array], b_parts: list[Array]) -> tuple[Array, Array]:
    """Return both minus the mean of ``b``: far from 0, their products cancel badly."""
    a, b = _near_zero(a_parts, b_parts)
    finite = jnp.all(jnp.isfinite(b), axis=1, keepdims=True)
    total = jnp.sum(jnp.where(finite, b, 0), axis=0, keepdims=True)
    centre = total / jnp.maximum(jnp.sum(finite, dtype=jnp.float32), 1)
    return a - centre, b - centre


def _product(a: Array, b: Array) -> Array:
    """Return ``|a[i]|^2 + |b[j]|^2 - 2 a[i] b[j]``."""
    both = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.sum(a * a, axis=1)[:, None] + jnp.sum(b * b, axis=1)[None]
    return jnp.maximum(squares - 2 * both, 0)


def _near_zero(a: list[Array], b: list[Array]) -> tuple[Array, Array]:
    """Return both minus a finite row of ``b``, float32, without loss of precision."""
    if len(b) == 1 and b[0].dtype == jnp.float32:
        return a[0], b[0]
    finite = jnp.all(jnp.isfinite(functools.reduce(jnp.add, b)), axis=1)
    chosen = positions(finite.shape[0]) == jnp.argmax(finite).astype(jnp.int32)
    row = [jnp.sum(jnp.where(chosen[:, None], x, 0), axis=0, keepdims=True) for x in b]
    return _difference(a, row), _difference(b, row)


def parts(leaf: Any) -> list[Array]:
    """Return arrays ``[B, F]`` that add up to the leaf exactly, largest terms first.

    They are float32, or float64 for a float64 leaf if JAX has it enabled.
    """
    if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        raise TypeError(
            f"affinity: expected numbers to compare; got {arrays.describe(leaf)}. "
            "Keep keys out of what the affinity compares."
        )
    native = arrays.is_native(leaf)
    flat: Any = replicated(leaf) if native else np.asarray(leaf)
    flat = flat.reshape(leaf.shape[0], -1)
    if jnp.issubdtype(flat.dtype, jnp.complexfloating):
        along = jnp.concatenate if native else np.concatenate
        flat = along([flat.real, flat.imag], axis=1)
    if jnp.issubdtype(flat.dtype, jnp.integer):
        bits = jnp.iinfo(flat.dtype).bits
        # Digits of 16 bits have exact differences; the first carries the sign.
        digits = (
            (flat >> shift if shift + 16 >= bits else (flat >> shift) & 0xFFFF, shift)
            for shift in reversed(range(0, bits, 16))
        )
        return [jnp.asarray(d.astype(np.float32)) * 2.0**shift for d, shift in digits]
    if flat.dtype != np.float64:
        return [jnp.asarray(flat).astype(jnp.float32)]
    if jax.dtypes.canonicalize_dtype(np.float64) == np.float64:
        return [jnp.asarray(flat)]
    parts = []
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(3):
            parts.append(flat.astype(np.float32))
            flat = flat - parts[-1]
    return [jnp.asarray(part) for part in parts]


def aligned(a: list[Array], b: list[Array]) -> tuple[list[Array], list[Array]]:
    """Return both with the same number of parts, in the same dtype."""
    count = max(len(a), len(b))
    wide = any(part.dtype == jnp.float64 for part in a + b)
    dtype = jnp.float64 if wide else jnp.float32

    def padded(parts: list[Array]) -> list[Array]:
        zeros = [jnp.zeros_like(parts[0])] * (count - len(parts))
        return [part.astype(dtype) for part in zeros + parts]

    return padded(a), padded(b)


def differences(a: list[Array], b: list[Array]) -> Array:
    """Return ``a[i] - b[j]``, float32 ``[A, B, F]``."""
    return _difference([part[:, None] for part in a], [part[None] for part in b])


def _difference(a: list[Array], b: list[Array]) -> Array:
    """Return ``a - b``, float32, to the precision of float32.

    The exception is a float64 in three parts, whose differences may lose up to 2^-47 of
    it.
    """
    # In this order, a sum that was rounded is larger than all terms that follow.
    parts = [x - y for x, y in zip(a, b)]
    return functools.reduce(jnp.add, parts).astype(jnp.float32)
