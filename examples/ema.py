"""Average the parameters over the steps of training, and evaluate the average.

    python -m examples.ema

Optax averages updates (``optax.ema``), not parameters, so the state does it:
``apply_gradients`` is called once per step, and updates the average as well. What to
watch for: a state that starts with one buffer in two places can't be donated, so copy
the parameters; and the average still holds a share ``DECAY ** steps`` of the start.
Batch statistics belong to the raw parameters: compute or average them for the others.

Mixup with a constant learning rate ends in noise that the average takes out. Prints the
test error of both, on digits of which a fifth of the training labels are wrong.
"""

import argparse
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import command_line
import mixup_jax as mx
from examples import datasets

SEEDS, BATCH, TRAIN, WRONG, DECAY = 8, 64, 300, 0.2, 0.99
model: Any = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(10)])


class AveragingState(mx.training.TrainState):
    average: Any = None

    @classmethod
    def create(cls, params, tx, *, model_state=None):
        state = super().create(params, tx, model_state=model_state)
        return state.replace(average=jax.tree.map(jnp.copy, params))

    def apply_gradients(self, *, grads):
        state = super().apply_gradients(grads=grads)
        now = optax.incremental_update(state.params, self.average, 1 - DECAY)
        return state.replace(average=now)


def loss(params, batch, mix):
    images, targets = batch
    logits = model.apply(params, images)
    return optax.losses.softmax_cross_entropy(logits, targets).mean(), {}


def start(key):
    params = model.init(key, jnp.zeros((1, 64)))
    return AveragingState.create(params, optax.adam(3e-3))


def flat(images):
    return images.reshape(len(images), -1).astype(np.float32) / 255


def main(argv=None):
    parser = argparse.ArgumentParser(description="Average the parameters over steps.")
    parser.add_argument("--steps", type=command_line.positive_int, default=500)
    steps = parser.parse_args(argv).steps
    data, draw = datasets.digits(), np.random.default_rng(0)
    images, labels = flat(data.train_images[:TRAIN]), data.train_labels[:TRAIN].copy()
    wrong = draw.random(TRAIN) < WRONG
    labels[wrong] = (labels[wrong] + draw.integers(1, 10, wrong.sum())) % 10
    targets = np.eye(10, dtype=np.float32)[labels]

    keys = jax.random.split(jax.random.key(0), SEEDS)
    step = mx.training.train_step(loss, partial(mx.mixup, alpha=1.0))
    step = jax.jit(jax.vmap(step, in_axes=(0, 0, None)), donate_argnums=0)
    state = jax.jit(partial(jax.lax.map, start))(keys)
    for _ in range(steps):
        rows = draw.choice(TRAIN, BATCH, replace=False)
        state, _ = step(state, keys, (images[rows], targets[rows]))

    def error(params):
        tests = flat(data.test_images)
        logits = jax.vmap(model.apply, in_axes=(0, None))(params, tests)
        return 100 * np.mean(np.argmax(logits, axis=-1) != data.test_labels, axis=1)

    errors = {"raw": error(state.params), "averaged": error(state.average)}
    errors["saved"] = errors["raw"] - errors["averaged"]  # per seed
    print(f"test error in percent, mean and standard error over {SEEDS} seeds")
    for name, each in errors.items():
        print(f"{name:8} {each.mean():5.2f} ± {each.std(ddof=1) / SEEDS**0.5:.2f}")


if __name__ == "__main__":
    command_line.start(main)
