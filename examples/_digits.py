"""Digits, some of them mislabeled, and a table of test errors over seeds.

In this setting Mixup helps. See ``quickstart.py``, which has the same one.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from examples.datasets import images

CLASSES, TRAIN, WRONG = 10, 300, 0.2


class Digits(NamedTuple):
    """Images, uint8 ``[N, 8, 8, 1]``, and class ids, int32 ``[N]``."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int32]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int32]

    def columns(self) -> dict[str, np.ndarray]:
        """Return the training set, with an id for each example."""
        ids = np.arange(len(self.train_labels), dtype=np.int32)
        return {"image": self.train_images, "label": self.train_labels, "id": ids}

    def examples(self) -> list[dict[str, np.ndarray]]:
        """Return the training set as one dict for each example."""
        columns = self.columns()
        return [dict(zip(columns, row)) for row in zip(*columns.values())]


def mislabeled(seed: int) -> Digits:
    """Return 300 training examples, a fifth of them mislabeled, and the other 1497."""
    data, draw = images.digits(), np.random.default_rng(seed)
    pictures = np.concatenate([data.train_images, data.test_images])
    labels = np.concatenate([data.train_labels, data.test_labels])
    order = draw.permutation(len(labels))
    train, test = order[:TRAIN], order[TRAIN:]
    offset = draw.integers(1, CLASSES, TRAIN) * (draw.random(TRAIN) < WRONG)
    wrong = ((labels[train] + offset) % CLASSES).astype(np.int32)
    return Digits(pictures[train], wrong, pictures[test], labels[test])


def flat(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return images as vectors of 64 values from 0 to 1."""
    return pixels.reshape(-1, 64).astype(np.float32) / np.float32(255)


def percent_wrong(logits, labels) -> float:
    return 100 * float(np.mean(np.asarray(logits).argmax(-1) != labels))


def print_errors(errors: Mapping[str, Sequence[float]]) -> None:
    """Print the mean test error of each arm, and what each saves beside the first.

    Args:
      errors: the errors of each arm in percent, over the same seeds.
    """
    first, *others = errors
    rows = {name: np.array(each) for name, each in errors.items()}
    rows |= {f"{name} saves": rows[first] - rows[name] for name in others}
    seeds, width = len(rows[first]), max(map(len, rows))
    print(f"test error in percent, mean and standard error over {seeds} seeds")
    for name, each in rows.items():
        error = each.std(ddof=1) / seeds**0.5
        print(f"{name:{width}}  {each.mean():5.2f} ± {error:.2f}")


def print_seen(seen, epochs: int) -> None:
    """Print how often the steps saw each example, and how many partners it met.

    Args:
      seen: the ids of the examples of each step, and those of their partners.
      epochs: the number of epochs.
    """
    own, partner = (np.concatenate(ids).reshape(epochs, -1) for ids in zip(*seen))
    times = [np.bincount(each, minlength=TRAIN) for each in own]
    print(f"least and most times in an epoch: {np.min(times)}, {np.max(times)}")
    met = [len(np.unique(partner[own == i])) for i in range(TRAIN)]
    print(f"partners that an example meets in {epochs} epochs: {np.mean(met):.1f}")
