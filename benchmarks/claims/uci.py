"""Mixup lowers the test error of small networks on tabular data (Table 4).

Zhang et al., "mixup", ICLR 2018, arXiv:1710.09412, section 3.6: two layers of 128,
Adam, 10 epochs of batches of 16. The paper's text says "four out of the six"; its table
shows five gains and one tie. It states neither alpha nor splits, scaling or seeds. Any
CSV or ARFF file: `--table FILE --label COLUMN`.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import mixup_jax as mx
from benchmarks.claims._data import tables
from benchmarks.claims._engine.claim import (
    ERM,
    LONGER,
    Chosen,
    Claim,
    NotRun,
    Numbers,
    Options,
    Program,
    Protocol,
    Published,
    Statement,
    less,
    titled,
)
from benchmarks.claims._engine.statistics import Splits
from benchmarks.claims._networks import small, training
from benchmarks.claims._networks.recipes import Adam, Recipe
from examples.datasets.tables import UCI, Column, Table

RECIPE = Recipe(Adam(1e-3), epochs=10, batch=16)
LONG = dataclasses.replace(RECIPE, epochs=100)
FEW = 1000  # examples; with fewer, a table of the user gets 100 epochs
TRAIN, VALIDATION, TEST = 0.6, 0.1, 0.3
WIDTHS = (128, 128)
MIXUPS = {f"Mixup {alpha:g}": {"alpha": alpha} for alpha in (0.1, 0.2, 0.4, 1.0)}
MIXUP = Chosen("Mixup, alpha by validation", tuple(MIXUPS))
SCALINGS = {"raw": 0, "standardized": 1}
MEMORY = 5e8  # bytes for parameters, gradients and Adam's moments in one program
MOST_TOGETHER = 100


class Set(NamedTuple):
    """What is known of a data set before it is read, and the published errors."""

    folder: str
    erm: float
    mixup: float
    few: bool = False  # too few examples for 10 epochs to fit a network
    overlapping: bool = False  # no network fits it, since its classes overlap

    @property
    def gain(self) -> float:
        return round(self.erm - self.mixup, 1)


SETS = {
    "abalone": Set("abalone", 74.0, 73.6, overlapping=True),
    "arcene": Set("arcene", 57.6, 48.0),
    "arrhythmia": Set("arrhythmia", 56.6, 46.3),
    "htru2": Set("htru2", 2.0, 2.0),
    "iris": Set("iris", 21.3, 17.3, few=True),
    "phishing": Set("phishing_websites", 16.3, 15.2),
}


def errors(
    numbers: Numbers, data: Any, *, classes: int, recipe: Recipe
) -> dict[str, jax.Array]:
    """Train one network on a random split; return its errors in percent."""
    x, labels = data
    keys = jax.random.split(jax.random.key(numbers["seed"]), 3)
    count = len(labels)
    ends = [round(TRAIN * count), round((TRAIN + VALIDATION) * count)]
    train, validation, test = jnp.split(jax.random.permutation(keys[0], count), ends)
    mean, std = x[train].mean(axis=0), x[train].std(axis=0)
    scaled = (x - mean) / jnp.where(std > 0, std, 1)
    x = jnp.where(numbers["standardized"] > 0, scaled, x)
    model = small.MLP(WIDTHS, classes)
    params, _ = training.fit(
        keys[2],
        model.init(keys[1], x[:1]),
        (x, mx.losses.one_hot(labels, classes)),
        train,
        loss=training.cross_entropy(model.apply),
        mixer=training.mixup(numbers["alpha"]),
        recipe=dataclasses.replace(recipe, batch=min(recipe.batch, len(train))),
    )
    logits: Any = model.apply(params, x)
    parts = {"error": test, "validation": validation, "train": train}
    return {
        **{k: training.error(logits[rows], labels[rows]) for k, rows in parts.items()},
        "constant": training.constant_error(labels[train], classes),
    }


def claim(options: Options) -> Claim:
    known = {"iris": SETS["iris"]} if options.quick else SETS
    recipe, long = _recipes(options)
    fitted = {
        name: _factor(name, "standardized", long if each.few else None)
        for name, each in known.items()
    }
    statements = [
        _saves(_factor(name, scaling), published=Published(each.gain))
        for name, each in known.items()
        for scaling in SCALINGS
    ]
    statements += [
        _saves(fitted[name], published=Published(each.gain))
        for name, each in known.items()
        if each.few
    ]
    overall = Statement(
        "over all sets, standardized: Mixup lowers the error on average",
        of="error",
        contrast={
            (arm, factor): sign / len(known)
            for factor in fitted.values()
            for arm, sign in ((ERM, 1), (MIXUP.name, -1))
        },
        published=Published(float(np.mean([each.gain for each in known.values()]))),
        primary=True,
    )
    published = {
        (arm, _factor(name, scaling), "error"): Published(value)
        for name, each in known.items()
        for scaling in SCALINGS
        for arm, value in ((ERM, each.erm), (MIXUP.name, each.mixup))
    }
    return _claim(
        options,
        _protocol(
            options,
            f"UCI: {', '.join(known)}",
            f"{recipe}; iris also {long.epochs} epochs",
        ),
        _programs_of_sets,
        statements=[overall, *statements],
        published=published,
        notes=[
            f"The primary statement averages over: {'; '.join(fitted.values())}.",
            "The published protocol trains for 10 epochs; its errors of ERM on arcene "
            "and arrhythmia are higher than those of a constant prediction.",
        ],
    )


def of_table(options: Options, path: Path, label: Column) -> Claim:
    """Return the claim on a table of one's own.

    Raises:
      ValueError: If the file is not one that is read without doubt.
    """
    table = tables.read(path, label)
    recipe, long = _recipes(options)
    recipe = long if len(table.labels) < FEW else recipe
    factors = {scaling: _factor(table.name, scaling) for scaling in SCALINGS}
    words = (
        f"{table.name}, {len(table.labels)} examples of {len(table.classes)} classes"
    )
    return _claim(
        options,
        _protocol(options, words, str(recipe)),
        lambda protocol, options: [
            *_programs(protocol, options, table, factors, recipe),
            *_programs(protocol, options, table, factors, recipe.longer(), [LONGER]),
        ],
        statements=[
            _saves(factor, primary=scaling == "standardized")
            for scaling, factor in factors.items()
        ],
    )


def _claim(options: Options, protocol: Protocol, programs: Any, **how: Any) -> Claim:
    return Claim(
        *titled(__doc__),
        protocol=protocol,
        programs=functools.partial(programs, protocol),
        measures={
            "error": "test error, %",
            "train": "training error, %",
            "constant": "error of a constant, %",
        },
        chosen=(MIXUP,),
        **how,
    )


def _recipes(options: Options) -> tuple[Recipe, Recipe]:
    """Return the recipe of the paper, and that for few examples."""
    if not options.quick:
        return RECIPE, LONG
    return tuple(dataclasses.replace(RECIPE, epochs=k) for k in (2, 4))  # type: ignore


def _protocol(options: Options, data: str, recipe: str) -> Protocol:
    return Protocol(
        data=(
            f"{data}; {TRAIN:.0%} to train, {VALIDATION:.0%} to choose alpha by, "
            f"{TEST:.0%} to test"
        ),
        networks=f"MLP of {'-'.join(map(str, WIDTHS))} ReLU",
        recipe=recipe,
        arms={ERM: {"alpha": 0.0}, LONGER: {"alpha": 0.0}, **MIXUPS},
        seeds=options.count(8, full=50),
        sampling=Splits(TEST / TRAIN),
        remarks=[
            "one lam per example, partners by a random permutation of the batch",
            "features raw, or standardized with the training part's statistics; "
            "missing values are replaced by the mean or the most frequent level over "
            "all rows",
            "ERM is also trained twice as long where classes overlap",
            "alpha is that with the lowest validation error; of several, the smallest",
        ],
    )


def _saves(factor: str, **how: Any) -> Statement:
    published = how.get("published")
    is_tie = published is not None and published.value == 0
    words = "has as much error as ERM" if is_tie else "has a lower error than ERM"
    return less(f"{factor}: Mixup {words}", MIXUP.name, ERM, factor, **how)


def _factor(name: str, scaling: str, recipe: Recipe | None = None) -> str:
    return f"{name}, {scaling}" + (f", {recipe.epochs} epochs" if recipe else "")


def _programs_of_sets(protocol: Protocol, options: Options) -> Sequence[Program]:
    folder = options.folder("uci")
    known = {"iris": SETS["iris"]} if options.quick else SETS
    missing = [s.folder for s in known.values() if not (folder / s.folder).is_dir()]
    if missing:
        raise NotRun(
            f"{folder} lacks the folders {missing}; add one for each data set."
        )
    recipe, long = _recipes(options)
    programs = []
    for name, each in known.items():
        table = UCI[name](folder / each.folder)
        factors = {scaling: _factor(name, scaling) for scaling in SCALINGS}
        add = functools.partial(_programs, protocol, options, table)
        programs += add(factors, recipe)
        if each.overlapping:
            programs += add(factors, recipe.longer(), [LONGER])
        if each.few:
            further = {"standardized": _factor(name, "standardized", long)}
            programs += add(further, long)
    return programs


def _programs(
    protocol: Protocol,
    options: Options,
    table: Table,
    factors: Mapping[str, str],
    recipe: Recipe,
    arms: Sequence[str] = (ERM, *MIXUPS),
) -> Sequence[Program]:
    """Return the program of ``arms``, for the factor of each scaling."""
    numbers = {
        factor: {"standardized": SCALINGS[scaling]}
        for scaling, factor in factors.items()
    }
    classes, width = len(table.classes), table.features.shape[1]
    bytes_each = 4 * 4 * WIDTHS[0] * (width + WIDTHS[1] + classes)
    return [
        Program(
            f"{table.name}, {recipe.epochs} epochs",
            functools.partial(errors, classes=classes, recipe=recipe),
            protocol.runs(options, numbers, arms),
            (table.features, table.labels),
            together=int(np.clip(MEMORY / bytes_each, 1, MOST_TOGETHER)),
        )
    ]
