"""Mixup keeps networks from memorizing corrupt labels (Table 2).

Zhang et al., "mixup", ICLR 2018, arXiv:1710.09412, section 3.4: CIFAR-10, PreAct
ResNet-18, SGD, 200 epochs; training labels are replaced by random ones with probability
20, 50 or 80%. The paper shows the best of alpha 1, 2, 8, 32 and dropout 0.5, 0.7, 0.8,
0.9 (combined: alpha 1, 2, 4, 8 and dropout 0.3, 0.5, 0.7). The dropout of 0.1 in its
best combination at 20% is not on the grid that it states.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.claims._data import problems
from benchmarks.claims._engine.claim import (
    ERM,
    Chosen,
    Claim,
    Numbers,
    Options,
    Program,
    Protocol,
    Published,
    Statement,
    less,
    more,
    titled,
)
from benchmarks.claims._networks import classifiers
from benchmarks.claims._networks.recipes import Recipe

ARMS = {  # by dropout rate, which is not traced
    0.0: {
        ERM: {"alpha": 0.0},
        "Mixup 1": {"alpha": 1.0},
        "Mixup 8": {"alpha": 8.0},
        "Mixup 32": {"alpha": 32.0},
    },
    0.5: {"dropout 0.5": {"alpha": 0.0}},
    0.7: {"dropout 0.7": {"alpha": 0.0}, "Mixup 8, dropout 0.7": {"alpha": 8.0}},
    0.3: {"Mixup 8, dropout 0.3": {"alpha": 8.0}},
}
MIXUP = Chosen("Mixup, alpha by validation", ("Mixup 1", "Mixup 8", "Mixup 32"))
DROPOUT = Chosen("dropout, rate by validation", ("dropout 0.5", "dropout 0.7"))
BOTH = Chosen(
    "Mixup 8 and dropout, rate by validation",
    ("Mixup 8, dropout 0.3", "Mixup 8, dropout 0.7"),
)


class Row(NamedTuple):
    """A published row: the lowest and the last test error, and training errors.

    The latter are those on labels that were kept, and on those that were replaced.
    """

    best: float
    last: float
    real: float
    corrupted: float


class Noise(NamedTuple):
    """A fraction of random labels, and the paper's rows: each method at its best.

    ``best`` is the arm with the paper's best alpha, and ``mixup`` its row; ``dropout``
    is that of dropout 0.7 (20%) or 0.8; ``both`` is that of Mixup 4 with dropout 0.1
    (20%), or of Mixup 8 with dropout 0.3.
    """

    share: float
    best: str
    erm: Row
    mixup: Row
    dropout: Row
    both: Row


NOISES = {
    "20%": Noise(
        0.2,
        "Mixup 8",
        erm=Row(12.7, 16.6, 0.05, 0.28),
        mixup=Row(5.9, 6.4, 2.27, 86.32),
        dropout=Row(8.8, 10.4, 5.26, 83.55),
        both=Row(6.2, 6.2, 1.92, 85.02),
    ),
    "50%": Noise(
        0.5,
        "Mixup 32",
        erm=Row(18.8, 44.6, 0.26, 0.64),
        mixup=Row(11.3, 12.7, 5.84, 85.71),
        dropout=Row(14.1, 15.5, 12.71, 86.98),
        both=Row(10.9, 10.9, 7.56, 87.90),
    ),
    "80%": Noise(
        0.8,
        "Mixup 32",
        erm=Row(36.5, 73.9, 0.62, 0.83),
        mixup=Row(25.3, 30.9, 18.92, 85.44),
        dropout=Row(30.9, 35.1, 29.84, 86.37),
        both=Row(24.0, 24.8, 19.70, 87.67),
    ),
}
PRIMARY = "50%"


def errors(
    numbers: Numbers,
    data: Any,
    *,
    problem: problems.Problem,
    recipe: Recipe,
    dropout: float,
) -> dict[str, jax.Array]:
    """Train one network; return its errors in percent, as in Table 2."""
    learned = classifiers.learn(problem, data, numbers, recipe=recipe, dropout=dropout)
    x, labels = data
    rows = learned.train
    predicted = jnp.argmax(learned.predict(x[rows]), axis=-1)
    wrong, replaced = predicted != learned.labels[rows], learned.replaced[rows]
    return {
        **learned.measures(x, labels, problem.classes),
        "best": learned.errors.min(),
        "lost": learned.errors[-1] - learned.errors.min(),
        "train, real": 100 * jnp.mean(wrong, where=~replaced),
        "train, corrupted": 100 * jnp.mean(wrong, where=replaced),
    }


def claim(options: Options) -> Claim:
    problem = problems.problem(options)
    recipe = classifiers.recipe_of(options)
    protocol = Protocol(
        data=f"{problem.words}; {', '.join(NOISES)} of the labels are replaced",
        networks=classifiers.words(problem),
        recipe=str(recipe),
        arms={arm: each for arms in ARMS.values() for arm, each in arms.items()},
        seeds=options.count(6, full=3),
        sampling=problem.sampling,
        remarks=[
            "one lam per example, partners by a random permutation of the batch",
            "a seed has the same split, initial parameters and corrupt labels in all "
            "arms",
            "labels are replaced by one of all classes, so one in ten remains correct",
            "alpha and dropout rates are those with the lowest validation error; the "
            "labels of the validation part are true",
            "the number of epochs on digits was chosen on ERM's training error alone",
        ],
    )
    return Claim(
        *titled(__doc__),
        protocol=protocol,
        programs=functools.partial(_programs, protocol, problem, recipe),
        statements=[each for factor in NOISES for each in _statements(factor)],
        measures={
            "error": "last test error, %",
            "best": "best",
            "lost": "last - best",
            "train": "training error, %",
            "train, real": "on real labels",
            "train, corrupted": "on corrupted labels",
        },
        chosen=(MIXUP, DROPOUT, BOTH),
        notes=[
            "Best is the lowest test error of any epoch, last that of the last one.",
            "Training errors are measured against the labels used in training: the "
            "larger the error on corrupted labels, the fewer of them were memorized.",
            "Scaled down: a small network on few images. The published gains are those "
            "of the paper's network, and of its best alpha and dropout rate, chosen "
            "among more than here.",
        ],
    )


def _statements(factor: str) -> Iterator[Statement]:
    """Return the statements about one fraction of random labels."""
    _, best, erm, mixup, dropout, both = NOISES[factor]

    def gain(before: float, after: float) -> dict[str, Any]:
        return {"at": factor, "published": Published(before - after)}

    yield less(
        f"{factor}: {best} has a lower final error than ERM",
        *(best, ERM),
        **gain(erm.last, mixup.last),
        primary=factor == PRIMARY,
    )
    for words, over, arm, than, before, after in (
        ("Mixup has", "dropout", MIXUP, DROPOUT, dropout, mixup),
        ("Mixup and dropout have", "Mixup", BOTH, MIXUP, mixup, both),
        ("Mixup and dropout have", "dropout", BOTH, DROPOUT, dropout, both),
    ):
        yield less(
            f"{factor}: {words} a lower final error than {over}",
            *(arm.name, than.name),
            **gain(before.last, after.last),
            favors=int(than is not MIXUP),
        )
    yield less(
        f"{factor}: Mixup 32 has a lower final error than Mixup 1",
        *("Mixup 32", "Mixup 1"),
        at=factor,
        favors=0,
    )
    yield less(
        f"{factor}: {best} loses less than ERM from its best epoch to the last",
        *(best, ERM),
        of="lost",
        **gain(erm.last - erm.best, mixup.last - mixup.best),
    )
    yield more(
        f"{factor}: {best} fits corrupted labels less than ERM",
        *(best, ERM),
        of="train, corrupted",
        **gain(mixup.corrupted, erm.corrupted),
    )


def _programs(
    protocol: Protocol, problem: problems.Problem, recipe: Recipe, options: Options
) -> Sequence[Program]:
    data = problems.load(options)
    factors = {factor: {"noise": each.share} for factor, each in NOISES.items()}
    return [
        Program(
            f"dropout {rate:g}",
            functools.partial(errors, problem=problem, recipe=recipe, dropout=rate),
            protocol.runs(options, factors, list(arms)),
            data,
            together=9,
        )
        for rate, arms in ARMS.items()
    ]
