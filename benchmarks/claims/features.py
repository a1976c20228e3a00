"""Extrapolating learned features within a class helps if examples are few.

DeVries & Taylor, "Dataset Augmentation in Feature Space", 2017, arXiv:1702.05538: in
the latent space of an autoencoder, extrapolating away from a neighbor of the same class
is better than interpolating or adding noise. K = 10 neighbors and a step of 0.5, as is
reported of the paper.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from matplotlib.figure import Figure

import mixup_jax as mx
from benchmarks.claims._engine.claim import Found, Options, Part
from benchmarks.claims._engine.statistics import Interval, interval, paired
from benchmarks.claims._networks import small, training
from examples import datasets

NEIGHBOURS, SHARE, NOISE = 10, 0.5, 0.5
CODE, WIDTH, BATCH, CLASSES = 16, 128, 128, 10
SIZES = (5, 20)  # examples per class
SPACES = ("codes", "inputs")
METHODS = {
    "none": {"interpolated": 0.0, "extrapolated": 0.0, "noise": 0.0},
    "interpolation": {"interpolated": 1.0, "extrapolated": 0.0, "noise": 0.0},
    "extrapolation": {"interpolated": 0.0, "extrapolated": 1.0, "noise": 0.0},
    "noise": {"interpolated": 0.0, "extrapolated": 0.0, "noise": NOISE},
}
Sides = dict[tuple[int, str], dict[str, list[float]]]


class Space(NamedTuple):
    """The features that are augmented and classified, for every seed.

    Arrays are ``[seeds, N, D]``; features have mean 0 and variance 1 in training.
    """

    train: Array
    test: Array


def encode(seed: Array, images: datasets.Images, *, epochs: int) -> dict[str, Any]:
    """Train an autoencoder on the training set; return all codes and the decoder."""
    train, test = (_flat(x) for x in (images.train_images, images.test_images))
    key_encoder, key_decoder, key_fit = jax.random.split(jax.random.key(seed), 3)
    encoder = small.MLP((WIDTH,), CODE)
    decoder = small.MLP((WIDTH,), train.shape[1])

    def loss(params: Any, batch: mx.Batch, _: mx.Mix) -> tuple[Array, dict[str, Any]]:
        x, y = batch
        code = encoder.apply(params["encoder"], x)
        decoded: Any = decoder.apply(params["decoder"], code)
        return jnp.mean((decoded - y) ** 2), {}

    params, _ = training.fit(
        key_fit,
        {
            "encoder": encoder.init(key_encoder, train[:1]),
            "decoder": decoder.init(key_decoder, jnp.zeros((1, CODE))),
        },
        (train, train),
        jnp.arange(len(train)),
        loss=loss,
        mixer=mx.erm,
        tx=optax.adam(1e-3),
        epochs=epochs,
        batch_size=BATCH,
    )
    codes = [encoder.apply(params["encoder"], x) for x in (train, test)]
    return {"train": codes[0], "test": codes[1], "decoder": params["decoder"]}


def _flat(images: Any) -> Array:
    return jnp.asarray(images.reshape(len(images), -1), jnp.float32) / 255


def augmented(setting: Mapping[str, Any], batch: mx.Batch) -> mx.Mixer:
    """Return the mixer that concatenates a batch with its augmentation.

    It only works for this batch, whose neighbors are computed once.
    """
    near = mx.pairings.nearest(NEIGHBOURS, among=mx.pairings.of_same_class)
    scores = near(batch)
    pairing = mx.pairings.weighted(lambda *_: scores)
    half = mx.ratios.constant(1 - SHARE)
    interpolate = functools.partial(mx.mixup, ratio=half, pairing=pairing)
    extrapolate = functools.partial(mx.extrapolate, by=SHARE, pairing=pairing)
    shares = setting["interpolated"], setting["extrapolated"]
    moved = mx.choose(
        [interpolate, extrapolate, mx.erm], [*shares, 1 - shares[0] - shares[1]]
    )

    def mixer(key: Array, batch: mx.Batch) -> tuple[mx.Batch, mx.Mix]:
        key_move, key_noise = jax.random.split(key)
        made, mix = moved(key_move, batch)
        made, _ = mx.gaussian(key_noise, made, sigma=setting["noise"])
        return jax.tree.map(lambda *both: jnp.concatenate(both), batch, made), mix

    return mixer


def errors(
    setting: Mapping[str, Any],
    space: Space,
    images: datasets.Images,
    *,
    size: int,
    steps: int,
) -> dict[str, Array]:
    """Train one classifier on few examples; return its test error in percent."""
    seed = setting["seed"]
    key_rows, key_init, key_fit = jax.random.split(jax.random.key(seed), 3)
    labels = jnp.asarray(images.train_labels)
    rows = few(key_rows, labels, size)
    x, x_test = space.train[seed], space.test[seed]
    batch = x[rows], mx.losses.one_hot(labels[rows], CLASSES)
    model = small.MLP((WIDTH,), CLASSES)
    step = mx.training.train_step(
        training.cross_entropy(model.apply), augmented(setting, batch)
    )
    state = mx.training.TrainState.create(model.init(key_init, x[:1]), optax.adam(1e-3))
    state, _ = jax.lax.scan(
        lambda state, _: step(state, key_fit, batch), state, length=steps
    )
    logits = model.apply(state.params, x_test)
    return {"error": training.error(logits, jnp.asarray(images.test_labels))}


def few(key: Array, labels: Array, size: int) -> Array:
    """Return the rows of ``size`` random examples of each class."""
    u = jax.random.uniform(key, labels.shape)
    own = jax.nn.one_hot(labels, CLASSES, axis=0) > 0
    _, rows = jax.lax.top_k(jnp.where(own, u, -1), size)
    return rows.reshape(-1)


def run(options: Options) -> Found:
    images = datasets.digits()
    seeds = options.seed_count(20, full=100)
    epochs = options.size(100, quick=5, full=300)
    steps = options.size(300, quick=50, full=1000)
    together = jax.jit(
        jax.vmap(functools.partial(encode, images=images, epochs=epochs))
    )
    encoded = together(jnp.arange(seeds))
    pixels = [_flat(x)[None] for x in (images.train_images, images.test_images)]
    spaces = {
        "codes": _standardised(encoded["train"], encoded["test"]),
        "inputs": _standardised(*(jnp.repeat(x, seeds, axis=0) for x in pixels)),
    }
    settings = [
        {"seed": seed, **method} for method in METHODS.values() for seed in range(seeds)
    ]
    sides: Sides = {}
    for size in options.size(SIZES, quick=SIZES[:1], full=SIZES):
        for name, space in spaces.items():
            results = options.runs.many(
                f"{name}, {size} of a class",
                functools.partial(
                    errors, space=space, images=images, size=size, steps=steps
                ),
                settings,
                chunk=len(settings),
            )
            found = [each["error"] for each in results]
            sides[size, name] = {
                method: found[k * seeds : (k + 1) * seeds]
                for k, method in enumerate(METHODS)
            }
    protocol = [
        f"scikit-learn's digits; autoencoder 64-{WIDTH}-{CODE}-{WIDTH}-64 on all "
        f"{len(images.train_labels)} training images without labels, {epochs} epochs",
        f"classifier {CODE} (or 64) - {WIDTH} - {CLASSES} on the standardized codes or "
        f"inputs of 5 or 20 examples per class, {steps} full-batch steps, Adam 1e-3",
        f"in every step, each example is joined by one that is moved by {SHARE} of the "
        f"way to or from one of its {NEIGHBOURS} nearest neighbors in the class, or "
        f"has noise of {NOISE} standard deviations added",
        f"test on {len(images.test_labels)} images, nearly all by other writers",
        f"{seeds} seeds, each with one autoencoder and one set of examples for all "
        "methods",
    ]
    notes = [
        "The paper's tables were not available, so there are no published numbers to "
        "compare with. We draw a neighbor in each step; the paper enlarges the data "
        "set once.",
    ]
    shown = {
        "test error, %": _rows(sides),
        "points of error saved, paired over seeds": _gain_rows(sides),
    }
    return Found(
        protocol, shown, _parts(sides), _picture(sides, encoded, images), notes
    )


def _standardised(train: Array, test: Array) -> Space:
    mean, std = (f(train, axis=1, keepdims=True) for f in (jnp.mean, jnp.std))
    std = jnp.where(std > 0, std, 1)
    return Space((train - mean) / std, (test - mean) / std)


def _parts(sides: Sides) -> list[Part]:
    parts = []
    for (size, name), errors in sides.items():
        for other in (
            ("none", "interpolation", "noise") if name == "codes" else ("none",)
        ):
            said = f"{size} of a class, {name}: extrapolation beats {other}"
            gain = paired(errors[other], errors["extrapolation"])
            parts.append(Part(said, gain))
        if name == "codes":
            said = f"{size} of a class: extrapolated codes beat extrapolated inputs"
            inputs = sides[size, "inputs"]["extrapolation"]
            parts.append(Part(said, paired(inputs, errors["extrapolation"])))
    return parts


def _rows(sides: Sides) -> list[dict[str, Any]]:
    return [
        {"of a class": size, "in": name}
        | {method: interval(values) for method, values in errors.items()}
        for (size, name), errors in sides.items()
    ]


def _gains(errors: Mapping[str, list[float]]) -> dict[str, Interval]:
    return {
        method: paired(errors["none"], values)
        for method, values in errors.items()
        if method != "none"
    }


def _gain_rows(sides: Sides) -> list[dict[str, Any]]:
    return [
        {"of a class": size, "in": name} | _gains(errors)
        for (size, name), errors in sides.items()
    ]


def _picture(
    sides: Sides, encoded: Mapping[str, Any], images: datasets.Images
) -> Figure:
    figure = Figure(figsize=(11, 4), layout="constrained")
    both = figure.add_gridspec(1, 2, width_ratios=(1.4, 1))
    left, right = (figure.add_subfigure(both[k]) for k in range(2))
    sizes = list(dict.fromkeys(size for size, _ in sides))
    axes = left.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for axis, size in zip(axes, sizes):
        for k, name in enumerate(SPACES):
            gains = _gains(sides[size, name])
            at = np.arange(len(gains)) + 0.08 * (2 * k - 1)
            means = [gain.mean for gain in gains.values()]
            halves = [gain.high - gain.mean for gain in gains.values()]
            axis.errorbar(at, means, halves, fmt="o", capsize=3, label=f"of {name}")
            axis.set_xticks(range(len(gains)), list(gains))
        axis.axhline(0, color="gray", lw=1)
        axis.set_title(f"{size} examples of a class")
    axes[0].set_ylabel("points of test error saved")
    axes[0].legend()
    for axis, (name, shown) in zip(
        right.subplots(len(METHODS), 1), _decoded(encoded, images).items()
    ):
        axis.imshow(np.concatenate(shown, axis=1), cmap="gray_r", vmin=0, vmax=1)
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        axis.set(xticks=[], yticks=[])
    right.suptitle("codes, decoded")
    return figure


def _decoded(encoded: Mapping[str, Any], images: datasets.Images) -> dict[str, Any]:
    """Return the decoded codes of one example per class, unchanged and moved."""
    train, decoder = jax.tree.map(
        lambda x: x[0], (encoded["train"], encoded["decoder"])
    )
    mean, std = train.mean(axis=0), train.std(axis=0)
    labels, size = jnp.asarray(images.train_labels), SIZES[-1]
    rows = few(jax.random.key(0), labels, size)
    batch = (train[rows] - mean) / std, mx.losses.one_hot(labels[rows], CLASSES)
    model = small.MLP((WIDTH,), images.train_images[0].size)
    found = {}
    for name, method in METHODS.items():
        (x, _), _ = augmented(method, batch)(jax.random.key(0), batch)
        pixels = model.apply(decoder, x[len(rows) :: size] * std + mean)
        found[name] = np.asarray(pixels).reshape(-1, *images.train_images.shape[1:3])
    return found
