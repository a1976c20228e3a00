"""Is mixing as fast as copying the batch, and faster than every other library?

    python -m benchmarks.transform [--quick] [--out DIR] [--only mixup float32 timm]

Mixup and CutMix of images and labels, with one lam per batch or per example, in
float32, in bfloat16, and on uint8 images that are cast and scaled to bfloat16 within
the same jitted function. The limit is XLA's own out-of-place copy of the same images
(`x + 1`; for uint8, the cast alone). Drawing alone, and applying an existing mix alone,
are timed too. Bytes are those that XLA counts for the whole program, per byte of the
input images.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import jax
import matplotlib.pyplot as plt
import numpy as np

import command_line
from benchmarks import _cases, _measure, _scripts, peers
from benchmarks._cases import Case, NotMeasured
from benchmarks._measure import Contender
from benchmarks._ours import copy, drawing, ours, passing
from benchmarks._programs import facts

SIZES = {
    "1 MB": (84, 32, 32, 3),
    "3 MB": (256, 32, 32, 3),
    "25 MB": (2048, 32, 32, 3),
    "150 MB": (250, 224, 224, 3),
    "300 MB": (500, 224, 224, 3),
}
QUICK = {"3 MB": (256, 32, 32, 3)}
WAYS = [(m, per) for m in ("mixup", "cutmix") for per in ("batch", "example")]
DTYPES = ("float32", "bfloat16", "uint8")
COPY_BAR = 1.15
EXAMPLE_BARS = {"3 MB": 3.0, "25 MB": 3.0, "150 MB": 1.1}


def measure(
    case: Case, size: str, contenders: Mapping[str, _cases.Builder], **options: Any
) -> Iterator[dict[str, Any]]:
    """Yield a row for each contender, including those that are not measured.

    Each is interleaved with ours only: with many contenders, a round would last so long
    that the load on the machine changes within it.
    """
    item = np.dtype("uint8" if case.dtype == "uint8" else jax.numpy.dtype(case.dtype))
    size_in_bytes = math.prod(case.shape) * item.itemsize
    head: dict[str, Any] = {
        "method": case.method,
        "per": case.per,
        "dtype": case.dtype,
        "size": size,
        "bytes": size_in_bytes,
    }
    mixing = ours(case)
    for name, build in contenders.items():
        try:
            contender = build(case)
        except NotMeasured as error:
            yield head | {"who": name, "not measured": str(error)}
            continue
        turns = {"ours": mixing, name: contender}
        if name == "copy":
            turns["our pass"] = passing(case)
        times = _measure.interleaved(turns, **options)
        ours_too = ("ours", "our pass") if name == "copy" else ()
        for who in (*ours_too, name):
            row = head | {
                "who": who,
                "ms": _measure.median(times[who] * 1e3),
                "x ours": _measure.ratio(times[who], times["ours"]),
                "bytes moved a byte": _moved(turns[who], size_in_bytes),
            }
            if who in ours_too:
                row["x copy"] = _measure.ratio(times[who], times["copy"])
            yield row


def _moved(contender: Contender, size_in_bytes: int) -> float | None:
    program = contender.program
    return facts(program).bytes_accessed / size_in_bytes if program else None


def verdicts(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield for each case whether the goals are met, and the ratios."""
    cases = dict.fromkeys(tuple(r[k] for k in _HEAD) for r in rows)
    for head in cases:
        timed = {
            r["who"]: r
            for r in rows
            if tuple(r[k] for k in _HEAD) == head and "ms" in r
        }
        if not timed.keys() >= {"ours", "our pass"}:  # --only excluded the copy
            continue
        shipped = {w: r["x ours"] for w, r in timed.items() if w in peers.SHIPPED}
        fastest = min(shipped, key=lambda who: shipped[who].median, default=None)
        libraries = {w: x for w, x in shipped.items() if w in peers.LIBRARIES}
        library = min(libraries, key=lambda who: libraries[who].median, default=None)
        bar = EXAMPLE_BARS.get(head[3]) if head[1] == "example" else None
        yield dict(zip(_HEAD, head)) | {
            "x copy": timed["ours"]["x copy"],
            "within 1.15": timed["ours"]["x copy"].median <= COPY_BAR,
            "pass x copy": timed["our pass"]["x copy"],
            "fastest peer": fastest,
            "peer x ours": fastest and shipped[fastest],
            "faster": fastest and shipped[fastest].median > 1,
            "fastest library": library,
            "library x ours": library and libraries[library],
            "bar": bar,
            "met": bar and library and libraries[library].median >= bar,
        }


_HEAD = ("method", "per", "dtype", "size")


def picture(rows: list[dict[str, Any]]) -> Any:
    """Plot the time of each contender relative to ours, against the size."""
    dtypes = [d for d in DTYPES if any(r["dtype"] == d for r in rows)]
    ways = [w for w in WAYS if any((r["method"], r["per"]) == w for r in rows)]
    figure, axes = plt.subplots(
        len(dtypes),
        len(ways),
        figsize=(3.4 * len(ways) + 1.6, 2.6 * len(dtypes) + 0.6),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    lines: dict[str, dict[str, Any]] = {
        "ours": {"color": "black", "ls": "-", "lw": 2.5},
        "our pass": {"color": "black", "ls": ":", "lw": 1.5},
        "copy": {"color": "gray", "ls": "-", "lw": 2.5},
    }
    for k, name in enumerate(peers.SHIPPED):
        lines[name] = {"color": f"C{k}", "ls": "-"}
        lines[name + ", compile"] = {"color": f"C{k}", "ls": "--"}
    measured = {r["who"] for r in rows if "ms" in r}
    styles = {name: style for name, style in lines.items() if name in measured}
    for line, dtype in zip(axes, dtypes):
        for axis, way in zip(line, ways):
            here = [
                r
                for r in rows
                if r["dtype"] == dtype and (r["method"], r["per"]) == way and "ms" in r
            ]
            for name in styles:
                points = [(r["bytes"], r["x ours"]) for r in here if r["who"] == name]
                if points:
                    sizes, ratios = zip(*points)
                    medians = [ratio.median for ratio in ratios]
                    axis.plot(sizes, medians, "o", ms=3, **styles[name], label=name)
                    spans = zip(
                        sizes, [r.low for r in ratios], [r.high for r in ratios]
                    )
                    for at, low, high in spans:
                        axis.plot([at, at], [low, high], color=styles[name]["color"])
            axis.axhline(1 / COPY_BAR, color="gray", lw=1, ls=":")
            axis.set(xscale="log", yscale="log", ylim=(0.4, 100))
            axis.set_title(f"{way[0]}, one lam per {way[1]}, {dtype}", fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("bytes of images")
    for line in axes:
        line[0].set_ylabel("time / ours")
    found = {}
    for axis in axes.flat:
        found |= dict(zip(*reversed(axis.get_legend_handles_labels())))
    figure.legend(found.values(), found, loc="center right", fontsize=8)
    figure.tight_layout(rect=(0, 0, 1 - 1.6 / (3.4 * len(ways) + 1.6), 1))
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    parser = _scripts.arguments("transform", __doc__)
    parser.add_argument(
        "--only", nargs="+", default=[], help="words that select cases and contenders"
    )
    args = parser.parse_args(argv)
    contenders = {"copy": copy, "our draw": drawing, **peers.SHIPPED}
    known_words = {*contenders, *peers.COMPILED}
    who = set(args.only) & known_words
    words = set(args.only) - known_words
    cases = {
        f"{method} {per} {dtype} {size}": (
            Case(method, per, dtype, shape, 10 if shape[1] == 32 else 1000),
            size,
        )
        for size, shape in (QUICK if args.quick else SIZES).items()
        for dtype in (DTYPES[:1] if args.quick else DTYPES)
        for method, per in WAYS
        if words <= {method, per, dtype, size}
    }
    if not cases:
        parser.error(
            f"--only: no case matches {args.only}. Cases are {WAYS} and {DTYPES}, "
            f"contenders {sorted(known_words)}."
        )
    options: dict[str, Any] = {"rounds": 101, "seconds": 2.5, "sample": 0.005}
    if args.quick:
        options = {"rounds": 21, "seconds": 0.5, "sample": 0.002}
    _scripts.check_out(parser, "transform", args)
    try:
        known = _scripts.known("transform", args) if args.only else {}
    except ValueError as error:
        parser.error(str(error))

    def rows_of(case: tuple[Case, str]) -> list[dict[str, Any]]:
        compiled: Mapping[str, _cases.Builder]
        compiled = {} if args.quick or case[0].dtype != "float32" else peers.COMPILED
        wanted = {
            name: build
            for name, build in {**contenders, **compiled}.items()
            if not who or name in who
        }
        return list(measure(*case, wanted, **options))

    with command_line.Interruption() as interruption:
        found = _scripts.measured(interruption, "transform", cases, rows_of)
        rows = merged(known.get("rows", []), found)
        if found:
            missing = [case for case in cases if case not in found]
            report(rows, args, missing)


def merged(
    known: list[dict[str, Any]], found: Mapping[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return the known rows, with those that were measured again replaced."""
    new = [row for rows in found.values() for row in rows]
    anew = {tuple(row[k] for k in (*_HEAD, "who")) for row in new}
    kept = [r for r in known if tuple(r[k] for k in (*_HEAD, "who")) not in anew]
    rows = [*kept, *new]
    rows.sort(key=lambda row: (DTYPES.index(row["dtype"]), row["bytes"]))
    return rows


def report(rows: list[dict[str, Any]], args: Any, missing: list[str]) -> None:
    """Print the tables, and write the JSON and the figure."""
    measured = [row for row in rows if "ms" in row]
    _scripts.show("transform: times", measured)
    absent = {(r["who"], r["not measured"]) for r in rows if "ms" not in r}
    columns = ("who", "not measured")
    _scripts.show("not measured", [dict(zip(columns, m)) for m in sorted(absent)])
    bars = list(verdicts(rows))
    _scripts.show("transform: goals", bars)
    found = {"peers": peers.versions(), "bars": bars, "rows": rows}
    _scripts.write("transform", __doc__, args, found, picture(rows), missing)


if __name__ == "__main__":
    command_line.start(main)
