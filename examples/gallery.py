"""Plot pairs of examples and their mixtures, one row per mixer.

python -m examples.gallery --data fashion_mnist --data-dir DIR
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import command_line
import mixup_jax as mx
from examples.datasets import DATASETS, Images

SHARE = mx.ratios.truncated(mx.ratios.uniform(), 0.35, 0.65)  # so that both are visible
MOST_PAIRS = 100
SUFFIXES = (".png", ".pdf", ".svg", ".jpg")
MIXERS = {
    "mixup": partial(mx.mixup, ratio=SHARE),
    "cutmix": partial(mx.cutmix, ratio=SHARE),
    "fmix": partial(mx.fmix, ratio=SHARE),
}


def main(argv: Sequence[str] | None = None) -> None:
    args, data = parse(argv)
    chosen = choose(data, 2 * args.pairs, args.seed)
    images = data.train_images[chosen].astype(np.float32) / 255
    labels = data.train_labels[chosen]
    targets = mx.losses.one_hot(labels, len(data.classes))

    key = command_line.key(args.seed)
    rows = {"example": (images, targets), "partner": (images[1::2].repeat(2, 0), None)}
    for name, mixer in MIXERS.items():
        rows[name], _ = mixer(key, (images, targets))

    figure, axes = plt.subplots(
        len(rows),
        args.pairs,
        figsize=(1.7 * args.pairs, 1.95 * len(rows)),
        squeeze=False,
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
    figure.savefig(args.out, dpi=90)
    print(f"Written: {args.out}")


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Images]:
    parser = argparse.ArgumentParser(
        prog="python -m examples.gallery", description=(__doc__ or "").splitlines()[0]
    )
    add = parser.add_argument
    add("--data", choices=DATASETS, default="digits")
    add("--data-dir", type=command_line.folder, help="folder with the original files")
    add("--pairs", type=command_line.whole(1, MOST_PAIRS), default=5)
    add("--seed", type=command_line.seed, default=0)
    add("--out", type=Path, default=Path("results/gallery.png"), help="figure file")
    args = parser.parse_args(argv)
    if args.out.suffix.lower() not in SUFFIXES:
        parser.error(
            f"--out: expected a file that ends in one of {', '.join(SUFFIXES)}; got "
            f"{args.out}."
        )
    command_line.check_writable(parser, args.out)
    try:
        data = DATASETS[args.data](args.data_dir)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    counts = np.bincount(data.train_labels)
    counts = counts[counts > 0]
    most = len(counts) * int(counts.min()) // 2 if len(counts) > 1 else 0
    if args.pairs > most:
        parser.error(
            f"--pairs: expected at most {most}, since each pair needs examples of two "
            f"classes; got {args.pairs}."
        )
    return args, data


def choose(data: Images, count: int, seed: int) -> list[int]:
    """Return distinct indices of training examples that cycle through the classes.

    Every pair then has two different classes. ``seed`` determines the first example of
    each class.
    """
    of_class = [
        np.flatnonzero(data.train_labels == k) for k in np.unique(data.train_labels)
    ]
    return [
        int(rows[(seed + i // len(of_class)) % len(rows)])
        for i in range(count)
        for rows in [of_class[i % len(of_class)]]
    ]


def words(target: np.ndarray, classes: tuple[str, ...]) -> str:
    """Return a soft label as text, such as ``0.62 Bag + 0.38 Coat``."""
    heaviest = [k for k in np.argsort(-target)[:2] if target[k] > 0]
    if len(heaviest) == 1:
        return classes[heaviest[0]]
    return " +\n".join(f"{target[k]:.2f} {classes[k]}" for k in heaviest)


if __name__ == "__main__":
    command_line.start(main)
