"""What does a step of the ImageNet program take, compiled for TPUs?

    python -m benchmarks.imagenet [--quick] [--out DIR]

Compiles the train step of `examples.imagenet` with libtpu, for TPUs that need not be
present, and lists the memory and the bytes of each chip. The time of a step is
estimated as that of its arithmetic, or of the bytes that XLA counts, at the published
peaks, whichever is longer; the device hours of an epoch follow from that. What the
chips send each other is not in it. `benchmarks.tpu` compares with steps without mixing.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import matplotlib
from jax.experimental import topologies

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import command_line
from benchmarks import _scripts
from benchmarks._programs import facts
from benchmarks.tpu import ABSENT, TOPOLOGIES
from examples import imagenet

PICTURES = 1_281_167  # of ImageNet's training part
# Of a TPU v5e chip: https://cloud.google.com/tpu/docs/v5e
FLOPS, BYTES = 197e12, 819e9  # bfloat16, per second
EPOCHS, ARMS = 200, 2  # of the article's ResNet-50
COLUMNS = ("topology", "model", "batch", "fsdp")

Case = tuple[str, str, int, int]  # one value of each of COLUMNS
QUICK: list[Case] = [("v5e:2x2", "vit_s16", 64, 1)]
FULL: list[Case] = [
    ("v5e:16x16", "vit_s16", 4096, 1),
    ("v5e:16x16", "vit_s16", 4096, 4),
    ("v5e:16x16", "resnet50", 4096, 1),
]


def compile_for(case: Case) -> dict[str, Any]:
    """Return the row of a case: what the compiled step takes on each chip."""
    topology, model, batch, fsdp = case
    devices = topologies.get_topology_desc(topology, "tpu").devices
    flags = {"model": model, "batch-size": batch, "fsdp": fsdp}
    argv = [word for name, x in flags.items() for word in (f"--{name}", str(x))]
    argv += ["--data", "imagenet", "--data-dir", "."]
    program: Any = imagenet.lowered(argv, devices, PICTURES).compile()
    memory, found = program.memory_analysis(), facts(program)
    flops = float(program.cost_analysis()["flops"])
    seconds = max(flops / FLOPS, found.bytes_accessed / BYTES)
    return dict(zip(COLUMNS, case)) | {
        "chips": len(devices),
        "state and batch, GB": memory.argument_size_in_bytes / 1e9,
        "temporary, GB": memory.temp_size_in_bytes / 1e9,
        "bytes accessed, GB": found.bytes_accessed / 1e9,
        "TFLOP": flops / 1e12,
        "collectives": found.collectives,
        "step, ms": 1e3 * seconds,
        "device hours per epoch": PICTURES / batch * seconds * len(devices) / 3600,
    }


def cost(rows: Sequence[dict[str, Any]]) -> str:
    """Return what the article's claim for ResNet-50 costs to test: Table 1, 200 epochs.

    References:
      Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018,
      https://arxiv.org/abs/1710.09412.
    """
    found = [row for row in rows if row["model"] == "resnet50"]
    if not found:
        return ""
    row = min(found, key=lambda row: row["device hours per epoch"])
    hours = ARMS * EPOCHS * row["device hours per epoch"]
    return (
        f"ResNet-50 for {EPOCHS} epochs with Mixup and without takes about "
        f"{hours:.0f} hours of a TPU v5e chip, by the arithmetic and the bytes that "
        f"XLA counts for a step of {row['batch']} images on {row['chips']} chips."
    )


def picture(rows: Sequence[dict[str, Any]]) -> Any:
    """Plot the memory of a chip, by case."""
    figure, ax = plt.subplots(figsize=(7, 1 + 0.3 * len(rows)), layout="constrained")
    names = [
        f"{row['model']}, {row['topology']}, batch {row['batch']}, fsdp {row['fsdp']}"
        for row in rows
    ]
    left = [0.0] * len(rows)
    for part in ("state and batch, GB", "temporary, GB"):
        values = [row[part] for row in rows]
        ax.barh(names, values, left=left, label=part.removesuffix(", GB"))
        left = [a + b for a, b in zip(left, values)]
    ax.set(xlabel="memory of a chip, GB", xlim=(0, None))
    ax.invert_yaxis()
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Compile the steps, one process per case, and write the results."""
    parser = _scripts.arguments("imagenet", __doc__)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        print(json.dumps(compile_for(tuple(json.loads(args.worker)))))
        return
    jax.config.update("jax_platforms", "cpu")
    if importlib.util.find_spec("libtpu") is None:
        parser.error(
            "libtpu is not installed. It needs x86-64 Linux: pip install '.[tpu]'."
        )
    args.out = args.out or _scripts.RESULTS / ("tpu-compiler" + "/quick" * args.quick)
    _scripts.check_out(parser, "imagenet", args)
    cases, rows = QUICK if args.quick else FULL, []
    with command_line.Interruption() as interruption:
        for row in interruption.until(_compiled(cases)):
            rows.append(row)
        missing = [str(case) for case in cases[len(rows) :]]
        if rows:
            _scripts.show("The step of examples.imagenet, per chip", rows)
            content = {"rows": rows, "cost": cost(rows)}
            _scripts.write("imagenet", __doc__, args, content, picture(rows), missing)


def _compiled(cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
    with _scripts.progress("compiling") as bar:
        task = bar.add_task("", total=len(cases))
        for case in cases:
            bar.update(task, description=f"{case[1]} for {case[0]}")
            yield _worker(case)
            bar.advance(task)


def _worker(case: Case) -> dict[str, Any]:
    """Return the row of a case from a process of its own, as libtpu wants it."""
    environment = ABSENT | {"TPU_ACCELERATOR_TYPE": TOPOLOGIES[case[0]]}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.imagenet", "--worker", json.dumps(case)],
        env=dict(os.environ) | environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise SystemExit(f"{case}: the compiler exited ({done.returncode}): {last}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    command_line.start(main)
