"""The painter's rule in NumPy float64: each source is seen behind those before it.

mixed_k = w_k * front_k + (1 - w_k) * mixed_{k+1},  the last is the last front
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

EPS = 2.0**-23  # of float32, the dtype of weights, in which narrower dtypes are blended


def double(x: Any) -> np.ndarray:
    """Return ``x`` in float64 or complex128."""
    x = np.asarray(x)
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def column(w: Any, ndim: int) -> np.ndarray:
    """Return ``w [B]`` in float64, reshaped to ``ndim`` axes."""
    return double(w).reshape(-1, *[1] * (ndim - 1))


def painted(fronts: Sequence[Any], weights: Sequence[Any]) -> np.ndarray:
    """Return the mixture of ``fronts``, given a weight for all but the last."""
    seen = double(fronts[-1])
    for front, w in zip(reversed(fronts[:-1]), reversed(weights)):
        w, front = np.broadcast_to(w, seen.shape), double(front)
        with np.errstate(invalid="ignore"):  # inf * 0 where a weight is 0
            inner = w * front + (1 - w) * seen
        seen = np.where(w == 1, front, np.where(w == 0, seen, inner))
    return seen


def shares(weights: Sequence[Any]) -> list[np.ndarray]:
    """Return the total weight of each front, the example's own first."""
    found, left = [], 1.0
    for w in weights:
        found.append(left * double(w))
        left = left * (1 - double(w))
    return [*found, np.asarray(left)]


def assert_painted(
    got: Any, fronts: Sequence[Any], weights: Sequence[Any], gain: Any = 1.0
) -> None:
    """Assert that ``got`` is the mixture in the dtype of the fronts, rounded once.

    Exact where every weight is 0 or 1 and the gain is 1. Elsewhere the tolerance is one
    rounding to the dtype, half a unit in the last place, plus the float32 roundings of
    the intermediate products and sums, one each.
    """
    got, own = np.asarray(got), np.asarray(fronts[0])
    assert got.dtype == own.dtype
    assert got.shape == own.shape
    gain = np.broadcast_to(gain, own.shape)
    want = gain * painted(fronts, weights)
    exact = gain == 1
    for w in weights:
        exact = exact & np.isin(np.broadcast_to(w, own.shape), [0, 1])
    np.testing.assert_array_equal(double(got)[exact], want[exact])
    if not jnp.issubdtype(own.dtype, jnp.inexact):
        assert exact.all()
        return
    size = gain * painted([np.abs(double(x)) for x in fronts], weights)
    info = jnp.finfo(own.dtype)
    bound = 0.5 * float(info.eps) * np.abs(want) + 4 * len(fronts) * EPS * size
    error = np.abs(double(got) - want)[~exact]
    bound = bound[~exact] + float(info.smallest_subnormal)
    assert (error <= bound).all(), (error / bound).max()
