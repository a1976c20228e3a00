"""Distill a teacher that sees the same mix as the student, at another resolution.

    python -m examples.distillation

The mix is drawn once, for the small pictures of the student, and applied to the large
ones of the teacher as well. A blend fits any size; a box is drawn in pixels, so scale
it. What to watch for: scale from small to large by whole numbers, so that both boxes
cover the same area and ``lam`` is the same.

The teacher reads digits of 8x8 pixels, the students those of 4x4. Prints how far the
views differ, and compares students trained on labels, on mixed predictions for unmixed
pictures, and on predictions for the same mix: their test errors, and their Kullback-
Leibler divergence from the teacher.
"""

import argparse
import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from rich.console import Console
from rich.progress import track

import command_line
import mixup_jax as mx
from examples import datasets

SEEDS, BATCH = 5, 128
METHODS = {"Mixup": partial(mx.mixup, alpha=1.0), "CutMix": mx.cutmix}
either = mx.choose([*METHODS.values()], [0.5, 0.5])


def network(width) -> Any:
    flat = [lambda x: x.reshape(len(x), -1), nn.Dense(width), nn.relu, nn.Dense(10)]
    return nn.Sequential(flat)


big, small = network(256), network(64)


def is_box(part):
    return isinstance(part, mx.regions.Box)


def at_scale(mix, images):
    """Return the mix for pictures that are whole times as large."""
    grid = mx.regions.grid(images)

    def scaled(part):
        if not is_box(part):
            return part
        times = jnp.array(grid.sizes) // jnp.array(part.grid.sizes)
        start, stop = part.start * times, part.stop * times
        return dataclasses.replace(part, start=start, stop=stop, grid=grid)

    return jax.tree.map(scaled, mix, is_leaf=is_box)


def labels(teacher, batch, mix):
    return mix.targets(batch["label"])


def unmixed(teacher, batch, mix):
    return mix.targets(teacher(batch["large"]))


def same_mix(teacher, batch, mix):
    return teacher(at_scale(mix, batch["large"]).inputs(batch["large"]))


def halved(images):
    return np.asarray(nn.avg_pool(images, (2, 2), strides=(2, 2)))


def trained(model, seen, targets, keys, data, steps):
    """Return the parameters for each key, trained on mixes of the pictures ``seen``."""

    def loss(params, batch, mix):
        logits = model.apply(params, batch[seen])
        entropy = optax.losses.softmax_cross_entropy
        return entropy(logits, targets(batch, mix)).mean(), {}

    def start(key):
        params = model.init(key, data[seen][:1])
        return mx.training.TrainState.create(params, optax.adam(2e-3))

    step = mx.training.train_step(loss, mx.on_keys(either, inputs=seen))
    step = jax.jit(jax.vmap(step, in_axes=(0, 0, None)))
    state, draw = jax.jit(partial(jax.lax.map, start))(keys), np.random.default_rng(0)
    for _ in track(range(steps), seen, console=Console(stderr=True), transient=True):
        rows = draw.choice(len(data["label"]), BATCH, replace=False)
        state, _ = step(state, keys, {name: x[rows] for name, x in data.items()})
    return state.params


def main(argv=None):
    parser = argparse.ArgumentParser(description="Distill with one mix for both.")
    parser.add_argument("--steps", type=command_line.positive_int, default=1000)
    steps, digits = parser.parse_args(argv).steps, datasets.digits()
    pictures = digits.train_images, digits.test_images
    large, tests = (np.float32(x) / 255 for x in pictures)
    label = np.eye(10, dtype=np.float32)[digits.train_labels]
    data = {"large": large, "small": halved(large), "label": label}

    for name, method in METHODS.items():
        mix = mx.draw_of(method)(jax.random.key(2), (data["small"], None))
        again = at_scale(mix, large)
        far = np.abs(halved(again.inputs(large)) - mix.inputs(data["small"])).max()
        off = np.abs(again.coverage((1, 1))[:, 0, 0] - mix.lam).max()
        print(
            f"{name}: views differ by at most {far:.0e}, shares from lam by {off:.0e}"
        )

    keys = jax.random.split(jax.random.key(0), SEEDS)
    params = trained(big, "large", partial(labels, None), keys[:1], data, steps)
    params = jax.tree.map(lambda x: x[0], params)

    def teacher(images):
        return jax.nn.softmax(big.apply(params, images))

    wanted, truth = np.asarray(teacher(tests)), digits.test_labels
    print(f"teacher: error {100 * np.mean(wanted.argmax(-1) != truth):.2f} percent")
    for targets in (labels, unmixed, same_mix):
        found = trained(small, "small", partial(targets, teacher), keys, data, steps)
        logits = jax.vmap(small.apply, in_axes=(0, None))(found, halved(tests))
        missed = 100 * np.mean(logits.argmax(-1) != truth, axis=1)
        far = optax.losses.kl_divergence(jax.nn.log_softmax(logits), wanted).mean(1)
        both = missed, np.asarray(far)
        said = [f"{x.mean():.3f} ± {x.std(ddof=1) / SEEDS**0.5:.3f}" for x in both]
        print(f"{targets.__name__:8}: error {' percent, divergence '.join(said)}")


if __name__ == "__main__":
    command_line.start(main)
