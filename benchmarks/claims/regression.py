"""C-Mixup lowers the error on a regression task, while Mixup raises it (Airfoil).

Yao et al., "C-Mixup", NeurIPS 2022, arXiv:2210.05775, Table 1: partners are drawn from
the whole training set, with a higher probability for similar labels. Means of three
runs, whose spread we do not know. The protocol is that of the authors' code.
"""

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

import mixup_jax as mx
from benchmarks.claims._data import sets
from benchmarks.claims._engine.claim import (
    ERM,
    LONGER,
    Claim,
    Fit,
    Numbers,
    Options,
    Program,
    Protocol,
    Published,
    Statement,
    less,
    titled,
)
from benchmarks.claims._engine.statistics import Splits
from benchmarks.claims._networks import training
from benchmarks.claims._networks.recipes import Adam, CosineAdam, Recipe
from examples.datasets.tables import airfoil

TRAIN, VALIDATE, TEST = 1003, 300, 200
WIDTH, SLOPE = 128, 0.1
ALPHA, BANDWIDTH = 2.0, 1.75
OTHERS = (0.5, 5.0)  # bandwidths
LAYERS = {"inputs": 0, "hidden layer": 1}
RECIPE = Recipe(Adam(1e-2), epochs=100, batch=16)
NONE = {"alpha": 0.0, "bandwidth": np.inf}


def _mixed(where: str) -> dict[str, dict[str, float]]:
    """Return the arms that mix there; an infinite bandwidth is plain Mixup."""
    bandwidths = {
        f"Mixup of the {where}": np.inf,
        f"C-Mixup of the {where}": BANDWIDTH,
        **{f"C-Mixup of the {where}, {each:g} dB": each for each in OTHERS},
    }
    return {name: {"alpha": ALPHA, "bandwidth": b} for name, b in bandwidths.items()}


MIXED = {where: _mixed(where) for where in LAYERS}
ARMS = {ERM: NONE, LONGER: NONE, **MIXED["inputs"], **MIXED["hidden layer"]}
MIXUP, C_MIXUP_INPUTS, *_ = MIXED["inputs"]
HIDDEN, C_MIXUP, *_ = MIXED["hidden layer"]
PUBLISHED = {  # RMSE in dB, MAPE in %
    ERM: {"rmse": 2.901, "mape": 1.753},
    MIXUP: {"rmse": 3.730, "mape": 2.327},
    C_MIXUP: {"rmse": 2.717, "mape": 1.610},
}
RUNS = 3
# The authors' 100 epochs at a constant rate leave ERM's error falling.
PUBLISHED_TIME, FITTED = "100 epochs", "400 epochs along a cosine"


class Time(NamedTuple):
    """One length of training: its recipe, number of seeds, and arms."""

    recipe: Recipe
    seeds: int
    arms: Collection[str]


Times = Mapping[str, Time]
TIMES: Times = {
    PUBLISHED_TIME: Time(RECIPE, 20, tuple(ARMS)),
    FITTED: Time(
        Recipe(CosineAdam(1e-2), epochs=400, batch=16),
        8,
        (ERM, MIXUP, C_MIXUP_INPUTS, HIDDEN, C_MIXUP),
    ),
}


class Network(nn.Module):
    """The authors' network; a mix takes a batch concatenated with its partners."""

    @nn.compact
    def __call__(self, x: Array, mix: mx.Mix | None = None) -> Array:
        x = nn.leaky_relu(nn.Dense(WIDTH)(x), SLOPE)
        if mix is not None:
            x = mix.at(1).inputs(x)[: x.shape[0] // 2]
        x = nn.leaky_relu(nn.Dense(WIDTH)(x), SLOPE)
        return nn.Dense(1)(x)[:, 0]


def with_pool(pool: mx.Batch, *, alpha: Any, bandwidth: Any, layer: int) -> Any:
    """Return the mixer of C-Mixup: partners by label distance, from all of ``pool``.

    It takes inputs, targets and rows of the pool, and returns the batch concatenated
    with the partners drawn for it.
    """
    # Summed once, as in the authors' code: an exact draw is then one uniform number.
    weights = jax.nn.softmax(mx.pairings.label_kernel(bandwidth=bandwidth)(pool))
    up_to = jnp.cumsum(weights, axis=1)

    def mixer(key: Array, batch: Any) -> tuple[mx.Batch, mx.Mix]:
        key_partner, key_mix = jax.random.split(key)
        x, y, rows = batch
        size, below = rows.shape[0], up_to[rows]
        at = below[:, -1:] * jax.random.uniform(key_partner, (size, 1))
        drawn = jnp.sum(below <= at, axis=1)
        both = (
            jnp.concatenate([x, pool[0][drawn]]),
            jnp.concatenate([y, pool[1][drawn]]),
        )
        return mx.manifold(
            key_mix,
            both,
            layers=(layer,),
            ratio=mx.ratios.per_batch(mx.ratios.beta(alpha)),
            pairing=functools.partial(mx.pairings.roll, shift=size),
        )

    return mixer


def errors(
    numbers: Numbers, data: Any, *, layer: int, recipe: Recipe
) -> dict[str, Array]:
    """Train one network; return the errors of its best validation epoch."""
    key_split, key_init, key_fit = jax.random.split(jax.random.key(numbers["seed"]), 3)
    x, y = data
    x = (x - x.min(axis=0)) / (x.max(axis=0) - x.min(axis=0))
    train, rest = sets.split(key_split, len(y), TRAIN / len(y))
    validation, test = rest[:VALIDATE], rest[VALIDATE:]
    pool, rows = (x[train], y[train]), jnp.arange(TRAIN)
    model = Network()

    def loss(params: Any, batch: mx.Batch, mix: mx.Mix) -> tuple[Array, dict[str, Any]]:
        inputs, targets = batch
        predicted = jnp.asarray(model.apply(params, inputs, mix))
        return jnp.mean((predicted - targets[: predicted.shape[0]]) ** 2), {}

    def measured(params: Any) -> dict[str, Array]:
        off = jnp.asarray(model.apply(params, x)) - y
        return {
            "validation": _rms(off[validation]),
            "rmse": _rms(off[test]),
            "mape": 100 * jnp.mean(jnp.abs(off[test] / y[test])),
            "train": 100 * jnp.mean(off[train] ** 2) / jnp.var(y[train]),
        }

    _, seen = training.fit(
        key_fit,
        model.init(key_init, x[:1]),
        (*pool, rows),
        rows,
        loss=loss,
        mixer=with_pool(
            pool,
            alpha=numbers["alpha"],
            bandwidth=numbers["bandwidth"],
            layer=layer,
        ),
        recipe=recipe,
        after_epoch=measured,
    )
    best = jnp.argmin(seen["validation"])
    at_best = {name: each[best] for name, each in seen.items()}
    return {**at_best, "epoch": best + 1, "constant": jnp.float32(100)}


def _rms(x: Array) -> Array:
    return jnp.sqrt(jnp.mean(x**2))


def claim(options: Options) -> Claim:
    times = options.size(
        TIMES,
        quick={
            name: Time(dataclasses.replace(each.recipe, epochs=2), 2, each.arms)
            for name, each in TIMES.items()
        },
        full={name: each._replace(seeds=200) for name, each in TIMES.items()},
    )
    protocol = Protocol(
        data=f"Airfoil: {TRAIN} training, {VALIDATE} validation and {TEST} test rows",
        networks=f"MLP of {WIDTH}-{WIDTH}, leaky ReLU {SLOPE}",
        recipe="; ".join(str(each.recipe) for each in times.values()),
        arms=ARMS,
        seeds=options.count(20, full=200),
        sampling=Splits(TEST / TRAIN),
        remarks=[
            "inputs scaled to [0, 1] over all rows, as in the authors' code; labels in "
            "dB, unscaled; mean squared error",
            "all errors are those of the epoch with the least validation error; the "
            "training error of a regression is the share of the variance that it "
            "leaves unexplained, of which a constant leaves 100%",
            f"alpha {ALPHA:g}, one lam per batch, partners from the whole training "
            f"set; bandwidth {BANDWIDTH:g} dB where none is named",
            "the arms of a seed share the split, the initial parameters and the order "
            "of batches",
            *(
                f"{name}: {options.seeds or each.seeds} seeds, otherwise the same"
                for name, each in times.items()
            ),
        ],
    )
    return Claim(
        *titled(__doc__),
        protocol=protocol,
        programs=functools.partial(_programs, protocol, times),
        statements=[each for name in times for each in _statements(name)],
        measures={
            "rmse": "test RMSE, dB",
            "mape": "test MAPE, %",
            "train": "training variance unexplained, %",
            "epoch": "best epoch",
        },
        fit=Fit(test="rmse"),
        published={
            (arm, PUBLISHED_TIME, measure): Published(value, RUNS)
            for arm, values in {**PUBLISHED, HIDDEN: PUBLISHED[MIXUP]}.items()
            for measure, value in values.items()
        },
        notes=[
            "By default, the authors' script mixes in the hidden layer, for C-Mixup "
            "and Mixup alike; it is not stated where the published Mixup was mixed, so "
            "it is compared with both. If it mixed inputs, it differs from C-Mixup in "
            "two ways, the layer and the partners; the last three statements at each "
            "length of training separate them.",
            "Layers are initialized as in Flax, theirs as in PyTorch; theirs drop the "
            "last, incomplete batch of an epoch.",
            f"z: from the published mean of {RUNS} runs, which are assumed to spread "
            "as ours do.",
        ],
    )


def _statements(at: str) -> list[Statement]:
    """Return the statements, with the published gains of the first three."""
    pairs = [  # and whether the statement speaks for mixing
        (ERM, MIXUP, -1),
        (C_MIXUP, MIXUP, 0),
        (C_MIXUP, ERM, 1),
        (C_MIXUP, HIDDEN, 0),
        (HIDDEN, MIXUP, 0),
        (C_MIXUP_INPUTS, MIXUP, 0),
    ]
    return [
        less(
            f"{at}: {arm} has a lower error than {than}",
            arm,
            than,
            at,
            of="rmse",
            unit="dB",
            published=Published(PUBLISHED[than]["rmse"] - PUBLISHED[arm]["rmse"], RUNS)
            if {arm, than} <= {*PUBLISHED}
            else None,
            primary=(at, arm, than) == (FITTED, C_MIXUP, ERM),
            favors=favors,
        )
        for arm, than, favors in pairs
    ]


def _programs(protocol: Protocol, times: Times, options: Options) -> list[Program]:
    table = airfoil(options.folder("airfoil"))
    programs = []
    for name, (recipe, seeds, arms) in times.items():
        for where, how, among in (
            ("inputs", recipe, {ERM, *MIXED["inputs"]}),
            ("hidden layer", recipe, {*MIXED["hidden layer"]}),
            ("inputs", recipe.longer(), {LONGER}),
        ):
            some = [arm for arm in arms if arm in among]
            runs = protocol.runs(options, {name: {}}, some, seeds=seeds)
            run = functools.partial(errors, layer=LAYERS[where], recipe=how)
            together = options.size(12, quick=8, full=500)
            data = (table.features, table.labels)
            if runs:
                named = f"{name}, {where}"
                programs.append(Program(named, run, runs, data, together))
    return programs
