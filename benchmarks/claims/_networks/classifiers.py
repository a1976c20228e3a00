"""Networks for a ``Problem``, and their training."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax
from flax import linen as nn
from jax import Array

import mixup_jax as mx
from benchmarks.claims._data.problems import Problem, corrupted
from benchmarks.claims._networks import small, training

BATCH = 64
CHANNELS = (64, 64, 128, 128, 256)
AT_ONCE = 1000  # examples per prediction


def network(
    problem: Problem, widths: tuple[int, ...], dropout: float = 0.0
) -> nn.Module:
    """Return an MLP with ``widths`` for digits, or a small CNN for CIFAR-10.

    In both, hidden layer k ends with the module ``Dropout_{k-1}``.
    """
    if problem.x.ndim == 2:
        return small.MLP(widths, problem.classes, dropout)
    return small.CNN(CHANNELS, problem.classes, dropout)


def words(problem: Problem, widths: tuple[int, ...]) -> str:
    """Return a description of data and network for the protocol."""
    network = "MLP" if problem.x.ndim == 2 else "CNN without batch normalization"
    sizes = widths if problem.x.ndim == 2 else CHANNELS
    train, test = (len(rows) for rows in problem.split(jax.random.key(0)))
    return (
        f"{problem.name}, {train} training and {test} test images; "
        f"{network} of {'-'.join(map(str, sizes))} ReLU"
    )


def logits(model: nn.Module, params: Any, x: Array) -> Array:
    """Return the logits of ``model``, computed in parts that fit in memory."""
    return training.in_parts(functools.partial(model.apply, params), x, AT_ONCE)


class Learned(NamedTuple):
    """A trained network and its data.

    Attributes:
      predict: function from inputs to logits.
      train: rows of the training set.
      test: rows of the test set.
      labels: the labels used in training, for all rows.
      replaced: mask of the labels that were replaced by random ones.
      errors: test error in percent after each epoch, with the true labels.
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
    """Train one network with Adam on soft targets.

    Args:
      problem: the data.
      setting: ``seed`` and ``alpha`` (0 is ERM); optionally ``noise``, the fraction of
        labels that are replaced, label ``smoothing``, and ``inputs_only``, 1 for
        unmixed targets. Values may be traced.
      epochs: number of epochs.
      widths: widths of the MLP.
      dropout: dropout rate after each hidden layer.
    """
    keys = jax.random.split(jax.random.key(setting["seed"]), 4)
    train, test = problem.split(keys[0])
    model = network(problem, widths, dropout)
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
