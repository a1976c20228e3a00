"""Mixup makes predictions change smoothly between classes (Figures 1b and 2).

Zhang et al., "mixup", ICLR 2018, arXiv:1710.09412. Figure 1b: a toy problem, alpha 1,
whose data, network and steps are not stated. Figure 2: between two training points of
CIFAR-10, a miss is a prediction of neither class. The paper gives no numbers for either
figure; those of Figure 2 are read from its curves. Its gradients are in other units:
with Mixup, their norm is 0.038 rather than 0.177 halfway between the points, and 0.012
rather than 0.004 at the points.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
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
    more,
    titled,
)
from benchmarks.claims._engine.statistics import Sampling
from benchmarks.claims._networks import classifiers, small, training
from benchmarks.claims._networks.recipes import Adam, Recipe

MIXUP = "Mixup 1"
MIXUPS = {"Mixup 0.2": {"alpha": 0.2}, MIXUP: {"alpha": 1.0}}
ARMS = {ERM: {"alpha": 0.0}, **MIXUPS}
TOY = "ring around a blob"
TOY_ARMS = (ERM, MIXUP)
TOY_WIDTHS = (64, 64)
POINTS, SIDE = 300, 3
TOY_RECIPE = Recipe(Adam(3e-3), epochs=1000, batch=POINTS)
TOY_QUICK = dataclasses.replace(TOY_RECIPE, epochs=100)
TICKS = np.linspace(-SIDE, SIDE, 61, dtype=np.float32)
RADIUS, DIRECTIONS = 2, 36
RADII = np.linspace(0, RADIUS, 41, dtype=np.float32)
LAMS = np.linspace(0, 1, 21, dtype=np.float32)
PAIRS = 1000
PUBLISHED = {  # CIFAR-10, in percent
    (ERM, "misses halfway"): 16.5,
    (MIXUP, "misses halfway"): 6.0,
    (ERM, "misses at the points"): 1.3,
    (MIXUP, "misses at the points"): 0.7,
}
SLOPE, NORM = "p per unit of x", "nats per unit of x"
CURVES = {"misses": "%", "gradient": NORM}
AT = ("halfway", "at the points")


def ring_around_blob(key: Array) -> tuple[Array, Array]:
    """Return points, and labels that are 1 in the blob and 0 in the ring."""
    key_angle, key_radius, key_label, key_noise = jax.random.split(key, 4)
    labels = jax.random.bernoulli(key_label, shape=(POINTS,)).astype(jnp.int32)
    angle = jax.random.uniform(key_angle, (POINTS,), maxval=2 * jnp.pi)
    radius = 0.1 * jax.random.normal(key_radius, (POINTS,)) + RADIUS
    ring = radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    blob = 0.35 * jax.random.normal(key_noise, (POINTS, 2))
    return jnp.where(labels[:, None] == 1, blob, ring), labels


def toy(numbers: Numbers, data: Any, *, recipe: Recipe) -> dict[str, Array]:
    """Train on a ring around a blob; return measures of p(y = 1 | x) in the plane."""
    keys = jax.random.split(jax.random.key(numbers["seed"]), 4)
    key_data, key_init, key_fit, key_test = keys
    points, labels = ring_around_blob(key_data)
    model = small.MLP(TOY_WIDTHS, 2)
    params, _ = training.fit(
        key_fit,
        model.init(key_init, points),
        (points, mx.losses.one_hot(labels, 2)),
        jnp.arange(POINTS),
        loss=training.cross_entropy_of(model),
        mixer=training.mixup(numbers["alpha"]),
        recipe=recipe,
    )

    def predict(x: Array) -> Array:
        return jnp.asarray(model.apply(params, x))

    def probability(x: Array) -> Array:
        return jax.nn.softmax(predict(x))[..., 1]

    p = probability(jnp.stack(jnp.meshgrid(TICKS, TICKS), axis=-1))
    angles = jnp.linspace(0, 2 * jnp.pi, DIRECTIONS, endpoint=False)
    rays = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1)
    along = (RADII[:, None] * rays[:, None]).reshape(-1, 2)
    slopes = jnp.linalg.norm(jax.vmap(jax.grad(probability))(along), axis=1)
    fresh, true = ring_around_blob(key_test)
    return {
        "error": training.error(predict(fresh), true),
        "train": training.error(predict(points), labels),
        "constant": training.constant_error(labels, 2),
        "sure": 100 * jnp.maximum(p, 1 - p).mean(),
        "between": 100 * jnp.mean((p > 0.1) & (p < 0.9)),
        "steepest": slopes.reshape(DIRECTIONS, -1).max(axis=1).mean(),
        "p": p,
    }


def between(
    numbers: Numbers, data: Any, *, problem: problems.Problem, recipe: Recipe
) -> dict[str, Array]:
    """Train on images; return misses and gradients between training points."""
    x, true = data
    learned = classifiers.learn(problem, data, numbers, recipe=recipe)
    key = jax.random.fold_in(jax.random.key(numbers["seed"]), 1000)
    some = jax.random.permutation(key, learned.train)
    own, other = some[:PAIRS], some[-PAIRS:]
    targets = mx.losses.one_hot(true, problem.classes)

    def loss(x: Array, y: Array) -> tuple[Array, Array]:
        logits = learned.predict(x)
        return optax.softmax_cross_entropy(logits, y).sum(), logits.argmax(axis=-1)

    def at(lam: Array) -> tuple[Array, Array]:
        mixed = (lam * z[own] + (1 - lam) * z[other] for z in (x, targets))
        gradient, found = jax.grad(loss, has_aux=True)(*mixed)
        miss = (found != true[own]) & (found != true[other])
        norms = jnp.linalg.norm(gradient.reshape(PAIRS, -1), axis=1)
        return 100 * miss.mean(), norms.mean()

    found = learned.measures(x, true, problem.classes)
    curves = jax.lax.map(at, jnp.asarray(LAMS))
    for name, curve in zip(CURVES, curves):
        places = (curve[len(LAMS) // 2], (curve[0] + curve[-1]) / 2)
        found |= {name: curve} | {f"{name} {at}": y for at, y in zip(AT, places)}
    return found


def claim(options: Options) -> Claim:
    problem = problems.problem(options)
    images = "digits" if problem.flat else problem.name
    recipes = {
        TOY: options.size(TOY_RECIPE, quick=TOY_QUICK, full=TOY_RECIPE),
        images: classifiers.recipe_of(options),
    }
    protocol = Protocol(
        data=f"{problem.words}; {TOY}: {POINTS} points",
        networks=f"{classifiers.words(problem)}; {TOY}: MLP of "
        f"{'-'.join(map(str, TOY_WIDTHS))} ReLU",
        recipe="; ".join(f"{name}: {recipe}" for name, recipe in recipes.items()),
        arms=ARMS,
        seeds=options.count(8, full=5),
        sampling=problem.sampling,
        remarks=[
            "a seed has the same data, initial parameters and order of batches in all "
            "arms",
            f"{TOY}: each seed draws its own points, so its intervals are wider than "
            f"necessary; its test error is that on {POINTS} other points, the "
            f"plane is [-{SIDE}, {SIDE}] x [-{SIDE}, {SIDE}]",
            f"{images}: {PAIRS} random pairs of training points, {len(LAMS)} points on "
            "the line from one to the other; gradient: the mean norm of the gradient "
            "of the cross-entropy with the interpolated target, with respect to the "
            "input",
        ],
    )
    return Claim(
        *titled(__doc__),
        protocol=protocol,
        programs=functools.partial(_programs, protocol, problem, recipes),
        statements=[*_between(images), *_toy()],
        measures={
            "error": "test error, %",
            "train": "training error, %",
            "sure": "mean of max(p, 1 - p), %",
            "between": "plane with 0.1 < p < 0.9, %",
            "steepest": f"steepest slope from blob to ring, {SLOPE}",
            **{f"{of} {at}": f"{of} {at}, {CURVES[of]}" for of in CURVES for at in AT},
        },
        published={
            (arm, images, of): Published(value)
            for (arm, of), value in PUBLISHED.items()
            if options.full  # only then are the data those of the figure
        },
        notes=[
            "Published for CIFAR-10: "
            + "; ".join(f"{arm}, {of}: {x:g}%" for (arm, of), x in PUBLISHED.items())
            + "."
        ],
        picture=functools.partial(_picture, problem.sampling, images),
    )


def _between(images: str) -> list[Statement]:
    """Return the statements about the points between two images."""
    misses, gradient = (f"{of} halfway" for of in CURVES)
    gains = {MIXUP: Published(PUBLISHED[ERM, misses] - PUBLISHED[MIXUP, misses])}
    fewer = [
        less(
            f"{images}: {arm} has fewer misses halfway between two points",
            *(arm, ERM, images),
            of=misses,
            published=gains.get(arm),
            primary=arm == MIXUP,
        )
        for arm in MIXUPS
    ]
    smaller = [
        less(
            f"{images}: {arm} has a smaller gradient halfway",
            *(arm, ERM, images),
            of=gradient,
            unit=NORM,
        )
        for arm in MIXUPS
    ]
    words = f"{images}: {MIXUP} has a larger gradient at the points, as in the figure"
    how: Any = {"of": "gradient at the points", "unit": NORM, "favors": -1}
    return [*fewer, *smaller, more(words, MIXUP, ERM, images, **how)]


def _toy() -> list[Statement]:
    """Return the statements about the plane."""
    cells, words = (MIXUP, ERM, TOY), f"{TOY}: {MIXUP}"
    return [
        less(f"{words} is less sure of the plane", *cells, of="sure"),
        more(f"{words} leaves more of the plane unsure", *cells, of="between"),
        less(f"{words} is less steep", *cells, of="steepest", unit=SLOPE),
    ]


def _programs(
    protocol: Protocol,
    problem: problems.Problem,
    recipes: Mapping[str, Recipe],
    options: Options,
) -> Sequence[Program]:
    _, images = recipes
    return [
        Program(
            images,
            functools.partial(between, problem=problem, recipe=recipes[images]),
            protocol.runs(options, {images: {}}),
            problems.load(options),
            together=options.size(8, quick=3, full=1),
        ),
        Program(
            TOY,
            functools.partial(toy, recipe=recipes[TOY]),
            protocol.runs(options, {TOY: {}}, TOY_ARMS),
            together=8,
        ),
    ]


def _picture(
    sampling: Sampling,
    images: str,
    table: pd.DataFrame,
    arrays: Mapping[str, np.ndarray],
) -> Figure:
    """Return the planes of the first seed, and the curves between two points."""
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    *planes, misses, gradients = figure.subplots(1, 4)
    key, *_ = jax.random.split(jax.random.key(int(table.seed.min())), 4)
    points, labels = ring_around_blob(key)
    for axis, arm in zip(planes, TOY_ARMS):
        p = arrays[f"p/{arm}/{TOY}"][0]
        shades = axis.contourf(TICKS, TICKS, p, np.linspace(0, 1, 11), cmap="Blues")
        axis.contour(TICKS, TICKS, p, [0.5], colors="black", linewidths=1)
        axis.scatter(*np.asarray(points).T, s=4, c=np.asarray(labels), cmap="Set2")
        axis.set(title=arm, xticks=[], yticks=[], aspect="equal")
        if arm == MIXUP:
            how = {"location": "left", "shrink": 0.8, "label": "p(y = 1 | x)"}
            figure.colorbar(shades, ax=planes, **how)
    for axis, (of, unit) in zip((misses, gradients), CURVES.items()):
        for k, arm in enumerate(ARMS):
            at_lams = map(pd.Series, arrays[f"{of}/{arm}/{images}"].T)
            found = [sampling.estimate(values).interval() for values in at_lams]
            mean, low, high = np.asarray(found).T
            axis.plot(LAMS, mean, color=f"C{k}", label=arm)
            axis.fill_between(LAMS, low, high, color=f"C{k}", alpha=0.2, lw=0)
        axis.set(
            xlabel="share of the one point, lam", xlim=(0, 1), title=f"{of}, {unit}"
        )
        axis.set_ylim(0)
    names = misses.get_legend_handles_labels()
    figure.legend(*names, loc="outside lower right", ncols=len(ARMS), fontsize=8)
    return figure
