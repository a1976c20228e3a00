"""Train with Mixup on batches from tf.data.

    python -m examples.from_tf_data

Mix in the step, not in the pipeline. The pipeline delivers uint8 images as NumPy
arrays, and the mixer casts them on the device, which TensorFlow is kept off. The
default pairing mixes neighbors in the batch, so it is the pipeline that makes the
pairs: shuffle before ``batch``, with a buffer for all examples. With a smaller one,
partners are close to each other in the file.
"""

import argparse
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tensorflow as tf
from flax import linen as nn
from rich.console import Console
from rich.progress import track

import command_line
import mixup_jax as mx
from examples import _digits

SEEDS, EPOCHS, BATCH = 5, 100, 60
model: Any = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(_digits.CLASSES)])
tx = optax.adam(3e-3)
entropy = mx.losses.termwise(optax.losses.softmax_cross_entropy_with_integer_labels)


def batches(data, seed):
    """Return the batches of all epochs, dicts of NumPy arrays."""
    dataset = tf.data.Dataset.from_tensor_slices(data)
    # By default, each epoch has another order.
    dataset = dataset.shuffle(len(data["id"]), seed=seed)
    # All batches have one size, so the step is compiled once.
    dataset = dataset.batch(BATCH, drop_remainder=True).repeat(EPOCHS)
    return dataset.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()


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
    for batch in batches(data.columns(), seed):
        state, metrics = step(state, key, batch)
        seen.append((metrics["id"], metrics["partner"]))
    logits = logits_of(state.params, data.test_images / np.float32(255))
    return _digits.percent_wrong(logits, data.test_labels), seen


def main(argv=None):
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    # TensorFlow would claim all memory of each GPU that it sees.
    tf.config.set_visible_devices([], "GPU")
    errors, seen = {}, []
    for name, mixer in {"ERM": mx.erm, "Mixup": partial(mx.mixup, alpha=1.0)}.items():
        step = jax.jit(mx.training.train_step(loss, on_bytes(mixer)))
        seeds = track(range(SEEDS), name, console=Console(stderr=True), transient=True)
        runs = [train(step, seed, _digits.mislabeled(seed)) for seed in seeds]
        errors[name], seen = zip(*runs)
    _digits.print_errors(errors)
    _digits.print_seen(seen[0], EPOCHS)


if __name__ == "__main__":
    command_line.start(main)
