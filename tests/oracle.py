"""The one equation in NumPy float64, and the batches that it is checked on."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from mixup_jax import regions
from tests.methods import Method

HEIGHT, WIDTH, CLASSES = 6, 5, 3


def batch(method: Method, size: int, seed: int = 0) -> tuple[Any, Any]:
    """Return a batch with leaves of every dtype that the method takes, some of NumPy.

    Magnitudes differ from example to example, so that a weight which was rounded too
    early shows. Class 2 has a single example among the first eight.
    """
    rng = np.random.default_rng(seed)
    scale = 10 ** rng.uniform(-2, 2, size)

    def normal(*shape):
        return (rng.normal(size=(size, *shape)).T * scale).T.astype(np.float32)

    image, plane = (HEIGHT, WIDTH, 3), (HEIGHT, WIDTH)
    inputs: dict[str, Any] = {
        "x": jnp.asarray(normal(*image)),
        "half": (
            jnp.asarray(normal(*plane, 2)).astype(jnp.bfloat16),
            normal(*plane).astype(np.float16),
        ),
        "wave": [(normal(*plane, 1) + 1j * normal(*plane, 1)).astype(np.complex64)],
    }
    if method.pastes:
        inputs["byte"] = jnp.asarray(rng.integers(0, 256, (size, *image)), jnp.uint8)
        inputs["id"] = rng.integers(-(2**31), 2**31, (size, *plane)).astype(np.int32)
        inputs["mask"] = jnp.asarray(rng.integers(0, 2, (size, *plane, 1)), bool)
    label = np.asarray([0, 1, 0, 2, 1, 0, 1, 0] * size)[:size]
    one_hot = np.eye(CLASSES, dtype=np.float32)[label]
    if method.classes:
        return inputs, one_hot
    soft = np.asarray(rng.dirichlet(np.ones(CLASSES), size), np.float32)
    targets = {
        "label": one_hot,
        "soft": (jnp.asarray(soft), jnp.asarray(soft).astype(jnp.bfloat16)),
        "value": normal(),
    }
    return inputs, targets


def images(size: int, seed: int = 0) -> tuple[Any, Any]:
    """Return a light batch for programs that are compiled often."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, HEIGHT, WIDTH, 2)).astype(np.float32)
    return x, np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, size)]


def double(x: Any) -> np.ndarray:
    """Return ``x`` in float64 or complex128."""
    x = np.asarray(x)
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def column(w: Any, x: Any) -> np.ndarray:
    """Return ``w [B]`` with axes of size 1, to go with ``x``."""
    return double(w).reshape(-1, *[1] * (np.ndim(x) - 1))


def field(source: Any, x: Any) -> np.ndarray:
    """Return the weight of the own content at every position of ``x``, float64."""
    return _field(source.region, source.lam, x)


def _field(region: Any, lam: Any, x: Any) -> np.ndarray:
    shape = np.shape(x)
    if isinstance(region, regions.Everywhere):
        return np.broadcast_to(column(lam, x), shape)
    if isinstance(region, regions.Untouched):
        return np.ones(shape)
    if isinstance(region, regions.Chosen):
        fields = [_field(r, lam, x) for r in region.regions]
        return np.stack([fields[k][i] for i, k in enumerate(np.asarray(region.index))])
    if isinstance(region, regions.Layer):
        here = np.asarray(region.drawn) == region.here
        return np.broadcast_to(column(np.where(here, lam, 1), x), shape)
    assert isinstance(region, regions.Box | regions.Field)
    axes = region.grid.axes
    if len(shape) != region.grid.ndim:
        axes = range(1, 1 + len(axes))
    if isinstance(region, regions.Field):
        sizes = [n if axis in (0, *axes) else 1 for axis, n in enumerate(shape)]
        own = np.asarray(region.own).reshape(sizes) | (column(lam, x) == 1)
        return np.broadcast_to(own, shape).astype(np.float64)
    w = np.ones(shape)
    for i in range(shape[0]):
        if np.asarray(lam)[i] < 1:
            inside: list[Any] = [slice(None)] * len(shape)
            for s, axis in enumerate(axes):
                inside[axis] = slice(int(region.start[i, s]), int(region.stop[i, s]))
            w[(i, *inside[1:])] = 0
    return w


def assert_mixed(got: Any, w: np.ndarray, x: Any, partner: Any) -> None:
    """Assert that ``got`` is ``w x + (1 - w) x[partner]``.

    Exactly, where a weight is 0 or 1. Elsewhere each of the weights, products and sums
    may be rounded once: two units in the last place of the two terms, and the smallest
    number of the dtype.
    """
    got, own = np.asarray(got), np.asarray(x)
    other = own[np.asarray(partner)]
    assert got.dtype == own.dtype
    assert got.shape == own.shape
    w = np.broadcast_to(w, own.shape)
    np.testing.assert_array_equal(got[w == 1], own[w == 1])
    np.testing.assert_array_equal(got[w == 0], other[w == 0])
    if own.dtype.kind not in "fcV" and jnp.issubdtype(own.dtype, jnp.integer):
        assert np.isin(w, [0, 1]).all()
        return
    if own.dtype == np.bool_:
        assert np.isin(w, [0, 1]).all()
        return
    mine, theirs = w * double(own), (1 - w) * double(other)
    info = jnp.finfo(own.dtype)
    bound = 2 * float(info.eps) * (np.abs(mine) + np.abs(theirs))
    error = np.abs(double(got) - (mine + theirs))
    assert (error <= bound + float(info.smallest_subnormal)).all(), error.max()


def assert_equal(got: Any, want: Any) -> None:
    """Assert that two pytrees are the same, bit for bit."""
    chex.assert_trees_all_equal(got, want, strict=True)


def assert_close(got: Any, want: Any, relative: float = 1e-6) -> None:
    """Assert that two pytrees agree to ``relative`` of their largest value.

    Compilers fuse multiplications with additions, differently in every program, and
    that moves the last bit. Half precision has fewer bits, so its last one is larger.
    """
    got, want = (jax.tree.map(np.asarray, tree) for tree in (got, want))
    chex.assert_trees_all_equal_shapes_and_dtypes(got, want)
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
        if not jnp.issubdtype(w.dtype, jnp.inexact):
            np.testing.assert_array_equal(g, w)
            continue
        rtol = max(relative, float(jnp.finfo(w.dtype).eps))
        scale = np.max(np.abs(double(w)), initial=0)
        np.testing.assert_allclose(double(g), double(w), rtol=rtol, atol=rtol * scale)
