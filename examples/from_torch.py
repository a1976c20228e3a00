"""Train with Mixup on batches from a DataLoader of PyTorch.

    python -m examples.from_torch

Mix in the step, not in the workers. They deliver uint8 images as NumPy arrays, and the
mixer casts them on the device. JAX has threads, and a process that is forked from one
with threads may hang, so workers are spawned. Each worker imports this module: do not
make JAX arrays in it outside of functions, or every worker will claim the accelerator.
The default pairing mixes neighbors in the batch, and the sampler makes new ones in each
epoch. All runs train on the same split of the data.
"""

import argparse
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch  # pyright: ignore[reportMissingImports]
from flax import linen as nn
from rich.console import Console
from rich.progress import track

import command_line
import mixup_jax as mx
from examples import _digits

SEEDS, EPOCHS, BATCH = 5, 100, 60
# Workers are kept, since it takes seconds to spawn them: once, not in each epoch.
WORKERS = {
    "num_workers": 2,
    "multiprocessing_context": "spawn",
    "persistent_workers": True,
}
model: Any = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(_digits.CLASSES)])
tx = optax.adam(3e-3)
entropy = mx.losses.termwise(optax.losses.softmax_cross_entropy_with_integer_labels)


def stacked(examples):
    return {name: np.stack([x[name] for x in examples]) for name in examples[0]}


def loader(examples, **workers):
    # With a generator of its own, the order does not depend on the number of workers.
    shuffled = torch.utils.data.RandomSampler(examples, generator=torch.Generator())
    return torch.utils.data.DataLoader(
        examples,
        batch_size=BATCH,
        sampler=shuffled,
        drop_last=True,  # all batches have one size, so the step is compiled once
        collate_fn=stacked,
        **workers,
    )


def epochs(batches, seed):
    batches.sampler.generator.manual_seed(seed)
    for _ in range(EPOCHS):
        yield from batches


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


def train(step, batches, seed, data):
    key_start, key = jax.random.split(jax.random.key(seed))
    state, seen = start(key_start), []
    for batch in epochs(batches, seed):
        state, metrics = step(state, key, batch)
        seen.append((metrics["id"], metrics["partner"]))
    logits = logits_of(state.params, data.test_images / np.float32(255))
    return _digits.percent_wrong(logits, data.test_labels), seen


def main(argv=None):
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    data, errors, seen = _digits.mislabeled(seed=0), {}, []
    batches = loader(data.examples(), **WORKERS)
    for name, mixer in {"ERM": mx.erm, "Mixup": partial(mx.mixup, alpha=1.0)}.items():
        step = jax.jit(mx.training.train_step(loss, on_bytes(mixer)))
        seeds = track(range(SEEDS), name, console=Console(stderr=True), transient=True)
        runs = [train(step, batches, seed, data) for seed in seeds]
        errors[name], seen = zip(*runs)
    _digits.print_errors(errors)
    _digits.print_seen(seen[0], EPOCHS)
    both = zip(epochs(batches, 0), epochs(loader(data.examples()), 0), strict=True)
    changed = sum((a["image"] != b["image"]).any() for a, b in both)
    print("batches that differ without workers:", changed)


if __name__ == "__main__":
    command_line.start(main)
