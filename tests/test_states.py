"""States and losses that a train step refuses or fixes; its advice works."""

import dataclasses
import functools
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import flax.core
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from flax.training import train_state

import mixup_jax as mx
from mixup_jax.training import _donation
from tests import donation

ROOT = Path(__file__).parents[1]
create = partial(mx.training.TrainState.create, tx=optax.sgd(0.1))
X, Y = jnp.ones((8, 3)), jnp.ones((8, 2))


class Net(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(3, 2, rngs=rngs)
        self.norm = nnx.BatchNorm(2, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.norm(self.dense(x)))


class LinenNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=False)(nn.Dense(2)(x))


def linen_variables() -> Any:
    return LinenNet().init(jax.random.key(0), X)


def module_like() -> dict[str, Any]:
    """Return leaves like those of an Equinox model, which include its functions."""
    return {"weight": jnp.ones(3), "activation": jax.nn.relu}


# Trainable leaves.

UNTRAINED = {
    "an NNX model with statistics": (
        lambda: nnx.split(nnx.BatchNorm(2, rngs=nnx.Rngs(0)))[1],
        ["params['mean']", "nnx.BatchStat", "nnx.split(model, nnx.Param, ...)"],
    ),
    "an NNX model with dropout": (
        lambda: nnx.split(nnx.Dropout(0.5, rngs=nnx.Rngs(0)))[1],
        ["params['rngs']['count']", "nnx.RngCount", "model_state", "stateful"],
    ),
    "an NNX model in a dict": (
        lambda: {"net": nnx.split(Net(nnx.Rngs(0)))[1]},
        ["params['net']['dropout']['rngs']", "nnx.Rng", "nnx.split"],
    ),
    "the variables of a Linen model": (
        linen_variables,
        ["params['batch_stats']['BatchNorm_0']", "flax.core.pop(variables", "stateful"],
    ),
    "frozen variables, nested": (
        lambda: {"a": jnp.ones(1), "b": flax.core.freeze(linen_variables())},
        ["params['b']['batch_stats']", "Linen's collection 'batch_stats'"],
    ),
    "a cache beside parameters": (
        lambda: {"params": {"w": jnp.ones(1)}, "cache": {"k": jnp.ones(1)}},
        ["params['cache']['k']", "Linen's collection 'cache'"],
    ),
    "a typed key": (
        lambda: {"w": jnp.ones(1), "key": jax.random.key(0)},
        ["params['key']", "key<fry>[]", "Leave keys, counts", "model_state"],
    ),
    "a raw key": (
        lambda: {"w": jnp.ones(1), "key": jax.random.PRNGKey(0)},
        ["params['key']", "uint32[2]", "model_state"],
    ),
    "a count": (
        lambda: [jnp.ones(1), jnp.int32(3)],
        ["params[1]", "int32[]", "model_state"],
    ),
    "a Python count": (lambda: {"n": 3}, ["params['n']", "got 3 (int)"]),
    "a flag of NumPy": (
        lambda: {"w": np.ones(1), "frozen": np.ones(1, bool)},
        ["params['frozen']", "bool[1]"],
    ),
    "the functions of a model": (
        module_like,
        ["params['activation']", "eqx.partition(model, eqx.is_inexact_array)"],
    ),
    "text": (lambda: {"w": jnp.ones(1), "name": "net"}, ["params['name']", "'net'"]),
}


@pytest.mark.parametrize("where", ["created", "in a step"])
@pytest.mark.parametrize("name", UNTRAINED)
def test_what_is_not_trained_is_no_parameter(name, where):
    params_of, said = UNTRAINED[name]

    def call():
        if where == "created":
            return create(params_of())
        step = mx.training.train_step(lambda params, batch, mix: (0.0, {}), mx.erm)
        state = create({}).replace(params=params_of())
        return step(state, jax.random.key(0), (X, Y))

    with pytest.raises(TypeError) as caught:
        call()
    message = str(caught.value)
    assert [part for part in said if part not in message] == [], message
    assert "expected trainable parameters" in message


def advised_nnx() -> Any:
    graph, params, rest = nnx.split(Net(nnx.Rngs(0)), nnx.Param, ...)

    @mx.training.stateful
    def loss(params, batch, mix, state, key):
        model = nnx.merge(graph, params, state.model_state, copy=True)
        value = jnp.mean((model(batch[0]) - batch[1]) ** 2)
        rest = nnx.state(model, nnx.Not(nnx.Param))
        return value, ({}, {"model_state": rest})

    return loss, create(params, model_state=rest)


def advised_linen() -> Any:
    rest, params = flax.core.pop(linen_variables(), "params")

    @mx.training.stateful
    def loss(params, batch, mix, state, key):
        variables = {"params": params, **state.model_state}
        out, rest = LinenNet().apply(variables, batch[0], mutable=["batch_stats"])
        return jnp.mean((out - batch[1]) ** 2), ({}, {"model_state": rest})

    return loss, create(params, model_state=rest)


def advised_key_and_count() -> Any:
    @mx.training.stateful
    def loss(params, batch, mix, state, key):
        model_state = {**state.model_state, "count": state.model_state["count"] + 1}
        value = jnp.mean(batch[0] @ params["w"])
        return value, ({}, {"model_state": model_state})

    rest = {"key": jax.random.key(0), "count": jnp.int32(3)}
    return loss, create({"w": jnp.ones(3)}, model_state=rest)


def advised_module() -> Any:
    def inexact(leaf):  # equinox.is_inexact_array
        return leaf if isinstance(leaf, jax.Array) else None

    model = module_like()
    params = jax.tree.map(inexact, model)

    def loss(params, batch, mix):
        return jnp.mean(model["activation"](batch[0] @ params["weight"])), {}

    return loss, create(params)


@pytest.mark.parametrize(
    "advised", [advised_nnx, advised_linen, advised_key_and_count, advised_module]
)
def test_the_advice_about_params_works(advised):
    loss, state = advised()
    step = jax.jit(mx.training.train_step(loss, mx.mixup))
    once, _ = step(state, jax.random.key(0), (X, Y))
    twice, metrics = step(once, jax.random.key(0), (X, Y))
    assert np.isfinite(metrics["loss"])
    for before, after in ((state, once), (once, twice)):
        changed = jax.tree.map(
            lambda a, b: bool(np.any(a != b)), before.params, after.params
        )
        assert any(jax.tree.leaves(changed))
    if state.model_state is not None:
        first, last = (
            [leaf for leaf in jax.tree.leaves(s.model_state) if leaf.dtype != "uint32"]
            for s in (state, twice)
        )
        assert any(bool(jnp.any(a != b)) for a, b in zip(first, last))


def test_parameters_of_any_kind_are_taken():
    class Own(nnx.Variable):
        pass

    trees = [
        {"w": 1.5, "c": np.ones(2, np.complex64), "none": None},
        {"params": {"cache": {"kernel": jnp.ones(2)}}},  # a module of that name
        {"w": Own(jnp.ones(2)), "v": nnx.Param(jnp.ones(2, jnp.bfloat16))},
        nnx.split(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))[1],
        nnx.split(nnx.LoRA(3, 1, 2, rngs=nnx.Rngs(0)))[1],
        flax.core.freeze(linen_variables()["params"]),
        (),
    ]
    for tree in trees:
        state = create(tree)
        assert jax.tree.structure(state.params) == jax.tree.structure(tree)


# Losses.


def pair(params, batch, mix):
    return jnp.mean(batch[0] @ params), {}


def of_five(params, batch, mix, state, key): ...


LOSSES = {
    "text": (
        lambda: "loss",
        TypeError,
        ["loss: expected a function", "got 'loss'", "params, batch, mix"],
    ),
    "two arguments": (
        lambda: lambda params, batch: 0,
        TypeError,
        ["three arguments", "got <lambda>(params, batch)", "the mix as the third"],
    ),
    "stateful, unmarked": (
        lambda: lambda params, batch, mix, state, key: 0,
        TypeError,
        ["three arguments", "(params, batch, mix, state, key)", "stateful(loss)"],
    ),
    "an option without a default": (
        lambda: partial(lambda params, batch, mix, *, train: 0),
        TypeError,
        ["three arguments", "train", "third argument"],
    ),
    "stateful of three": (
        lambda: mx.training.stateful(lambda params, batch, mix: 0),  # type: ignore
        TypeError,
        ["stateful: expected a loss of five", "(params, batch, mix)", "Accept all"],
    ),
    "stateful twice": (
        lambda: mx.training.stateful(mx.training.stateful(of_five)),  # type: ignore
        TypeError,
        ["stateful: loss: expected an unmarked", "training.stateful(", "only once"],
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_that_can_be_told_are_refused_when_the_step_is_built(name):
    of, exception, said = LOSSES[name]
    with pytest.raises(exception) as caught:
        mx.training.train_step(of(), mx.mixup)
    assert [part for part in said if part not in str(caught.value)] == [], caught.value


def stateful(result: Any) -> Any:
    return mx.training.stateful(lambda params, batch, mix, state, key: result(params))


RESULTS = {
    "a scalar": (
        lambda params, batch, mix: jnp.mean(batch[0] @ params),
        ValueError,
        ["loss: expected (value, metrics)", "got array float32[]", "(value, {})"],
    ),
    "a value for each example": (
        lambda params, batch, mix: (batch[0] @ params, {}),
        ValueError,
        ["loss: expected one value", "float32[8]", "jnp.mean"],
    ),
    "a value with an axis": (
        lambda params, batch, mix: (jnp.mean(batch[0] @ params, keepdims=True), {}),
        ValueError,
        ["loss: expected one value", "float32[1]"],
    ),
    "a count": (
        lambda params, batch, mix: (jnp.int32(1), {}),
        TypeError,
        ["loss: expected a floating-point value", "int32[]", "minimize"],
    ),
    "changes without a mark": (
        lambda params, batch, mix: (jnp.mean(batch[0] @ params), ({}, {})),
        ValueError,
        ["metrics: expected a dict", "got a tuple", "stateful"],
    ),
    "stateful, with a pair": (
        stateful(lambda params: (jnp.sum(params), {})),
        ValueError,
        ["(value, (metrics, changes))", "got a dict", "({}, {})"],
    ),
    "stateful, for each example": (
        stateful(lambda params: (params, ({}, {}))),
        ValueError,
        ["loss: expected one value", "float32[3]"],
    ),
    "changes without names": (
        stateful(lambda params: (jnp.sum(params), ({}, params))),
        ValueError,
        ["changes: expected a dict", "float32[3]", '{"model_state": ...}'],
    ),
    "changes of what is not there": (
        stateful(lambda params: (jnp.sum(params), ({}, {"batch_stat": params}))),
        ValueError,
        ["changes: expected names of fields", "['batch_stat']", "model_state"],
    ),
}


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("name", RESULTS)
def test_what_losses_return_is_looked_at(name, parts):
    loss, exception, said = RESULTS[name]
    step = jax.jit(mx.training.train_step(loss, mx.erm, micro_batches=parts))
    if parts == 2:
        said = [part.replace("[8]", "[4]") for part in said]
    with pytest.raises(exception) as caught:
        step(create(jnp.ones(3)), jax.random.key(0), (X, Y))
    assert [part for part in said if part not in str(caught.value)] == [], caught.value


def test_the_advice_about_losses_works():
    key, state = jax.random.key(0), create(jnp.ones(3))
    for loss in (
        pair,
        lambda params, batch, mix: (jnp.mean(batch[0] @ params), {}),
        lambda params, batch, *mix: (jnp.mean(batch[0] @ params), {}),
        lambda params, batch, mix, train=True: (jnp.mean(batch[0] @ params), {}),
        partial(lambda train, p, b, m: (jnp.mean(b[0] @ p), {}), True),
        jax.jit(pair),
        stateful(lambda params: (jnp.sum(params), ({}, {"model_state": params}))),
    ):
        step = jax.jit(mx.training.train_step(loss, mx.mixup))
        after, _ = step(state, key, (X, Y))
        assert bool(jnp.all(after.params != state.params))


def test_a_loss_that_wraps_another_is_judged_by_what_is_called():
    def with_scale(function):
        @functools.wraps(function)
        def loss(params, batch, mix):
            return function(2.0, params, batch, mix)

        return loss

    @with_scale
    def scaled(scale, params, batch, mix):
        return scale * jnp.mean(batch[0] @ params), {}

    step = mx.training.train_step(scaled, mx.erm)  # type: ignore[arg-type]
    _, metrics = step(create(jnp.ones(3)), jax.random.key(0), (X, Y))
    assert float(metrics["loss"]) == 6


@pytest.mark.parametrize("value", [{"loss": 1.0}, (1.0, {}), "1", None])
def test_values_that_are_no_numbers(value):
    step = mx.training.train_step(lambda params, batch, mix: (value, {}), mx.erm)
    with pytest.raises(ValueError, match="loss: expected one value"):
        step(create(jnp.ones(3)), jax.random.key(0), (X, Y))


@pytest.mark.parametrize("parts", [2.0, "2", None])
def test_parts_that_are_no_count(parts):
    with pytest.raises(TypeError, match="micro_batches: expected an integer"):
        mx.training.train_step(pair, mx.mixup, micro_batches=parts)


def test_parameters_named_as_statistics_are_trained():
    state = create({"batch_stats": nnx.Param(jnp.ones(2))})
    assert len(jax.tree.leaves(state.params)) == 1


def test_a_state_without_replace():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Bare:
        params: Any
        step: Any
        statistics: Any

        def apply_gradients(self, *, grads):
            return Bare(self.params - grads, self.step + 1, self.statistics)

    changing = mx.training.stateful(
        lambda params, batch, mix, state, key: (
            jnp.sum(params),
            ({}, {"statistics": jnp.ones(1)}),
        )
    )
    state = Bare(jnp.ones(3), jnp.int32(0), jnp.zeros(1))
    step = mx.training.train_step(changing, mx.erm)
    with pytest.raises(TypeError, match=r"with replace.*'statistics'.*Bare\. Derive"):
        step(state, jax.random.key(0), (X, Y))
    state, _ = mx.training.train_step(pair, mx.erm)(state, jax.random.key(0), (X, Y))
    np.testing.assert_allclose(state.params, jnp.zeros(3))


def test_statistics_among_the_parameters_of_linens_own_state():
    state = train_state.TrainState.create(
        apply_fn=LinenNet().apply, params=linen_variables(), tx=optax.sgd(0.1)
    )
    step = mx.training.train_step(lambda params, batch, mix: (0.0, {}), mx.erm)
    with pytest.raises(TypeError, match="Linen's collection 'batch_stats'"):
        jax.eval_shape(step, state, jax.random.key(0), (X, Y))


# Drivers.


@pytest.mark.parametrize("driver", ["pmapped", "sharded"])
def test_a_driver_is_given_a_step(driver):
    drive = donation.DRIVERS[driver]
    with pytest.raises(TypeError, match=rf"{driver}: step: expected a function"):
        drive("step")
    if driver == "pmapped":
        with pytest.raises(TypeError, match=r"place.*\(state, key, batch\)\. Pass"):
            drive(lambda state, key, batch: (state, {}))


@pytest.mark.parametrize("driver", donation.DRIVERS)
def test_a_buffer_twice_in_a_state_and_one_that_is_gone(driver):
    # In a separate process, since XLA used to abort it.
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.donation", driver],
        cwd=ROOT,
        env=environment | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    *names, words, again, end = done.stdout.splitlines()
    later = ["doubled later", "the key, always"]
    later += ["the key of the state", "the batch of the state"]
    assert names == [*donation.cases(), *later]
    for said in (words, again):
        assert "expected an array that still holds its values; got one that" in said
        assert "jax.tree.map(jax.numpy.copy, state)" in said
    assert end == "end"


@pytest.mark.parametrize("driver", donation.DRIVERS)
def test_buffers_are_looked_at_when_a_state_arrives(driver, monkeypatch):
    looks = []
    each_once = _donation._each_once

    def counted(leaves, beside):
        looks.append(len(leaves))
        return each_once(leaves, beside)

    monkeypatch.setattr(_donation, "_each_once", counted)
    run = donation.DRIVERS[driver](mx.training.train_step(pair, mx.erm))
    state = create(jnp.ones(3))
    for _ in range(3):
        state, _ = run(state, jax.random.key(0), (X, Y))
    # Later leaves are not fresh, and none is as large as the key or the batch.
    assert looks == [2, 0, 0]
    state, _ = run(state.replace(params=state.params + 1), jax.random.key(0), (X, Y))
    assert looks[3:] == [1]


@pytest.mark.parametrize("driver", donation.DRIVERS)
def test_ids_that_a_driver_would_wrap(driver):
    # Without 64-bit types JAX would truncate them to 32 bits: labels of other classes.
    def loss(params, batch, mix):
        label = batch["label"].astype(jnp.float32)
        return jnp.mean(batch["x"] @ params), {"square": jnp.mean(label**2)}

    mixer = mx.on_keys(mx.erm, inputs="x")
    run = donation.DRIVERS[driver](mx.training.train_step(loss, mixer))
    ids = np.arange(8) % 4 + 2**32
    with pytest.raises(ValueError, match=r"batch\['label'\]: .* got 4294967296\. Numb"):
        run(create(jnp.ones(3)), jax.random.key(0), {"x": X, "label": ids})
    numbered = np.unique(ids, return_inverse=True)[1]
    assert numbered.dtype == np.int64
    batch = {"x": X, "label": numbered}
    _, metrics = run(create(jnp.ones(3)), jax.random.key(0), batch)
    assert float(metrics["square"]) == np.mean(np.arange(4) ** 2)
