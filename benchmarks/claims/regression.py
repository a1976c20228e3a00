"""C-Mixup lowers the error on a regression task, while Mixup raises it (Airfoil).

Yao et al., "C-Mixup", NeurIPS 2022, arXiv:2210.05775, Table 1: partners are drawn from
the whole training set, with a higher probability for similar labels. The protocol is
that of the authors' code.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax import Array
from matplotlib.figure import Figure

import mixup_jax as mx
from benchmarks.claims._data import sets
from benchmarks.claims._engine.claim import Found, Options, Part
from benchmarks.claims._engine.statistics import Interval, interval, paired
from benchmarks.claims._networks import training
from examples.datasets.tables import Table, airfoil

EPOCHS, BATCH = 100, 16
TRAIN, VALIDATE = 1003, 300  # the other 200 rows are the test set
ALPHA, BANDWIDTH = 2.0, 1.75
BANDWIDTHS = (0.5, BANDWIDTH, 5.0, np.inf)  # the last is plain Mixup
LAYERS = {"inputs": 0, "hidden layer": 1}
PUBLISHED = {  # RMSE, MAPE in %
    "ERM": (2.901, 1.753),
    "Mixup": (3.730, 2.327),
    "C-Mixup": (2.717, 1.610),
}
NEAR = 3  # standard errors


class Network(nn.Module):
    """The authors' network; a mix takes a batch concatenated with its partners."""

    @nn.compact
    def __call__(self, x: Array, mix: mx.Mix | None = None) -> Array:
        x = nn.leaky_relu(nn.Dense(128)(x), 0.1)
        if mix is not None:
            x = mix.at(1).inputs(x)[: x.shape[0] // 2]
        x = nn.leaky_relu(nn.Dense(128)(x), 0.1)
        return nn.Dense(1)(x)[:, 0]


def with_pool(pool: mx.Batch, *, alpha: Array, bandwidth: Array, layer: int) -> Any:
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
    setting: Mapping[str, Any], table: Table, *, layer: int, epochs: int
) -> dict[str, Array]:
    """Train one network; return the test errors of its best validation epoch."""
    key_split, key_init, key_fit = jax.random.split(jax.random.key(setting["seed"]), 3)
    x, y = jnp.asarray(table.features), jnp.asarray(table.labels)
    x = (x - x.min(axis=0)) / (x.max(axis=0) - x.min(axis=0))
    train, rest = sets.split(key_split, len(y), TRAIN / len(y))
    pool, rows = (x[train], y[train]), jnp.arange(TRAIN)
    model = Network()

    def loss(params: Any, batch: mx.Batch, mix: mx.Mix) -> tuple[Array, dict[str, Any]]:
        inputs, targets = batch
        predicted = jnp.asarray(model.apply(params, inputs, mix))
        return jnp.mean((predicted - targets[: predicted.shape[0]]) ** 2), {}

    def measured(params: Any) -> tuple[Array, Array, Array]:
        off = jnp.asarray(model.apply(params, x[rest])) - y[rest]
        of_validation, of_test = off[:VALIDATE], off[VALIDATE:]
        rmse = jnp.sqrt(jnp.mean(of_test**2))
        mape = 100 * jnp.mean(jnp.abs(of_test / y[rest[VALIDATE:]]))
        return jnp.mean(of_validation**2), rmse, mape

    _, (validation, rmse, mape) = training.fit(
        key_fit,
        model.init(key_init, x[:1]),
        (*pool, rows),
        rows,
        loss=loss,
        mixer=with_pool(
            pool,
            alpha=setting["alpha"],
            bandwidth=setting["bandwidth"],
            layer=layer,
        ),
        tx=optax.adam(1e-2),
        epochs=epochs,
        batch_size=BATCH,
        after_epoch=measured,
    )
    best = jnp.argmin(validation)
    return {"rmse": rmse[best], "mape": mape[best], "epoch": best}


Side = tuple[str, float]  # what is mixed, and the bandwidth
Sides = dict[Side, dict[str, list[float]]]

ERM: Side = ("", 0.0)
MIXUP: Side = ("inputs", np.inf)
C_MIXUP: Side = ("hidden layer", BANDWIDTH)


def run(options: Options) -> Found:
    epochs = options.size(EPOCHS, quick=5, full=EPOCHS)
    seeds = options.seed_count(20, full=200)
    table = airfoil(options.folder("airfoil"))
    sides = {
        side: values
        for where in LAYERS
        for side, values in _one_layer(where, table, options, epochs, seeds).items()
    }
    protocol = [
        f"training / validation / test rows: {TRAIN} / {VALIDATE} / 200, by seed",
        f"MLP 5-128-128-1, leaky ReLU 0.1, Adam 1e-2, {epochs} epochs, batch {BATCH}",
        "inputs scaled to [0, 1] over all rows, as in the authors' code; labels in dB, "
        "unscaled; mean squared error",
        "the test error of the epoch with the best validation error",
        f"alpha {ALPHA}, one lam per batch, partners from the whole training set",
        f"{seeds} seeds; the methods of a seed share the split, the initial parameters "
        "and the order of batches",
    ]
    notes = [
        _shares(sides),
        "By default, the authors' script mixes in the hidden layer, for C-Mixup and "
        "Mixup alike; it is not stated where the published Mixup was mixed, so it is "
        "compared with both. Layers are initialized as in Flax, theirs as in PyTorch; "
        "theirs drop the last, incomplete batch of an epoch.",
        f"Within {NEAR} SE: of the published number, in standard errors of ours; "
        "theirs is not published.",
    ]
    shown = {"test error": _rows(sides)}
    return Found(protocol, shown, _parts(sides), _picture(sides), notes)


def _gain(sides: Sides, better: Side, worse: Side) -> Interval:
    return paired(sides[worse]["rmse"], sides[better]["rmse"])


def _parts(sides: Sides) -> list[Part]:
    def part(better: Side, worse: Side, published: str = "") -> Part:
        said = f"{_named(*better)} has less error than {_named(*worse)}{published}"
        return Part(said, _gain(sides, better, worse), "dB")

    def gain(better: str, worse: str) -> str:
        return f" (published: {PUBLISHED[worse][0] - PUBLISHED[better][0]:.3f})"

    return [
        part(ERM, MIXUP, gain("ERM", "Mixup")),
        part(C_MIXUP, MIXUP, gain("C-Mixup", "Mixup")),
        part(C_MIXUP, ERM, gain("C-Mixup", "ERM")),
        part(C_MIXUP, ("hidden layer", np.inf)),
        part(("inputs", BANDWIDTH), MIXUP),
    ]


def _shares(sides: Sides) -> str:
    """Attribute the published difference to the layer and to the partners."""
    both = _gain(sides, C_MIXUP, MIXUP)
    layer = _gain(sides, ("hidden layer", np.inf), MIXUP)
    partners = _gain(sides, C_MIXUP, ("hidden layer", np.inf))
    return (
        f"If the published Mixup mixed inputs, it differs from C-Mixup in two ways: of "
        f"{both} dB, {layer} are due to the layer and {partners} to the partners."
    )


def _one_layer(
    where: str, table: Table, options: Options, epochs: int, seeds: int
) -> Sides:
    """Return the measurements of each seed, by side."""
    named = {(where, bandwidth): (ALPHA, bandwidth) for bandwidth in BANDWIDTHS}
    if not LAYERS[where]:
        named[ERM] = (0.0, np.inf)
    settings = [
        {"seed": seed, "alpha": alpha, "bandwidth": bandwidth}
        for alpha, bandwidth in named.values()
        for seed in range(seeds)
    ]
    results = options.runs.many(
        where,
        functools.partial(errors, table=table, layer=LAYERS[where], epochs=epochs),
        settings,
        chunk=options.size(
            12, quick=12, full=500
        ),  # on a CPU, as many as fit its cache
    )
    return {
        side: {
            name: [each[name] for each in results[k * seeds : (k + 1) * seeds]]
            for name in ("rmse", "mape", "epoch")
        }
        for k, side in enumerate(named)
    }


def _method(where: str, bandwidth: float) -> str:
    if not where:
        return "ERM"
    return "Mixup" if np.isinf(bandwidth) else "C-Mixup"


def _named(where: str, bandwidth: float) -> str:
    return f"{_method(where, bandwidth)} of the {where}" if where else "ERM"


def _rows(sides: Sides) -> list[dict[str, Any]]:
    rows = []
    for (where, bandwidth), values in sorted(sides.items()):
        method, rmse = _method(where, bandwidth), interval(values["rmse"])
        row: dict[str, Any] = {
            "method": method,
            "mixed": where,
            "bandwidth": f"{bandwidth:g}" if method == "C-Mixup" else "",
            "RMSE, dB": rmse,
            "MAPE, %": interval(values["mape"]),
            "best epoch": interval(values["epoch"]),
        }
        if np.isinf(bandwidth) or (where, bandwidth) in (ERM, C_MIXUP):
            row["published RMSE / MAPE"] = "{} / {}".format(*PUBLISHED[method])
            z = (rmse.mean - PUBLISHED[method][0]) / rmse.standard_error
            row[f"within {NEAR} SE"] = (
                f"{'yes' if abs(z) <= NEAR else 'no'}, z = {z:+.1f}"
            )
        rows.append(row)
    return rows


def _picture(sides: Sides) -> Figure:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    erm = interval(sides[ERM]["rmse"])
    axis.axhspan(erm.low, erm.high, color="0.9")
    axis.errorbar(0, erm.mean, erm.high - erm.mean, fmt="o", color="0.3", capsize=3)
    for k, where in enumerate(LAYERS):
        found = [interval(sides[where, bandwidth]["rmse"]) for bandwidth in BANDWIDTHS]
        axis.errorbar(
            np.arange(1, 1 + len(found)) + 0.06 * (2 * k - 1),
            [i.mean for i in found],
            [i.high - i.mean for i in found],
            fmt="o-",
            ms=5,
            capsize=3,
            label=f"mixed: {where}",
        )
    at = {
        "ERM": 0,
        "C-Mixup": 1 + BANDWIDTHS.index(BANDWIDTH),
        "Mixup": len(BANDWIDTHS),
    }
    axis.plot(
        list(at.values()),
        [PUBLISHED[method][0] for method in at],
        "*",
        ms=12,
        color="C3",
        label="published",
    )
    names = [f"C-Mixup\n{bandwidth:g} dB" for bandwidth in BANDWIDTHS[:-1]]
    axis.set_xticks(range(len(names) + 2), ["ERM", *names, "Mixup"])
    axis.set(ylabel="test RMSE, dB", title="Airfoil: partners by nearness of labels")
    axis.legend(loc="upper left")
    return figure
