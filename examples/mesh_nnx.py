"""Train an NNX model with Mixup under ``jit`` on a mesh.

    python -m examples.mesh_nnx --devices 4

``pmap_linen.py`` is the same program except for the lines marked "model" and "driver".
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx  # model
from rich.console import Console
from rich.progress import track

import command_line
import mixup_jax as mx
from examples import _on_devices


# --- model
class CNN(nnx.Module):
    def __init__(self, shape, classes, *, rngs):
        height, width, channels = shape
        self.conv1 = nnx.Conv(channels, 16, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(16, 32, (3, 3), strides=2, rngs=rngs)
        positions = -(-height // 2) * -(-width // 2)
        self.dense = nnx.Linear(positions * 32, classes, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.conv1(x))
        x = nnx.relu(self.conv2(x))
        return self.dense(x.reshape(x.shape[0], -1))


def build(key, images, classes, tx):
    """Return a train state, and ``predict(params, images) -> logits``."""
    model = CNN(images.shape[1:], classes, rngs=nnx.Rngs(key))
    graph, params = nnx.split(model, nnx.Param)

    def predict(params, images):
        return nnx.merge(graph, params)(images)

    return mx.training.TrainState.create(params, tx), predict


# --- end of model


# --- driver
def drive(step):
    """Return the step on a mesh of all devices, with the batch sharded over it."""
    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    return mx.training.sharded(step, mesh)


# --- end of driver


def main(argv: Sequence[str] | None = None) -> None:
    parser = _on_devices.arguments("Train with Mixup on several devices.")
    args, data = _on_devices.parsed(parser, argv)
    images = data.train_images.astype(np.float32) / 255
    tests = data.test_images.astype(np.float32) / 255
    key_init, key = jax.random.split(command_line.key(args.seed))
    state, predict = build(key_init, images[:1], len(data.classes), optax.adam(2e-3))
    predict = jax.jit(predict)

    # Integer labels are not mixed; the loss weights a term for each of the two labels.
    mixer = mx.on_keys(partial(mx.mixup, alpha=0.2), inputs="image")
    entropy = mx.losses.termwise(optax.losses.softmax_cross_entropy_with_integer_labels)

    def loss(params, batch, mix):
        logits = predict(params, batch["image"])
        return jnp.mean(entropy(logits, batch["label"], mix)), {}

    train_step = drive(mx.training.train_step(loss, mixer))
    shuffle = np.random.default_rng(args.seed)
    steps = len(images) // args.batch_size
    bar = Console(stderr=True)
    print(f"{args.data} on {jax.device_count()} devices")
    for epoch in range(1, args.epochs + 1):
        order = shuffle.permutation(len(images))
        losses = []
        for i in track(range(steps), f"epoch {epoch}", console=bar, transient=True):
            rows = order[i * args.batch_size : (i + 1) * args.batch_size]
            batch = {"image": images[rows], "label": data.train_labels[rows]}
            state, metrics = train_step(state, key, batch)
            losses.append(metrics["loss"])
        error = np.mean(predict(state.params, tests).argmax(-1) != data.test_labels)
        print(f"epoch {epoch}: loss {np.mean(losses):.4f}, test error {error:.2%}")


if __name__ == "__main__":
    command_line.start(main)
