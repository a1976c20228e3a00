"""The train step, against hand-written loops, and its drivers against each other."""

import re
from functools import partial
from typing import Any

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from flax.training import train_state
from sklearn.datasets import load_digits

import mixup_jax as mx

DEVICES = 8
SIZE = 32
CLASSES = 10
RATE = 0.5

entropy = mx.losses.termwise(optax.losses.softmax_cross_entropy_with_integer_labels)
mixup = partial(mx.mixup, alpha=1.0)


def digits(size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    found: Any = load_digits(return_X_y=True)
    images, labels = found
    return (images[:size] / 16).astype(np.float32), labels[:size].astype(np.int32)


def soft_batch() -> tuple[np.ndarray, np.ndarray]:
    images, labels = digits()
    return images, np.eye(CLASSES, dtype=np.float32)[labels]


def dict_batch() -> dict[str, np.ndarray]:
    images, labels = digits()
    return {"image": images, "original": images, "label": labels}


def new_state(tx: optax.GradientTransformation | None = None) -> Any:
    weights = jax.random.normal(jax.random.key(1), (64, CLASSES)) * 0.1
    return mx.training.TrainState.create({"w": weights}, tx or optax.sgd(RATE))


def soft_loss(params, batch, mix):
    images, targets = batch
    losses = optax.losses.softmax_cross_entropy(images @ params["w"], targets)
    return jnp.mean(losses), {"lam": mix.lam, "partner": mix.partner}


def label_loss(params, batch, mix):
    losses = entropy(batch["image"] @ params["w"], batch["label"], mix)
    changed = jnp.any(batch["image"] != batch["original"])
    return jnp.mean(losses), {"changed": changed.astype(jnp.float32)}


def gradient_by_hand(w, images, targets) -> np.ndarray:
    """Return the gradient of softmax regression's mean cross-entropy, in float64."""
    logits = in_float64(images) @ w
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return in_float64(images).T @ (p - targets) / len(images)


def mixed_by_hand(x, lam, partner) -> np.ndarray:
    lam = in_float64(lam)[:, None]
    return lam * x + (1 - lam) * x[partner]


def in_float64(x) -> np.ndarray:
    return np.asarray(x, np.float64)


def key() -> jax.Array:
    return jax.random.key(7)


def mesh(kind: str = "explicit", count: int = DEVICES) -> jax.sharding.Mesh:
    types = {
        "auto": jax.sharding.AxisType.Auto,
        "explicit": jax.sharding.AxisType.Explicit,
    }
    return jax.make_mesh(
        (count,), ("data",), (types[kind],), devices=jax.devices()[:count]
    )


def drivers(**options) -> dict[str, Any]:
    return {
        "jit": jax.jit,
        "auto": lambda step: mx.training.sharded(step, mesh("auto")),
        "explicit": lambda step: mx.training.sharded(step, mesh("explicit")),
        "pmap": partial(mx.training.pmapped, **options),
    }


def run(step, state, batch, steps: int) -> tuple[Any, list[float]]:
    losses = []
    for _ in range(steps):
        state, metrics = step(state, key(), batch)
        losses.append(float(metrics["loss"]))
    return state, losses


# The step.


def test_the_step_is_the_loop_by_hand():
    images, targets = soft_batch()
    step = jax.jit(mx.training.train_step(soft_loss, mixup))
    state = new_state()
    w, lams = in_float64(state.params["w"]), []
    for k in range(3):
        state, metrics = step(state, key(), (images, targets))
        lam, partner = np.asarray(metrics["lam"]), np.asarray(metrics["partner"])
        x, y = (mixed_by_hand(leaf, lam, partner) for leaf in (images, targets))
        w = w - RATE * gradient_by_hand(w, x, y)
        np.testing.assert_allclose(state.params["w"], w, rtol=1e-4, atol=1e-6)
        assert int(state.step) == k + 1
        lams.append(lam)
    assert not np.array_equal(lams[0], lams[1]), "the key is folded with the step"


def test_linen_and_our_state_train_alike():
    ours = new_state(optax.sgd(RATE, momentum=0.9))
    linen = train_state.TrainState.create(
        apply_fn=None,  # type: ignore[arg-type]
        params=ours.params,
        tx=ours.tx,
    )
    step = jax.jit(mx.training.train_step(soft_loss, mixup))
    _, losses = run(step, ours, soft_batch(), 3)
    assert run(step, linen, soft_batch(), 3)[1] == losses


def test_integer_labels_travel_through_on_keys():
    def loss(params, batch, mix):
        assert batch["label"].dtype == jnp.int32
        value, metrics = label_loss(params, batch, mix)
        return value, {**metrics, "label": batch["label"]}

    soft = mx.training.train_step(soft_loss, mixup)
    two_term = mx.training.train_step(loss, mx.on_keys(mixup, inputs="image"))
    _, by_targets = jax.jit(soft)(new_state(), key(), soft_batch())
    _, by_labels = jax.jit(two_term)(new_state(), key(), dict_batch())
    np.testing.assert_array_equal(by_labels["label"], dict_batch()["label"])
    np.testing.assert_allclose(by_labels["loss"], by_targets["loss"], rtol=1e-5)


@pytest.mark.parametrize("driver", drivers())
def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(driver):
    step = drivers()[driver](mx.training.train_step(soft_loss, mixup))
    tx = optax.sgd(RATE, momentum=0.9)
    state, losses = run(step, new_state(tx), soft_batch(), 2)
    saved = flax.serialization.to_bytes(state)
    state, after = run(step, state, soft_batch(), 2)
    restored = flax.serialization.from_bytes(new_state(tx), saved)
    resumed, again = run(step, restored, soft_batch(), 2)
    assert again == after
    assert again != losses
    np.testing.assert_array_equal(resumed.params["w"], state.params["w"])


def test_scheduled_mixing_ends_where_alpha_reaches_0():
    alpha = optax.linear_schedule(1.0, 0.0, transition_steps=2)
    mixer = mx.scheduled(
        lambda step: mx.on_keys(partial(mx.mixup, alpha=alpha(step)), inputs="image")
    )
    step = jax.jit(mx.training.train_step(label_loss, mixer))
    state, changed = new_state(), []
    for _ in range(4):
        state, metrics = step(state, key(), dict_batch())
        changed.append(float(metrics["changed"]))
    assert changed == [1, 1, 0, 0]


def test_gradients_accumulate_over_micro_batches_mixed_within_themselves():
    parts = 4
    images, targets = soft_batch()
    lam = np.linspace(0.5, 1, SIZE // parts).astype(np.float32)
    mixer = partial(mx.mixup, ratio=mx.ratios.constant(lam))
    step = jax.jit(mx.training.train_step(soft_loss, mixer, micro_batches=parts))
    state = new_state()
    w = in_float64(state.params["w"])
    state, _ = step(state, key(), (images, targets))
    gradients = []
    for part in range(parts):
        partner = np.arange(SIZE // parts) ^ 1
        x, y = (
            mixed_by_hand(leaf[part::parts], lam, partner) for leaf in (images, targets)
        )
        gradients.append(gradient_by_hand(w, x, y))
    by_hand = w - RATE * np.mean(gradients, axis=0)
    np.testing.assert_allclose(state.params["w"], by_hand, rtol=1e-4, atol=1e-6)


def test_each_micro_batch_draws_for_itself():
    def loss(params, batch, mix):
        value, _ = soft_loss(params, batch, mix)
        return value, {"lam": mix.lam, "square": mix.lam**2}

    step = jax.jit(mx.training.train_step(loss, mixup, micro_batches=4))
    _, metrics = step(new_state(), key(), soft_batch())
    assert np.all(metrics["square"] - metrics["lam"] ** 2 > 1e-6)


@pytest.mark.parametrize("driver", ["jit", "explicit", "pmap"])
def test_micro_batches_without_mixing_change_nothing(driver):
    options = {"micro_batches": 2}
    whole = mx.training.train_step(soft_loss, mx.erm)
    parts = mx.training.train_step(soft_loss, mx.erm, **options)
    expected, losses = run(jax.jit(whole), new_state(), soft_batch(), 2)
    state, again = run(drivers()[driver](parts), new_state(), soft_batch(), 2)
    np.testing.assert_allclose(again, losses, rtol=1e-5)
    np.testing.assert_allclose(
        state.params["w"], expected.params["w"], rtol=1e-4, atol=1e-6
    )


def test_one_trace_serves_every_step():
    traces = []

    def loss(params, batch, mix):
        traces.append(1)
        return soft_loss(params, batch, mix)

    for driver in drivers().values():
        traces.clear()
        run(driver(mx.training.train_step(loss, mixup)), new_state(), soft_batch(), 3)
        assert len(traces) == 1


# Losses that take more than parameters.


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=False, momentum=0.9)(x)
        x = nn.Dropout(0.5, deterministic=False)(x)
        return nn.Dense(CLASSES)(x)


class NetState(train_state.TrainState):
    batch_stats: Any


def net_state() -> NetState:
    variables = Net().init({"params": key(), "dropout": key()}, digits()[0])
    return NetState.create(
        apply_fn=Net().apply,
        params=variables["params"],
        tx=optax.sgd(RATE),
        batch_stats=variables["batch_stats"],
    )


@mx.training.stateful
def net_loss(params, batch, mix, state, key):
    images, targets = batch
    logits, changes = state.apply_fn(
        {"params": params, "batch_stats": state.batch_stats},
        images,
        rngs={"dropout": key},
        mutable=["batch_stats"],
    )
    losses = optax.losses.softmax_cross_entropy(logits, targets)
    coin = jax.random.uniform(key)
    return jnp.mean(losses), ({"coin": coin, "square": coin**2}, changes)


# Linen's dropout ignores Explicit axes when it makes its mask, and JAX refuses it.
@pytest.mark.parametrize("driver", ["jit", "auto", "pmap"])
def test_batch_statistics_and_a_dropout_key_have_a_place(driver):
    step = drivers()[driver](mx.training.train_step(net_loss, mx.erm))
    start, coins = net_state(), []
    state, metrics = step(start, key(), soft_batch())
    mean = state.batch_stats["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(mean, 0.1 * digits()[0].mean(0), rtol=1e-4, atol=1e-6)
    coins.append(float(metrics["coin"]))
    # Each device of a pmap draws its own dropout mask.
    spread = float(metrics["square"]) - coins[0] ** 2
    assert (spread > 1e-3) == (driver == "pmap")

    state, metrics = step(state, key(), soft_batch())
    coins.append(float(metrics["coin"]))
    assert coins[0] != coins[1], "the key is folded with the step"
    assert np.isfinite(metrics["loss"])


def test_batch_statistics_pass_from_one_micro_batch_to_the_next():
    step = jax.jit(mx.training.train_step(net_loss, mx.erm, micro_batches=2))
    state, _ = step(net_state(), key(), soft_batch())
    first, second = digits()[0][0::2].mean(0), digits()[0][1::2].mean(0)
    np.testing.assert_allclose(
        state.batch_stats["BatchNorm_0"]["mean"],
        0.9 * 0.1 * first + 0.1 * second,
        rtol=1e-4,
        atol=1e-6,
    )


def test_nnx_batch_statistics_are_the_model_state():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.norm = nnx.BatchNorm(64, momentum=0.9, rngs=rngs)
            self.dense = nnx.Linear(64, CLASSES, rngs=rngs)

        def __call__(self, x):
            return self.dense(self.norm(x))

    graph, params, rest = nnx.split(Model(nnx.Rngs(0)), nnx.Param, ...)

    @mx.training.stateful
    def loss(params, batch, mix, state, key):
        model = nnx.merge(graph, params, state.model_state, copy=True)
        images, targets = batch
        losses = optax.losses.softmax_cross_entropy(model(images), targets)
        changes = {"model_state": nnx.state(model, nnx.Not(nnx.Param))}
        return jnp.mean(losses), ({}, changes)

    state = mx.training.TrainState.create(params, optax.sgd(RATE), model_state=rest)
    step = mx.training.sharded(mx.training.train_step(loss, mx.erm), mesh())
    state, _ = step(state, key(), soft_batch())
    mean = nnx.merge(graph, state.params, state.model_state).norm.mean[...]
    np.testing.assert_allclose(mean, 0.1 * digits()[0].mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("driver", drivers())
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_keys_and_counts_are_state_too(driver, micro_batches):
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            return self.dropout(x)

    graph, start = nnx.split(Model(nnx.Rngs(dropout=0)))

    @mx.training.stateful
    def loss(params, batch, mix, state, key):
        model = nnx.merge(graph, state.model_state["model"], copy=True)
        images, targets = batch
        noise = model(jnp.ones(3))
        losses = optax.losses.softmax_cross_entropy(images @ params["w"], targets)
        model_state = {
            "model": nnx.state(model),
            "calls": state.model_state["calls"] + 1,
            "mean": jnp.mean(images),
        }
        changes = {"model_state": model_state}
        return jnp.mean(losses) + 0 * jnp.sum(noise), ({}, changes)

    model_state = {"model": start, "calls": jnp.int32(0), "mean": jnp.float32(0)}
    state = new_state().replace(model_state=model_state)

    def of_stream(model_state):
        stream: Any = nnx.merge(graph, model_state, copy=True).dropout.rngs
        return np.array(jax.random.key_data(stream.key[...])), int(stream.count[...])

    first, _ = of_stream(start)  # the state is donated
    step = mx.training.train_step(loss, mx.erm, micro_batches=micro_batches)
    state, _ = drivers()[driver](step)(state, key(), soft_batch())
    assert state.model_state["calls"].dtype == jnp.int32
    assert int(state.model_state["calls"]) == micro_batches
    last, count = of_stream(state.model_state["model"])
    np.testing.assert_array_equal(last, first)
    assert count == micro_batches
    if micro_batches == 1:  # floating-point leaves are averaged over the devices
        expected = digits()[0].mean()
        np.testing.assert_allclose(state.model_state["mean"], expected, rtol=1e-5)


# The drivers.


@pytest.mark.parametrize("driver", ["auto", "explicit", "pmap"])
@pytest.mark.parametrize("mixer", [mixup, mx.erm], ids=["mixup", "erm"])
def test_every_driver_computes_what_one_device_would(driver, mixer):
    step = mx.training.train_step(soft_loss, mixer)
    expected, losses = run(jax.jit(step), new_state(), soft_batch(), 3)
    driven = drivers(mixing=mx.whole_batch)[driver](step)
    state, again = run(driven, new_state(), soft_batch(), 3)
    np.testing.assert_allclose(again, losses, rtol=1e-5)
    np.testing.assert_allclose(
        state.params["w"], expected.params["w"], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["auto", "explicit"])
def test_a_batch_may_be_divided_over_several_axes(kind):
    types = (mesh(kind).axis_types[0],) * 2
    both = jax.make_mesh((2, DEVICES // 2), ("pod", "data"), types)
    step = mx.training.train_step(soft_loss, mx.mixup)
    over = mx.training.sharded(step, both, axis_name=("pod", "data"))
    found = run(over, new_state(), soft_batch(), 2)
    alone = run(jax.jit(step), new_state(), soft_batch(), 2)
    np.testing.assert_allclose(found[1], alone[1], rtol=1e-5)
    with pytest.raises(ValueError, match="expected an axis of the mesh"):
        mx.training.sharded(step, both, axis_name=("pod", "model"))


def test_auto_and_explicit_meshes_of_any_size_agree():
    step = mx.training.train_step(soft_loss, mixup)
    results = [
        run(mx.training.sharded(step, mesh(kind, count)), new_state(), soft_batch(), 2)
        for kind, count in [("auto", 8), ("explicit", 8), ("auto", 2), ("explicit", 1)]
    ]
    for _, losses in results[1:]:
        np.testing.assert_allclose(losses, results[0][1], rtol=1e-5)


def test_pmapped_learns_the_digits():
    mixer = mx.on_keys(partial(mx.mixup, alpha=0.2), inputs="image")
    step = mx.training.pmapped(mx.training.train_step(label_loss, mixer))
    _, losses = run(step, new_state(optax.sgd(RATE, momentum=0.9)), dict_batch(), 20)
    assert np.all(np.isfinite(losses))
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("driver", ["auto", "explicit", "pmap"])
def test_the_state_is_donated(driver):
    step = drivers()[driver](mx.training.train_step(soft_loss, mixup))
    first, _ = step(new_state(optax.sgd(RATE, momentum=0.9)), key(), soft_batch())
    second, _ = step(first, key(), soft_batch())
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(second))


@pytest.mark.parametrize("driver", ["auto", "explicit", "pmap"])
def test_of_what_a_step_is_given_the_state_alone_is_donated(driver):
    run = drivers()[driver](mx.training.train_step(soft_loss, mixup))
    state = new_state(optax.sgd(RATE, momentum=0.9))
    program = run.lower(state, key(), soft_batch()).compile()
    head = program.as_text().splitlines()[0]
    aliases = re.findall(r"\{\d+\}: \((\d+), \{\}, may-alias\)", head)
    assert sorted(map(int, aliases)) == list(range(len(jax.tree.leaves(state))))


# Invalid input.


@pytest.mark.parametrize("driver", ["auto", "explicit", "pmap"])
def test_a_batch_that_the_devices_do_not_divide(driver):
    step = drivers()[driver](mx.training.train_step(soft_loss, mixup))
    batch = jax.tree.map(lambda x: x[:12], soft_batch())
    with pytest.raises(ValueError, match="divisible by 8 devices; got 12"):
        step(new_state(), key(), batch)


def test_micro_batches_that_do_not_divide_the_batch():
    with pytest.raises(ValueError, match="expected at least 1; got 0"):
        mx.training.train_step(soft_loss, mixup, micro_batches=0)
    step = mx.training.train_step(soft_loss, mixup, micro_batches=5)
    with pytest.raises(ValueError, match=r"divides the 32 examples.*got 5"):
        step(new_state(), key(), soft_batch())


@pytest.mark.parametrize("driver", ["explicit", "pmap"])
def test_micro_batches_that_do_not_divide_a_share(driver):
    step = mx.training.train_step(soft_loss, mixup, micro_batches=2)
    batch = jax.tree.map(lambda x: x[:24], soft_batch())
    with pytest.raises(ValueError, match=r"divides the 3 examples.*got 2\. Use"):
        drivers()[driver](step)(new_state(), key(), batch)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (lambda v: v, r"loss: expected \(value, metrics\); got .*Return \(value, {}\)"),
        (lambda v: (v, {}, {}), r"loss: expected \(value, metrics\); got a tuple"),
        (lambda v: (v, v), "metrics: expected a dict; got .*a name"),
        (lambda v: (v, {"loss": v}), r'names other than "loss".*got \[.loss.\]'),
    ],
)
def test_a_loss_that_returns_something_else(found, said):
    def loss(params, batch, mix):
        return found(soft_loss(params, batch, mix)[0])

    step = mx.training.train_step(loss, mixup)
    with pytest.raises(ValueError, match=said):
        step(new_state(), key(), soft_batch())


@pytest.mark.parametrize("found", [lambda v: v, lambda v: (v, {})])
def test_a_stateful_loss_that_returns_something_else(found):
    loss = mx.training.stateful(lambda params, *_: found(jnp.sum(params["w"])))
    step = mx.training.train_step(loss, mixup)
    with pytest.raises(ValueError, match=r"expected \(value, \(metrics, changes\)\)"):
        step(new_state(), key(), soft_batch())


def test_an_axis_that_the_mesh_lacks_is_named():
    step = mx.training.train_step(soft_loss, mixup)
    with pytest.raises(ValueError, match=r"axis of the mesh, \('x',\); got 'data'"):
        mx.training.sharded(step, jax.make_mesh((2,), ("x",)))


def test_a_state_that_lacks_something_is_named():
    step = mx.training.train_step(soft_loss, mixup)
    with pytest.raises(TypeError, match="got dict, without params, step, apply_grad"):
        step({"params": 1}, key(), soft_batch())  # type: ignore[type-var]


no_gradient = pytest.mark.skipif(
    jax.__version_info__ < (0, 7, 2),
    reason="before JAX 0.7.2 convolutions have no gradient on Explicit axes",
)


@pytest.mark.parametrize(
    "kind",
    [
        jax.sharding.AxisType.Auto,
        pytest.param(jax.sharding.AxisType.Explicit, marks=no_gradient),
    ],
)
def test_a_mesh_of_one_device_trains_convolutions(kind):
    """Arrays on one device and not on a mesh have to be placed on it."""

    def loss(params, batch, mix):
        x, y = batch
        shape = jax.lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
        maps = jax.lax.conv_general_dilated(
            x, params["w"], (1, 1), "SAME", dimension_numbers=shape
        )
        return jnp.mean((maps.mean(axis=(1, 2)) - y) ** 2), {}

    mesh = jax.make_mesh((1,), ("data",), (kind,))
    run = mx.training.sharded(mx.training.train_step(loss, mixup), mesh)
    params = {"w": jnp.ones((3, 3, 2, 4))}
    state = mx.training.TrainState.create(params, optax.sgd(0.1))
    batch = jnp.ones((8, 5, 5, 2)), jnp.ones((8, 4))
    state, first = run(state, key(), batch)
    _, second = run(state, key(), batch)
    assert second["loss"] < first["loss"]


def test_no_mixing_has_a_name():
    with pytest.raises(TypeError, match=r"mixer: expected a function.*mixup_jax\.erm"):
        mx.training.train_step(soft_loss, None)  # type: ignore[arg-type]


def test_a_key_that_is_not_a_key():
    step = mx.training.train_step(soft_loss, mixup)
    with pytest.raises(TypeError, match="expected one JAX PRNG key"):
        step(new_state(), jnp.zeros(3), soft_batch())
