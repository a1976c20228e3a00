"""Evaluate on unmixed data with the loss function of the training.

    python -m examples.evaluation

``losses.termwise`` takes the mix as its last argument: leave it out, or pass that of
``mx.erm``, and it is the usual loss. What to watch for: the training loss under Mixup
cannot reach 0, since no prediction of a mixed target costs less than its entropy. A
training loss above the test loss is therefore no sign of a mistake: compare both on
unmixed data, or look at how far the mixed loss is above its floor.
"""

import argparse
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn
from rich.console import Console
from rich.progress import track

import command_line
import mixup_jax as mx
from examples import datasets

BATCH = 64
METHODS = {"ERM": mx.erm, "Mixup": partial(mx.mixup, alpha=1.0)}
entropy = mx.losses.termwise(optax.losses.softmax_cross_entropy_with_integer_labels)
model: Any = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(10)])


def loss(params, batch, mix=None):
    logits = model.apply(params, batch["image"])
    return entropy(logits, batch["label"], mix).mean(), {}


@jax.jit
def on_unmixed(params, batch):
    return loss(params, batch)[0]


@partial(jax.jit, static_argnums=0)
def on_mixed(mixer, key, params, batch):
    """Return the loss on mixed data, and its floor: the mean entropy of the targets."""
    mixed, mix = mixer(key, batch)
    targets = mix.targets(mx.losses.one_hot(batch["label"], 10))
    floor = jax.scipy.special.entr(targets).sum(axis=-1).mean()
    return loss(params, mixed, mix)[0], floor


def parts():
    data, order = datasets.digits(), np.random.default_rng(0)
    order = order.permutation(len(data.train_labels))  # neighbors are mixed
    halves = (
        (data.train_images[order], data.train_labels[order]),
        (data.test_images, data.test_labels),
    )
    for images, labels in halves:
        flat = images.reshape(len(images), -1).astype(np.float32) / 255
        yield {"image": flat, "label": labels}


def main(argv=None):
    parser = argparse.ArgumentParser(description="Evaluate with the training loss.")
    parser.add_argument("--steps", type=command_line.positive_int, default=1000)
    steps = parser.parse_args(argv).steps
    train, test = parts()
    start = model.init(jax.random.key(0), train["image"][:1])

    print("training        mixed   floor unmixed    test")
    for name, method in METHODS.items():
        mixer = mx.on_keys(method, inputs="image")
        step = jax.jit(mx.training.train_step(loss, mixer))
        state = mx.training.TrainState.create(start, optax.adam(1e-3))
        draw = np.random.default_rng(1)
        for _ in track(
            range(steps), name, console=Console(stderr=True), transient=True
        ):
            rows = draw.choice(len(train["label"]), BATCH, replace=False)
            batch = {key: x[rows] for key, x in train.items()}
            state, _ = step(state, jax.random.key(1), batch)
        losses = (
            *on_mixed(mixer, jax.random.key(2), state.params, train),
            *(on_unmixed(state.params, batch) for batch in (train, test)),
        )
        print(f"{name:13}", *(f"{each:7.3f}" for each in losses))

    _, alone = mx.erm(jax.random.key(0), (test["image"], test["label"]))
    far = loss(start, test)[0] - loss(start, test, alone)[0]
    print(f"test loss without a mix, less that with the mix of erm: {far:.0e}")


if __name__ == "__main__":
    command_line.start(main)
