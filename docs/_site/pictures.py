"""Pictures of the methods, which the library itself makes while the site is built.

``python docs/_site/pictures.py docs/_static/gallery.png`` writes the picture in README.
"""

import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from skimage import data, transform

import mixup_jax as mx

CLASSES = ("cat", "coffee", "astronaut", "rocket")
SIDE = 224
LABELS = mx.losses.one_hot(np.arange(len(CLASSES)), len(CLASSES))
KEY = jax.random.key(3)
# Near a half, so that both sources can be seen.
BALANCED = mx.ratios.truncated(mx.ratios.uniform(), 0.4, 0.65)


@cache
def photos() -> jax.Array:
    """Return four photos, float32 ``[4, 224, 224, 3]`` in [0, 1]."""
    found = (data.chelsea(), data.coffee(), data.astronaut(), data.rocket())
    return jnp.asarray(np.stack([_square(photo) for photo in found]), jnp.float32)


def _square(photo: np.ndarray) -> np.ndarray:
    side = min(photo.shape[:2])
    top, left = ((size - side) // 2 for size in photo.shape[:2])
    cut = photo[top : top + side, left : left + side]
    return transform.resize(cut, (SIDE, SIDE), anti_aliasing=True)


def mixers() -> dict[str, Any]:
    """Return one configured mixer for each method that changes its inputs."""
    images = photos()
    saliency = jnp.abs(images - images.mean((1, 2), keepdims=True)).mean(-1)
    same = partial(mx.pairings.roll, shift=2)
    return {
        "mixup": partial(mx.mixup, ratio=BALANCED),
        "cutmix": partial(mx.cutmix, ratio=BALANCED),
        "fmix": partial(mx.fmix, ratio=BALANCED),
        "resizemix": partial(mx.resizemix, tau=mx.ratios.constant(0.6)),
        "saliencymix": partial(mx.saliencymix, ratio=BALANCED, saliency=saliency),
        "smoothmix": mx.smoothmix,
        "dirichlet": partial(mx.dirichlet, partners=2),
        "extrapolate": partial(mx.extrapolate, pairing=same),
        "manifold": partial(mx.manifold, layers=(0,), ratio=BALANCED),
        "erm": mx.erm,
    }


def write(folder: Path) -> None:
    """Write a picture for each method, and one of several side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    batch = photos(), LABELS
    for name, mixer in mixers().items():
        _, mix = mixer(KEY, batch)
        figure = mx.plot(batch, mix, examples=2, classes=CLASSES)
        figure.savefig(folder / f"{name}.png", dpi=110)
    (noisy, _), _ = mx.gaussian(KEY, batch, sigma=0.2)
    shown = {"example": (batch[0][0], LABELS[0]), "gaussian": (noisy[0], LABELS[0])}
    row(shown).savefig(folder / "gaussian.png", dpi=110)
    gallery().savefig(folder / "gallery.png", dpi=110)


def gallery() -> Figure:
    """Return a pair of photos and what four methods make of it."""
    images = photos()
    shown = {"example": (images[0], LABELS[0]), "partner": (images[1], LABELS[1])}
    made = mixers()
    for name in ("mixup", "cutmix", "fmix", "resizemix"):
        (mixed, soft), _ = made[name](KEY, (images, LABELS))
        shown[name] = mixed[0], soft[0]
    return row(shown)


def row(shown: dict[str, tuple[jax.Array, jax.Array]]) -> Figure:
    """Return pictures side by side, each with its soft label below."""
    figure = Figure(figsize=(2 * len(shown), 2.5), layout="tight")
    axes = figure.subplots(1, len(shown))
    for axis, (name, (image, soft)) in zip(axes, shown.items()):
        axis.imshow(np.clip(image, 0, 1))
        axis.set(xticks=[], yticks=[], title=name)
        shares = [f"{CLASSES[k]} {soft[k]:.2f}" for k in range(4) if soft[k] > 0.005]
        axis.set_xlabel("\n".join(shares), fontsize=9)
    return figure


if __name__ == "__main__":
    gallery().savefig(sys.argv[1], dpi=110)
