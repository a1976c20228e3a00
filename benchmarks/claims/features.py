"""Extrapolating learned features within a class helps if examples are few.

DeVries & Taylor, "Dataset Augmentation in Feature Space", 2017, arXiv:1702.05538: in
the latent space of an autoencoder, extrapolating away from a neighbor of the same class
is better than interpolating or adding noise. The paper's tables were not available; 10
neighbors and a step of 0.5 are our choice.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

import mixup_jax as mx
from benchmarks.claims._engine.claim import (
    Claim,
    Fit,
    Numbers,
    Options,
    Program,
    Protocol,
    Statement,
    less,
    titled,
)
from benchmarks.claims._engine.statistics import Splits
from benchmarks.claims._networks import small, training
from benchmarks.claims._networks.recipes import Adam, Recipe
from examples import datasets

NEIGHBORS, SHARE, NOISE = 10, 0.5, 0.5
CODE, WIDTH, CLASSES = 16, 128, 10
TRAIN, TEST = 1437, 360
ADAM = Adam(1e-3)
SIZES = (5, 20)  # examples per class
CODES, INPUTS = "codes", "inputs"
NONE, EXTRAPOLATION = "none", "extrapolation"
ARMS = {
    NONE: {"interpolated": 0.0, "extrapolated": 0.0, "noise": 0.0},
    "interpolation": {"interpolated": 1.0, "extrapolated": 0.0, "noise": 0.0},
    EXTRAPOLATION: {"interpolated": 0.0, "extrapolated": 1.0, "noise": 0.0},
    "noise": {"interpolated": 0.0, "extrapolated": 0.0, "noise": NOISE},
}


class Space(NamedTuple):
    """The features that are augmented and classified, for every seed."""

    seeds: Array
    features: Array  # [seeds, N, D], with mean 0 and variance 1 in training
    order: Array  # [seeds, N], the rows to train on, then those to test on
    labels: Array


def encode(seed: Any, x: Array, *, recipe: Recipe) -> dict[str, Array]:
    """Split the images and train an autoencoder; return codes, inputs and the order."""
    # Other keys than those of the classifier.
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1000), 4)
    order = jax.random.permutation(keys[0], len(x))
    train = x[order[:TRAIN]]
    encoder = small.MLP((WIDTH,), CODE)
    decoder = small.MLP((WIDTH,), x.shape[1])

    def loss(params: Any, batch: mx.Batch, _: mx.Mix) -> tuple[Array, dict[str, Any]]:
        x, y = batch
        code = encoder.apply(params["encoder"], x)
        decoded: Any = decoder.apply(params["decoder"], code)
        return jnp.mean((decoded - y) ** 2), {}

    params, _ = training.fit(
        keys[3],
        {
            "encoder": encoder.init(keys[1], train[:1]),
            "decoder": decoder.init(keys[2], jnp.zeros((1, CODE))),
        },
        (train, train),
        jnp.arange(len(train)),
        loss=loss,
        mixer=mx.erm,
        recipe=recipe,
    )
    codes = jnp.asarray(encoder.apply(params["encoder"], x))
    return {
        CODES: _standardized(codes, order),
        INPUTS: _standardized(x, order),
        "order": order,
    }


def augmented(numbers: Numbers, batch: mx.Batch) -> mx.Mixer:
    """Return the mixer that concatenates a batch with its augmentation.

    It only works for this batch, whose neighbors are computed once.
    """
    near = mx.pairings.nearest(NEIGHBORS, among=mx.pairings.of_same_class)
    scores = near(batch)
    pairing = mx.pairings.weighted(lambda *_: scores)
    half = mx.ratios.constant(1 - SHARE)
    interpolate = functools.partial(mx.mixup, ratio=half, pairing=pairing)
    extrapolate = functools.partial(mx.extrapolate, by=SHARE, pairing=pairing)
    shares = numbers["interpolated"], numbers["extrapolated"]
    moved = mx.choose(
        [interpolate, extrapolate, mx.erm], [*shares, 1 - shares[0] - shares[1]]
    )

    def mixer(key: Array, batch: mx.Batch) -> tuple[mx.Batch, mx.Mix]:
        key_move, key_noise = jax.random.split(key)
        made, mix = moved(key_move, batch)
        made, _ = mx.gaussian(key_noise, made, sigma=numbers["noise"])
        return jax.tree.map(lambda *both: jnp.concatenate(both), batch, made), mix

    return mixer


def errors(
    numbers: Numbers, space: Space, *, size: int, steps: int
) -> dict[str, Array]:
    """Train one classifier on few examples; return its errors in percent."""
    seed = numbers["seed"]
    key_rows, key_init, key_fit = jax.random.split(jax.random.key(seed), 3)
    own = jnp.argmax(space.seeds == seed)
    features, order = space.features[own], space.order[own]
    train, test = order[:TRAIN], order[TRAIN:]
    rows = train[few(key_rows, space.labels[train], size)]
    x, labels = features[rows], space.labels[rows]
    batch = x, mx.losses.one_hot(labels, CLASSES)
    model = small.MLP((WIDTH,), CLASSES)
    step = mx.training.train_step(
        training.cross_entropy(model.apply), augmented(numbers, batch)
    )
    state = mx.training.TrainState.create(model.init(key_init, x[:1]), ADAM.tx(steps))
    state, _ = jax.lax.scan(
        lambda state, _: step(state, key_fit, batch), state, length=steps
    )
    predict = functools.partial(model.apply, state.params)
    return {
        "error": training.error(predict(features[test]), space.labels[test]),
        "train": training.error(predict(x), labels),
        "constant": training.constant_error(labels, CLASSES),
    }


def few(key: Array, labels: Array, size: int) -> Array:
    """Return the rows of ``size`` random examples of each class."""
    u = jax.random.uniform(key, labels.shape)
    own = jax.nn.one_hot(labels, CLASSES, axis=0) > 0
    _, rows = jax.lax.top_k(jnp.where(own, u, -1), size)
    return rows.reshape(-1)


def claim(options: Options) -> Claim:
    recipe = Recipe(ADAM, options.size(100, quick=5, full=300), batch=128)
    steps = options.size(300, quick=50, full=1000)
    protocol = Protocol(
        data=f"scikit-learn's digits: {TRAIN} images to draw from, {TEST} to test on; "
        f"{' or '.join(map(str, SIZES))} training examples per class",
        networks=f"classifier of {WIDTH} ReLU on {CODE} standardized codes or 64 "
        f"standardized inputs; autoencoder 64-{WIDTH}-{CODE}-{WIDTH}-64, trained on "
        "all training images without labels",
        recipe=f"classifier: {ADAM}; {steps} steps with all examples; autoencoder: "
        f"{recipe}",
        arms=ARMS,
        seeds=options.count(20, full=100),
        sampling=Splits(TEST / TRAIN),
        remarks=[
            "a seed has the same split, autoencoder, examples and initial parameters "
            "in all arms",
            f"in every step, each example is joined by one that is moved by {SHARE} of "
            f"the way to or from one of its {NEIGHBORS} nearest neighbors in the "
            f"class (4 with 5 per class), or has noise of {NOISE} standard deviations "
            "added",
        ],
    )
    return Claim(
        *titled(__doc__),
        protocol=protocol,
        programs=functools.partial(_programs, protocol, recipe, steps),
        statements=[each for size in SIZES for each in _statements(size)],
        fit=Fit(baselines=(NONE,)),
        notes=[
            "The paper's tables were not available, so there are no published numbers "
            "to compare with. We draw a neighbor in each step; the paper enlarges the "
            "data set once.",
        ],
    )


def _statements(size: int) -> list[Statement]:
    codes, inputs = _named(size, CODES), _named(size, INPUTS)
    beaten = [
        (codes, NONE, "no augmentation"),
        (codes, "interpolation", "interpolation"),
        (codes, "noise", "noise"),
        (inputs, NONE, "no augmentation"),
    ]
    return [
        *(
            less(
                f"{at}: extrapolation beats {words}",
                EXTRAPOLATION,
                other,
                at,
                primary=(size, at, other) == (SIZES[-1], codes, "interpolation"),
                favors=int(other == NONE),
            )
            for at, other, words in beaten
        ),
        Statement(
            f"{size} per class: extrapolated codes beat extrapolated inputs",
            of="error",
            contrast={(EXTRAPOLATION, inputs): 1.0, (EXTRAPOLATION, codes): -1.0},
            favors=0,
        ),
    ]


def _programs(
    protocol: Protocol, recipe: Recipe, steps: int, options: Options
) -> list[Program]:
    images = datasets.digits()
    pixels = jnp.concatenate(
        [_flat(x) for x in (images.train_images, images.test_images)]
    )
    labels = jnp.concatenate([images.train_labels, images.test_labels])
    seeds = jnp.arange(options.first, options.first + protocol.seeds)
    of_seeds = jax.vmap(functools.partial(encode, recipe=recipe), (0, None))
    made = jax.jit(of_seeds)(seeds, pixels)
    programs = []
    for name in (CODES, INPUTS):
        space = Space(seeds, made[name], made["order"], labels)
        for size in SIZES:
            factor = _named(size, name)
            run = functools.partial(errors, size=size, steps=steps)
            runs = protocol.runs(options, {factor: {}})
            together = options.size(len(runs) // 2, quick=4, full=len(runs))
            programs.append(Program(factor, run, runs, space, together))
    return programs


def _flat(images: Any) -> Array:
    return jnp.asarray(images.reshape(len(images), -1), jnp.float32) / 255


def _standardized(x: Array, order: Array) -> Array:
    mean, std = (f(x[order[:TRAIN]], axis=0) for f in (jnp.mean, jnp.std))
    return (x - mean) / jnp.where(std > 0, std, 1)


def _named(size: int, space: str) -> str:
    return f"{size} per class, {space}"
