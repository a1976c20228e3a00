"""The network, its train step and its evaluation, over a mesh of (data, fsdp)."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training import train_state
from jax import Array

import mixup_jax as mx
from examples.fsdp import AXES, over_shards
from examples.networks import ResNet50, ViT

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels
EMA_WARMUP = 10  # the first steps count for less, so that the start is forgotten


class State(train_state.TrainState):
    """A train state with batch statistics, and averages of both over the steps."""

    batch_stats: Any
    ema: Any


class Program(NamedTuple):
    """What is compiled for one run.

    Attributes:
      create: ``key -> state``.
      layout: shardings of the state.
      step: ``(state, key, batch) -> (state, metrics)``, on the mesh.
      evaluate: ``(state, batch) -> counts``, sums over the examples of a batch.
      learning_rate: schedule by step.
    """

    create: Callable[[Array], State]
    layout: Any
    step: mx.training.Run
    evaluate: Callable[[State, Any], dict[str, Array]]
    learning_rate: Callable[[int], Any]


def network(args: argparse.Namespace, classes: int) -> nn.Module:
    """Return the model that the flags describe."""
    dtype = jnp.dtype(args.dtype)
    if args.model == "resnet50":
        return ResNet50(classes, dtype, args.width or 64, args.blocks)
    return ViT(classes, dtype, args.patch, args.width or 384, args.depth, args.heads)


def mixer_of(args: argparse.Namespace, steps: int) -> Any:
    """Return the mixing: Mixup, CutMix or either for each example, until some epoch."""
    mixers, shares = [], []
    for alpha, share, method in (
        (args.mixup, 1 - args.switch, mx.mixup),
        (args.cutmix, args.switch, mx.cutmix),
    ):
        if alpha:
            mixers.append(partial(method, alpha=alpha))
            shares.append(share)
    mixer = mixers[0] if mixers else mx.erm
    if len(mixers) == 2:
        mixer = mx.choose(mixers, shares)
    mixer = mx.on_keys(mx.cast_inputs(mixer, normalized), inputs="image")
    if args.mix_epochs is None:
        return mixer
    return mx.until(args.mix_epochs * steps // args.epochs, mixer)


def normalized(images: Array) -> Array:
    """Return bytes as float32 of about zero mean and unit variance."""
    images = images.astype(jnp.float32) / 255
    return (images - jnp.array(MEAN)) / jnp.array(DEVIATION)


def optimizer(args: argparse.Namespace, steps: int) -> tuple[Any, Any]:
    """Return AdamW, which decays kernels alone, and its learning rate."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, args.learning_rate, warmup_steps=args.warmup_steps, decay_steps=steps
    )

    def kernels(params: Any) -> Any:
        def is_kernel(path: Any, x: Any) -> bool:
            return path[-1].key == "kernel"

        return jax.tree.map_with_path(is_kernel, params)

    tx = optax.chain(
        optax.clip_by_global_norm(args.clip_norm),
        optax.adamw(schedule, weight_decay=args.weight_decay, mask=kernels),
    )
    return tx, schedule


def averaging(step: Callable[..., Any], decay: float) -> Callable[..., Any]:
    """Return ``step`` that also averages parameters and batch statistics."""

    def averaged(state: State, key: Array, batch: Any) -> tuple[State, Any]:
        state, metrics = step(state, key, batch)
        now = {"params": state.params, "batch_stats": state.batch_stats}
        rate = jnp.maximum(1 - decay, EMA_WARMUP / (EMA_WARMUP + state.step))
        return state.replace(
            ema=optax.incremental_update(now, state.ema, rate)
        ), metrics

    return averaged


def program(
    args: argparse.Namespace,
    mesh: jax.sharding.Mesh,
    *,
    classes: int,
    steps: int,
) -> Program:
    """Return the program of a run of ``steps`` steps on a mesh of (data, fsdp)."""
    model: Any = network(args, classes)
    tx, schedule = optimizer(args, steps)
    shape = args.image_size, args.image_size, 3

    def create(key: Array) -> State:
        variables = dict(model.init(key, jnp.zeros((1, *shape)), train=False))
        params, stats = variables["params"], variables.get("batch_stats", {})
        # Copies, since the step donates the state.
        ema = jax.tree.map(jnp.copy, {"params": params, "batch_stats": stats})
        return State.create(
            apply_fn=model.apply, params=params, tx=tx, batch_stats=stats, ema=ema
        )

    def targets(labels: Array) -> Array:
        return mx.losses.one_hot(labels, classes, smoothing=args.smoothing)

    @mx.losses.termwise
    def entropy(logits: Array, labels: Array) -> Array:
        return optax.losses.softmax_cross_entropy(logits, targets(labels))

    @mx.training.stateful
    def loss(params, batch, mix, state, key):
        del key
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, changed = model.apply(
            variables, batch["image"], train=True, mutable=["batch_stats"]
        )
        value = jnp.mean(entropy(logits, batch["label"], mix))
        metrics = {"lam": jnp.mean(mix.lam)}
        return value, (metrics, {"batch_stats": changed.get("batch_stats", {})})

    @partial(jax.jit, out_shardings=jax.NamedSharding(mesh, jax.P()))
    def evaluated(state: State, batch: Any) -> dict[str, Array]:
        images = normalized(batch["image"])
        counts = {"examples": jnp.sum(batch["weight"])}
        raw = {"params": state.params, "batch_stats": state.batch_stats}
        for name, variables in (("", raw), ("_ema", state.ema)):
            logits = model.apply(variables, images, train=False)
            wrong = jnp.argmax(logits, axis=-1) != batch["label"]
            losses = optax.losses.softmax_cross_entropy_with_integer_labels(
                logits, batch["label"]
            )
            counts[f"wrong{name}"] = jnp.sum(batch["weight"] * wrong)
            counts[f"loss{name}"] = jnp.sum(batch["weight"] * losses)
        return counts

    step = mx.training.train_step(loss, mixer_of(args, steps))
    shared = jax.NamedSharding(mesh, jax.P(AXES))

    def placed(state: State, batch: Any) -> dict[str, Array]:
        place = partial(jax.make_array_from_process_local_data, shared)
        return evaluated(state, jax.tree.map(place, batch))

    layout = over_shards(mesh, jax.eval_shape(create, jax.random.key(0)))
    driven = mx.training.sharded(averaging(step, args.ema), mesh, axis_name=AXES)
    return Program(create, layout, driven, placed, schedule)
