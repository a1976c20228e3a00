"""Train with Mixup on batches from a Grain pipeline.

    python -m examples.from_grain

Mix in the step, not in the pipeline. The pipeline delivers uint8 images, and the mixer
casts them on the device. The default pairing mixes neighbors in the batch, so it is the
pipeline that makes the pairs: shuffle examples before they are batched, and anew in
each epoch. In batches that stay the same, an example has the same partner in all
epochs.
"""

import argparse
from functools import partial
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from rich.console import Console
from rich.progress import track

import command_line
import mixup_jax as mx
from examples import _digits

SEEDS, EPOCHS, BATCH = 3, 50, 60
model: Any = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(_digits.CLASSES)])
tx = optax.adam(3e-3)
entropy = mx.losses.termwise(optax.losses.softmax_cross_entropy_with_integer_labels)


def batches(examples, seed):
    """Return the batches of all epochs, dicts of NumPy arrays."""
    dataset = grain.MapDataset.source(examples).seed(seed).shuffle()
    # All batches have one size, so the step is compiled once.
    dataset = dataset.batch(BATCH, drop_remainder=True)
    # Each repetition has another order, since the dataset has a seed.
    dataset = dataset.repeat(EPOCHS)
    # For data in memory. By default, 16 threads read ahead, by up to 500 batches.
    return dataset.to_iter_dataset(grain.ReadOptions(num_threads=0))


def on_bytes(mixer):
    """Return the mixer for a dict with uint8 images. Class ids stay as they are."""
    scaled = mx.cast_inputs(mixer, lambda x: x / 255)
    return mx.on_keys(scaled, inputs="image")


def logits_of(params, images):
    return model.apply(params, images.reshape(-1, 64))


def loss(params, batch, mix):
    value = entropy(logits_of(params, batch["image"]), batch["label"], mix).mean()
    # For the check at the end, not for the training.
    return value, {"id": batch["id"], "partner": mix.partners(batch["id"])}


@jax.jit
def start(key):
    params = model.init(key, jnp.zeros((1, 64)))
    return mx.training.TrainState.create(params, tx)


def train(step, seed, data):
    key_start, key = jax.random.split(jax.random.key(seed))
    state, seen = start(key_start), []
    for batch in batches(data.examples(), seed):
        state, metrics = step(state, key, batch)
        seen.append((metrics["id"], metrics["partner"]))
    logits = logits_of(state.params, data.test_images / np.float32(255))
    return _digits.percent_wrong(logits, data.test_labels), seen


def main(argv=None):
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    errors, seen, bar = {}, [], Console(stderr=True)
    for name, mixer in {"ERM": mx.erm, "Mixup": partial(mx.mixup, alpha=1.0)}.items():
        step = jax.jit(mx.training.train_step(loss, on_bytes(mixer)))
        seeds = track(range(SEEDS), name, console=bar, transient=True)
        runs = [train(step, seed, _digits.mislabeled(seed)) for seed in seeds]
        errors[name], seen = zip(*runs)
    _digits.print_errors(errors)
    _digits.print_seen(seen[0], EPOCHS)


if __name__ == "__main__":
    command_line.start(main)
