"""Train an Equinox model with Mixup, in a step of your own or in the library's.

    python -m examples.with_equinox

An Equinox model takes one example and a mixer takes the batch, so mix first, outside of
``jax.vmap``. A step of your own needs a key and one more line. For ``train_step``,
which also runs on several devices, split the model with ``eqx.partition``. Without
mixing, both train the same parameters.
"""

import argparse
from functools import partial

import equinox as eqx  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.progress import track

import command_line
import mixup_jax as mx
from examples import _digits

SEEDS, STEPS, BATCH = 5, 500, 64
MIXERS = {"ERM": mx.erm, "Mixup": partial(mx.mixup, alpha=1.0)}
tx = optax.adam(3e-3)


@eqx.filter_jit
def predict(model, images):
    return jax.vmap(model)(images)


def loss_of(model, batch):
    images, targets = batch
    logits = predict(model, images)
    return optax.losses.softmax_cross_entropy(logits, targets).mean()


def own_step(mixer):
    @eqx.filter_jit
    def step(state, key, batch):
        model, opt_state, count = state
        batch, _ = mixer(jax.random.fold_in(key, count), batch)  # the line to add
        grads = eqx.filter_grad(loss_of)(model, batch)
        params = eqx.filter(model, eqx.is_inexact_array)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (eqx.apply_updates(model, updates), opt_state, count + 1), {}

    return step


def library_step(mixer, static):
    def loss(params, batch, mix):
        return loss_of(eqx.combine(params, static), batch), {}

    return jax.jit(mx.training.train_step(loss, mixer))


def train(step, state, key, data):
    targets = np.eye(_digits.CLASSES, dtype=np.float32)[data.train_labels]
    images, draw = _digits.flat(data.train_images), np.random.default_rng(0)
    for _ in range(STEPS):
        rows = draw.choice(len(images), BATCH, replace=False)
        state, _ = step(state, key, (images[rows], targets[rows]))
    return state


def parts_of(seed):
    key_model, key = jax.random.split(jax.random.key(seed))
    model = eqx.nn.MLP(64, _digits.CLASSES, 128, depth=1, key=key_model)
    # ``static`` has the activation functions and whatever else is not trained.
    params, static = eqx.partition(model, eqx.is_inexact_array)
    return _digits.mislabeled(seed), key, params, static


def main(argv=None):
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    steps = {name: own_step(mixer) for name, mixer in MIXERS.items()}
    errors, trained = {name: [] for name in MIXERS}, {}
    seeds = [*reversed(range(SEEDS))]  # the last is compared below, seed 0
    for seed in track(seeds, console=Console(stderr=True), transient=True):
        data, key, params, static = parts_of(seed)
        # An array counts the steps: filter_jit compiles anew for each Python integer.
        state = eqx.combine(params, static), tx.init(params), jnp.array(0)
        for name, step in steps.items():
            trained[name], *_ = train(step, state, key, data)
            logits = predict(trained[name], _digits.flat(data.test_images))
            errors[name].append(_digits.percent_wrong(logits, data.test_labels))
    _digits.print_errors(errors)

    data, key, params, static = parts_of(seed=0)
    state = mx.training.TrainState.create(params, tx)
    params = train(library_step(mx.erm, static), state, key, data).params
    own = eqx.filter(trained["ERM"], eqx.is_inexact_array)
    gaps = jax.tree.map(lambda a, b: abs(a - b).max(), own, params)
    print("ERM with train_step: parameters that differ by", max(jax.tree.leaves(gaps)))


if __name__ == "__main__":
    command_line.start(main)
