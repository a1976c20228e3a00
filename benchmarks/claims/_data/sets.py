"""Labeled images, and random subsets of them."""

from typing import Any

import jax
import numpy as np
from jax import Array

from benchmarks.claims._engine.claim import NotRun, Options
from examples import datasets


def images(options: Options, name: str) -> datasets.Images:
    """Return one of ``examples.datasets``, downloaded if no data folder is given.

    Raises:
      NotRun: If its files are missing and cannot be downloaded.
    """
    try:
        folder = options.data_dir and options.folder(name)
        return datasets.DATASETS[name](folder)
    except (FileNotFoundError, ConnectionError) as error:
        raise NotRun(str(error)) from error


def pooled(found: datasets.Images, side: int) -> datasets.Images:
    """Return the images, with each ``side`` x ``side`` pixels averaged into one."""

    def mean(images: np.ndarray) -> np.ndarray:
        count, height, width, channels = images.shape
        shape = (count, height // side, side, width // side, side, channels)
        return np.rint(images.reshape(shape).mean(axis=(2, 4))).astype(np.uint8)

    if side == 1:
        return found
    return found._replace(
        train_images=mean(found.train_images), test_images=mean(found.test_images)
    )


def some_rows(key: Array, labels: Any, count: int) -> Array:
    """Return ``count`` distinct random rows of a set, or all rows if it is smaller."""
    return jax.random.permutation(key, len(labels))[:count]


def split(key: Array, size: int, train: float) -> tuple[Array, Array]:
    """Return a fraction ``train`` of the rows to train on, and the other rows."""
    order = jax.random.permutation(key, size)
    cut = round(train * size)
    return order[:cut], order[cut:]
