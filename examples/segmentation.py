"""Compare ERM, CutMix, FMix and ResizeMix on a segmentation task.

    python -m examples.segmentation

Pixels are pasted together with their labels: wrap label maps in ``mx.follow.maps``, or
for dict batches use ``mx.on_keys(mixer, inputs="image", maps="label")``. Prints the
mean IoU and plots mixed examples. This shows usage, not a gain: on these shapes no
method beats ERM by more than chance, after 500 steps or 2000.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from rich.console import Console
from rich.progress import track

import command_line
import mixup_jax as mx
from examples._shapes import CLASSES, SIZE, scenes

SEEDS, TRAIN, TEST, BATCH = 3, 128, 500, 16
MIXERS = {
    "ERM": mx.erm,
    "CutMix": mx.cutmix,
    "FMix": mx.fmix,
    "ResizeMix": mx.resizemix,
}


class UNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(16, (4, 4), strides=2)(3 * x - 1.5))
        fine = nn.relu(nn.Conv(16, (3, 3))(x))
        x = nn.relu(nn.Conv(32, (2, 2), strides=2)(fine))
        x = nn.relu(nn.Conv(32, (3, 3))(x))
        x = nn.relu(nn.Conv(32, (3, 3))(x))
        x = nn.ConvTranspose(16, (2, 2), strides=(2, 2))(x)
        x = nn.relu(nn.Conv(16, (3, 3))(jnp.concatenate([fine, x], axis=-1)))
        return nn.ConvTranspose(len(CLASSES), (2, 2), strides=(2, 2))(x)


model: Any = UNet()
predict = jax.jit(lambda params, images: model.apply(params, images).argmax(-1))


@jax.jit
def start(key):
    params = model.init(key, jnp.zeros((1, SIZE, SIZE, 3)))
    return mx.training.TrainState.create(params, optax.adam(5e-3))


def loss(params, batch, mix):
    images, labels = batch  # labels.tree: int32 [B, H, W], mixed like the images
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels
    return entropy(model.apply(params, images), labels.tree).mean(), {}


def mean_iou(found, labels):
    both = [(found == k, labels == k) for k in range(len(CLASSES))]
    return np.mean([np.sum(a & b) / np.sum(a | b) for a, b in both])


def train_each(steps):
    """Yield the name of each method and the mean IoU per seed, in percent."""
    tests, truth = scenes(np.random.default_rng(SEEDS), TEST)
    bar = Console(stderr=True)
    for name, mixer in MIXERS.items():
        step, ious = jax.jit(mx.training.train_step(loss, mixer)), []
        for seed in range(SEEDS):  # same images, start and order for each method
            draw, key = np.random.default_rng(seed), jax.random.key(seed)
            (images, labels), state = scenes(draw, TRAIN), start(key)
            for _ in track(range(steps), f"{name} {seed}", console=bar, transient=True):
                rows = draw.choice(TRAIN, BATCH, replace=False)
                batch = images[rows], mx.follow.maps(labels[rows])
                state, _ = step(state, key, batch)
            ious.append(100 * mean_iou(np.asarray(predict(state.params, tests)), truth))
        yield name, np.array(ious)


def mixed_pictures():
    images, labels = scenes(np.random.default_rng(0), BATCH)
    batch = images, mx.follow.maps(labels)
    mixes = {
        name: mx.draw_of(mixer)(jax.random.key(0), batch)
        for name, mixer in MIXERS.items()
        if name != "ERM"
    }
    return mx.plot(batch, mixes, examples=3, classes=CLASSES)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=command_line.positive_int, default=500)
    parser.add_argument("--out", type=Path, default=Path("results"))
    args = parser.parse_args(argv)
    picture = args.out / "segmentation.png"
    command_line.check_writable(parser, picture)
    with command_line.Interruption() as interruption:
        ious = dict(interruption.until(train_each(args.steps)))
        print(f"mean IoU in percent ± standard error over {SEEDS} seeds, and over ERM")
        for name, each in ious.items():
            both = each, each - ious["ERM"]
            said = [f"{x.mean():5.1f} ± {x.std(ddof=1) / SEEDS**0.5:.1f}" for x in both]
            print(f"{name:9}", *said[: 1 if name == "ERM" else 2])
        mixed_pictures().savefig(picture, dpi=150)
        print(f"Written: {picture}")


if __name__ == "__main__":
    command_line.start(main)
