"""Accumulate gradients over micro-batches, each with a mix of its own.

    python -m examples.accumulation

Each micro-batch needs its own key, or all of them draw the same ``lam``. In your own
loop, fold in the number of the micro-batch. Under ``optax.MultiSteps``, call the step
for each micro-batch: it folds in ``state.step``, which counts them. What to watch for:
``until`` and ``scheduled`` then count micro-batches too. ``train_step`` can also divide
the batch itself, with ``micro_batches=4``, and then ``state.step`` counts updates.

Prints how many different ``lam`` were drawn for one update, and how far its gradient is
from that of the whole batch with the same mixes.
"""

import argparse
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.flatten_util import ravel_pytree

import command_line
import mixup_jax as mx
from examples import datasets

PARTS, SIZE = 4, 64
mixer = partial(mx.mixup, alpha=1.0)
model: Any = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(10)])


def loss(params, batch, mix):
    images, targets = batch
    logits = model.apply(params, images)
    value = optax.losses.softmax_cross_entropy(logits, targets).mean()
    return value, {"lam": mix.lam, "seen": batch}  # for the check below


def own_loop(params, key, batches, part_key=jax.random.fold_in):
    """Return the mean gradient over parts ``[PARTS, SIZE, ...]``, and their metrics."""

    def one(total, numbered):
        part, batch = numbered
        batch, mix = mixer(part_key(key, part), batch)
        grads, metrics = jax.grad(loss, has_aux=True)(params, batch, mix)
        return jax.tree.map(jnp.add, total, grads), metrics

    zeros = jax.tree.map(jnp.zeros_like, params)
    total, metrics = jax.lax.scan(one, zeros, (jnp.arange(PARTS), batches))
    return jax.tree.map(lambda g: g / PARTS, total), metrics


def multi_steps(params, key, batches):
    """Return the same, as the update after one step for each part."""
    tx = optax.MultiSteps(optax.sgd(1.0), every_k_schedule=PARTS)
    state = mx.training.TrainState.create(params, tx.gradient_transformation())
    step = mx.training.train_step(loss, mixer)
    state, metrics = jax.lax.scan(
        lambda state, batch: step(state, key, batch), state, batches
    )
    return jax.tree.map(jnp.subtract, params, state.params), metrics


def of_whole(params, mixed):
    """Return the gradient of the batch that the parts make up, already mixed."""
    batch = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), mixed)
    _, alone = mx.erm(jax.random.key(0), batch)
    return jax.grad(loss, has_aux=True)(params, batch, alone)[0]


def main(argv=None):
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    data = datasets.digits()
    draw = np.random.default_rng(0)
    rows = draw.permutation(len(data.train_labels))[: PARTS * SIZE]
    rows = rows.reshape(PARTS, SIZE)
    images = data.train_images[rows].reshape(PARTS, SIZE, 64).astype(np.float32) / 255
    batches = images, np.eye(10, dtype=np.float32)[data.train_labels[rows]]
    params = model.init(jax.random.key(0), images[0])

    ways = {
        "own loop": own_loop,
        "own loop, one key": partial(own_loop, part_key=lambda key, part: key),
        "optax.MultiSteps": multi_steps,
    }
    print(f"{PARTS} micro-batches of {SIZE}: distinct lam, distance of the gradients")
    for name, way in ways.items():
        grads, metrics = jax.jit(way)(params, jax.random.key(1), batches)
        whole = of_whole(params, metrics["seen"])
        (found, _), (expected, _) = map(ravel_pytree, (grads, whole))
        off = jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected)
        print(f"{name:17} {len(np.unique(metrics['lam'])):3} {off:.0e}")


if __name__ == "__main__":
    command_line.start(main)
