"""Mixup in a train step, beside the same step without it.

    python -m examples.quickstart

The case is one where Mixup helps: 300 of scikit-learn's digits to train on, a fifth of
them with a wrong label, and training that goes on until such labels are learned by
heart. With right labels, or stopped early, the two come out about equal.
"""

import argparse
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from sklearn.datasets import load_digits

import mixup_jax as mx

SEEDS, STEPS, BATCH, TRAIN, WRONG = 8, 500, 64, 300, 0.2

model: Any = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(10)])


def loss(params, batch, mix):
    images, targets = batch
    logits = model.apply(params, images)
    return optax.losses.softmax_cross_entropy(logits, targets).mean(), {}


def test_error(mixer, images, labels, key):
    """Train one network; return how many percent of the other images it gets wrong."""
    key_order, key_wrong, key_label, key_init, key_rows, key_step = jax.random.split(
        key, 6
    )
    train, test = jnp.split(jax.random.permutation(key_order, len(labels)), [TRAIN])
    is_wrong = jax.random.bernoulli(key_wrong, WRONG, labels.shape)
    offset = is_wrong * jax.random.randint(key_label, labels.shape, 1, 10)
    targets = mx.losses.one_hot((labels + offset) % 10, 10)

    step = mx.training.train_step(loss, mixer)  # the mixing is in here
    params = model.init(key_init, images[:1])
    state = mx.training.TrainState.create(params, optax.adam(3e-3))
    batches = train[jax.random.randint(key_rows, (STEPS, BATCH), 0, TRAIN)]
    state, _ = jax.lax.scan(
        lambda state, rows: step(state, key_step, (images[rows], targets[rows])),
        state,
        batches,
    )
    found = model.apply(state.params, images[test]).argmax(-1)
    return 100 * jnp.mean(found != labels[test])


def main(argv=None):
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    images, labels = map(jnp.asarray, load_digits(return_X_y=True))
    keys, errors = jax.random.split(jax.random.key(0), SEEDS), {}
    for name, mixer in {"ERM": mx.erm, "Mixup": partial(mx.mixup, alpha=1.0)}.items():
        of_seed = jax.vmap(partial(test_error, mixer, images / 16, labels))
        errors[name] = jax.jit(of_seed)(keys)
    errors["Mixup saves"] = errors["ERM"] - errors["Mixup"]  # of each seed
    print(f"test error in percent, mean and standard error of {SEEDS} seeds")
    for name, each in errors.items():
        print(f"{name:12} {each.mean():5.2f} ± {each.std(ddof=1) / SEEDS**0.5:.2f}")


if __name__ == "__main__":
    main()
