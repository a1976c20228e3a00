"""Networks for a ``Problem``, and their training."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import linen as nn
from jax import Array

import mixup_jax as mx
from benchmarks.claims._data.problems import Problem, corrupted
from benchmarks.claims._engine.claim import Options
from benchmarks.claims._networks import small, training
from benchmarks.claims._networks.recipes import Adam, Recipe

RECIPE = Recipe(Adam(1e-3), epochs=100, batch=64)
QUICK = dataclasses.replace(RECIPE, epochs=5)
FULL = dataclasses.replace(RECIPE, epochs=200)
WIDTHS = (256, 256)
CHANNELS = (64, 64, 128, 128, 256)
AT_ONCE = 1000  # examples per prediction


def network(
    problem: Problem, widths: tuple[int, ...] = WIDTHS, dropout: float = 0.0
) -> nn.Module:
    """Return an MLP with ``widths`` for digits, or a small CNN for CIFAR-10.

    In both, hidden layer k ends with the module ``Dropout_{k-1}``.
    """
    if problem.flat:
        return small.MLP(widths, problem.classes, dropout)
    return small.CNN(CHANNELS, problem.classes, dropout)


def recipe_of(options: Options) -> Recipe:
    """Return the recipe of the requested size."""
    return options.size(RECIPE, quick=QUICK, full=FULL)


def words(problem: Problem, widths: tuple[int, ...] = WIDTHS) -> str:
    """Return a description of the network for the protocol."""
    kind = "MLP" if problem.flat else "CNN without batch normalization"
    return f"{kind} of {'-'.join(map(str, widths if problem.flat else CHANNELS))} ReLU"


def logits(model: nn.Module, params: Any, x: Array) -> Array:
    """Return the logits of ``model``, computed in parts that fit in memory."""
    return training.in_parts(functools.partial(model.apply, params), x, AT_ONCE)


class Learned(NamedTuple):
    """A trained network, and the rows of the parts of its data."""

    predict: Callable[[Array], Array]
    train: Array
    validation: Array
    test: Array
    labels: Array  # those used in training, for all rows
    replaced: Array  # mask of the labels that were replaced by random ones
    errors: Array  # on the test part after each epoch, with the true labels

    def measures(self, x: Array, true: Array, classes: int) -> dict[str, Array]:
        """Return the errors that every claim reports, in percent.

        ``error`` and ``validation`` are those on the true labels, ``train`` is that on
        the labels used in training, and ``constant`` that of the best constant.
        """

        def error(rows: Array, labels: Array) -> Array:
            return training.error(self.predict(x[rows]), labels[rows])

        return {
            "error": error(self.test, true),
            "validation": error(self.validation, true),
            "train": error(self.train, self.labels),
            "constant": training.constant_error(self.labels[self.train], classes),
        }


def learn(
    problem: Problem,
    data: tuple[Array, Array],
    numbers: Mapping[str, Any],
    *,
    recipe: Recipe = RECIPE,
    mixer: Callable[[Any], mx.Mixer] | None = None,
    widths: tuple[int, ...] = WIDTHS,
    dropout: float = 0.0,
) -> Learned:
    """Train one network on soft targets, with the mixer of an ``alpha``.

    The numbers may be traced: ``seed`` and ``alpha`` (0 is ERM); optionally ``noise``,
    the fraction of labels that are replaced, label ``smoothing``, and ``inputs_only``,
    1 for unmixed targets.
    """
    x, true = data
    keys = jax.random.split(jax.random.key(numbers["seed"]), 4)
    train, validation, test = problem.split(keys[0])
    model = network(problem, widths, dropout)
    labels, replaced = corrupted(
        keys[1], true, problem.classes, numbers.get("noise", 0.0)
    )
    params, errors = training.fit(
        keys[3],
        model.init(keys[2], x[:1]),
        (
            x,
            mx.losses.one_hot(
                labels, problem.classes, smoothing=numbers.get("smoothing", 0)
            ),
        ),
        train,
        loss=training.cross_entropy_of(model),
        mixer=training.inputs_only(
            (mixer or training.mixup)(numbers["alpha"]),
            numbers.get("inputs_only", 0) > 0,
        ),
        recipe=recipe,
        after_epoch=lambda params: training.error(
            logits(model, params, x[test]), true[test]
        ),
    )
    predict = functools.partial(logits, model, params)
    return Learned(predict, train, validation, test, labels, replaced, errors)
