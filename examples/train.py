"""Compare ERM, Mixup, CutMix and their mixture on real images.

    python -m examples.train
    python -m examples.train --data cifar10 --data-dir DIR

All methods use the same seeds, and the seeds of a method are trained together, in one
compiled program. Prints a table of test errors and writes ``train_DATA.json`` with the
errors after each epoch and ``train_DATA.png`` with learning curves and mixed examples.
Ctrl-C stops the training and writes the results of the completed epochs. The digits
take half a minute on a CPU. For the other data sets use an accelerator, or reduce them
with --limit and --epochs.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training.train_state import TrainState

import command_line
import mixup_jax as mx
from examples._curves import COLORS, write
from examples._seeds import train_all
from examples.datasets import DATASETS, Images


class Recipe(NamedTuple):
    """Hyperparameters for a data set."""

    widths: tuple[int, ...]
    epochs: int
    seeds: int
    batch_size: int
    learning_rate: float
    augment: bool = False


RECIPES = {
    "digits": Recipe((16, 32), 30, 5, 64, 8e-3),
    "fashion_mnist": Recipe((16, 32, 64), 20, 3, 128, 4e-3),
    "cifar10": Recipe((64, 128, 128, 256), 50, 3, 128, 1e-3, augment=True),
}


def methods(alpha: float) -> dict[str, mx.Mixer]:
    """Return the mixers to compare, by name."""
    mixup = partial(mx.mixup, alpha=alpha)
    cutmix = partial(mx.cutmix, alpha=alpha)
    return {
        "erm": mx.erm,
        "mixup": mixup,
        "cutmix": cutmix,
        "mixture": mx.choose([mixup, cutmix], [0.5, 0.5]),
    }


class Conv(nn.Module):
    """A 3x3 convolution as a product of a matrix and 3x3 patches.

    Under a vmap over seeds, ``nn.Conv`` becomes a grouped convolution, which XLA runs
    ten times slower than this on a CPU.
    """

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        height, width = x.shape[1:3]
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        shifted = [
            x[:, i : i + height : self.stride, j : j + width : self.stride]
            for i in range(3)
            for j in range(3)
        ]
        return nn.Dense(self.features)(jnp.concatenate(shifted, axis=-1))


class CNN(nn.Module):
    widths: Sequence[int]
    classes: int

    @nn.compact
    def __call__(self, x):
        for i, width in enumerate(self.widths):
            x = nn.relu(Conv(width, stride=1 if i == 0 else 2)(x))
        return nn.Dense(self.classes)(x.reshape(x.shape[0], -1))


def program(data: Images, recipe: Recipe) -> tuple[Callable, Callable]:
    """Return ``start(key)`` and ``epoch(mixer, state, key)`` for one network."""
    classes = len(data.classes)
    images, labels = jnp.asarray(data.train_images), jnp.asarray(data.train_labels)
    tests = jnp.asarray(data.test_images), jnp.asarray(data.test_labels)
    mean = np.mean(data.train_images, axis=(0, 1, 2), dtype=np.float32)
    std = np.std(data.train_images, axis=(0, 1, 2), dtype=np.float32)

    steps = len(images) // recipe.batch_size
    total = steps * recipe.epochs
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, recipe.learning_rate, warmup_steps=total // 10, decay_steps=total
    )
    tx = optax.adamw(schedule, weight_decay=1e-2)
    model: Any = CNN(recipe.widths, classes)

    def predict(params, images):
        return model.apply(params, (images.astype(jnp.float32) - mean) / std)

    def loss(params, batch, mix):
        images, targets = batch
        losses = optax.losses.softmax_cross_entropy(predict(params, images), targets)
        return jnp.mean(losses), {}

    def start(key):
        params = model.init(key, jnp.zeros((1, *images.shape[1:])))
        return TrainState.create(apply_fn=model.apply, params=params, tx=tx)

    def epoch(mixer, state, key):
        train_step = mx.training.train_step(loss, mixer)
        key_order, key_augment, key_step = jax.random.split(key, 3)
        # The default pairing mixes adjacent examples, so shuffle them.
        order = jax.random.permutation(
            jax.random.fold_in(key_order, state.step), len(images)
        )
        order = order[: steps * recipe.batch_size].reshape(steps, recipe.batch_size)

        def one(state, rows):
            inputs = images[rows].astype(jnp.float32)
            if recipe.augment:
                inputs = augmented(jax.random.fold_in(key_augment, state.step), inputs)
            batch = inputs, mx.losses.one_hot(labels[rows], classes)
            return train_step(state, key_step, batch)

        state, _ = jax.lax.scan(one, state, order)

        def wrong(example):
            image, label = example
            return jnp.argmax(predict(state.params, image[None])) != label

        return state, jnp.mean(jax.lax.map(wrong, tests, batch_size=500))

    return start, epoch


def augmented(key, images):
    """Randomly flip each image and shift it by up to four pixels."""
    key_flip, key_move = jax.random.split(key)
    flip = jax.random.bernoulli(key_flip, shape=(len(images), 1, 1, 1))
    images = jnp.where(flip, images[:, :, ::-1], images)
    padded = jnp.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    corners = jax.random.randint(key_move, (len(images), 2), 0, 9)

    def crop(image, corner):
        return jax.lax.dynamic_slice(image, (*corner, 0), images.shape[1:])

    return jax.vmap(crop)(padded, corners)


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Images, Recipe]:
    """Return the arguments, the data and the recipe that they specify."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.train",
        description="Compare ERM, Mixup, CutMix and their mixture on real images.",
    )
    add, size = parser.add_argument, command_line.positive_int
    add("--data", choices=DATASETS, default="digits")
    add(
        "--data-dir",
        type=command_line.folder,
        help="folder with the original files; without it, they are downloaded",
    )
    add("--methods", nargs="+", choices=COLORS, default=list(COLORS))
    add(
        "--alpha",
        type=command_line.nonnegative_float,
        default=1.0,
        help="lam ~ Beta(alpha, alpha)",
    )
    add("--epochs", type=size)
    add("--seeds", type=size, help="number of networks to train per method")
    add("--batch-size", type=size)
    add("--learning-rate", type=command_line.positive_float)
    add("--limit", type=size, help="use the first LIMIT training and test examples")
    add("--seed", type=command_line.seed, default=0)
    add("--out", type=Path, default=Path("results"), help="folder for the results")
    args = parser.parse_args(argv)

    args.picture = args.out / f"train_{args.data}.png"
    args.json = args.picture.with_suffix(".json")
    command_line.check_writable(parser, args.picture, args.json)
    try:
        data = DATASETS[args.data](args.data_dir)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    data = Images(
        data.train_images[: args.limit],
        data.train_labels[: args.limit],
        data.test_images[: args.limit],
        data.test_labels[: args.limit],
        data.classes,
    )
    given = {k: v for k, v in vars(args).items() if v is not None}
    recipe = RECIPES[args.data]
    recipe = recipe._replace(**{k: v for k, v in given.items() if k in recipe._fields})
    examples = len(data.train_labels)
    if recipe.batch_size > examples:
        parser.error(
            f"--batch-size: expected at most {examples}, the number of training "
            f"examples; got {recipe.batch_size}."
        )
    most = command_line.LARGEST_INT // (examples // recipe.batch_size)
    if recipe.epochs > most:
        parser.error(
            f"--epochs: expected at most {most}, which is 2**31 steps; got "
            f"{recipe.epochs}."
        )
    return args, data, recipe


def main(argv: Sequence[str] | None = None) -> None:
    args, data, recipe = parse(argv)
    examples, tests = len(data.train_labels), len(data.test_labels)
    summary = f"{args.data}: {examples} training examples, {tests} test examples"
    print(summary, flush=True)
    available = methods(args.alpha)
    start, epoch = program(data, recipe)
    epochs = {name: partial(epoch, available[name]) for name in args.methods}
    with command_line.Interruption() as interruption:
        curves: dict[str, list[np.ndarray]] = {}
        training = train_all(
            start, epochs, epochs=recipe.epochs, seeds=recipe.seeds, seed=args.seed
        )
        for name, error in interruption.until(training):
            curves.setdefault(name, []).append(error)
        if curves:
            errors = {name: np.stack(curve) for name, curve in curves.items()}
            write(errors, args, data, recipe)


if __name__ == "__main__":
    command_line.start(main)
