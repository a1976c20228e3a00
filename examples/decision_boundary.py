"""Compare the decision boundaries of ERM and Mixup on a ring around a blob.

    python -m examples.decision_boundary

Plots p(y = 1 | x) for both, like Figure 1b of the paper (arXiv:1710.09412), and prints
the fraction of the plane where neither class has a probability of 0.9 or more.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress

import command_line
import mixup_jax as mx

CHUNK = 500  # steps per call; SIGINT takes effect between calls
MOST_STEPS = 10_000_000
TICKS = np.linspace(-3, 3, 201, dtype=np.float32)


def ring_around_blob(key, size: int):
    """Return points, float ``[size, 2]``, and labels: 1 for the blob, otherwise 0."""
    key_angle, key_radius, key_label, key_noise = jax.random.split(key, 4)
    labels = jax.random.bernoulli(key_label, shape=(size,)).astype(jnp.float32)
    angle = jax.random.uniform(key_angle, (size,), maxval=2 * jnp.pi)
    radius = jnp.where(
        labels == 1, 0.0, jax.random.normal(key_radius, (size,)) * 0.1 + 2
    )
    ring = radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    noise = jax.random.normal(key_noise, (size, 2)) * 0.35 * labels[:, None]
    return ring + noise, labels


def program(mixer, points, labels, steps: int, key):
    """Return the parts of a training run with all points in each batch.

    Returns:
      The initial state, the keys of the steps, ``advance(state, keys) -> state``, and
      ``probability(state, x)``, which is p(y = 1 | x).
    """
    model = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(64), nn.relu, nn.Dense(1)])
    apply = jax.jit(model.apply)

    def loss(params, batch, mix):
        x, y = batch
        logits = apply(params, x)[:, 0]
        losses = optax.losses.sigmoid_binary_cross_entropy(logits, y)
        return jnp.mean(losses), {}

    key_init, key_order, key_step = jax.random.split(key, 3)
    params = model.init(key_init, points)
    state = mx.training.TrainState.create(params, optax.adam(3e-3))
    step = mx.training.train_step(loss, mixer)

    def shuffled(state, key):
        order = jax.random.permutation(key, len(points))
        state, _ = step(state, key_step, (points[order], labels[order]))
        return state, None

    @jax.jit
    def advance(state, keys):
        return jax.lax.scan(shuffled, state, keys)[0]

    def probability(state, x):
        return jax.nn.sigmoid(apply(state.params, x)[:, 0])

    return state, jax.random.split(key_order, steps), advance, probability


def train_each(
    mixers: Mapping[str, mx.Mixer], points, labels, steps: int, key
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of each method and p(y = 1 | x) on a grid after training."""
    grid = np.stack(np.meshgrid(TICKS, TICKS), axis=-1)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        for name, mixer in mixers.items():
            task = bar.add_task(name, total=steps)
            state, keys, advance, probability = program(
                mixer, points, labels, steps, key
            )
            for first in range(0, steps, CHUNK):
                some = keys[first : first + CHUNK]
                state = jax.block_until_ready(advance(state, some))
                bar.advance(task, len(some))
            p = probability(state, grid.reshape(-1, 2))
            yield name, np.asarray(p).reshape(grid.shape[:2])


def draw(planes: Mapping[str, np.ndarray], points, labels) -> Figure:
    edge = {"edgecolor": "white", "linewidth": 0.3}
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    for i, (name, p) in enumerate(planes.items(), start=1):
        axes = figure.add_subplot(1, len(planes), i, aspect="equal", title=name)
        levels = np.linspace(0, 1, 11)
        shades = axes.contourf(TICKS, TICKS, p, levels, cmap="Blues", alpha=0.8)
        axes.contour(TICKS, TICKS, p, [0.5], colors="black", linewidths=1)
        for label, color in enumerate(("#009e73", "#e69f00")):
            x, y = np.asarray(points)[np.asarray(labels) == label].T
            axes.scatter(x, y, s=9, color=color, label=f"y = {label}", **edge)
        axes.set(xticks=[], yticks=[])
        axes.legend(loc="upper right", fontsize=8)
        if i == len(planes):
            figure.colorbar(shades, ax=figure.axes, shrink=0.85, label="p(y = 1 | x)")
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m examples.decision_boundary",
        description="Compare the decision boundaries of ERM and Mixup.",
    )
    add = parser.add_argument
    add("--alpha", type=command_line.nonnegative_float, default=1.0)
    add("--steps", type=command_line.whole(1, MOST_STEPS), default=1000)
    add("--seed", type=command_line.seed, default=0)
    add("--out", type=Path, default=Path("results"), help="folder for the figure")
    args = parser.parse_args(argv)
    picture = args.out / "decision_boundary.png"
    command_line.check_writable(parser, picture)

    key = command_line.key(args.seed)
    points, labels = ring_around_blob(key, 300)
    mixers = {"ERM": mx.erm, "Mixup": partial(mx.mixup, alpha=args.alpha)}
    with command_line.Interruption() as interruption:
        planes = {}
        trained = train_each(mixers, points, labels, args.steps, key)
        for name, p in interruption.until(trained):
            planes[name] = p
            between = np.mean((p > 0.1) & (p < 0.9))
            print(f"{name}: 0.1 < p(y=1|x) < 0.9 on {between:.0%} of the plane")
        if planes:
            draw(planes, points, labels).savefig(picture, dpi=150)
            print(f"Written: {picture}")


if __name__ == "__main__":
    command_line.start(main)
