"""Labelled images for the claims: digits, or at full size CIFAR-10, and their networks.

Digits are divided anew for each seed, CIFAR-10 as published.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax import Array

import mixup_jax as mx
from benchmarks.claims._engine.claim import Options
from benchmarks.claims._networks import resnet, training
from examples import datasets

BATCH = 64
CHANNELS = (64, 64, 128, 128, 256)
AT_ONCE = 1000  # examples that are predicted together


class Problem(NamedTuple):
    """What there is to learn.

    Attributes:
      name: of the data.
      x: float32 ``[N, ...]``: digits flat, CIFAR-10 as images.
      labels: int32 ``[N]``.
      classes: how many.
      split: key to the rows to train on and to test with.
    """

    name: str
    x: Array
    labels: Array
    classes: int
    split: Callable[[Array], tuple[Array, Array]]

    def network(self, widths: tuple[int, ...], dropout: float = 0.0) -> nn.Module:
        """Return an MLP with ``widths`` for digits, a small CNN for CIFAR-10.

        Hidden layer k of both ends with the module ``Dropout_{k-1}``.
        """
        if self.x.ndim == 2:
            return training.MLP(widths, self.classes, dropout)
        return training.CNN(CHANNELS, self.classes, dropout)

    def words(self, widths: tuple[int, ...]) -> str:
        """Return what the protocol says of the data and the network."""
        network = "MLP" if self.x.ndim == 2 else "CNN without batch normalisation"
        sizes = widths if self.x.ndim == 2 else CHANNELS
        train, test = (len(rows) for rows in self.split(jax.random.key(0)))
        return (
            f"{self.name}, {train} images to train on and {test} to test with; "
            f"{network} of {'-'.join(map(str, sizes))} ReLU"
        )


def load(options: Options, train: float = 2 / 3) -> Problem:
    """Return digits in [0, 1], or at full size CIFAR-10 in [-1, 1].

    Args:
      options: of the claim.
      train: the share of the digits to train on.
    """
    if not options.full:
        found = datasets.digits()
        x = np.concatenate([found.train_images, found.test_images])
        labels = np.concatenate([found.train_labels, found.test_labels])
        x = x.reshape(len(x), -1) / np.float32(255)
        split = functools.partial(training.split, size=len(x), train=train)
        return Problem("digits", jnp.asarray(x), jnp.asarray(labels), 10, split)
    found = resnet.images(options, "cifar10")
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


def logits(model: nn.Module, params: Any, x: Array) -> Array:
    """Return what ``model`` says of ``x``, in parts that fit in memory."""

    return training.in_parts(functools.partial(model.apply, params), x, AT_ONCE)


def corrupted(
    key: Array, labels: Array, classes: int, share: Any
) -> tuple[Array, Array]:
    """Replace a ``share`` of the labels by uniformly random ones, and say which."""
    key_which, key_label = jax.random.split(key)
    replaced = jax.random.uniform(key_which, labels.shape) < share
    other = jax.random.randint(key_label, labels.shape, 0, classes)
    return jnp.where(replaced, other, labels), replaced


class Learned(NamedTuple):
    """A network that was trained, and on what.

    Attributes:
      predict: inputs to logits.
      train: the rows it was trained on.
      test: the others.
      labels: those that it was trained on, of all rows.
      replaced: which of them are random.
      errors: on ``test`` with the true labels after each epoch, in percent.
    """

    predict: Callable[[Array], Array]
    train: Array
    test: Array
    labels: Array
    replaced: Array
    errors: Array


def learn(
    problem: Problem,
    setting: Mapping[str, Any],
    *,
    epochs: int,
    widths: tuple[int, ...] = (256, 256),
    dropout: float = 0.0,
) -> Learned:
    """Train one network by Adam on soft targets.

    Args:
      problem: the data.
      setting: ``seed`` and ``alpha`` (0 is ERM); maybe ``noise``, the share of labels
        that are replaced, ``smoothing`` of the labels, and ``inputs_only``, 1 for
        targets that stay unmixed. May be traced.
      epochs: how many.
      widths: of the MLP.
      dropout: the rate after each hidden layer.
    """
    keys = jax.random.split(jax.random.key(setting["seed"]), 4)
    train, test = problem.split(keys[0])
    model = problem.network(widths, dropout)
    labels, replaced = corrupted(
        keys[1], problem.labels, problem.classes, setting.get("noise", 0)
    )
    mixer = functools.partial(
        mx.mixup, alpha=setting["alpha"], pairing=mx.pairings.permutation
    )
    params, errors = training.fit(
        keys[3],
        model.init(keys[2], problem.x[:1]),
        (
            problem.x,
            mx.losses.one_hot(
                labels, problem.classes, smoothing=setting.get("smoothing", 0)
            ),
        ),
        train,
        loss=training.cross_entropy_of(model),
        mixer=training.inputs_only(mixer, setting.get("inputs_only", 0) > 0),
        tx=optax.adam(1e-3),
        epochs=epochs,
        batch_size=BATCH,
        after_epoch=lambda params: training.error(
            logits(model, params, problem.x[test]), problem.labels[test]
        ),
    )
    predict = functools.partial(logits, model, params)
    return Learned(predict, train, test, labels, replaced, errors)
