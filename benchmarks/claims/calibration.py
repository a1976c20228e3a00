"""Mixup improves calibration and lowers the confidence on unfamiliar inputs.

Thulasidasan et al., "On Mixup Training: Improved Calibration and Predictive Uncertainty
for Deep Neural Networks", NeurIPS 2019, arXiv:1905.11001: better calibration and less
confidence on unfamiliar inputs, both due to mixing labels rather than inputs. Others
found that it need not improve calibration (arXiv:2010.09875; Maronas et al. 2020; "On
the Pitfall of Mixup for Uncertainty Calibration", CVPR 2023).
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array
from matplotlib.figure import Figure

import mixup_jax as mx
from benchmarks.claims._data import problems
from benchmarks.claims._engine.claim import (
    ERM,
    Claim,
    Numbers,
    Options,
    Program,
    Protocol,
    Published,
    Statement,
    less,
    titled,
)
from benchmarks.claims._networks import classifiers

MIXUP, INPUTS_ONLY = "Mixup 1", "Mixup 1, inputs only"
NONE = {"alpha": 0.0, "inputs_only": 0, "smoothing": 0.0}
ARMS = {
    ERM: NONE,
    "Mixup 0.2": {**NONE, "alpha": 0.2},
    MIXUP: {**NONE, "alpha": 1.0},
    INPUTS_ONLY: {**NONE, "alpha": 1.0, "inputs_only": 1},
    "label smoothing 0.1": {**NONE, "smoothing": 0.1},
}
FACTORS = {f"{noise:.0%} noise": {"noise": noise} for noise in (0.0, 0.2, 0.5)}
CLEAN = next(iter(FACTORS))
BINS = 15
FEWEST = 10  # predictions in a bin for it to be plotted
TEMPERATURES = 2 ** np.linspace(-5, 5, 61, dtype=np.float32)
CLAIMED = {  # measure: words, unit
    "ece": ("has a lower ECE", "points"),
    "ece, scaled": ("has a lower ECE at the temperature", "points"),
    "nll": ("has a lower NLL", "nats"),
    "brier": ("has a lower Brier score", "Brier score"),
}
IMAGENET = {"ece": (3.2, 2.8), "nll": (0.939, 0.888)}  # without Mixup, with it
CORRUPTED = (10.3, 10.9)  # ECE on ImageNet-C


def scores(
    numbers: Numbers, data: Any, *, problem: problems.Problem, recipe: Any
) -> dict[str, Array]:
    """Train one network; return measures of its calibration."""
    images, true = data
    learned = classifiers.learn(problem, data, numbers, recipe=recipe)
    x, labels = images[learned.test], true[learned.test]
    logits = learned.predict(x)
    held_out = learned.predict(images[learned.validation])
    warmth = temperature(held_out, true[learned.validation])
    bins = mx.metrics.reliability(logits, labels, bins=BINS)
    scaled = mx.metrics.reliability(logits / warmth, labels, bins=BINS)
    flat = x.reshape(len(x), -1)
    key = jax.random.fold_in(jax.random.key(numbers["seed"]), 1000)
    foreign = jax.random.permutation(key, flat, axis=1, independent=True)
    sure = jax.nn.softmax(learned.predict(foreign.reshape(x.shape))).max(axis=-1)
    return {
        **learned.measures(images, true, problem.classes),
        "ece": 100 * mx.metrics.ece(bins),
        "ece, scaled": 100 * mx.metrics.ece(scaled),
        "temperature": warmth,
        "nll": mx.metrics.nll(logits, labels).mean(),
        "brier": mx.metrics.brier(logits, labels).mean(),
        "too sure": 100 * (bins.confidence - bins.hits).sum() / len(labels),
        "foreign": 100 * sure.mean(),
        "count": bins.count,
        "confidence": bins.confidence,
        "hits": bins.hits,
    }


def temperature(logits: Array, labels: Array) -> Array:
    """Return the one of ``TEMPERATURES`` with the lowest NLL."""
    some = jnp.asarray(TEMPERATURES)
    losses = jax.vmap(lambda t: mx.metrics.nll(logits / t, labels).mean())(some)
    return some[losses.argmin()]


def claim(options: Options) -> Claim:
    problem = problems.problem(options)
    recipe = classifiers.recipe_of(options)
    protocol = Protocol(
        data=problem.words,
        networks=classifiers.words(problem),
        recipe=str(recipe),
        arms=ARMS,
        seeds=options.count(6, full=3),
        sampling=problem.sampling,
        remarks=[
            "a seed has the same split, random labels, initial parameters and order of "
            "batches in all arms",
            "noise: the fraction of training labels that are replaced by random ones; "
            "validation and test labels are correct",
            "the number of epochs on digits was chosen on ERM's training error alone",
            f"ECE with {BINS} bins of equal width",
            f"temperature: that of {len(TEMPERATURES)}, from {TEMPERATURES[0]:g} to "
            f"{TEMPERATURES[-1]:g}, with the lowest NLL on the validation part",
            "shuffled: test images, with the pixels of each in a random order",
        ],
    )
    return Claim(
        *titled(__doc__),
        protocol=protocol,
        programs=functools.partial(_programs, protocol, problem, recipe),
        statements=[each for factor in FACTORS for each in _statements(factor)],
        measures={
            "error": "test error, %",
            "train": "training error, %",
            "ece": "ECE, %",
            "ece, scaled": "ECE at the temperature, %",
            "temperature": "temperature",
            "nll": "NLL, nats",
            "brier": "Brier score",
            "too sure": "confidence - accuracy, points",
            "foreign": "confidence, shuffled, %",
        },
        notes=[
            "Confidence - accuracy: above 0 a network is overconfident, below 0 it is "
            "underconfident; likewise with a temperature above or below 1.",
            "The paper's ECE values could not be obtained. The published gains are "
            "those of ResNet-50 on ImageNet (google/uncertainty-baselines): without "
            "Mixup and with it, ECE {} and {}%, NLL {} and {} nats; on ImageNet-C, ECE "
            "{} and {}%, which is worse. Its logits with Mixup are rescaled as "
            "proposed in arXiv:2006.06049, ours are not.".format(
                *IMAGENET["ece"], *IMAGENET["nll"], *CORRUPTED
            ),
        ],
        picture=_picture,
    )


def _statements(factor: str) -> list[Statement]:
    """Return the statements about one level of noise."""

    def said(arm: str, of: str, words: str, than: str = ERM, **how: Any) -> Statement:
        words = f"{factor}: {arm} {words} than {than}"
        return less(words, arm, than, factor, of=of, **how)

    published = {
        (MIXUP, CLEAN, of): Published(without - mixed)
        for of, (without, mixed) in IMAGENET.items()
    }
    by_measure = [
        said(
            arm,
            of,
            words,
            unit=unit,
            published=published.get((arm, factor, of)),
            primary=(arm, factor, of) == (MIXUP, CLEAN, "ece"),
        )
        for arm in ("Mixup 0.2", MIXUP)
        for of, (words, unit) in CLAIMED.items()
    ]
    return [
        *by_measure,
        said(MIXUP, "ece", CLAIMED["ece"][0], INPUTS_ONLY, favors=0),
        said(MIXUP, "foreign", "is less sure of shuffled pixels"),
    ]


def _programs(
    protocol: Protocol, problem: problems.Problem, recipe: Any, options: Options
) -> Sequence[Program]:
    return [
        Program(
            "training",
            functools.partial(scores, problem=problem, recipe=recipe),
            protocol.runs(options, FACTORS),
            problems.load(options),
            together=options.size(9, quick=4, full=1),
        )
    ]


def _picture(table: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> Figure:
    """Return the reliability diagrams, all seeds together."""
    figure = Figure(figsize=(11, 4.7), layout="constrained")
    axes = figure.subplots(1, len(FACTORS), sharex=True, sharey=True)
    for axis, factor in zip(axes, FACTORS):
        axis.plot([0, 1], [0, 1], color="gray", lw=1)
        for k, arm in enumerate(ARMS):
            count, sure, hits = (
                arrays[f"{of}/{arm}/{factor}"].sum(axis=0)
                for of in ("count", "confidence", "hits")
            )
            some = count >= FEWEST
            x, y = sure[some] / count[some], hits[some] / count[some]
            axis.plot(x, y, color=f"C{k}", lw=1, label=arm)
            axis.scatter(x, y, 200 * count[some] / count.sum(), color=f"C{k}")
        axis.set(title=factor, xlabel="confidence", aspect="equal")
        axis.text(0.95, 0.05, "too sure", ha="right", color="gray")
        axis.text(0.05, 0.95, "too unsure", va="top", color="gray")
    axes[0].set_ylabel("share of predictions that are right")
    names = axes[0].get_legend_handles_labels()
    figure.legend(*names, loc="outside lower center", ncols=len(ARMS), fontsize=8)
    figure.suptitle("Reliability on the test set; the area of a dot is its share of it")
    return figure
