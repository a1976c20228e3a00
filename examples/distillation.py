"""Distill a teacher that sees the same mix as the student, at another resolution.

    python -m examples.distillation

The mix is drawn for the small pictures of the student, and applied to the large ones of
the teacher too: ``mix.coverage`` tells the own share of each small pixel, whatever the
method. What to watch for: draw for the small pictures, of which the large ones are a
whole multiple, so that ``lam`` is the same. And be patient: after these steps, errors
still fall.

Prints how far the views differ; and for students of the labels, of predictions for
unmixed pictures, and of those for the same mix, error and divergence from the teacher.
"""

import argparse
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

SEEDS, STEPS, BATCH, SMALL = 5, 1000, 128, 4
either = mx.choose([mx.mixup, mx.cutmix], [0.5, 0.5])
entropy = optax.losses.softmax_cross_entropy


def mixed_alike(mix, images):
    """Return larger images, mixed as the small ones are."""
    own = mix.coverage((SMALL, SMALL))  # of each small pixel, [B, SMALL, SMALL]
    for axis in (1, 2):
        own = jnp.repeat(own, images.shape[axis] // SMALL, axis)
    own = own[..., None]
    return own * images + (1 - own) * images[mix.partner]


def labels(batch, mix):
    return mix.targets(batch["label"])


def same_mix(teacher, batch, mix):
    return teacher(mixed_alike(mix, batch["large"]))


def halved(images):
    return np.asarray(nn.avg_pool(images, (2, 2), strides=(2, 2)))


def trained(width, seen, targets, keys, data):
    """Return the networks of all keys, trained on mixes of the pictures ``seen``."""
    flat = [lambda x: x.reshape(len(x), -1), nn.Dense(width), nn.relu, nn.Dense(10)]
    model: Any = nn.Sequential(flat)

    def loss(params, batch, mix):
        logits = model.apply(params, batch[seen])
        return entropy(logits, targets(batch, mix)).mean(), {}

    def start(key):
        params = model.init(key, data[seen][:1])
        return mx.training.TrainState.create(params, optax.adam(2e-3))

    step = mx.training.train_step(loss, mx.on_keys(either, inputs=seen))
    step = jax.jit(jax.vmap(step, in_axes=(0, 0, None)))
    state, draw = jax.jit(partial(jax.lax.map, start))(keys), np.random.default_rng(0)
    for _ in track(range(STEPS), seen, console=Console(stderr=True), transient=True):
        rows = draw.choice(len(data["label"]), BATCH, replace=False)
        state, _ = step(state, keys, {name: x[rows] for name, x in data.items()})
    return lambda x: jax.vmap(model.apply, in_axes=(0, None))(state.params, x)


def main(argv=None):
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    d = datasets.digits()
    large, tests = (np.float32(x) / 255 for x in (d.train_images, d.test_images))
    label, truth = np.eye(10, dtype=np.float32)[d.train_labels], d.test_labels
    data = {"large": large, "small": halved(large), "label": label}

    mix = mx.draw_of(either)(jax.random.key(2), (data["small"], None))
    far = halved(mixed_alike(mix, large)) - mix.inputs(data["small"])
    print(f"largest difference of the views {np.abs(far).max():.0e}")

    keys = jax.random.split(jax.random.key(0), SEEDS)
    big = trained(256, "large", labels, keys[:1], data)

    def teacher(images):
        return jax.nn.softmax(big(images)[0])

    wanted = np.asarray(teacher(tests))
    print(f"teacher: error {100 * np.mean(wanted.argmax(-1) != truth):.2f} percent")
    arms = {
        "labels": labels,
        "unmixed": lambda batch, mix: mix.targets(teacher(batch["large"])),
        "same mix": partial(same_mix, teacher),
    }
    for name, targets in arms.items():
        students = trained(64, "small", targets, keys, data)
        logits = students(halved(tests))
        wrong = 100 * np.mean(logits.argmax(-1) != truth, axis=1)
        kl = optax.losses.kl_divergence(jax.nn.log_softmax(logits), wanted).mean(1)
        both = wrong, kl
        said = (f"{x.mean():.3f} ± {x.std(ddof=1) / SEEDS**0.5:.3f}" for x in both)
        print(f"{name:8}: error {' percent, divergence '.join(said)}")


if __name__ == "__main__":
    command_line.start(main)
