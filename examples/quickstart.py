"""Compare a train step with Mixup to one without: python -m examples.quickstart

This is a setting in which Mixup helps: 300 training examples of scikit-learn's digits,
a fifth of them mislabeled, and training that lasts long enough to memorize them. With
correct labels, or after 100 steps instead of 500, the two have similar test errors.
"""

import argparse
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from sklearn.datasets import load_digits

import command_line
import mixup_jax as mx

SEEDS, STEPS, BATCH, TRAIN, WRONG = 8, 500, 64, 300, 0.2
model: Any = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(10)])


def start(key):
    params = model.init(key, jnp.zeros((1, 64)))
    return mx.training.TrainState.create(params, optax.adam(3e-3))


def loss(params, batch, mix):
    images, targets = batch
    logits = model.apply(params, images)
    return optax.losses.softmax_cross_entropy(logits, targets).mean(), {}


def main(argv=None):
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    digits, labels = load_digits(return_X_y=True)
    draw = np.random.default_rng(0)
    order = np.stack([draw.permutation(len(labels)) for _ in range(SEEDS)])
    images, labels = (digits[order] / 16).astype(np.float32), labels[order]
    offset = draw.integers(1, 10, (SEEDS, TRAIN))
    offset[draw.random(offset.shape) >= WRONG] = 0
    targets = np.eye(10, dtype=np.float32)[(labels[:, :TRAIN] + offset) % 10]

    keys, errors = jax.random.split(jax.random.key(0), SEEDS), {}
    started = jax.jit(partial(jax.lax.map, start))(keys)
    for name, mixer in {"ERM": mx.erm, "Mixup": partial(mx.mixup, alpha=1.0)}.items():
        step = jax.jit(jax.vmap(mx.training.train_step(loss, mixer)))  # over seeds
        state, shuffled = started, np.random.default_rng(1)
        for _ in range(STEPS):
            rows = shuffled.choice(TRAIN, BATCH, replace=False)
            state, _ = step(state, keys, (images[:, rows], targets[:, rows]))
        logits = jax.vmap(model.apply)(state.params, images[:, TRAIN:])
        errors[name] = 100 * np.mean(logits.argmax(-1) != labels[:, TRAIN:], axis=1)

    errors["saved"] = errors["ERM"] - errors["Mixup"]  # per seed
    print(f"test error in percent, mean and standard error over {SEEDS} seeds")
    for name, each in errors.items():
        print(f"{name:5} {each.mean():5.2f} ± {each.std(ddof=1) / SEEDS**0.5:.2f}")


if __name__ == "__main__":
    command_line.start(main)
