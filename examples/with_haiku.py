"""Train a Haiku model that has BatchNorm and Dropout with Mixup.

    python -m examples.with_haiku

Haiku's state is the train state's ``model_state``. A loss marked with ``stateful`` is
passed the train state and a key for Dropout, and returns the state of Haiku after the
step. Mix outside of ``hk.transform``: evaluation then needs no change. Note that the
running statistics of BatchNorm are those of mixed images.
"""

import argparse
from functools import partial
from typing import Any

import haiku as hk  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.progress import track

import command_line
import mixup_jax as mx
from examples import _digits

SEEDS, STEPS, BATCH = 5, 500, 60
MIXERS = {"ERM": mx.erm, "Mixup": partial(mx.mixup, alpha=1.0)}
# One object for all runs: it is part of the state's structure, which ``jit`` compares.
tx = optax.adam(3e-3)


def network(images, *, is_training):
    norm = hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9)
    x = jax.nn.relu(norm(hk.Linear(128)(images), is_training))
    if is_training:
        x = hk.dropout(hk.next_rng_key(), 0.2, x)
    return hk.Linear(_digits.CLASSES)(x)


model: Any = hk.transform_with_state(network)


@jax.jit
def start(key):
    params, haiku_state = model.init(key, jnp.zeros((1, 64)), is_training=True)
    return mx.training.TrainState.create(params, tx, model_state=haiku_state)


@mx.training.stateful
def loss(params, batch, mix, state, key):
    images, targets = batch
    logits, haiku_state = model.apply(
        params, state.model_state, key, images, is_training=True
    )
    value = optax.losses.softmax_cross_entropy(logits, targets).mean()
    return value, ({}, {"model_state": haiku_state})


@jax.jit
def predict(state, images):
    params, haiku_state = state.params, state.model_state
    logits, _ = model.apply(params, haiku_state, None, images, is_training=False)
    return logits


def train(step, state, key, data):
    targets = np.eye(_digits.CLASSES, dtype=np.float32)[data.train_labels]
    images, draw = _digits.flat(data.train_images), np.random.default_rng(0)
    for _ in range(STEPS):
        rows = draw.choice(len(images), BATCH, replace=False)
        state, _ = step(state, key, (images[rows], targets[rows]))
    return state


def main(argv=None):
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    errors, updates = {name: [] for name in MIXERS}, set()
    steps = {n: jax.jit(mx.training.train_step(loss, m)) for n, m in MIXERS.items()}
    for seed in track(range(SEEDS), console=Console(stderr=True), transient=True):
        data = _digits.mislabeled(seed)
        key_start, key = jax.random.split(jax.random.key(seed))
        for name, step in steps.items():
            state = train(step, start(key_start), key, data)
            logits = predict(state, _digits.flat(data.test_images))
            errors[name].append(_digits.percent_wrong(logits, data.test_labels))
            updates.add(int(state.model_state["batch_norm/~/mean_ema"]["counter"]))
    _digits.print_errors(errors)
    print("updates of the running mean:", *updates)


if __name__ == "__main__":
    command_line.start(main)
