"""Labeled images for the claims: digits, or CIFAR-10 at full size.

Digits are split differently for each seed; of CIFAR-10, only training and validation.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.claims._data import sets
from benchmarks.claims._engine.claim import Options
from benchmarks.claims._engine.statistics import SAME_DATA, Sampling, Splits
from examples import datasets

DIGITS = 1797
SIZES = (1097, 200, 500)
FEW = (600, 300, 300)  # with more, all methods make too few errors to compare them


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is known of a classification problem before its data are read.

    Attributes:
      name: name of the data set.
      sizes: the number of training, validation and test examples.
      flat: whether an example is a vector; otherwise it is an image.
      classes: number of classes.
    """

    name: str
    sizes: tuple[int, int, int]
    flat: bool = True
    classes: int = 10

    def split(self, key: Array) -> tuple[Array, Array, Array]:
        """Return the rows of the training, validation and test parts."""
        train, validation, test = self.sizes
        ends = [train, train + validation, train + validation + test]
        if self.flat:
            order = jax.random.permutation(key, DIGITS)
            return tuple(jnp.split(order, ends)[:3])  # type: ignore
        order = jax.random.permutation(key, train + validation)
        return order[:train], order[train:], jnp.arange(test) + train + validation

    @property
    def words(self) -> str:
        """The data and the sizes of their parts."""
        train, validation, test = self.sizes
        return (
            f"{self.name}: {train} training, {validation} validation and {test} test "
            "images"
        )

    @property
    def sampling(self) -> Sampling:
        """What seeds sample."""
        train, _, test = self.sizes
        return Splits(test / train) if self.flat else SAME_DATA


def problem(options: Options, sizes: tuple[int, int, int] = SIZES) -> Problem:
    """Return digits, or CIFAR-10 at full size.

    Args:
      options: the claim's options.
      sizes: number of digits to train on, to choose by and to test on.
    """
    if options.full:
        return Problem("CIFAR-10", (45_000, 5_000, 10_000), flat=False)
    return Problem("scikit-learn's digits", sizes)


def load(options: Options) -> tuple[np.ndarray, np.ndarray]:
    """Return all inputs and class ids: digits in [0, 1], or CIFAR-10 in [-1, 1]."""
    found = sets.images(options, "cifar10") if options.full else datasets.digits()
    x = np.concatenate([found.train_images, found.test_images])
    labels = np.concatenate([found.train_labels, found.test_labels])
    if options.full:
        return x / np.float32(127.5) - 1, labels
    return x.reshape(len(x), -1) / np.float32(255), labels


def corrupted(
    key: Array, labels: Array, classes: int, share: Array | float
) -> tuple[Array, Array]:
    """Replace a fraction of the labels by random ones; return labels and a mask."""
    key_which, key_label = jax.random.split(key)
    replaced = jax.random.uniform(key_which, labels.shape) < share
    other = jax.random.randint(key_label, labels.shape, 0, classes)
    return jnp.where(replaced, other, labels), replaced
