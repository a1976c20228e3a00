"""Plot pairs of examples and their mixtures, one row per mixer.

python -m examples.gallery --data fashion_mnist --data-dir DIR
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

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

    key, batch = command_line.key(args.seed), (images, targets)
    figure = mx.plot(
        batch,
        {name: mixer(key, batch)[1] for name, mixer in MIXERS.items()},
        examples=range(0, 2 * args.pairs, 2),
        classes=data.classes,
        show=partial(Axes.imshow, cmap="gray_r", vmin=0),
    )
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


if __name__ == "__main__":
    command_line.start(main)
