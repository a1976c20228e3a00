"""Train a Linen model with BatchNorm and Dropout on several devices.

    python -m examples.batch_norm_linen --devices 4 --driver pmap

``batch_norm_nnx.py`` is the same program except for the lines marked "model" and
"drivers".
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any  # model

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn  # model
from flax.training import train_state  # model
from jax.sharding import AxisType
from rich.console import Console
from rich.progress import track

import command_line
import mixup_jax as mx
from examples import _on_devices


# --- model
class CNN(nn.Module):
    classes: int
    dropout: float

    @nn.compact
    def __call__(self, x, train):
        for features, strides in ((16, 1), (32, 2)):
            x = nn.Conv(features, (3, 3), strides=strides, use_bias=False)(x)
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
            x = nn.relu(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.classes)(x.reshape(x.shape[0], -1))


class TrainState(train_state.TrainState):
    batch_stats: Any


def build(key, images, classes, tx, dropout=0.25):
    """Return a train state, a training forward pass and a prediction function."""
    model = CNN(classes, dropout)
    variables = model.init(key, images, train=False)

    def forward(params, state, images, key):
        variables = {"params": params, "batch_stats": state.batch_stats}
        # Mutable collections are returned, here {"batch_stats": ...}.
        options = {"mutable": ["batch_stats"], "rngs": {"dropout": key}}
        return model.apply(variables, images, train=True, **options)

    def predict(state, images):
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        return model.apply(variables, images, train=False)

    # Running statistics must not be among the parameters: they would never be updated,
    # and weight decay would shrink them.
    state = TrainState.create(apply_fn=model.apply, tx=tx, **variables)
    return state, forward, predict


# --- end of model


# --- drivers
def on_mesh(kind, step):
    """Return the step on a mesh of all devices, with the batch sharded over it."""
    mesh = jax.make_mesh((jax.device_count(),), ("data",), (kind,))
    return mx.training.sharded(step, mesh)


# On a mesh, BatchNorm normalizes with the statistics of the whole batch. Under pmap it
# uses those of each device's shard, and the running statistics follow their mean over
# devices; with ``axis_name="data"`` it uses those of the whole batch there as well.
DRIVERS: dict[str, Callable] = {
    "pmap": mx.training.pmapped,
    "auto": partial(on_mesh, AxisType.Auto),
}
NO_EXPLICIT = (
    "--driver explicit: Linen's Dropout does not shard its masks as Explicit axes "
    "require. Use --driver auto, or NNX: examples.batch_norm_nnx."
)


# --- end of drivers


def loss_of(forward):
    """Return the loss for the train step, given the training forward pass."""
    # Integer labels are not mixed; the loss weights a term for each of the two labels.
    entropy = mx.losses.termwise(optax.losses.softmax_cross_entropy_with_integer_labels)

    @mx.training.stateful
    def loss(params, batch, mix, state, key):
        # The key is unique to this step, micro-batch and (under pmap) device.
        logits, changes = forward(params, state, batch["image"], key)
        return jnp.mean(entropy(logits, batch["label"], mix)), ({}, changes)

    return loss


def main(argv: Sequence[str] | None = None) -> None:
    parser = _on_devices.arguments(
        "Train with BatchNorm, Dropout and Mixup on several devices."
    )
    choices = [*DRIVERS, "explicit"]  # drivers
    parser.add_argument("--driver", choices=choices, default="auto")
    args, data = _on_devices.parsed(parser, argv)
    if args.driver not in DRIVERS:  # drivers
        parser.error(NO_EXPLICIT)  # drivers
    images = data.train_images.astype(np.float32) / 255
    tests = data.test_images.astype(np.float32) / 255
    steps = len(images) // args.batch_size
    key_init, key = jax.random.split(command_line.key(args.seed))
    tx = optax.adamw(5e-3, weight_decay=0.1)
    state, forward, predict = build(key_init, images[:1], len(data.classes), tx)
    predict = jax.jit(predict)
    mixer = mx.on_keys(partial(mx.mixup, alpha=0.2), inputs="image")
    train_step = DRIVERS[args.driver](mx.training.train_step(loss_of(forward), mixer))
    shuffle = np.random.default_rng(args.seed)
    bar = Console(stderr=True)
    print(f"{args.data} on {jax.device_count()} devices, {args.driver}")
    for epoch in range(1, args.epochs + 1):
        order = shuffle.permutation(len(images))
        losses = []
        for i in track(range(steps), f"epoch {epoch}", console=bar, transient=True):
            rows = order[i * args.batch_size : (i + 1) * args.batch_size]
            batch = {"image": images[rows], "label": data.train_labels[rows]}
            state, metrics = train_step(state, key, batch)
            losses.append(metrics["loss"])
        accuracy = np.mean(predict(state, tests).argmax(-1) == data.test_labels)
        print(f"epoch {epoch}: loss {np.mean(losses):.4f}, accuracy {accuracy:.2%}")


if __name__ == "__main__":
    command_line.start(main)
