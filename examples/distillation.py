"""Distill a teacher that sees the same mix as the student, at another resolution.

    python -m examples.distillation

A patient and consistent teacher labels exactly what the student sees. The mix is drawn
once, for the small pictures, and applied to the large ones as well. A blend fits any
size; a box is drawn in pixels, so scale it. What to watch for: scale from small to
large, by whole numbers, so that the boxes cover the same area and ``lam`` is the same;
and do not let the teacher predict unmixed pictures and mix its predictions instead.

The teacher reads digits of 8x8 pixels, and the student those of 4x4. Prints how much
the views differ, and the test error of students: with labels only, with predictions for
unmixed pictures, and with predictions for the same mix.
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

import command_line
import mixup_jax as mx
from examples import datasets

SEEDS, BATCH, TRAIN = 5, 64, 600
METHODS = {"Mixup": partial(mx.mixup, alpha=1.0), "CutMix": mx.cutmix}
either = mx.choose([*METHODS.values()], [0.5, 0.5])
entropy = optax.losses.softmax_cross_entropy


def at_scale(mix, images):
    """Return the mix for pictures that are whole times as large."""
    grid = mx.regions.grid(images)

    def is_box(part):
        return isinstance(part, mx.regions.Box)

    def scaled(part):
        if not is_box(part):
            return part
        times = jnp.array(grid.sizes) // jnp.array(part.grid.sizes)
        corners = part.start * times, part.stop * times
        return dataclasses.replace(part, start=corners[0], stop=corners[1], grid=grid)

    return jax.tree.map(scaled, mix, is_leaf=is_box)


def same_mix(teacher, batch, mix):
    return teacher(at_scale(mix, batch["large"]).inputs(batch["large"]))


def unmixed(teacher, batch, mix):
    return mix.targets(teacher(batch["large"]))


def labels_only(teacher, batch, mix):
    return mix.targets(batch["label"])


def network(width):
    flat = [lambda x: x.reshape(len(x), -1), nn.Dense(width), nn.relu, nn.Dense(10)]
    model: Any = nn.Sequential(flat)
    return model


def halved(images):
    return nn.avg_pool(images, (2, 2), strides=(2, 2))


def trained(model, seen, targets, keys, data, steps):
    """Return parameters per key, trained on mixes of the pictures named ``seen``."""

    def loss(params, batch, mix):
        logits = model.apply(params, batch[seen])
        return entropy(logits, targets(batch, mix)).mean(), {}

    def start(key):
        params = model.init(key, data[seen][:1])
        return mx.training.TrainState.create(params, optax.adam(2e-3))

    step = mx.training.train_step(loss, mx.on_keys(either, inputs=seen))
    step = jax.jit(jax.vmap(step, in_axes=(0, 0, None)))
    state, draw = jax.jit(partial(jax.lax.map, start))(keys), np.random.default_rng(0)
    for _ in range(steps):
        rows = draw.choice(TRAIN, BATCH, replace=False)
        state, _ = step(state, keys, {name: x[rows] for name, x in data.items()})
    return state.params


def main(argv=None):
    parser = argparse.ArgumentParser(description="Distill with one mix for both.")
    parser.add_argument("--steps", type=command_line.positive_int, default=500)
    steps = parser.parse_args(argv).steps
    digits = datasets.digits()
    images, labels = digits.train_images[:TRAIN], digits.train_labels[:TRAIN]
    large, tests = (x.astype(np.float32) / 255 for x in (images, digits.test_images))
    data = {"large": large, "small": halved(large), "label": np.eye(10)[labels]}
    data = {name: np.asarray(x, np.float32) for name, x in data.items()}

    print("largest difference of the views, and of lam")
    for name, method in METHODS.items():
        mix = mx.draw_of(method)(jax.random.key(2), (data["small"], data["label"]))
        views = halved(at_scale(mix, large).inputs(large)), mix.inputs(data["small"])
        print(f"{name:13} {np.abs(views[0] - views[1]).max():.0e}", end=" ")
        share = at_scale(mix, large).coverage((1, 1))[:, 0, 0]
        print(f"{np.abs(share - mix.lam).max():.0e}")

    keys = jax.random.split(jax.random.key(0), SEEDS)
    big, small, where = network(256), network(64), (halved(tests), digits.test_labels)
    only = partial(labels_only, None)
    params = trained(big, "large", only, keys[:1], data, 2 * steps)
    params = jax.tree.map(lambda x: x[0], params)
    missed = np.mean(np.argmax(big.apply(params, tests), axis=-1) != where[1])

    def teacher(images):
        return jax.nn.softmax(big.apply(params, images))

    print(f"test error in percent, {SEEDS} students; of the teacher {100 * missed:.2f}")
    for targets in (labels_only, unmixed, same_mix):
        found = trained(small, "small", partial(targets, teacher), keys, data, steps)
        logits = jax.vmap(small.apply, in_axes=(0, None))(found, where[0])
        each = 100 * np.mean(np.argmax(logits, axis=-1) != where[1], axis=1)
        name = targets.__name__.replace("_", " ")
        print(f"{name:11} {each.mean():5.2f} ± {each.std(ddof=1) / SEEDS**0.5:.2f}")


if __name__ == "__main__":
    command_line.start(main)
