"""Train an NNX model with BatchNorm and Dropout on several devices.

    python -m examples.batch_norm_nnx --devices 4 --driver pmap

``batch_norm_linen.py`` is the same program except for the lines marked "model" and
"drivers".
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx  # model
from jax.sharding import AxisType
from rich.console import Console
from rich.progress import track

import command_line
import mixup_jax as mx
from examples import _on_devices


# --- model
class CNN(nnx.Module):
    def __init__(self, shape, classes, dropout, *, rngs):
        height, width, channels = shape
        positions = -(-height // 2) * -(-width // 2)
        self.conv1 = nnx.Conv(channels, 16, (3, 3), use_bias=False, rngs=rngs)
        self.norm1 = nnx.BatchNorm(16, momentum=0.9, rngs=rngs)
        self.conv2 = nnx.Conv(16, 32, (3, 3), strides=2, use_bias=False, rngs=rngs)
        self.norm2 = nnx.BatchNorm(32, momentum=0.9, rngs=rngs)
        # No ``rngs``: a key stream would be part of the model state, and so all devices
        # of a pmap would have the same keys and drop the same units.
        self.dropout = nnx.Dropout(dropout)
        self.dense = nnx.Linear(positions * 32, classes, rngs=rngs)

    def __call__(self, x, key=None):
        x = nnx.relu(self.norm1(self.conv1(x)))
        x = nnx.relu(self.norm2(self.conv2(x)))
        x = self.dropout(x.reshape(x.shape[0], -1), rngs=key)
        return self.dense(x)


def build(key, images, classes, tx, dropout=0.25):
    """Return a train state, a training forward pass and a prediction function."""
    model = CNN(images.shape[1:], classes, dropout, rngs=nnx.Rngs(key))
    # Running statistics must not be among the parameters: they would never be updated,
    # and weight decay would shrink them. A variable of a third type raises an error.
    graph, params, statistics = nnx.split(model, nnx.Param, nnx.BatchStat)

    def forward(params, state, images, key):
        model = nnx.merge(graph, params, state.model_state, copy=True)
        logits = model(images, key)
        # The complete model state, since it replaces the old one.
        return logits, {"model_state": nnx.state(model, nnx.BatchStat)}

    def predict(state, images):
        model = nnx.merge(graph, state.params, state.model_state)
        model.eval()  # use the running statistics, disable dropout
        return model(images)

    state = mx.training.TrainState.create(params, tx, model_state=statistics)
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
    "explicit": partial(on_mesh, AxisType.Explicit),
}


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
    choices = [*DRIVERS]  # drivers
    parser.add_argument("--driver", choices=choices, default="auto")
    args, data = _on_devices.parsed(parser, argv)
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
