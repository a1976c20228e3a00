"""Vicinal risk minimization with Mixup beats empirical risk minimization.

Zhang et al., "mixup", ICLR 2018, arXiv:1710.09412, section 2: training on the vicinal
distribution of Mixup, rather than on the empirical distribution or on a Gaussian
vicinity (Chapelle et al. 2000). Table 5: 5.53% error of ERM on CIFAR-10, 4.24 of Mixup,
5.53 of the best Gaussian noise, at a weight decay of 1e-4.
"""

import functools
from collections.abc import Sequence
from typing import Any

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
    less,
    titled,
)
from benchmarks.claims._networks import classifiers, training

ALPHAS, SIGMAS = (0.2, 0.5, 1.0, 2.0), (0.05, 0.1, 0.2, 0.4)
MIXUPS = {f"Mixup {alpha:g}": {"alpha": alpha} for alpha in ALPHAS}
NOISES = {f"Gaussian {sigma:g}": {"alpha": sigma} for sigma in SIGMAS}
MIXUP = Chosen("Mixup, alpha by validation", tuple(MIXUPS))
GAUSSIAN = Chosen("Gaussian vicinity, sigma by validation", tuple(NOISES))


def errors(
    numbers: Numbers,
    data: Any,
    *,
    problem: problems.Problem,
    mixer: Any,
    recipe: Any,
) -> dict[str, Any]:
    """Train one network; return its errors in percent."""
    learned = classifiers.learn(problem, data, numbers, recipe=recipe, mixer=mixer)
    x, labels = data
    return learned.measures(x, labels, problem.classes)


def claim(options: Options) -> Claim:
    problem = problems.problem(options, problems.FEW)
    recipe = classifiers.recipe_of(options)
    protocol = Protocol(
        data=problem.words,
        networks=classifiers.words(problem),
        recipe=str(recipe),
        arms={ERM: {"alpha": 0.0}, **MIXUPS, **NOISES},
        seeds=options.count(20, full=5),
        sampling=problem.sampling,
        remarks=[
            "alpha and sigma are those with the lowest validation error",
        ],
    )
    return Claim(
        *titled(__doc__),
        protocol=protocol,
        programs=functools.partial(_programs, protocol, problem, recipe),
        statements=[
            less(
                "Mixup's vicinity has a lower error than ERM",
                MIXUP.name,
                ERM,
                published=Published(5.53 - 4.24),
                primary=True,
            ),
            less(
                "Mixup's vicinity has a lower error than the Gaussian one",
                MIXUP.name,
                GAUSSIAN.name,
                published=Published(5.53 - 4.24),
            ),
            less(
                "the Gaussian vicinity has as much error as ERM",
                GAUSSIAN.name,
                ERM,
                published=Published(0.0),
                favors=0,
            ),
        ],
        chosen=(MIXUP, GAUSSIAN),
    )


def _programs(
    protocol: Protocol, problem: problems.Problem, recipe: Any, options: Options
) -> Sequence[Program]:
    data = problems.load(options)
    return [
        Program(
            name,
            functools.partial(errors, problem=problem, mixer=mixer, recipe=recipe),
            protocol.runs(options, {"": {}}, arms),
            data,
            together=options.size(10, quick=4, full=1),
        )
        for name, mixer, arms in (
            ("Mixup", training.mixup, (ERM, *MIXUPS)),
            ("Gaussian", training.gaussian, tuple(NOISES)),
        )
    ]
