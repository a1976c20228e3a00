"""Among variants of Mixup, pairs of any class with mixed labels do best (Table 5).

Zhang et al., "mixup", ICLR 2018, arXiv:1710.09412, section 3.8: all classes (AC) or the
same class (SC), random pairs (RP) or nearest neighbors (KNN); labels mixed or not;
inputs or hidden layers; label smoothing and Gaussian noise. Mixing a layer drawn at
random is Manifold Mixup (Verma et al., arXiv:1806.05236), which is not in the table.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import mixup_jax as mx
from benchmarks.claims._data import problems
from benchmarks.claims._engine.claim import Found, Options, Part
from benchmarks.claims._engine.statistics import interval, paired
from benchmarks.claims._networks import classifiers, training

BATCH, RATE = 64, 0.05
TRAIN = 1 / 3  # with more digits, all methods make too few errors to compare them
DECAYS = (1e-4, 5e-4)
DEPTH, WIDTH = 5, 128
LAST = 10  # the median of so many epochs is reported, as in the paper
HIDDEN = tuple(f"Dropout_{k}" for k in range(DEPTH))  # ends of the hidden layers
RANDOM, MIXUP, MANIFOLD = "AC + RP", "Mixup, AC + RP", "any layer (Manifold)"
SMOTE = "inputs only, SC + KNN (SMOTE)"

random_pairs = mx.pairings.permutation
nearest = mx.pairings.weighted(mx.pairings.nearest(1))
nearest_of_class = mx.pairings.weighted(
    mx.pairings.nearest(1, among=mx.pairings.of_same_class)
)


def layers(*numbers: int) -> Any:
    """Return a function from alpha to the mixer of one of these layers."""
    return lambda alpha: functools.partial(
        mx.manifold, layers=numbers, alpha=alpha, pairing=random_pairs
    )


def pairs(pairing: mx.Pairing) -> Any:
    """Return a function from alpha to the mixer of inputs with this pairing."""
    return lambda alpha: functools.partial(mx.mixup, alpha=alpha, pairing=pairing)


PROGRAMS = {  # name: number to mixer
    RANDOM: pairs(random_pairs),
    "AC + KNN": pairs(nearest),
    "SC + RP": pairs(mx.pairings.same_class),
    "SC + KNN": pairs(nearest_of_class),
    **{f"layer {k}": layers(k) for k in range(1, DEPTH + 1)},
    MANIFOLD: layers(*range(DEPTH + 1)),
    "noise": lambda sigma: functools.partial(mx.gaussian, sigma=sigma),
}


class Method(NamedTuple):
    """One row of the table.

    Attributes:
      program: a key of ``PROGRAMS``.
      strength: alpha, or sigma of the noise.
      inputs_only: whether targets are those of the example with the larger weight.
      smoothing: label smoothing.
      published: published errors at both weight decays.
    """

    program: str = RANDOM
    strength: float = 1.0
    inputs_only: bool = False
    smoothing: float = 0.0
    published: tuple[float, float] | None = None


METHODS = {
    "ERM": Method(strength=0, published=(5.53, 5.18)),
    MIXUP: Method(published=(4.24, 4.68)),
    "Mixup, AC + KNN": Method("AC + KNN", published=(4.98, 5.26)),
    "layer 1": Method("layer 1", published=(4.44, 4.51)),
    "layer 2": Method("layer 2", published=(4.56, 4.61)),
    "layer 3": Method("layer 3", published=(5.39, 5.55)),
    "layer 4": Method("layer 4", published=(5.95, 5.43)),
    "layer 5": Method("layer 5", published=(5.39, 5.15)),
    MANIFOLD: Method(MANIFOLD),
    SMOTE: Method("SC + KNN", inputs_only=True, published=(5.45, 5.52)),
    "inputs only, AC + KNN": Method("AC + KNN", 1, True, published=(5.43, 5.48)),
    "inputs only, SC + RP": Method("SC + RP", 1, True, published=(5.23, 5.55)),
    "inputs only, AC + RP": Method(inputs_only=True, published=(5.17, 5.72)),
    "label smoothing 0.05": Method(RANDOM, 0, False, 0.05, (5.25, 5.02)),
    "label smoothing 0.1": Method(RANDOM, 0, False, 0.1, (5.33, 5.17)),
    "label smoothing 0.2": Method(RANDOM, 0, False, 0.2, (5.34, 5.06)),
    "inputs only, smoothing 0.1": Method(RANDOM, 1, True, 0.1, (5.08, 5.09)),
    "Gaussian noise 0.05": Method("noise", 0.05, published=(5.53, 5.04)),
    "Gaussian noise 0.1": Method("noise", 0.1, published=(6.41, 5.86)),
    "Gaussian noise 0.2": Method("noise", 0.2, published=(7.16, 7.24)),
}


def errors(
    setting: Mapping[str, Any], problem: problems.Problem, *, program: str, epochs: int
) -> dict[str, jax.Array]:
    """Train one network; return the median of its last test errors in percent."""
    keys = jax.random.split(jax.random.key(setting["seed"]), 3)
    train, test = problem.split(keys[0])
    model = classifiers.network(problem, (WIDTH,) * DEPTH)
    targets = mx.losses.one_hot(
        problem.labels, problem.classes, smoothing=setting["smoothing"]
    )

    def loss(params: Any, batch: Any, mix: mx.Mix) -> tuple[jax.Array, dict[str, Any]]:
        x, y = batch
        with mx.hidden.linen(mix, after=HIDDEN):
            logits: Any = model.apply(params, x)
        return optax.softmax_cross_entropy(logits, y).mean(), {}

    steps = epochs * -(-len(train) // BATCH)
    rate = optax.piecewise_constant_schedule(
        RATE, {steps // 2: 0.1, 3 * steps // 4: 0.1}
    )
    _, seen = training.fit(
        keys[2],
        model.init(keys[1], problem.x[:1]),
        (problem.x, targets),
        train,
        loss=loss,
        mixer=training.inputs_only(
            PROGRAMS[program](setting["strength"]), setting["inputs_only"] > 0
        ),
        tx=optax.chain(
            optax.add_decayed_weights(setting["decay"]), optax.sgd(rate, momentum=0.9)
        ),
        epochs=epochs,
        batch_size=BATCH,
        after_epoch=lambda params: training.error(
            classifiers.logits(model, params, problem.x[test]), problem.labels[test]
        ),
    )
    return {"error": jnp.median(seen[-LAST:])}


def run(options: Options) -> Found:
    problem = problems.load(options, TRAIN)
    epochs = options.size(100, quick=3, full=200)
    seeds = options.seed_count(12, full=3)
    found = _train_all(problem, options, epochs, seeds)
    rows = []
    for name in found:
        method = METHODS[name]
        row: dict[str, Any] = {"method": name}
        for k, decay in enumerate(DECAYS):
            row[f"weight decay {decay:g}"] = interval(found[name][k])
            row[f"published {decay:g}"] = (
                method.published[k] if method.published else ""
            )
        gain = paired(_mean(found["ERM"]), _mean(found[name]))
        rows.append(row | {"points saved over ERM, both": gain})
    protocol = [
        classifiers.words(problem, (WIDTH,) * DEPTH),
        f"SGD {RATE:g} divided by 10 after 1/2 and 3/4 of {epochs} epochs, momentum "
        f"0.9, batches of {BATCH}, alpha 1; the median test error of the last {LAST} "
        "epochs is reported, as in the paper",
        f"{seeds} seeds; each draws a split, initial parameters and an order of "
        "batches, the same for all methods",
        "KNN: the nearest in the batch; in the paper, one of the 200 nearest of all",
        "layer k: the output of hidden layer k, after its ReLU; in the paper, of a "
        "residual block",
        "published: CIFAR-10, PreAct ResNet-18, 200 epochs",
    ]
    notes = [
        "Gains are those of the mean over both weight decays.",
        "The best of three smoothings and of three noises is selected on the test "
        "sets, which favors them over Mixup.",
        "With so few steps, weight decay has little effect: the two columns differ "
        "less than in the paper.",
        "With --full: CIFAR-10 with a small CNN, not the paper's network.",
    ]
    tables = {"test error, %": rows}
    return Found(protocol, tables, _parts(found), _picture(rows), notes)


Results = Mapping[str, list[list[float]]]


def _train_all(
    problem: problems.Problem, options: Options, epochs: int, seeds: int
) -> Results:
    """Return the error of each seed, by method and weight decay."""
    left_out = ("layer 2", "layer 3", "layer 4") if options.quick else ()
    methods = {name: METHODS[name] for name in METHODS if name not in left_out}
    found: dict[str, list[list[float]]] = {name: [[], []] for name in methods}
    for program in dict.fromkeys(method.program for method in methods.values()):
        settings = {
            (name, k, seed): {
                "seed": seed,
                "decay": decay,
                "strength": method.strength,
                "inputs_only": int(method.inputs_only),
                "smoothing": method.smoothing,
            }
            for name, method in methods.items()
            if method.program == program
            for k, decay in enumerate(DECAYS)
            for seed in range(seeds)
        }
        results = options.runs.many(
            program,
            functools.partial(errors, problem=problem, program=program, epochs=epochs),
            list(settings.values()),
            chunk=options.size(12, quick=12, full=12),
        )
        for (name, k, _), result in zip(settings, results):
            found[name][k].append(result["error"])
    return found


def _mean(errors: list[list[float]]) -> list[float]:
    """Return each seed's mean over the weight decays."""
    return np.mean(errors, axis=0).tolist()


def _parts(found: Results) -> list[Part]:
    def beats(name: str, other: str) -> Part:
        gain = paired(_mean(found[other]), _mean(found[name]))
        return Part(f"{name} has less error than {other}", gain)

    def best(kind: str) -> str:
        names = [name for name in found if name.startswith(kind)]
        return min(names, key=lambda name: np.mean(found[name]))

    return [
        beats(MIXUP, "ERM"),
        beats(MIXUP, "Mixup, AC + KNN"),
        beats(MIXUP, "inputs only, AC + RP"),
        beats(MIXUP, "inputs only, SC + RP"),
        beats(MIXUP, SMOTE),
        beats(MIXUP, "layer 1"),
        beats("layer 1", "layer 5"),
        beats(MIXUP, best("label smoothing")),
        beats(MIXUP, best("Gaussian noise")),
        beats(MANIFOLD, MIXUP),
    ]


def _picture(rows: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    ours, theirs = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(rows))[::-1]
    for k, decay in enumerate(DECAYS):
        found = [row[f"weight decay {decay:g}"] for row in rows]
        published = [row[f"published {decay:g}"] or np.nan for row in rows]
        at = places + 0.15 - 0.3 * k
        style = {"fmt": "o", "ms": 4, "color": f"C{k}", "label": f"decay {decay:g}"}
        halves = [each.high - each.mean for each in found]
        ours.errorbar([each.mean for each in found], at, xerr=halves, **style)
        theirs.errorbar(published, at, **style)
        ours.axvline(found[0].mean, color=f"C{k}", lw=1, ls=":")
        theirs.axvline(published[0], color=f"C{k}", lw=1, ls=":")
    ours.set_yticks(places, [row["method"] for row in rows])
    ours.set(title="ours", xlabel="test error, %; dotted: ERM")
    theirs.set(title="published", xlabel="test error, %; dotted: ERM")
    figure.legend(
        *ours.get_legend_handles_labels(), loc="outside lower center", ncols=2
    )
    return figure
