"""BatchNorm and Dropout under every driver: the examples against hand-written loops."""

import functools
from functools import partial
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from jax.sharding import AxisType

import mixup_jax as mx
from examples import batch_norm_linen, batch_norm_nnx, datasets

DEVICES = 8
SIZE = 64
STEPS = 3
CLASSES = 10
LAM = 0.75
MOMENTUM = 0.9

EXAMPLES: dict[str, Any] = {"nnx": batch_norm_nnx, "linen": batch_norm_linen}
CASES = [
    (name, driver) for name, example in EXAMPLES.items() for driver in example.DRIVERS
]
every_case = pytest.mark.parametrize(("name", "driver"), CASES)


digits = functools.cache(datasets.digits)


def key() -> jax.Array:
    return jax.random.key(3)


def decaying(rate: float = 0.2) -> optax.GradientTransformation:
    """Return SGD with weight decay; optax.adamw fails under strict dtype promotion."""
    return optax.chain(optax.add_decayed_weights(0.1), optax.sgd(rate, momentum=0.9))


def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    data = digits()
    images = data.train_images[: STEPS * SIZE].astype(np.float32) / 255
    labels = data.train_labels[: STEPS * SIZE]
    return list(zip(np.split(images, STEPS), np.split(labels, STEPS)))


def mixed_by_hand(images, labels) -> tuple[np.ndarray, np.ndarray]:
    """Blend neighbors with LAM, as the mixer of these tests does."""
    partner = np.arange(len(images)) ^ 1
    targets = np.eye(CLASSES, dtype=np.float32)[labels]

    def blend(x):
        return np.float32(LAM) * x + np.float32(1 - LAM) * x[partner]

    return blend(images), blend(targets)


def mixer():
    fixed = partial(mx.mixup, ratio=mx.ratios.constant(LAM))
    return mx.on_keys(fixed, inputs="image")


def in_parts(batch, driver: str, micro_batches: int) -> list[list[tuple]]:
    """Return the mixed micro-batches for each device that mixes its own shard."""
    shares = DEVICES if driver == "pmap" else 1
    return [
        [
            mixed_by_hand(images[i::micro_batches], labels[i::micro_batches])
            for i in range(micro_batches)
        ]
        for images, labels in zip(*(np.split(x, shares) for x in batch))
    ]


def mean(trees: list) -> Any:
    return jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *trees)


# The reference loops use Flax and Optax, and nothing of the library.


def nnx_by_hand(driver: str, micro_batches: int) -> tuple[Any, Any]:
    shape = batches()[0][0].shape[1:]
    model = batch_norm_nnx.CNN(shape, CLASSES, 0.0, rngs=nnx.Rngs(key()))
    optimizer = nnx.Optimizer(model, decaying(), wrt=nnx.Param)

    @nnx.jit
    @nnx.grad
    def gradient(model, images, targets):
        return optax.losses.softmax_cross_entropy(model(images), targets).mean()

    for batch in batches():
        gradients, statistics = [], []
        for share in in_parts(batch, driver, micro_batches):
            own = nnx.clone(model)
            gradients += [gradient(own, *part) for part in share]
            statistics.append(nnx.state(own, nnx.BatchStat))
        optimizer.update(model, mean(gradients))
        nnx.update(model, mean(statistics))
    return nnx.state(model, nnx.Param), nnx.state(model, nnx.BatchStat)


def linen_by_hand(driver: str, micro_batches: int) -> tuple[Any, Any]:
    model: Any = batch_norm_linen.CNN(CLASSES, 0.0)
    variables = model.init(key(), batches()[0][0][:1], train=False)
    params, statistics = variables["params"], variables["batch_stats"]
    tx = decaying()
    opt_state = tx.init(params)

    @jax.jit
    @partial(jax.grad, has_aux=True)
    def gradient(params, statistics, images, targets):
        logits, changed = model.apply(
            {"params": params, "batch_stats": statistics},
            images,
            train=True,
            mutable=["batch_stats"],
        )
        losses = optax.losses.softmax_cross_entropy(logits, targets)
        return losses.mean(), changed["batch_stats"]

    for batch in batches():
        gradients, of_shares = [], []
        for share in in_parts(batch, driver, micro_batches):
            own = statistics
            for part in share:
                grads, own = gradient(params, own, *part)
                gradients.append(grads)
            of_shares.append(own)
        updates, opt_state = tx.update(mean(gradients), opt_state, params)
        params, statistics = optax.apply_updates(params, updates), mean(of_shares)
    return params, statistics


BY_HAND = {"nnx": nnx_by_hand, "linen": linen_by_hand}


def first_layer_by_hand(kernels, driver: str, micro_batches: int) -> dict[str, Any]:
    """Return the running statistics of the first BatchNorm, in NumPy float64."""
    running = np.stack([np.zeros(16), np.ones(16)])
    for kernel, batch in zip(kernels, batches(), strict=True):
        of_shares = []
        for share in in_parts(batch, driver, micro_batches):
            own = running
            for images, _ in share:
                maps = convolved(images.astype(np.float64), kernel.astype(np.float64))
                now = np.stack([maps.mean((0, 1, 2)), maps.var((0, 1, 2))])
                own = MOMENTUM * own + (1 - MOMENTUM) * now
            of_shares.append(own)
        running = np.mean(of_shares, axis=0)
    return {"mean": running[0], "var": running[1]}


def convolved(images, kernel) -> np.ndarray:
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [
        padded[:, i : i + height, j : j + width] @ kernel[i, j]
        for i in range(3)
        for j in range(3)
    ]
    return np.sum(shifted, axis=0)


FIRST = {"nnx": ("conv1", "norm1"), "linen": ("Conv_0", "BatchNorm_0")}


def statistics_of(state) -> Any:
    return state.batch_stats if hasattr(state, "batch_stats") else state.model_state


def copied(tree) -> Any:
    """Return the tree copied to NumPy, so that donation does not affect it."""
    return jax.tree.map(np.array, tree)


def close(found, expected) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "driver", "micro_batches"),
    [(*case, 1) for case in CASES] + [("nnx", "pmap", 2), ("linen", "auto", 2)],
)
def test_statistics_and_parameters_are_those_of_a_loop_by_hand(
    name, driver, micro_batches
):
    example = EXAMPLES[name]
    images = batches()[0][0][:1]
    state, forward, _ = example.build(key(), images, CLASSES, decaying(), dropout=0.0)
    step = mx.training.train_step(
        example.loss_of(forward), mixer(), micro_batches=micro_batches
    )
    run = example.DRIVERS[driver](step)
    conv, norm = FIRST[name]
    kernels = []
    for images, labels in batches():
        kernels.append(copied(state.params[conv]["kernel"][...]))
        state, _ = run(state, key(), {"image": images, "label": labels})
    params, statistics = BY_HAND[name](driver, micro_batches)
    close(state.params, params)
    close(statistics_of(state), statistics)
    first = first_layer_by_hand(kernels, driver, micro_batches)
    for which, expected in first.items():
        found = statistics_of(state)[norm][which][...]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_over_pmap_statistics_are_of_each_share_or_of_the_whole_batch():
    """The effect of ``axis_name``, as the examples describe it."""
    images = batches()[0][0].reshape(SIZE, -1)
    shares = images.reshape(DEVICES, -1, images.shape[1])
    for axis_name, variance in ((None, shares.var(1).mean(0)), ("data", images.var(0))):
        model = nnx.BatchNorm(
            64, momentum=MOMENTUM, axis_name=axis_name, rngs=nnx.Rngs(0)
        )
        graph, params, statistics = nnx.split(model, nnx.Param, nnx.BatchStat)

        @mx.training.stateful
        def loss(params, batch, mix, state, key, graph=graph):
            model = nnx.merge(graph, params, state.model_state, copy=True)
            out = model(batch[0])
            return jnp.mean(out), ({}, {"model_state": nnx.state(model, nnx.BatchStat)})

        state = mx.training.TrainState.create(
            params, optax.sgd(0.1), model_state=statistics
        )
        run = mx.training.pmapped(mx.training.train_step(loss, mx.erm))
        state, _ = run(state, key(), (images, None))
        found = state.model_state
        np.testing.assert_allclose(
            found["mean"][...], (1 - MOMENTUM) * images.mean(0), rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(
            found["var"][...], MOMENTUM + (1 - MOMENTUM) * variance, rtol=1e-5
        )


# The purpose of the running statistics.


def inverted(images) -> np.ndarray:
    """Return dark ink on bright paper, so that activations have means far from 0."""
    return 1 - images.astype(np.float32) / 255


def fit(run, state) -> Any:
    data, shuffle = digits(), np.random.default_rng(0)
    for _ in range(EPOCHS):
        order = shuffle.permutation(len(data.train_labels))
        for i in range(len(order) // SIZE):
            rows = order[i * SIZE : (i + 1) * SIZE]
            images, labels = inverted(data.train_images[rows]), data.train_labels[rows]
            batch = {"image": images, "label": labels}
            state, _ = run(state, key(), batch)
    return state


def accuracy(model, state) -> float:
    data = digits()
    logits = jax.jit(model)(state, inverted(data.test_images))
    return float(np.mean(logits.argmax(-1) == data.test_labels))


def adamw() -> optax.GradientTransformation:
    return optax.adamw(5e-3, weight_decay=0.1)


mixup = mx.on_keys(partial(mx.mixup, alpha=0.2), inputs="image")
BAR = 0.85
EPOCHS = 2


@pytest.fixture
def standard_promotion():
    """Use standard promotion: ``optax.adamw`` fails under strict promotion."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def eroded(state) -> Any:
    """Return the state with statistics only decayed, as if they were parameters."""
    name = "batch_stats" if hasattr(state, "batch_stats") else "model_state"
    kept = (1 - 5e-3 * 0.1) ** int(state.step)

    def decayed(path, leaf):
        return leaf * 0 + (0 if "mean" in jax.tree_util.keystr(path) else kept)

    return state.replace(
        **{name: jax.tree.map_with_path(decayed, getattr(state, name))}
    )


@pytest.mark.slow
@every_case
@pytest.mark.usefixtures("standard_promotion")
def test_eval_mode_is_as_good_as_training_mode(name, driver):
    example = EXAMPLES[name]
    images = inverted(digits().test_images[:1])
    state, forward, predict = example.build(key(), images, CLASSES, adamw())
    step = mx.training.train_step(example.loss_of(forward), mixup)
    state = fit(example.DRIVERS[driver](step), state)
    train = accuracy(lambda state, x: forward(state.params, state, x, key())[0], state)
    predict = jax.jit(predict)
    evaluated = accuracy(predict, state)
    assert evaluated > BAR
    assert abs(evaluated - train) < 0.06
    assert accuracy(predict, eroded(state)) < min(BAR, evaluated - 0.1)


# Dropout.


def over_shares(x) -> dict[str, Any]:
    """Return metrics of how much ``x`` differs between the shards."""
    x = x.reshape(-1, SIZE // DEVICES, *x.shape[1:])
    return {"mean": jnp.mean(x, axis=0), "square": jnp.mean(x**2, axis=0)}


def spread(metrics) -> np.ndarray:
    return np.asarray(metrics["square"] - metrics["mean"] ** 2)


@every_case
def test_each_device_and_each_step_drops_its_own(name, driver):
    """Devices share the images and nothing is trained, so only the masks differ."""
    example = EXAMPLES[name]
    images = np.tile(batches()[0][0][: SIZE // DEVICES], (DEVICES, 1, 1, 1))
    tx = optax.sgd(0.0)
    state, forward, _ = example.build(key(), images[:1], CLASSES, tx, dropout=0.5)
    _, without, _ = example.build(key(), images[:1], CLASSES, tx, dropout=0.0)

    @mx.training.stateful
    def loss(params, batch, mix, state, key):
        logits, changes = forward(params, state, batch[0], key)
        plain, _ = without(params, state, batch[0], key)
        metrics = {"dropped": over_shares(logits), "plain": over_shares(plain)}
        return jnp.mean(logits), (metrics, changes)

    run = example.DRIVERS[driver](mx.training.train_step(loss, mx.erm))
    state, first = run(state, key(), (images, None))
    state, second = run(state, key(), (images, None))
    assert np.all(spread(first["dropped"]) > 1e-3)
    assert np.all(np.abs(first["dropped"]["mean"] - second["dropped"]["mean"]) > 1e-6)
    assert np.all(spread(first["plain"]) < 1e-5)
    np.testing.assert_allclose(
        first["plain"]["mean"], second["plain"]["mean"], rtol=1e-5, atol=1e-5
    )


def test_a_stream_in_the_model_state_is_the_same_on_each_device():
    """The reason why the NNX example passes no ``rngs`` to its dropout."""
    graph, stream = nnx.split(nnx.Dropout(0.5, rngs=nnx.Rngs(0)))

    @mx.training.stateful
    def loss(params, batch, mix, state, key):
        dropout = nnx.merge(graph, state.model_state, copy=True)
        ones = jnp.ones((SIZE // DEVICES, 100))
        metrics = {
            "stream": over_shares(dropout(ones)),
            "key": over_shares(dropout(ones, rngs=key)),
        }
        return jnp.sum(params), (metrics, {"model_state": nnx.state(dropout)})

    state = mx.training.TrainState.create(
        jnp.ones(3), optax.sgd(0.1), model_state=stream
    )
    run = mx.training.pmapped(mx.training.train_step(loss, mx.erm))
    _, metrics = run(state, key(), (np.ones((SIZE, 3), np.float32), None))
    np.testing.assert_array_equal(spread(metrics["stream"]), 0)
    assert set(np.unique(metrics["stream"]["mean"])) == {0, 2}, "some are dropped"
    assert spread(metrics["key"]).mean() > 0.5


# Linen on Explicit axes.


def explicit_mesh() -> jax.sharding.Mesh:
    return jax.make_mesh((DEVICES,), ("data",), (AxisType.Explicit,))


def test_linen_dropout_needs_auto_axes():
    """If this fails, Flax has fixed it: update the example and the README."""
    images, labels = batches()[0]
    state, forward, _ = batch_norm_linen.build(
        key(), images[:1], CLASSES, optax.sgd(0.1)
    )
    step = mx.training.train_step(batch_norm_linen.loss_of(forward), mixer())
    run = mx.training.sharded(step, explicit_mesh())
    with pytest.raises(
        Exception, match="select `which` must be scalar or have the same"
    ):
        run(state, key(), {"image": images, "label": labels})


@pytest.mark.skipif(
    tuple(map(int, flax.__version__.split(".")[:3])) < (0, 12, 4),
    reason="before Flax 0.12.4 its Dropout takes Auto axes alone",
)
def test_nnx_dropout_in_a_linen_module_takes_explicit_axes():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nnx.Dropout(0.5)(x, rngs=self.make_rng("dropout"))

    @mx.training.stateful
    def loss(params, batch, mix, state, key):
        dropped = Net().apply({}, batch[0], rngs={"dropout": key})
        return jnp.sum(params), ({"dropped": dropped}, {})

    state = mx.training.TrainState.create(jnp.ones(3), optax.sgd(0.1))
    run = mx.training.sharded(mx.training.train_step(loss, mx.erm), explicit_mesh())
    ones = np.ones((SIZE, 100), np.float32)
    _, first = run(state, key(), (ones, None))
    dropped = np.asarray(first["dropped"])
    assert set(np.unique(dropped)) == {0, 2}
    assert abs(dropped.mean() - 1) < 4 / np.sqrt(dropped.size)
    assert len(np.unique(dropped, axis=0)) == SIZE, "each example has its own mask"
