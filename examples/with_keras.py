"""Train a Keras model on the JAX backend with Mixup, by ``fit``.

    python -m examples.with_keras

``fit`` can be given mixed batches. Or the model mixes inside its compiled train step,
for which it overrides ``train_step``: the data stay as they are, and the key comes from
a ``SeedGenerator``, which is saved and restored with the model. Either way ``evaluate``
sees unmixed data. The training accuracy that ``fit`` shows is that of mixed batches.
"""

import argparse
import itertools
import os
from functools import partial
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import track

import command_line
import mixup_jax as mx
from examples import _digits

os.environ["KERAS_BACKEND"] = "jax"
import keras  # pyright: ignore[reportMissingImports]

SEEDS, EPOCHS, BATCH = 3, 100, 60
FIT: dict[str, Any] = {"epochs": EPOCHS, "verbose": 0}
mixup = partial(mx.mixup, alpha=1.0)


class Mixing(keras.Sequential):
    """A model that mixes each batch in its train step."""

    def __init__(self, layers, mixer, seed):
        super().__init__(layers)
        self.mixer = mixer
        self.seeds = keras.random.SeedGenerator(seed)

    def train_step(self, state, data):
        trainable, non_trainable, *rest = state
        variables = self.non_trainable_variables
        # The variables are those of the compiled step, not of the model.
        with keras.StatelessScope(zip(variables, non_trainable)) as scope:
            key = jax.random.wrap_key_data(self.seeds.next(), impl="threefry2x32")
        non_trainable = [scope.get_current_value(x) for x in variables]
        images, targets = data
        mixed, _ = self.mixer(key, (images, targets))
        return super().train_step((trainable, non_trainable, *rest), mixed)


def mixed_batches(mixer, key, images, targets):
    """Yield mixed batches without end."""
    mixer, draw = jax.jit(mixer), np.random.default_rng(0)
    for step in itertools.count():
        # The default pairing mixes neighbors, so draw their order anew for each batch.
        rows = draw.choice(len(images), BATCH, replace=False)
        yield mixer(jax.random.fold_in(key, step), (images[rows], targets[rows]))[0]


def layers():
    relu = keras.layers.Dense(128, activation="relu")
    return [keras.Input([64]), relu, keras.layers.Dense(_digits.CLASSES)]


def compiled(model):
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)  # takes soft labels
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    return model


def erm(seed, images, targets):
    model = compiled(keras.Sequential(layers()))
    model.fit(images, targets, batch_size=BATCH, **FIT)
    return model


def in_batches(seed, images, targets):
    model = compiled(keras.Sequential(layers()))
    batches = mixed_batches(mixup, jax.random.key(seed), images, targets)
    steps = len(images) // BATCH
    # ``fit`` warns of a generator that ends, and of one that it cannot shuffle.
    model.fit(batches, steps_per_epoch=steps, shuffle=False, **FIT)
    return model


def in_step(seed, images, targets):
    model = compiled(Mixing(layers(), mixup, seed))
    model.fit(images, targets, batch_size=BATCH, **FIT)
    return model


ARMS = {"ERM": erm, "Mixup in batches": in_batches, "Mixup in step": in_step}


def main(argv=None):
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    errors = {name: [] for name in ARMS}
    models: dict[str, Any] = {}
    for seed in track(range(SEEDS), console=Console(stderr=True), transient=True):
        data = _digits.mislabeled(seed)
        train, test = (
            (_digits.flat(images), np.eye(_digits.CLASSES, dtype=np.float32)[labels])
            for images, labels in (data[:2], data[2:])
        )
        for name, trained in ARMS.items():
            keras.utils.set_random_seed(seed)  # initial weights, and shuffling by fit
            models[name] = trained(seed, *train)
            scores = models[name].evaluate(*test, verbose=0, return_dict=True)
            errors[name].append(100 - 100 * scores["accuracy"])
    _digits.print_errors(errors)
    _, drawn = models["Mixup in step"].seeds.state.value
    print("keys drawn in the step:", drawn)


if __name__ == "__main__":
    command_line.start(main)
