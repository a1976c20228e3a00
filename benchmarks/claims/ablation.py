"""Among variants of Mixup, mixing random pairs and their labels does best (Table 5).

Zhang et al., "mixup", ICLR 2018, arXiv:1710.09412, section 3.8: all classes (AC) or the
same class (SC), random pairs (RP) or nearest neighbors (KNN); labels mixed or not;
inputs or hidden layers; label smoothing and Gaussian noise; on CIFAR-10, PreAct
ResNet-18, 200 epochs. Mixing a layer drawn at random is Manifold Mixup (Verma et al.,
arXiv:1806.05236), which is not in the table.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

import mixup_jax as mx
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
    titled,
)
from benchmarks.claims._networks import classifiers, training
from benchmarks.claims._networks.recipes import Recipe, StepSgd

DECAYS = (1e-4, 5e-4)
WIDTHS = (128,) * 5
HIDDEN = tuple(f"Dropout_{k}" for k in range(len(WIDTHS)))  # ends of hidden layers
LAST = 10  # the median of so many epochs is reported, as in the paper
TOGETHER = 12  # runs in one program

random_pairs = mx.pairings.permutation
nearest = mx.pairings.weighted(mx.pairings.nearest(1))
nearest_of_class = mx.pairings.weighted(
    mx.pairings.nearest(1, among=mx.pairings.of_same_class)
)


def pairs(pairing: mx.Pairing) -> Callable[[Any], mx.Mixer]:
    """Return a function from alpha to the mixer of inputs with this pairing."""
    return lambda alpha: functools.partial(mx.mixup, alpha=alpha, pairing=pairing)


def layers(*numbers: int) -> Callable[[Any], mx.Mixer]:
    """Return a function from alpha to the mixer of one of these layers."""
    return lambda alpha: functools.partial(
        mx.manifold, layers=numbers, alpha=alpha, pairing=random_pairs
    )


def arm(alpha: float = 1.0, only: float = 0.0, smoothing: float = 0.0) -> Numbers:
    """Return the numbers of an arm; alpha is sigma for Gaussian noise."""
    return {"alpha": alpha, "inputs_only": only, "smoothing": smoothing}


MIXUP, MANIFOLD = "Mixup, AC + RP", "any layer (Manifold)"
KNN, SMOTE = "Mixup, AC + KNN", "inputs only, SC + KNN (SMOTE)"
UNMIXED, SAME_CLASS = "inputs only, AC + RP", "inputs only, SC + RP"
SMOOTHINGS = {f"label smoothing {share:g}": share for share in (0.05, 0.1, 0.2)}
SIGMAS = {f"Gaussian noise {sigma:g}": sigma for sigma in (0.05, 0.1, 0.2)}
SMOOTHING = Chosen("label smoothing, by validation", tuple(SMOOTHINGS))
NOISE = Chosen("Gaussian noise, by validation", tuple(SIGMAS))
MIXERS: dict[str, tuple[Callable[[Any], mx.Mixer], dict[str, Numbers]]] = {
    "AC + RP": (
        pairs(random_pairs),
        {
            ERM: arm(0.0),
            MIXUP: arm(),
            UNMIXED: arm(only=1.0),
            "inputs only, smoothing 0.1": arm(only=1.0, smoothing=0.1),
            **{name: arm(0.0, smoothing=share) for name, share in SMOOTHINGS.items()},
        },
    ),
    "AC + KNN": (
        pairs(nearest),
        {KNN: arm(), "inputs only, AC + KNN": arm(only=1.0)},
    ),
    "SC + RP": (pairs(mx.pairings.same_class), {SAME_CLASS: arm(only=1.0)}),
    "SC + KNN": (pairs(nearest_of_class), {SMOTE: arm(only=1.0)}),
    **{
        f"layer {k + 1}": (layers(k + 1), {f"layer {k + 1}": arm()})
        for k in range(len(WIDTHS))
    },
    MANIFOLD: (layers(*range(len(WIDTHS) + 1)), {MANIFOLD: arm()}),
    "noise": (training.gaussian, {name: arm(sigma) for name, sigma in SIGMAS.items()}),
}
ARMS = {name: each for _, arms in MIXERS.values() for name, each in arms.items()}
PUBLISHED: dict[str, Sequence[float]] = {  # test errors at both decays, in percent
    ERM: (5.53, 5.18),
    MIXUP: (4.24, 4.68),
    KNN: (4.98, 5.26),
    "layer 1": (4.44, 4.51),
    "layer 2": (4.56, 4.61),
    "layer 3": (5.39, 5.55),
    "layer 4": (5.95, 5.43),
    "layer 5": (5.39, 5.15),
    SMOTE: (5.45, 5.52),
    "inputs only, AC + KNN": (5.43, 5.48),
    SAME_CLASS: (5.23, 5.55),
    UNMIXED: (5.17, 5.72),
    "label smoothing 0.05": (5.25, 5.02),
    "label smoothing 0.1": (5.33, 5.17),
    "label smoothing 0.2": (5.34, 5.06),
    "inputs only, smoothing 0.1": (5.08, 5.09),
    "Gaussian noise 0.05": (5.53, 5.04),
    "Gaussian noise 0.1": (6.41, 5.86),
    "Gaussian noise 0.2": (7.16, 7.24),
}
PUBLISHED |= {  # the best at each decay
    chosen.name: tuple(map(min, zip(*(PUBLISHED[name] for name in chosen.among))))
    for chosen in (SMOOTHING, NOISE)
}


def errors(
    numbers: Numbers,
    data: Any,
    *,
    problem: problems.Problem,
    mixer: Callable[[Any], mx.Mixer],
    epochs: int,
) -> dict[str, jax.Array]:
    """Train one network; return the medians of its last errors in percent."""
    x, labels = data
    keys = jax.random.split(jax.random.key(numbers["seed"]), 3)
    train, validation, test = problem.split(keys[0])
    model = classifiers.network(problem, WIDTHS)

    def loss(params: Any, batch: Any, mix: mx.Mix) -> tuple[jax.Array, dict[str, Any]]:
        x, y = batch
        with mx.hidden.linen(mix, after=HIDDEN):
            logits: Any = model.apply(params, x)
        return optax.softmax_cross_entropy(logits, y).mean(), {}

    def error(params: Any, rows: jax.Array) -> jax.Array:
        logits = classifiers.logits(model, params, x[rows])
        return training.error(logits, labels[rows])

    params, (tested, validated) = training.fit(
        keys[2],
        model.init(keys[1], x[:1]),
        (
            x,
            mx.losses.one_hot(labels, problem.classes, smoothing=numbers["smoothing"]),
        ),
        train,
        loss=loss,
        mixer=training.inputs_only(mixer(numbers["alpha"]), numbers["inputs_only"] > 0),
        recipe=_recipe(numbers["decay"], epochs),
        after_epoch=lambda params: (error(params, test), error(params, validation)),
    )
    return {
        "error": jnp.median(tested[-LAST:]),
        "validation": jnp.median(validated[-LAST:]),
        "train": error(params, train),
        "constant": training.constant_error(labels[train], problem.classes),
    }


def _recipe(decay: Any, epochs: int) -> Recipe:
    return Recipe(StepSgd(0.05, decay), epochs, batch=64)


def claim(options: Options) -> Claim:
    problem = problems.problem(options, problems.FEW)
    epochs = options.size(100, quick=3, full=200)
    decay, other = DECAYS
    protocol = Protocol(
        data=problem.words,
        networks=classifiers.words(problem, WIDTHS),
        recipe=f"{_recipe(decay, epochs)}; the same with weight decay {other:g}",
        arms=ARMS,
        seeds=options.count(12, full=3),
        sampling=problem.sampling,
        remarks=[
            f"alpha 1; errors are medians over the last {LAST} epochs, as in the paper",
            "a seed has the same split, initial parameters and order of batches in all "
            "arms",
            "the amounts of label smoothing and Gaussian noise are those with the "
            "lowest validation error",
            "KNN: the nearest example in the batch; in the paper, one of the 200 "
            "nearest in the training set",
            "layer k: the output of hidden layer k, after its ReLU; in the paper, of a "
            "residual block",
        ],
    )
    return Claim(
        *titled(__doc__),
        protocol=protocol,
        programs=functools.partial(_programs, protocol, problem, epochs),
        statements=[
            _less(MIXUP, ERM, primary=True),
            *(
                _less(MIXUP, each)
                for each in (KNN, UNMIXED, SAME_CLASS, SMOTE, "layer 1")
            ),
            _less("layer 1", "layer 5"),
            _less(MIXUP, SMOOTHING.name),
            _less(MIXUP, NOISE.name),
            _less(MANIFOLD, MIXUP),
        ],
        chosen=(SMOOTHING, NOISE),
        notes=[
            "Gains are those of the mean over both weight decays.",
            "With --full: CIFAR-10 with a small CNN, not the paper's network.",
        ],
    )


def _less(name: str, than: str, *, primary: bool = False) -> Statement:
    """Return that an arm has less error than another, on average over the decays."""
    share = 1 / len(DECAYS)
    published = None
    if name in PUBLISHED and than in PUBLISHED:
        gain = share * (sum(PUBLISHED[than]) - sum(PUBLISHED[name]))
        published = Published(gain)
    return Statement(
        f"{name} has a lower error than {than}",
        of="error",
        contrast={
            (which, _named(decay)): weight
            for which, weight in ((than, share), (name, -share))
            for decay in DECAYS
        },
        published=published,
        primary=primary,
        favors=int(than in (ERM, SMOOTHING.name, NOISE.name)),
    )


def _named(decay: float) -> str:
    return f"weight decay {decay:g}"


def _programs(
    protocol: Protocol, problem: problems.Problem, epochs: int, options: Options
) -> Sequence[Program]:
    data = problems.load(options)
    factors = {_named(decay): {"decay": decay} for decay in DECAYS}
    left_out = ("layer 2", "layer 3", "layer 4") if options.quick else ()
    return [
        Program(
            name,
            functools.partial(errors, problem=problem, mixer=mixer, epochs=epochs),
            protocol.runs(options, factors, list(arms)),
            data,
            together=TOGETHER,
        )
        for name, (mixer, arms) in MIXERS.items()
        if name not in left_out
    ]
