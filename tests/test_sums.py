"""Means over micro-batches and devices, in narrow dtypes, against float64."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mixup_jax as mx

DEVICES = 8
FEATURES = 3
EXPLICIT = jax.sharding.AxisType.Explicit
AUTO = jax.sharding.AxisType.Auto


def mesh(kind: Any) -> jax.sharding.Mesh:
    return jax.make_mesh((DEVICES,), ("data",), (kind,))


DRIVERS = {
    "jit": jax.jit,
    "pmap": mx.training.pmapped,
    "auto": lambda step: mx.training.sharded(step, mesh(AUTO)),
    "explicit": lambda step: mx.training.sharded(step, mesh(EXPLICIT)),
}


def linear(params, batch, mix):
    """Return a loss whose gradient is the examples' mean, and the mean as a metric."""
    x, _ = batch
    return jnp.mean(jnp.sum(x * params[None], axis=1)), {"mean": jnp.mean(x, axis=0)}


def descended(step: Any, x: np.ndarray) -> tuple[Any, Any]:
    """Return the gradient that a step applies, and its metrics."""
    state = mx.training.TrainState.create(jnp.zeros(FEATURES, x.dtype), optax.sgd(1.0))
    state, metrics = step(state, jax.random.key(0), (jnp.asarray(x), None))
    assert state.params.dtype == x.dtype
    return -np.asarray(state.params, np.float64), metrics


def examples(size: int, dtype: Any, around: float) -> np.ndarray:
    spread = np.random.default_rng(0).uniform(0.9, 1.1, (size, FEATURES))
    return np.asarray(jnp.asarray(around * spread, dtype))


def assert_rounded_once(found: Any, expected: np.ndarray, roundings: int = 1) -> None:
    # 1e-5 is for the float32 sums, whose error is far below that of a narrow dtype.
    dtype = found.dtype if hasattr(found, "dtype") else jnp.float32
    bound = roundings * float(jnp.finfo(dtype).eps) / 2 + 1e-5
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, rtol=bound)


@pytest.mark.parametrize(("driver", "parts"), [("jit", 512), ("jit", 3), ("pmap", 96)])
@pytest.mark.parametrize(
    ("dtype", "around"), [("bfloat16", 1.0), ("float16", 300.0), ("float32", 1e-3)]
)
def test_micro_batches_of_one_example(dtype, around, driver, parts):
    # So each gradient is an example, and known exactly.
    x = examples(parts * (1 if driver == "jit" else DEVICES), dtype, around)
    step = mx.training.train_step(linear, mx.erm, micro_batches=parts)
    gradient, metrics = descended(DRIVERS[driver](step), x)
    expected = x.astype(np.float64).mean(axis=0)
    assert_rounded_once(gradient.astype(dtype), expected)
    assert metrics["mean"].dtype == dtype
    assert_rounded_once(metrics["mean"], expected)


@pytest.mark.parametrize("driver", ["pmap", "auto", "explicit"])
@pytest.mark.parametrize(("dtype", "around"), [("bfloat16", 1.0), ("float16", 30_000)])
@pytest.mark.parametrize("parts", [1, 16])
def test_devices_are_averaged_as_one_would(dtype, around, driver, parts):
    x = examples(parts * DEVICES, dtype, around)
    step = mx.training.train_step(linear, mx.erm, micro_batches=parts)
    gradient, metrics = descended(DRIVERS[driver](step), x)
    expected = x.astype(np.float64).mean(axis=0)
    # Over a mesh, the program itself sums within a micro-batch, in the narrow dtype.
    inner = 1 if driver == "pmap" else DEVICES
    assert_rounded_once(gradient.astype(dtype), expected, roundings=1 + inner)
    assert_rounded_once(metrics["mean"], expected, roundings=2)


@pytest.mark.parametrize("parts", [1, 64])
def test_float64_stays_float64(parts):
    with jax.enable_x64(True):
        x = examples(64, "float64", 1 / 3)
        step = mx.training.train_step(linear, mx.erm, micro_batches=parts)
        gradient, _ = descended(jax.jit(step), x)
    np.testing.assert_allclose(gradient, x.mean(axis=0), rtol=1e-14)


def test_state_that_a_loss_changes_is_averaged_in_float32():
    @mx.training.stateful
    def loss(params, batch, mix, state, key):
        value, _ = linear(params, batch, mix)
        return value, ({}, {"model_state": jnp.mean(batch[0], axis=0)})

    x = examples(DEVICES, "float16", 30_000)
    state = mx.training.TrainState.create(
        jnp.zeros(FEATURES, x.dtype),
        optax.sgd(1.0),
        model_state=jnp.zeros(FEATURES, x.dtype),
    )
    run = mx.training.pmapped(mx.training.train_step(loss, mx.erm))
    state, _ = run(state, jax.random.key(0), (jnp.asarray(x), None))
    assert state.model_state.dtype == x.dtype
    assert_rounded_once(state.model_state, x.astype(np.float64).mean(axis=0))


def test_whole_numbers_and_flags_among_the_metrics():
    def loss(params, batch, mix):
        value, _ = linear(params, batch, mix)
        first = batch[0][0, 0]
        return value, {"count": jnp.int32(3), "above": first > 1.0}

    x = np.linspace(0, 2, 4 * FEATURES, dtype=np.float32).reshape(4, FEATURES)
    step = partial(mx.training.train_step, loss, mx.erm)
    _, metrics = descended(jax.jit(step(micro_batches=4)), x)
    assert float(metrics["count"]) == 3
    assert float(metrics["above"]) == 0.5


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("parts", [1, 2])
def test_python_numbers_among_metrics_and_changes(driver, parts):
    @mx.training.stateful
    def loss(params, batch, mix, state, key):
        value, _ = linear(params, batch, mix)
        return value, ({"rate": 0.5, "count": 3}, {"model_state": 0.25})

    x = np.ones((2 * DEVICES, FEATURES), np.float32)
    params = jnp.zeros(FEATURES)
    state = mx.training.TrainState.create(params, optax.sgd(1.0), model_state=0.0)
    run = DRIVERS[driver](mx.training.train_step(loss, mx.erm, micro_batches=parts))
    state, metrics = run(state, jax.random.key(0), (x, None))
    assert [float(metrics[name]) for name in ("rate", "count")] == [0.5, 3]
    assert float(state.model_state) == 0.25


@pytest.mark.parametrize("count", [np.int8(100), np.uint8(200), np.int32(10**9)])
def test_whole_numbers_do_not_wrap_over_devices(count):
    def loss(params, batch, mix):
        value, _ = linear(params, batch, mix)
        return value, {"count": jnp.asarray(count)}

    x = np.ones((DEVICES, FEATURES), np.float32)
    _, metrics = descended(DRIVERS["pmap"](mx.training.train_step(loss, mx.erm)), x)
    np.testing.assert_allclose(metrics["count"], float(count), rtol=1e-6)


@pytest.mark.parametrize("parts", [1, 2])
def test_changed_state_keeps_its_dtype(parts):
    traces = []

    @mx.training.stateful
    def loss(params, batch, mix, state, key):
        traces.append(1)
        value, _ = linear(params, batch, mix)
        mean = state.model_state.astype(jnp.float32) + jnp.mean(batch[0], axis=0)
        return value, ({}, {"model_state": mean})

    state = mx.training.TrainState.create(
        jnp.zeros(FEATURES), optax.sgd(1.0), model_state=jnp.zeros(FEATURES, "bfloat16")
    )
    step = jax.jit(mx.training.train_step(loss, mx.erm, micro_batches=parts))
    for k in range(2):
        x = np.ones((4, FEATURES), np.float32)
        state, _ = step(state, jax.random.key(0), (x, None))
        assert state.model_state.dtype == jnp.bfloat16
        np.testing.assert_array_equal(state.model_state, np.float32((k + 1) * parts))
    assert len(traces) == 1
