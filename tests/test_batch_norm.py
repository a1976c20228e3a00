"""BatchNorm and Dropout under every driver: the examples against loops by hand."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from jax.sharding import AxisType

import mixup_jax as mx
from examples import batch_norm_linen, batch_norm_nnx
from examples.datasets import digits

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


def key() -> jax.Array:
    return jax.random.key(3)


def decaying(rate: float = 0.2) -> optax.GradientTransformation:
    """Weight decay, which Optax's AdamW cannot do under strict dtype promotion."""
    return optax.chain(optax.add_decayed_weights(0.1), optax.sgd(rate, momentum=0.9))


def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    data = digits()
    images = data.train_images[: STEPS * SIZE].astype(np.float32) / 255
    labels = data.train_labels[: STEPS * SIZE]
    return list(zip(np.split(images, STEPS), np.split(labels, STEPS)))


def mixed_by_hand(images, labels) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours, blended at LAM: what the mixer of these tests does."""
    partner = np.arange(len(images)) ^ 1
    targets = np.eye(CLASSES, dtype=np.float32)[labels]

    def blend(x):
        return np.float32(LAM) * x + np.float32(1 - LAM) * x[partner]

    return blend(images), blend(targets)


def mixer():
    fixed = partial(mx.mixup, ratio=mx.ratios.constant(LAM))
    return mx.on_keys(fixed, inputs="image")


def in_parts(batch, driver: str, micro_batches: int) -> list[list[tuple]]:
    """The mixed micro-batches of each device that sees its own share."""
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


# The loops by hand know Flax and Optax, and nothing of the library.


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
    """The first BatchNorm's running statistics in NumPy, in float64."""
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
    return sum(
        padded[:, i : i + height, j : j + width] @ kernel[i, j]
        for i in range(3)
        for j in range(3)
    )


FIRST = {"nnx": ("conv1", "norm1"), "linen": ("Conv_0", "BatchNorm_0")}


def statistics_of(state) -> Any:
    return state.batch_stats if hasattr(state, "batch_stats") else state.model_state


def copied(tree) -> Any:
    """The tree in NumPy, out of reach of donation."""
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
