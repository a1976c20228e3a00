"""What Mixup does to a decision: ERM beside Mixup on a ring around a blob.

    python -m examples.decision_boundary

Draws p(y = 1 | x) of both, as Figure 1b of the paper (arXiv:1710.09412) does, and says
how much of the plane lies between the classes: where neither has a probability of 0.9.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from matplotlib.figure import Figure
from rich.progress import track

import mixup_jax as mx


def ring_around_blob(key, size: int):
    """Return points, float[size, 2], and for each 1 if it is of the blob, else 0."""
    key_angle, key_radius, key_label, key_noise = jax.random.split(key, 4)
    labels = jax.random.bernoulli(key_label, shape=(size,)).astype(jnp.float32)
    angle = jax.random.uniform(key_angle, (size,), maxval=2 * jnp.pi)
    radius = jnp.where(
        labels == 1, 0.0, jax.random.normal(key_radius, (size,)) * 0.1 + 2
    )
    ring = radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    noise = jax.random.normal(key_noise, (size, 2)) * 0.35 * labels[:, None]
    return ring + noise, labels


def train(mixer, points, labels, steps: int, seed: int):
    """Return the function `points -> p(y = 1 | points)` that was learned."""
    model = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(64), nn.relu, nn.Dense(1)])
    apply = jax.jit(model.apply)

    def loss(params, batch, mix):
        x, y = batch
        logits = apply(params, x)[:, 0]
        losses = optax.losses.sigmoid_binary_cross_entropy(logits, y)
        return jnp.mean(losses), {}

    key_init, key_order, key_step = jax.random.split(jax.random.key(seed), 3)
    params = model.init(key_init, points)
    state = mx.training.TrainState.create(params, optax.adam(3e-3))
    step = mx.training.train_step(loss, mixer)

    def shuffled(state, key):
        order = jax.random.permutation(key, len(points))
        state, _ = step(state, key_step, (points[order], labels[order]))
        return state, None

    keys = jax.random.split(key_order, steps)
    state, _ = jax.jit(lambda state: jax.lax.scan(shuffled, state, keys))(state)
    return lambda x: jax.nn.sigmoid(apply(state.params, x)[:, 0])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="ERM beside Mixup on a toy problem.")
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results"))
    args = parser.parse_args(argv)

    points, labels = ring_around_blob(jax.random.key(args.seed), 300)
    ticks = np.linspace(-3, 3, 201, dtype=np.float32)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    mixers = {"ERM": mx.erm, "Mixup": partial(mx.mixup, alpha=args.alpha)}

    edge = {"edgecolor": "white", "linewidth": 0.3}
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    for i, (name, mixer) in enumerate(track(mixers.items(), "training"), start=1):
        probability = train(mixer, points, labels, args.steps, args.seed)
        p = np.asarray(probability(grid)).reshape(len(ticks), len(ticks))
        between = np.mean((p > 0.1) & (p < 0.9))
        print(f"{name}: 0.1 < p(y=1|x) < 0.9 on {between:.0%} of the plane")

        axes = figure.add_subplot(1, 2, i, aspect="equal", title=name)
        levels = np.linspace(0, 1, 11)
        shades = axes.contourf(ticks, ticks, p, levels, cmap="Blues", alpha=0.8)
        axes.contour(ticks, ticks, p, [0.5], colors="black", linewidths=1)
        for label, color in enumerate(("#009e73", "#e69f00")):
            x, y = np.asarray(points)[np.asarray(labels) == label].T
            axes.scatter(x, y, s=9, color=color, label=f"y = {label}", **edge)
        axes.set(xticks=[], yticks=[])
        axes.legend(loc="upper right", fontsize=8)
        if i == len(mixers):
            figure.colorbar(shades, ax=figure.axes, shrink=0.85, label="p(y = 1 | x)")
    args.out.mkdir(parents=True, exist_ok=True)
    picture = args.out / "decision_boundary.png"
    figure.savefig(picture, dpi=150)
    print(f"Written: {picture}")


if __name__ == "__main__":
    main()
