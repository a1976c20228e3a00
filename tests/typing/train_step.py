"""A train step as a user writes it, checked by two strict type checkers."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import optax

import mixup_jax as mx

Params = dict[str, jax.Array]
Batch = dict[str, jax.Array]


def loss(params: Params, batch: Batch, mix: mx.Mix) -> tuple[jax.Array, Params]:
    logits = batch["image"].reshape(len(batch["image"]), -1) @ params["w"]
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels
    value = mx.losses.termwise(entropy)(logits, batch["label"], mix).mean()
    return value, {"own": mix.lam.mean()}


def mixer_at(step: jax.Array) -> mx.Mixer:
    alpha = optax.linear_schedule(0.0, 0.4, transition_steps=1000)
    boxes = partial(mx.cutmix, region=partial(mx.regions.box, min_size=0.1))
    blends = partial(mx.mixup, alpha=alpha(step), pairing=mx.pairings.roll)
    share = jnp.where(step < 9, 0.0, 0.5)
    either = mx.choose([blends, boxes, mx.erm], [share, share, 1 - 2 * share])
    return mx.on_keys(either, inputs="image")


def batches(key: jax.Array) -> Iterator[Batch]:
    images = jax.random.uniform(key, (16, 8, 8, 3))
    yield {"image": images, "label": jnp.zeros(16, int)}


def main() -> mx.training.TrainState:
    params: Params = {"w": jnp.zeros((192, 10))}
    state = mx.training.TrainState.create(params, optax.adamw(1e-3))
    mixer = mx.until(90_000, mx.scheduled(mixer_at))
    step = mx.training.train_step(loss, mixer, micro_batches=2)
    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    run = mx.training.sharded(step, mesh, axis_name="data")
    key = jax.random.key(0)
    for batch in batches(key):
        state, metrics = run(state, key, batch)
        print(int(state.step), float(metrics["loss"]), float(metrics["own"]))
    return state
