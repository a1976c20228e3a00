"""Mixup keeps networks from memorizing corrupt labels (Table 2).

Zhang et al., "mixup", ICLR 2018, arXiv:1710.09412, section 3.4. Training labels are
replaced by random ones with probability 20, 50 or 80%. The dropout of 0.1 in the
paper's best combination at 20% is not on the grid that the paper states.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from benchmarks.claims._data import problems
from benchmarks.claims._engine.claim import Found, Options, Part
from benchmarks.claims._engine.statistics import interval, paired
from benchmarks.claims._networks import classifiers

NOISES = (0.2, 0.5, 0.8)
METHODS = {  # name: alpha, dropout
    "ERM": (0.0, 0.0),
    "dropout 0.5": (0.0, 0.5),
    "dropout 0.7": (0.0, 0.7),
    "Mixup 1": (1.0, 0.0),
    "Mixup 8": (8.0, 0.0),
    "Mixup 32": (32.0, 0.0),
    "Mixup 8, dropout 0.3": (8.0, 0.3),
    "Mixup 8, dropout 0.7": (8.0, 0.7),
}
ALONE = ("Mixup 8", "Mixup 32")
DROPOUTS = ("dropout 0.5", "dropout 0.7")
BOTH = ("Mixup 8, dropout 0.3", "Mixup 8, dropout 0.7")
PUBLISHED = {  # best, last; training error on real and on corrupted labels
    ("ERM", 0.2): (12.7, 16.6, 0.05, 0.28),
    ("ERM", 0.5): (18.8, 44.6, 0.26, 0.64),
    ("ERM", 0.8): (36.5, 73.9, 0.62, 0.83),
    ("dropout 0.7", 0.2): (8.8, 10.4, 5.26, 83.55),
    ("dropout 0.8", 0.5): (14.1, 15.5, 12.71, 86.98),
    ("dropout 0.8", 0.8): (30.9, 35.1, 29.84, 86.37),
    ("Mixup 8", 0.2): (5.9, 6.4, 2.27, 86.32),
    ("Mixup 32", 0.5): (11.3, 12.7, 5.84, 85.71),
    ("Mixup 32", 0.8): (25.3, 30.9, 18.92, 85.44),
    ("Mixup 4, dropout 0.1", 0.2): (6.2, 6.2, 1.92, 85.02),
    ("Mixup 8, dropout 0.3", 0.5): (10.9, 10.9, 7.56, 87.90),
    ("Mixup 8, dropout 0.3", 0.8): (24.0, 24.8, 19.70, 87.67),
}
COLUMNS = {
    "best": "best",
    "last": "last",
    "real": "train, real labels",
    "corrupted": "train, corrupted",
}


def errors(
    setting: Mapping[str, Any],
    problem: problems.Problem,
    *,
    epochs: int,
    dropout: float,
) -> dict[str, jax.Array]:
    """Train one network; return its errors in percent, as in Table 2."""
    learned = classifiers.learn(problem, setting, epochs=epochs, dropout=dropout)
    rows = learned.train
    wrong = (
        jnp.argmax(learned.predict(problem.x[rows]), axis=-1) != learned.labels[rows]
    )
    replaced = learned.replaced[rows]
    return {
        "best": learned.errors.min(),
        "last": learned.errors[-1],
        "real": 100 * jnp.mean(wrong, where=~replaced),
        "corrupted": 100 * jnp.mean(wrong, where=replaced),
        "epochs": learned.errors,
    }


def run(options: Options) -> Found:
    problem = problems.load(options)
    epochs = options.size(100, quick=5, full=200)
    seeds = options.seed_count(6, full=3)
    found = _train_all(problem, options, epochs, seeds)
    rows, parts = [], []
    for noise in NOISES:
        each = {name: found[name, noise] for name in METHODS}
        rows += _rows(noise, each)
        parts += _parts(noise, each)
    protocol = [
        classifiers.words(problem, (256, 256)),
        f"Adam 1e-3, {epochs} epochs, batches of {classifiers.BATCH}; "
        "one lam per example, partners by a random permutation of the batch",
        f"{seeds} seeds; each draws a split, initial parameters and corrupt labels, "
        "the same for all methods",
        "labels are replaced by one of all classes, so one in ten remains correct",
        "published: CIFAR-10, PreAct ResNet-18, SGD, 200 epochs",
    ]
    notes = [
        "Best is the lowest test error of any epoch, last that of the last one.",
        "Training errors are measured against the labels used in training: the larger "
        "the error on corrupted labels, the fewer of them were memorized.",
        "The paper shows the best of alpha 1, 2, 8, 32 and dropout 0.5, 0.7, 0.8, 0.9 "
        "(combined: alpha 1, 2, 4, 8 and dropout 0.3, 0.5, 0.7); if its choice is not "
        "among ours, it has a separate row.",
        "Statements about Mixup alone (alpha 8 or 32), dropout (0.5 or 0.7) and both "
        "together use the better of two each, selected on the test sets.",
        "With --full: CIFAR-10 with a small CNN, not the paper's network.",
    ]
    tables = {"errors in percent": rows}
    return Found(protocol, tables, parts, _picture(found, epochs), notes)


Results = dict[str, list[Any]]


def _train_all(
    problem: problems.Problem, options: Options, epochs: int, seeds: int
) -> dict[tuple[str, float], Results]:
    """Return the results of each seed, by method and noise."""
    found: dict[tuple[str, float], Results] = {}
    for dropout in dict.fromkeys(dropout for _, dropout in METHODS.values()):
        settings = {
            (name, noise, seed): {"seed": seed, "noise": noise, "alpha": alpha}
            for name, (alpha, rate) in METHODS.items()
            if rate == dropout
            for noise in NOISES
            for seed in range(seeds)
        }
        results = options.runs.many(
            f"dropout {dropout}",
            functools.partial(errors, problem=problem, epochs=epochs, dropout=dropout),
            list(settings.values()),
            chunk=9,
        )
        for (name, noise, _), result in zip(settings, results):
            each = found.setdefault((name, noise), {})
            for key, value in result.items():
                each.setdefault(key, []).append(value)
    return found


def _rows(noise: float, each: Mapping[str, Results]) -> list[dict[str, Any]]:
    names = [*each, *(m for m, n in PUBLISHED if n == noise and m not in each)]
    rows = []
    for name in names:
        row: dict[str, Any] = {"noise": f"{noise:.0%}", "method": name}
        for column, title in COLUMNS.items():
            row[title] = interval(each[name][column]) if name in each else ""
        best, last, real, fitted = PUBLISHED.get((name, noise), ("",) * 4)
        known = (name, noise) in PUBLISHED
        row["published best / last"] = f"{best} / {last}" if known else ""
        row["published train"] = f"{real} / {fitted}" if known else ""
        rows.append(row)
    return rows


def _parts(noise: float, each: Mapping[str, Results]) -> list[Part]:
    def gain(name: str, over: str, column: str = "last") -> Any:
        return paired(each[over][column], each[name][column])

    def lost(name: str) -> Any:
        return np.subtract(each[name]["last"], each[name]["best"])

    def best(names: tuple[str, ...]) -> str:
        return min(names, key=lambda name: np.mean(each[name]["last"]))

    at = f"{noise:.0%}: "
    alone, dropout, both = best(ALONE), best(DROPOUTS), best(BOTH)
    return [
        Part(f"{at}Mixup 32 has less last error than ERM", gain("Mixup 32", "ERM")),
        Part(f"{at}{alone} has less than {dropout}", gain(alone, dropout)),
        Part(f"{at}Mixup 32 has less than Mixup 1", gain("Mixup 32", "Mixup 1")),
        Part(f"{at}{both} has less than {alone}", gain(both, alone)),
        Part(f"{at}{both} has less than {dropout}", gain(both, dropout)),
        Part(
            f"{at}Mixup 32 loses less than ERM from its best epoch to the last",
            paired(lost("ERM"), lost("Mixup 32")),
        ),
        Part(
            f"{at}Mixup 32 fits corrupted labels less than ERM",
            gain("ERM", "Mixup 32", "corrupted"),
        ),
    ]


def _picture(found: Mapping[tuple[str, float], Results], epochs: int) -> Figure:
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    axes = figure.subplots(1, len(NOISES))
    for axis, noise in zip(axes, NOISES):
        for k, name in enumerate(METHODS):
            curve = np.mean(found[name, noise]["epochs"], axis=0)
            style = {"ls": "--"} if name in DROPOUTS else {}
            color = f"C{k - 1}" if k else "black"
            axis.plot(range(1, epochs + 1), curve, color=color, label=name, **style)
        axis.set(title=f"{noise:.0%} of the labels random", xlabel="epoch")
        axis.set_ylim(0)
    axes[0].set_ylabel("test error, %")
    axes[0].legend(fontsize=7)
    return figure
