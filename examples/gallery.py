"""Pairs of examples and what each mixer makes of them, as a picture.

python -m examples.gallery --data fashion_mnist --data-dir DIR
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import mixup_jax as mx
from examples.datasets import DATASETS

SHARE = mx.ratios.truncated(mx.ratios.uniform(), 0.35, 0.65)  # so that both are seen
MIXERS = {
    "mixup": partial(mx.mixup, ratio=SHARE),
    "cutmix": partial(mx.cutmix, ratio=SHARE),
    "fmix": partial(mx.fmix, ratio=SHARE),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=DATASETS, default="digits")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/gallery.png"))
    args = parser.parse_args()

    data = DATASETS[args.data](args.data_dir)
    # Of each class one, so that every pair holds two classes.
    chosen = [
        np.flatnonzero(data.train_labels == k)[args.seed]
        for k in np.arange(2 * args.pairs) % len(data.classes)
    ]
    images = data.train_images[chosen].astype(np.float32) / 255
    labels = data.train_labels[chosen]
    targets = mx.losses.one_hot(labels, len(data.classes))

    key = jax.random.key(args.seed)
    rows = {"example": (images, targets), "partner": (images[1::2].repeat(2, 0), None)}
    for name, mixer in MIXERS.items():
        rows[name], _ = mixer(key, (images, targets))

    figure, axes = plt.subplots(
        len(rows), args.pairs, figsize=(1.7 * args.pairs, 1.95 * len(rows))
    )
    for line, (name, (pictures, soft)) in zip(axes, rows.items()):
        for i, axis in enumerate(line):
            axis.imshow(np.asarray(pictures[2 * i]).squeeze(), cmap="gray_r", vmin=0)
            axis.set(xticks=[], yticks=[])
            if name == "partner":
                axis.set_title(data.classes[labels[2 * i + 1]], fontsize=8)
            else:
                axis.set_title(words(np.asarray(soft[2 * i]), data.classes), fontsize=8)
        line[0].set_ylabel(name, fontsize=10)
    figure.tight_layout()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=90)
    print(f"wrote {args.out}")


def words(target: np.ndarray, classes: tuple[str, ...]) -> str:
    """Return a soft label as a reader would say it: 0.62 Bag + 0.38 Coat."""
    heaviest = [k for k in np.argsort(-target)[:2] if target[k] > 0]
    if len(heaviest) == 1:
        return classes[heaviest[0]]
    return " +\n".join(f"{target[k]:.2f} {classes[k]}" for k in heaviest)


if __name__ == "__main__":
    main()
