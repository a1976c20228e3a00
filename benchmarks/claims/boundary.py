"""Mixup makes predictions change smoothly between classes (Figures 1b and 2).

Zhang et al., "mixup", ICLR 2018, arXiv:1710.09412. Figure 1b: a toy problem, alpha 1,
whose data, network and steps are not stated. Figure 2: between two training points of
CIFAR-10, a miss is a prediction of neither class; numbers are read from its curves.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import mixup_jax as mx
from benchmarks.claims._data import problems
from benchmarks.claims._engine.claim import Found, Options, Part
from benchmarks.claims._engine.statistics import interval, paired
from benchmarks.claims._networks import classifiers, training

TOY_ALPHAS, ALPHAS = (0.0, 1.0), (0.0, 0.2, 1.0)  # 0 is ERM
POINTS, STEPS, SIDE = 300, 1000, 3.0
TICKS = np.linspace(-SIDE, SIDE, 61, dtype=np.float32)
DIRECTIONS, RADII = 36, np.linspace(0, 2, 41, dtype=np.float32)  # the ring is at 2
LAMS = np.linspace(0, 1, 21, dtype=np.float32)
HALF = len(LAMS) // 2
PAIRS = 1000
UNITS = {"misses": "misses, %", "gradient": "norm of the gradient"}
PUBLISHED = {  # half way, at the points: ERM, Mixup
    "misses": ((16.5, 6.0), (1.3, 0.7)),
    "gradient": ((0.177, 0.038), (0.004, 0.012)),
}


def ring_around_blob(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return points, and labels that are 1 in the blob and 0 in the ring."""
    key_angle, key_radius, key_label, key_noise = jax.random.split(key, 4)
    labels = jax.random.bernoulli(key_label, shape=(POINTS,)).astype(jnp.float32)
    angle = jax.random.uniform(key_angle, (POINTS,), maxval=2 * jnp.pi)
    radius = 0.1 * jax.random.normal(key_radius, (POINTS,)) + 2
    ring = radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    blob = 0.35 * jax.random.normal(key_noise, (POINTS, 2))
    return jnp.where(labels[:, None] == 1, blob, ring), labels


def toy(setting: Mapping[str, Any], *, steps: int) -> dict[str, jax.Array]:
    """Train on a ring around a blob; return measures of p(y = 1 | x) in the plane."""
    key = jax.random.key(setting["seed"])
    points, labels = ring_around_blob(key)
    model = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(64), nn.relu, nn.Dense(1)])

    def logits(params: Any, x: jax.Array) -> jax.Array:
        return jnp.asarray(model.apply(params, x))[:, 0]

    def loss(params: Any, batch: Any, mix: mx.Mix) -> tuple[jax.Array, dict[str, Any]]:
        x, y = batch
        return optax.sigmoid_binary_cross_entropy(logits(params, x), y).mean(), {}

    key_init, *keys = jax.random.split(key, 3)
    state, _ = training.fit_state(
        keys,
        mx.training.TrainState.create(model.init(key_init, points), optax.adam(3e-3)),
        (points, labels),
        jnp.arange(POINTS),
        loss=loss,
        mixer=functools.partial(mx.mixup, alpha=setting["alpha"]),
        epochs=steps,
        batch_size=POINTS,
    )

    def probability(x: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(logits(state.params, x))

    grid = jnp.stack(jnp.meshgrid(TICKS, TICKS), axis=-1)
    p = probability(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    angles = np.linspace(0, 2 * np.pi, DIRECTIONS, endpoint=False)
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    along = jnp.asarray(RADII[None, :, None] * rays[:, None], jnp.float32)

    def slope(x: jax.Array) -> jax.Array:
        return jnp.linalg.norm(jax.grad(lambda x: probability(x[None])[0])(x))

    slopes = jax.vmap(jax.vmap(slope))(along)
    return {
        "sure": 100 * jnp.maximum(p, 1 - p).mean(),
        "between": 100 * jnp.mean((p > 0.1) & (p < 0.9)),
        "steepest": slopes.max(axis=1).mean(),
        "p": p,
    }


def between(
    setting: Mapping[str, Any], problem: problems.Problem, *, epochs: int
) -> dict[str, jax.Array]:
    """Train on images; return misses and gradients between training points."""
    learned = classifiers.learn(problem, setting, epochs=epochs)
    key = jax.random.fold_in(jax.random.key(setting["seed"]), 1)
    some = jax.random.permutation(key, learned.train)
    own, other = some[:PAIRS], some[-PAIRS:]
    targets = mx.losses.one_hot(problem.labels, problem.classes)

    def loss(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = learned.predict(x)
        return optax.softmax_cross_entropy(logits, y).sum(), logits.argmax(axis=-1)

    def at(lam: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, y = (lam * z[own] + (1 - lam) * z[other] for z in (problem.x, targets))
        gradient, found = jax.grad(loss, has_aux=True)(x, y)
        labels = problem.labels
        miss = (found != labels[own]) & (found != labels[other])
        norms = jnp.linalg.norm(gradient.reshape(PAIRS, -1), axis=1)
        return 100 * miss.mean(), norms.mean()

    misses, gradients = jax.lax.map(at, jnp.asarray(LAMS))
    return {"misses": misses, "gradient": gradients, "error": learned.errors[-1]}


def run(options: Options) -> Found:
    problem = problems.load(options)
    epochs = options.size(100, quick=5, full=200)
    steps = options.size(STEPS, quick=100, full=STEPS)
    seeds = options.seed_count(8, full=5)
    plane = _by_alpha(
        options, "ring around a blob", functools.partial(toy, steps=steps), TOY_ALPHAS,
        seeds, chunk=8,
    )  # fmt: skip
    digits = _by_alpha(
        options, problem.name,
        functools.partial(between, problem=problem, epochs=epochs), ALPHAS,
        seeds, chunk=8,
    )  # fmt: skip
    protocol = [
        f"toy: a ring around a blob, {POINTS} points, 2 x 64 ReLU, Adam 3e-3, {steps} "
        "full-batch steps (examples/decision_boundary.py); plane: "
        f"[-{SIDE:g}, {SIDE:g}] x [-{SIDE:g}, {SIDE:g}]",
        classifiers.words(problem, (256, 256)),
        f"Adam 1e-3, {epochs} epochs, batches of {classifiers.BATCH}; {PAIRS} random "
        f"pairs of training points, {len(LAMS)} points on the line from one to the "
        "other",
        f"{seeds} seeds; each draws data or a split, initial parameters and batches, "
        "the same for all methods",
        "gradient: the mean norm of the gradient of the cross-entropy with the "
        "interpolated target, with respect to the input; published: CIFAR-10, in other "
        "units",
    ]
    notes = [
        "The paper gives no numbers for either figure: those of Figure 2 are read from "
        "its curves.",
        "At the training points themselves, the gradient is larger with Mixup, as in "
        "the paper's figure.",
    ]
    tables = {"toy problem": _toy_rows(plane), "between two points": _rows(digits)}
    parts = [*_toy_parts(plane), *_parts(digits, problem.name)]
    return Found(protocol, tables, parts, _picture(plane, digits), notes)


Results = dict[float, dict[str, Any]]


def _by_alpha(
    options: Options,
    group: str,
    train: Any,
    alphas: tuple[float, ...],
    seeds: int,
    *,
    chunk: int,
) -> Results:
    """Return arrays with the seeds on axis 0, by alpha and measure."""
    settings = [{"seed": s, "alpha": alpha} for alpha in alphas for s in range(seeds)]
    results = options.runs.many(group, train, settings, chunk=chunk)
    return {
        alpha: {
            measure: np.asarray([each[measure] for each in results[start:][:seeds]])
            for measure in results[start]
        }
        for alpha, start in zip(alphas, range(0, len(results), seeds))
    }


def _name(alpha: float) -> str:
    return f"Mixup {alpha:g}" if alpha else "ERM"


def _toy_rows(plane: Results) -> list[dict[str, Any]]:
    return [
        {
            "method": _name(alpha),
            "mean of max(p, 1 - p), %": interval(found["sure"]),
            "plane with 0.1 < p < 0.9, %": interval(found["between"]),
            "steepest slope of p from blob to ring": interval(found["steepest"]),
        }
        for alpha, found in plane.items()
    ]


def _rows(digits: Results) -> list[dict[str, Any]]:
    rows = []
    for measure, (half, ends) in PUBLISHED.items():
        for alpha, found in digits.items():
            side = {0.0: 0, 1.0: 1}.get(alpha)
            rows.append(
                {
                    "measure": UNITS[measure],
                    "method": _name(alpha),
                    "half way": interval(found[measure][:, HALF]),
                    "at the points": interval(_ends(found[measure])),
                    "published half way": "" if side is None else half[side],
                    "published at the points": "" if side is None else ends[side],
                    "test error, %": interval(found["error"]),
                }
            )
    return rows


def _ends(curves: Any) -> Any:
    return (curves[:, 0] + curves[:, -1]) / 2


def _toy_parts(plane: Results) -> list[Part]:
    erm, mixup = plane[0.0], plane[1.0]
    return [
        Part("toy: Mixup 1 is less sure of the plane", _less(erm, mixup, "sure")),
        Part(
            "toy: Mixup 1 leaves more of the plane between the classes",
            paired(mixup["between"], erm["between"]),
        ),
        Part(
            "toy: Mixup 1 goes less steeply from class to class",
            _less(erm, mixup, "steepest"),
            "of p by unit of x",
        ),
    ]


def _less(erm: Mapping[str, Any], mixup: Mapping[str, Any], measure: str) -> Any:
    return paired(erm[measure], mixup[measure])


def _parts(digits: Results, name: str) -> list[Part]:
    parts = []
    for alpha in ALPHAS[1:]:
        for measure, words, unit in (
            ("misses", "has fewer misses half way between two points", "points"),
            ("gradient", "has a smaller gradient half way", "nats by unit of x"),
        ):
            erm, mixup = (digits[a][measure][:, HALF] for a in (0.0, alpha))
            statement = f"{name}: {_name(alpha)} {words}"
            parts.append(Part(statement, paired(erm, mixup), unit))
    return parts


def _picture(plane: Results, digits: Results) -> Figure:
    figure = Figure(figsize=(13, 3.5), layout="constrained")
    *planes, misses, gradients = figure.subplots(1, 4)
    points, labels = ring_around_blob(jax.random.key(0))
    levels = np.linspace(0, 1, 11)
    for axis, (alpha, found) in zip(planes, plane.items()):
        p = found["p"][0]
        shades = axis.contourf(TICKS, TICKS, p, levels, cmap="Blues")
        axis.contour(TICKS, TICKS, p, [0.5], colors="black", linewidths=1)
        axis.scatter(*np.asarray(points).T, s=4, c=np.asarray(labels), cmap="Set2")
        axis.set(title=_name(alpha), xticks=[], yticks=[], aspect="equal")
        if axis is planes[-1]:
            figure.colorbar(shades, ax=planes, shrink=0.8, label="p(y = 1 | x)")
    _curves(misses, digits, "misses", "predictions of neither class, %")
    _curves(gradients, digits, "gradient", "norm of the gradient")
    misses.legend(fontsize=8)
    return figure


def _curves(axis: Axes, digits: Results, measure: str, title: str) -> None:
    for k, (alpha, found) in enumerate(digits.items()):
        means = [interval(values) for values in found[measure].T]
        axis.plot(LAMS, [i.mean for i in means], color=f"C{k}", label=_name(alpha))
        low, high = [i.low for i in means], [i.high for i in means]
        axis.fill_between(LAMS, low, high, color=f"C{k}", alpha=0.2, lw=0)
    axis.set(xlabel="share of the one point, lam", title=title)
    axis.set_ylim(0)
