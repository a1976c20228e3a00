"""Labeled images for the claims: digits, or CIFAR-10 at full size.

Digits are split differently for each seed, CIFAR-10 as published.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.claims._data import sets
from benchmarks.claims._engine.claim import Options
from examples import datasets


class Problem(NamedTuple):
    """A classification problem.

    Attributes:
      name: name of the data set.
      x: float32 ``[N, ...]``; digits are flattened, CIFAR-10 has images.
      labels: int32 ``[N]``.
      classes: number of classes.
      split: function from a key to the rows of the training and test sets.
    """

    name: str
    x: Array
    labels: Array
    classes: int
    split: Callable[[Array], tuple[Array, Array]]


def load(options: Options, train: float = 2 / 3) -> Problem:
    """Return digits in [0, 1], or CIFAR-10 in [-1, 1] at full size.

    Args:
      options: the claim's options.
      train: fraction of the digits to train on.
    """
    if not options.full:
        found = datasets.digits()
        x = np.concatenate([found.train_images, found.test_images])
        labels = np.concatenate([found.train_labels, found.test_labels])
        x = x.reshape(len(x), -1) / np.float32(255)
        split = functools.partial(sets.split, size=len(x), train=train)
        return Problem("digits", jnp.asarray(x), jnp.asarray(labels), 10, split)
    found = sets.images(options, "cifar10")
    x = np.concatenate([found.train_images, found.test_images])
    labels = np.concatenate([found.train_labels, found.test_labels])
    rows = np.split(np.arange(len(x)), [len(found.train_images)])
    return Problem(
        "CIFAR-10",
        jnp.asarray(x / np.float32(127.5) - 1),
        jnp.asarray(labels),
        10,
        lambda key: (jnp.asarray(rows[0]), jnp.asarray(rows[1])),
    )


def corrupted(
    key: Array, labels: Array, classes: int, share: Any
) -> tuple[Array, Array]:
    """Replace a fraction of the labels by random ones; return labels and a mask."""
    key_which, key_label = jax.random.split(key)
    replaced = jax.random.uniform(key_which, labels.shape) < share
    other = jax.random.randint(key_label, labels.shape, 0, classes)
    return jnp.where(replaced, other, labels), replaced
