"""Is the cost per byte constant as the batch grows?

    python -m benchmarks.growth [--quick] [--out DIR]

Time per byte of images and targets, as the batch, the image, the number of classes and
the number of mixers in a `choose` grow, one at a time. XLA's own out-of-place copy of
the same arrays is the reference: where its line rises, so does ours, since memory is
slower than caches.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import command_line
import mixup_jax as mx
from benchmarks import _measure, _scripts

BATCH, SIDE, CLASSES = 512, 32, 10
GROWTH: dict[str, tuple[int, ...]] = {
    "batch": (128, 512, 2048, 8192),
    "side": (16, 32, 64, 128),
    "classes": (10, 100, 1000, 10_000),
    "methods": (1, 2, 4, 8),
}
QUICK = {what: sizes[:2] for what, sizes in GROWTH.items()}


def mixers(count: int) -> mx.Mixer:
    """Return a ``choose`` over distinct mixers, alternating mixup and cutmix."""
    some = [
        functools.partial((mx.mixup, mx.cutmix)[k % 2], alpha=(k + 1) / count)
        for k in range(count)
    ]
    return mx.choose(some, [1 / count] * count)


def contenders(what: str, size: int) -> tuple[dict[str, _measure.Contender], int]:
    """Return the contenders if ``what`` has grown to ``size``, and the bytes."""
    batch, side, classes = (
        size if what == name else usual
        for name, usual in (("batch", BATCH), ("side", SIDE), ("classes", CLASSES))
    )
    key = jax.random.key(0)
    x = jax.random.uniform(key, (batch, side, side, 3))
    y = jax.nn.one_hot(jnp.arange(batch) % classes, classes)
    mixing: dict[str, mx.Mixer] = {"mixup": mx.mixup, "cutmix": mx.cutmix}
    if what == "methods":
        mixing = {"choose": mixers(size)}
    programs = {
        name: _measure.compiled(
            lambda key, x, y, mix=mix: mix(key, (x, y))[0], key, x, y
        )
        for name, mix in mixing.items()
    }
    programs["copy"] = _measure.compiled(lambda key, x, y: (x + 1, y + 1), key, x, y)
    found = {
        name: _measure.Contender(functools.partial(program, key, x, y), program=program)
        for name, program in programs.items()
    }
    return found, x.nbytes + y.nbytes


def picture(rows: list[dict[str, Any]]) -> Any:
    """Plot picoseconds per byte against each growing size; flat is ideal."""
    grown = dict.fromkeys(row["grows"] for row in rows)
    figure, axes = plt.subplots(
        1, len(grown), figsize=(3.5 * len(grown), 3.4), sharey=True, squeeze=False
    )
    for axis, what in zip(axes[0], grown):
        here = [row for row in rows if row["grows"] == what]
        for name in dict.fromkeys(row["who"] for row in here):
            shown = [row for row in here if row["who"] == name]
            sizes = [row["to"] for row in shown]
            ps = [row["ps a byte"] for row in shown]
            style = {"color": "gray", "ls": "--"} if name == "copy" else {"marker": "o"}
            axis.plot(sizes, [p.median for p in ps], label=name, **style)
            axis.fill_between(
                sizes,
                [p.low for p in ps],
                [p.high for p in ps],
                alpha=0.2,
                color="gray",
            )
        axis.set(xscale="log", xlabel=what, ylim=(0, None))
        axis.legend(fontsize=8)
    axes[0, 0].set_ylabel("picoseconds per byte")
    figure.tight_layout()
    return figure


def grown(case: tuple[str, int], **options: Any) -> list[dict[str, Any]]:
    """Return a row per contender for one grown size."""
    what, size = case
    who, count = contenders(what, size)
    times = _measure.interleaved(who, **options)
    return [
        {
            "grows": what,
            "to": size,
            "bytes": count,
            "who": name,
            "ps a byte": _measure.median(taken / count * 1e12),
            "x copy": _measure.ratio(taken, times["copy"]),
        }
        for name, taken in times.items()
    ]


def main(argv: Sequence[str] | None = None) -> None:
    parser = _scripts.arguments("growth", __doc__)
    args = parser.parse_args(argv)
    _scripts.check_out(parser, "growth", args)
    options: dict[str, Any] = {"rounds": 25, "seconds": 15.0}
    if args.quick:
        options = {"rounds": 6, "seconds": 1.0, "sample": 0.002}
    cases = {
        f"{what} {size}": (what, size)
        for what, sizes in (QUICK if args.quick else GROWTH).items()
        for size in sizes
    }
    with command_line.Interruption() as interruption:
        measure = functools.partial(grown, **options)
        found = _scripts.measured(interruption, "growth", cases, measure)
        rows = [row for each in found.values() for row in each]
        if rows:
            _scripts.show("Time per byte", rows)
            missing = [case for case in cases if case not in found]
            record = {"rows": rows}
            _scripts.write("growth", __doc__, args, record, picture(rows), missing)


if __name__ == "__main__":
    command_line.start(main)
