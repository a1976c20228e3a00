"""Labelled images, read or refused, and which of them are taken."""

from typing import Any

import jax
import numpy as np
from jax import Array

from benchmarks.claims._engine.claim import NotRun, Options
from examples import datasets


def images(options: Options, name: str) -> datasets.Images:
    """Return one of `examples.datasets`, downloaded if no folder of data is given.

    Raises NotRun where its files are not there and cannot be had.
    """
    try:
        folder = options.data_dir and options.folder(name)
        return datasets.DATASETS[name](folder)
    except (FileNotFoundError, ConnectionError) as error:
        raise NotRun(str(error)) from error


def pooled(found: datasets.Images, side: int) -> datasets.Images:
    """Return the images with ``side`` x ``side`` pixels averaged into one."""

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
    """Return ``count`` random rows of a set, each once; all of a smaller one."""
    return jax.random.permutation(key, len(labels))[:count]


def split(key: Array, size: int, train: float) -> tuple[Array, Array]:
    """Return the rows to train on, the share ``train`` of them, and the others."""
    order = jax.random.permutation(key, size)
    cut = round(train * size)
    return order[:cut], order[cut:]
