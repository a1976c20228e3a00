"""Mixup improves calibration and lowers the confidence on unfamiliar inputs.

Thulasidasan et al., "On Mixup Training: Improved Calibration and Predictive Uncertainty
for Deep Neural Networks", NeurIPS 2019, arXiv:1905.11001: better calibration and less
confidence on unfamiliar inputs, both due to mixing labels rather than inputs. Others
found the opposite (arXiv:2010.09875; Maronas et al. 2020; "On the Pitfall of
Mixup for Uncertainty Calibration", CVPR 2023).
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

import mixup_jax as mx
from benchmarks.claims._data import problems
from benchmarks.claims._engine.claim import Found, Options, Part
from benchmarks.claims._engine.statistics import interval, paired
from benchmarks.claims._networks import classifiers, training

NOISES = (0.0, 0.2, 0.5)
BINS = 15
FEWEST = 10  # predictions in a bin for it to be plotted
METHODS = {
    "ERM": {"alpha": 0.0, "inputs_only": 0, "smoothing": 0.0},
    "Mixup 0.2": {"alpha": 0.2, "inputs_only": 0, "smoothing": 0.0},
    "Mixup 1": {"alpha": 1.0, "inputs_only": 0, "smoothing": 0.0},
    "Mixup 1, inputs only": {"alpha": 1.0, "inputs_only": 1, "smoothing": 0.0},
    "label smoothing 0.1": {"alpha": 0.0, "inputs_only": 0, "smoothing": 0.1},
}
CLAIMED = {  # measure: words, unit
    "ece": ("has a lower ECE", "points"),
    "nll": ("has a lower NLL", "nats"),
    "brier": ("has a lower Brier score", ""),
    "foreign": ("is less sure of shuffled pixels", "points"),
}
PUBLISHED = [
    {
        "data": "ImageNet, ResNet-50",
        "measure": "ECE, %",
        "ERM": 3.2,
        "Mixup": 2.8,
        "source": "google/uncertainty-baselines, README; with rescaled logits",
    },
    {
        "data": "ImageNet, ResNet-50",
        "measure": "NLL",
        "ERM": 0.939,
        "Mixup": 0.888,
        "source": "the same",
    },
    {
        "data": "ImageNet-C, ResNet-50",
        "measure": "ECE, %",
        "ERM": 10.3,
        "Mixup": 10.9,
        "source": "the same: worse",
    },
]


def scores(
    setting: Mapping[str, Any], problem: problems.Problem, *, epochs: int
) -> dict[str, jax.Array]:
    """Train one network; return measures of its calibration."""
    learned = classifiers.learn(problem, setting, epochs=epochs)
    x, labels = problem.x[learned.test], problem.labels[learned.test]
    logits = learned.predict(x)
    bins = mx.metrics.reliability(logits, labels, bins=BINS)
    flat = x.reshape(len(x), -1)
    key = jax.random.fold_in(jax.random.key(setting["seed"]), 1)
    foreign = jax.random.permutation(key, flat, axis=1, independent=True)
    sure = jax.nn.softmax(learned.predict(foreign.reshape(x.shape))).max(axis=-1)
    error = training.error(logits, labels)
    return {
        "error": error,
        "ece": 100 * mx.metrics.ece(bins),
        "nll": mx.metrics.nll(logits, labels).mean(),
        "brier": mx.metrics.brier(logits, labels).mean(),
        "too sure": 100 * bins.confidence.sum() / len(labels) - (100 - error),
        "foreign": 100 * sure.mean(),
        "count": bins.count,
        "confidence": bins.confidence,
        "hits": bins.hits,
    }


def run(options: Options) -> Found:
    problem = problems.load(options)
    epochs = options.size(100, quick=5, full=200)
    seeds = options.seed_count(6, full=3)
    settings = {
        (name, noise, seed): {"seed": seed, "noise": noise, **numbers}
        for name, numbers in METHODS.items()
        for noise in NOISES
        for seed in range(seeds)
    }
    results = options.runs.many(
        "training",
        functools.partial(scores, problem=problem, epochs=epochs),
        list(settings.values()),
        chunk=9,
    )
    found: dict[tuple[str, float], Results] = {}
    for (name, noise, _), result in zip(settings, results):
        for measure, value in result.items():
            found.setdefault((name, noise), {}).setdefault(measure, []).append(value)
    rows = [
        {
            "noise": f"{noise:.0%}",
            "method": name,
            "error, %": interval(found[name, noise]["error"]),
            "ECE, %": interval(found[name, noise]["ece"]),
            "NLL, nats": interval(found[name, noise]["nll"]),
            "Brier": interval(found[name, noise]["brier"]),
            "confidence - accuracy": interval(found[name, noise]["too sure"]),
            "confidence, shuffled": interval(found[name, noise]["foreign"]),
        }
        for noise in NOISES
        for name in METHODS
    ]
    protocol = [
        classifiers.words(problem, (256, 256)),
        f"Adam 1e-3, {epochs} epochs, batches of {classifiers.BATCH}; partners by a "
        "random permutation of the batch",
        f"{seeds} seeds; each draws a split, initial parameters and random labels, the "
        "same for all methods",
        "noise: the fraction of training labels that are replaced by random ones; test "
        "labels are correct",
        f"ECE with {BINS} bins of equal width; shuffled: test images, with the pixels "
        "of each in a random order",
    ]
    notes = [
        "Confidence - accuracy: above 0 the network is overconfident, below 0 it is "
        "underconfident.",
        "The paper's ECE values were not readable; the published ones are from "
        "another source.",
        "Logits are not rescaled after training: a temperature would be fitted on "
        "held-out data.",
        *(_both_ways(noise, found) for noise in NOISES),
    ]
    tables = {"on the test set": rows, "published": PUBLISHED}
    return Found(protocol, tables, _parts(found), _picture(found), notes)


Results = dict[str, list[Any]]


def _both_ways(noise: float, found: Mapping[tuple[str, float], Results]) -> str:
    """Describe each method's miscalibration at one noise level."""
    words = []
    for name in ("ERM", "Mixup 0.2", "Mixup 1"):
        too_sure = np.mean(found[name, noise]["too sure"])
        kind = "overconfident" if too_sure > 0 else "underconfident"
        words.append(f"{name} is {kind} by {abs(too_sure):.1f} points")
    return f"{noise:.0%} noise: {', '.join(words)}."


def _parts(found: Mapping[tuple[str, float], Results]) -> list[Part]:
    def less(noise: float, name: str, measure: str, than: str = "ERM") -> Part:
        words, unit = CLAIMED[measure]
        gain = paired(found[than, noise][measure], found[name, noise][measure])
        return Part(f"{noise:.0%} noise: {name} {words} than {than}", gain, unit)

    parts = []
    for noise in NOISES:
        for name in ("Mixup 0.2", "Mixup 1"):
            parts += [less(noise, name, of) for of in ("ece", "nll", "brier")]
        parts.append(less(noise, "Mixup 1", "ece", than="Mixup 1, inputs only"))
        parts.append(less(noise, "Mixup 1", "foreign"))
    return parts


def _picture(found: Mapping[tuple[str, float], Results]) -> Figure:
    figure = Figure(figsize=(11, 4), layout="constrained")
    axes = figure.subplots(1, len(NOISES), sharey=True)
    for axis, noise in zip(axes, NOISES):
        axis.plot([0, 1], [0, 1], color="gray", lw=1)
        for k, name in enumerate(METHODS):
            each = found[name, noise]
            count, sure, hits = (
                np.sum(each[key], axis=0) for key in ("count", "confidence", "hits")
            )
            some = count >= FEWEST
            x, y = sure[some] / count[some], hits[some] / count[some]
            axis.plot(x, y, color=f"C{k}", lw=1, label=name)
            axis.scatter(x, y, 200 * count[some] / count.sum(), color=f"C{k}")
        axis.set(title=f"{noise:.0%} random labels", xlabel="confidence")
        axis.text(0.95, 0.05, "too sure", ha="right", color="gray")
        axis.text(0.05, 0.95, "too unsure", va="top", color="gray")
    axes[0].set_ylabel("share of predictions that are right")
    names = axes[0].get_legend_handles_labels()
    figure.legend(*names, loc="outside lower center", ncols=len(METHODS), fontsize=8)
    figure.suptitle("Reliability on the test set; the area of a dot is its share of it")
    return figure
