"""Train a Linen model with Mixup under ``pmap``, using Linen's ``TrainState``.

    python -m examples.pmap_linen --devices 4

``mesh_nnx.py`` is the same program except for the lines marked "model" and "driver".
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn  # model
from flax.training.train_state import TrainState  # model
from rich.console import Console
from rich.progress import track

import command_line
import mixup_jax as mx
from examples import _on_devices


# --- model
class CNN(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(16, (3, 3))(x))
        x = nn.relu(nn.Conv(32, (3, 3), strides=2)(x))
        return nn.Dense(self.classes)(x.reshape(x.shape[0], -1))


def build(key, images, classes, tx):
    """Return a train state, and ``predict(params, images) -> logits``."""
    model = CNN(classes)
    params = model.init(key, images)
    return TrainState.create(apply_fn=model.apply, params=params, tx=tx), model.apply


# --- end of model


# --- driver
def drive(step):
    """Return the step mapped over all devices, each with its shard of the batch."""
    return mx.training.pmapped(step)


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
