"""Small data sets with the interface of ImageNet's, for runs without it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from examples._imagenet.pictures import Example
from examples.datasets.images import DataDir, Images
from examples.datasets.images import cifar10 as read_cifar10

COLORS = {
    "red": (1.0, 0.2, 0.2),
    "green": (0.2, 0.8, 0.2),
    "blue": (0.3, 0.3, 1.0),
    "yellow": (0.9, 0.9, 0.1),
    "gray": (0.6, 0.6, 0.6),
}
STRIPES = ("horizontal", "vertical")


class Arrays:
    """Pictures in memory, uint8 [N, H, W, 3], with int32 labels."""

    def __init__(
        self, images: NDArray[np.uint8], labels: NDArray[np.int32], where: str
    ) -> None:
        self.images, self.labels, self.where = images, labels, where

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        where = f"{self.where}:{index}"
        return Example(self.images[index], self.labels[index], where)


class Toy(NamedTuple):
    """A small data set, for training and evaluation."""

    train: Arrays
    test: Arrays
    classes: tuple[str, ...]


def cifar10(data_dir: DataDir = None) -> Toy:
    """Return CIFAR-10: downloaded, or from a folder with its original files."""
    data: Images = read_cifar10(data_dir)
    train = Arrays(data.train_images, data.train_labels, "CIFAR-10:train")
    test = Arrays(data.test_images, data.test_labels, "CIFAR-10:test")
    return Toy(train, test, data.classes)


def stripes(train: int = 400, test: int = 200, *, size: int = 48, seed: int = 0) -> Toy:
    """Return pictures of noisy stripes, in ten classes by color and direction.

    Crops and flips leave the class as it is, and a small network learns it in a minute.
    """
    rng = np.random.default_rng(seed)
    parts = [_stripes(rng, count, size) for count in (train, test)]
    first, second = (Arrays(*part, "stripes") for part in parts)
    classes = tuple(f"{color} {way}" for color in COLORS for way in STRIPES)
    return Toy(first, second, classes)


def _stripes(
    rng: np.random.Generator, count: int, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    labels = rng.permutation(np.arange(count) % 10).astype(np.int32)
    waves = rng.uniform(3, 6, (count, 1)) * np.arange(size) / size
    bright = 0.5 + 0.5 * np.sin(2 * np.pi * (waves + rng.random((count, 1))))
    rows, columns = bright[:, :, None], bright[:, None, :]
    is_vertical = (labels % 2 == 1)[:, None, None]
    pattern = np.where(is_vertical, columns, rows)[..., None]
    colors = np.array([*COLORS.values()])[labels // 2][:, None, None]
    noise = rng.normal(0, 0.15, (count, size, size, 3))
    images = np.clip(0.2 + 0.6 * pattern * colors + noise, 0, 1)
    return (255 * images).astype(np.uint8), labels
