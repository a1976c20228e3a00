"""The law for every run: the method's own expectation, leaf by leaf."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import mixup_jax as mx
from tests import oracle
from tests.oracle import Expected, Terms

E8M0 = jnp.dtype("float8_e8m0fnu")  # powers of two only: no zero and no negative values


@dataclasses.dataclass(frozen=True)
class Run:
    """The result of one call on one batch, in NumPy arrays.

    Attributes:
      key: the key that was passed.
      batch: the inputs and targets that were passed.
      mixed: the inputs and targets that were returned.
      mix: the mix that was drawn.
      slopes: the gradient of ``weighed`` for each leaf of the batch, None where a leaf
        has none.
    """

    key: jax.Array
    batch: Any
    mixed: Any
    mix: mx.Mix
    slopes: Any = None


def parts(half: Any) -> Iterator[tuple[str, Any]]:
    """Yield each array with the name of the rule by which it follows."""
    for part in jax.tree.leaves(half, is_leaf=_follows):
        rule = type(part).__name__ if _follows(part) else "plain"
        for leaf in jax.tree.leaves(part):
            yield rule, leaf


def _follows(part: Any) -> bool:
    return isinstance(part, mx.follow.Follower)


def terms_of(expected: Expected, half: str, rule: str, x: np.ndarray) -> Terms:
    """Return the terms of which a leaf should be the sum."""
    if half == "inputs":
        return expected.inputs(x)
    return expected.targets(x) if rule == "plain" else expected.dense(x)


def assert_traced(run: Run) -> None:
    """Assert the properties of a run that are known without values."""
    size = len(jax.tree.leaves(run.batch)[0])
    assert run.mix.lam.dtype == np.float32
    assert run.mix.lam.shape == run.mix.partner.shape == (size,)
    for half, given, got in zip(("inputs", "targets"), run.batch, run.mixed):
        assert jax.tree.structure(got) == jax.tree.structure(given), half
        for x, y in zip(jax.tree.leaves(given), jax.tree.leaves(got)):
            assert y.shape == x.shape
            assert y.dtype == jax.dtypes.canonicalize_dtype(x.dtype)


def assert_law(run: Run, expected: Expected) -> None:
    """Assert that a run is exactly what its method is expected to compute."""
    size, mix = len(jax.tree.leaves(run.batch)[0]), run.mix
    assert mix.lam.dtype == np.float32
    assert mix.partner.dtype == np.int32
    assert mix.lam.shape == mix.partner.shape == (size,)
    assert ((mix.lam >= 0) & (mix.lam <= 1)).all()
    assert ((mix.partner >= 0) & (mix.partner < size)).all()
    for half, given, got in zip(("inputs", "targets"), run.batch, run.mixed):
        assert jax.tree.structure(got) == jax.tree.structure(given), half
        for (rule, x), (_, y) in zip(parts(given), parts(got)):
            assert_leaf(half, rule, x, y, mix, expected)
    if run.slopes is not None:
        assert_slopes(run, expected)


def assert_leaf(
    half: str, rule: str, given: Any, got: Any, mix: mx.Mix, expected: Expected
) -> None:
    x, y = np.asarray(given), np.asarray(got)
    dtype = jax.dtypes.canonicalize_dtype(x.dtype)
    assert y.dtype in (x.dtype, dtype), (half, rule, x.dtype, y.dtype)
    x, y = x.astype(dtype), y.astype(dtype)
    if half == "targets" and not mix.mixes_targets:
        np.testing.assert_array_equal(oracle.bits(y), oracle.bits(x))
    elif rule == "Masks":
        np.testing.assert_array_equal(y, largest(terms_of(expected, half, rule, x)))
    elif rule == "Lengths":
        np.testing.assert_array_equal(y, last(half, x, mix, expected))
    else:
        terms = terms_of(expected, half, rule, x)
        total = sum(w * oracle.double(content) for w, content in terms)
        if np.any(_lost(total, dtype)):
            return
        oracle.assert_terms(y, terms, expected.slack)


def _lost(total: Any, dtype: np.dtype) -> np.ndarray:
    """Return where the value cannot be represented in this dtype by JAX."""
    if dtype == E8M0:
        return total <= 0
    if "fnuz" not in dtype.name:
        return np.zeros(())
    # With the tests' fast compilation, XLA turns values that round to -0 into NaN.
    return (-float(jnp.finfo(dtype).smallest_subnormal) < total) & (total < 0)


def largest(terms: Terms) -> np.ndarray:
    """Return the largest value among contents with a nonzero weight."""
    own = terms[0][1]
    if own.dtype == np.bool_:
        return oracle.seen(terms)
    seen = [np.where(w != 0, oracle.double(x), -np.inf) for w, x in terms]
    return np.max(np.broadcast_arrays(*seen), axis=0).astype(own.dtype)


def last(half: str, n: np.ndarray, mix: mx.Mix, expected: Expected) -> np.ndarray:
    """Return the last position at which anything is visible, plus 1."""
    grid = mix.region.grid
    if grid is None:
        return largest(terms_of(expected, half, "Lengths", n))
    place = np.arange(grid.sizes[0]).reshape(-1, *[1] * (len(grid.sizes) - 1))
    there = np.ones((len(n), *grid.sizes), bool)
    held = there & (place < n.reshape(-1, *[1] * len(grid.sizes)))
    seen = oracle.seen(terms_of(expected, half, "Lengths", held))
    return np.where(seen, place + 1, 0).reshape(len(n), -1).max(axis=1).astype(n.dtype)


def has_slope(x: Any) -> bool:
    """Return whether the fuzzer takes a gradient with respect to this leaf."""
    inexact = jnp.issubdtype(x.dtype, jnp.inexact)
    return bool(inexact and x.dtype != E8M0)


def weight_of(x: Any) -> np.ndarray:
    """Return the factors for the entries of a leaf in ``weighed``."""
    count = int(np.prod(x.shape))
    return (1 + np.arange(count, dtype=np.float32) % 3).reshape(x.shape)


def weighed(mixed: Any) -> jax.Array:
    """Return a weighted sum of all leaves that have a gradient."""
    total = jnp.float32(0)
    for rule, leaf in (*parts(mixed[0]), *parts(mixed[1])):
        if rule in ("plain", "Maps") and has_slope(leaf):
            real = jnp.real(jnp.asarray(leaf)).astype(jnp.float32)
            total = total + jnp.sum(weight_of(leaf) * real)
    return total


def assert_slopes(run: Run, expected: Expected) -> None:
    """Assert that gradients flow to where content came from, scaled by its weight."""
    for half, given, slopes in zip(("inputs", "targets"), run.batch, run.slopes):
        found = [slope for _, slope in parts(slopes)]
        asked = [
            (rule, np.asarray(x))
            for rule, x in parts(given)
            if rule in ("plain", "Maps") and has_slope(x)
        ]
        assert len(found) == len(asked)
        for (rule, x), slope in zip(asked, found):
            assert slope.shape == x.shape
            dtype = jax.dtypes.canonicalize_dtype(x.dtype)
            assert slope.dtype == dtype
            place = np.arange(x.size).reshape(x.shape)
            terms = terms_of(expected, half, rule, place)
            if half == "targets" and not run.mix.mixes_targets:
                terms = [(np.ones(1), place)]
            want, size = np.zeros(x.size), np.zeros(x.size)
            for w, source in terms:
                each = np.broadcast_to(w, x.shape) * weight_of(x)
                np.add.at(want, source.ravel(), each.ravel())
                np.add.at(size, source.ravel(), np.abs(each).ravel())
            info = jnp.finfo(dtype)
            many = x.shape[0] * len(terms)
            bound = (many + 2) * float(info.eps) * size + float(info.tiny)
            bound += many * 3 * expected.slack
            error = np.abs(oracle.double(slope).ravel() - want)
            assert (error <= bound).all(), (half, rule, error.max())
