"""What does each mixer compile to for GPUs, and how fast is it on one?

    python -m benchmarks.gpu [--quick] [--out DIR] [--only WORD ...] [--run]

Compiles the transform alone and within a train step for an H100 and an A100, which need
not be present: ours, the naive version and big_vision's. Reports kernels, how many of
them access the batch, bytes and temporary memory. Bytes are those of all kernels'
operands and results. There is no autotuning, which needs a device. On a machine with a
CUDA device, `--run` compiles for it, and times everything next to a copy on the device,
timm, torchvision and kornia.
"""

import argparse
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import command_line
from benchmarks import _gpu, _scripts
from benchmarks._gpu import BATCHES, MIXERS, OF_ONE_CHANNEL, STEPS, TARGETS, WORK
from benchmarks._gpu_timed import NO_GPU, gpu_here, timed
from benchmarks._kernels import Launched, launched

Row = dict[str, Any]
Asked = tuple[str, str, str]  # target, work, mixing

SMALL, (STEP,) = next(iter(BATCHES)), STEPS
BASE = "no mixing"  # the baseline of a step; alone it is an empty program
ALONE = tuple(name for name in MIXERS if name != BASE)
IN_STEPS = (BASE, "mixup", "cutmix", "mixup or cutmix", "fmix", "big_vision", "pasted")


def asked(
    targets: Sequence[str], words: Collection[str], *, quick: bool
) -> list[Asked]:
    """Return what to compile; for a step, the one without mixing comes first.

    ``words`` select targets, workloads and mixers; a kind that none of them names is
    not restricted. Single-channel inputs are compiled only if named.
    """
    if quick:
        return [(targets[-1], SMALL, mixing) for mixing in ("copy", "mixup", "cutmix")]
    every = [
        (target, work, mixing)
        for target in reversed(targets)
        for work in WORK
        if work not in OF_ONE_CHANNEL or work in words
        for mixing in (IN_STEPS if work == STEP else ALONE)
    ]
    for k, kind in enumerate(zip(*every)):
        wanted = set(kind) & set(words)
        also = {BASE} if k == 2 else set()
        every = [each for each in every if not wanted or each[k] in wanted | also]
    return every


def row_of(asked: Asked, mesh: jax.sharding.Mesh) -> Row:
    """Compile a mixer for a GPU, and return its row."""
    target, work, mixing = asked
    size, _ = _gpu.numbers(WORK[work])
    start = time.perf_counter()
    program = _gpu.compiled(WORK[work], MIXERS[mixing], mesh)
    seconds = time.perf_counter() - start
    head = {"target": target, "work": work, "mixing": mixing, "compile s": seconds}
    return head | {"all": launched(program, size)._asdict()}


def summary(rows: list[Row]) -> list[Row]:
    """Return the counts of each row; for a step, in excess of no mixing."""
    found = []
    for row in rows:
        base = dict.fromkeys(Launched._fields, 0)
        if row["work"] == STEP:
            base = _row(rows, (row["target"], STEP, BASE))["all"]
        more = {k: row["all"][k] - base[k] for k in Launched._fields}
        _, nbytes = _gpu.numbers(WORK[row["work"]])
        found.append(
            {k: row[k] for k in ("target", "work", "mixing")}
            | {
                "kernels": more["kernels"],
                "over the batch": more["touching"],
                "write it": more["writing"],
                "loops": more["loops"],
                "bytes, batches": more["nbytes"] / nbytes,
                "temporary, batches": more["temporary"] / nbytes,
            }
        )
    return found


def _row(rows: list[Row], wanted: Asked) -> Row:
    keys = ("target", "work", "mixing")
    return next((row for row in rows if tuple(map(row.get, keys)) == wanted), {})


def picture(rows: list[Row]) -> Any:
    """Plot the kernels and the bytes of each mixer."""
    found = summary(rows)
    groups = list(dict.fromkeys((row["target"], row["work"]) for row in found))
    columns = ("kernels", "bytes, batches")
    figure, axes = plt.subplots(
        len(columns),
        max(len(groups), 1),
        figsize=(3.6 * max(len(groups), 1), 7),
        squeeze=False,
    )
    for line, column in zip(axes, columns):
        for axis, group in zip(line, groups):
            shown = [r for r in found if (r["target"], r["work"]) == group]
            axis.barh([r["mixing"] for r in shown], [r[column] for r in shown])
            for at, row in enumerate(shown):
                axis.text(row[column], at, f" {row[column]:.3g}", va="center", size=7)
            axis.set_title(", ".join(group), fontsize=8)
            more = " more than without mixing" * (group[1] == STEP)
            axis.set_xlabel(column + more, fontsize=8)
            axis.tick_params(labelsize=7)
            axis.invert_yaxis()
            axis.margins(x=0.2)
    figure.tight_layout()
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Compile everything requested, and write the results."""
    parser = _scripts.arguments("gpu", __doc__)
    parser.add_argument("--run", action="store_true", help="on a GPU: time it as well")
    parser.add_argument(
        "--only", nargs="+", default=[], help="targets, workloads and mixers to compile"
    )
    args = parser.parse_args(argv)
    if args.run:
        device = gpu_here()
        if device is None:
            parser.error(NO_GPU)
        targets = {device.device_kind: _gpu.mesh_of(device)}
    else:
        jax.config.update("jax_platforms", "cpu")
        if reason := _gpu.why_not():
            parser.error(reason)
        targets = {target: _gpu.absent(target) for target in TARGETS}
        if args.out is None:
            args.out = _scripts.RESULTS / ("gpu-compiler" + "/quick" * args.quick)
    known_words = {*targets, *WORK, *MIXERS}
    if unknown := set(args.only) - known_words:
        parser.error(
            f"--only: expected words from {sorted(known_words)}; got {unknown}."
        )
    _scripts.check_out(parser, "gpu", args)
    try:
        known = _scripts.known("gpu", args)
    except ValueError as error:
        parser.error(str(error))
    rows, times = known.get("rows", []), known.get("times", [])
    work = asked(list(targets), args.only, quick=args.quick)

    def found() -> Iterator[Row]:
        with _scripts.progress("compiling") as bar:
            task = bar.add_task("", total=len(work))
            for each in work:
                bar.update(task, description=": ".join(each))
                if not _row(rows, each):
                    rows.append(row_of(each, targets[each[0]]))
                    yield rows[-1]
                bar.advance(task)
        if args.run:
            for one in timed([*BATCHES.values()][: 1 if args.quick else None]):
                times.append(one)
                yield one

    with command_line.Interruption() as interruption:
        if args.run:
            times.clear()  # times of several sessions are not comparable
        for _ in interruption.until(found()):
            _write(args, rows, times, work)
        if rows:
            _scripts.show(
                "Kernels and bytes; for a step, what mixing adds", summary(rows)
            )
        if times:
            _scripts.show("Times on this GPU", times)
        if rows:
            _write(args, rows, times, work)


def _write(
    args: argparse.Namespace, rows: list[Row], times: list[Row], work: list[Asked]
) -> None:
    missing = [": ".join(each) for each in work if not _row(rows, each)]
    found = {"summary": summary(rows), "rows": rows, "times": times}
    _scripts.write("gpu", __doc__, args, found, picture(rows), missing)


if __name__ == "__main__":
    command_line.start(main)
