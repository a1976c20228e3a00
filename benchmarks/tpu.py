"""What does mixing add to a sharded train step compiled for TPUs?

    python -m benchmarks.tpu [--quick] [--out DIR] [--run]

Compiles the step of ResNet-50 and ViT-S/16 (1000 classes, bfloat16, 128 images of
224x224 per chip) with libtpu, for TPUs that need not be present: without mixing, with
ours, the naive version and big_vision's. On a machine with TPUs, `--run` compiles for
them and times the steps as well.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jax.experimental import topologies

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import command_line
from benchmarks import _measure, _scripts
from benchmarks._programs import facts, more
from benchmarks._sharded import AXIS, DTYPE, MIXERS, OF_BYTES, lowered
from benchmarks.models import CNN, MLP, MODELS, Model, initial_state

# With these, libtpu compiles without looking for a TPU or other hosts.
ABSENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
}
SMALL = {
    "cnn": Model(CNN, (64, 64, 3), 10, 32),
    "cnn_224": Model(CNN, (224, 224, 3), 1000, 64),
    "mlp_wave": Model(MLP, (16000, 1, 1), 10, 256),
}
TOPOLOGIES = {
    "v5e:2x2": "v5litepod-4",
    "v5e:16x16": "v5litepod-256",
    "v6e:2x2": "v6e-4",
}
OF_FAMILY = (
    "no mixing",
    "mixup, jit",
    *(name for name in list(MIXERS)[10:] if name not in OF_BYTES),
)
FEW = ("no mixing", "mixup, a share", "mixup, jit")
SOME = (*FEW, "mixup, permuted, a share", "pasted, jit")
Work = list[tuple[str, str, tuple[str, ...]]]  # topology, model, mixers
QUICK: Work = [("v5e:2x2", "cnn", FEW)]
FULL: Work = [
    ("v5e:2x2", "vit_s16", SOME),
    ("v6e:2x2", "vit_s16", FEW),
    ("v5e:16x16", "vit_s16", FEW),
    ("v5e:2x2", "resnet50", tuple(MIXERS)[:10]),
    ("v5e:2x2", "cnn_224", OF_FAMILY),
    ("v5e:2x2", "cnn_224", tuple(OF_BYTES)),
]


def compile_for(topology: str, name: str, names: list[str], *, run: bool) -> None:
    """Print a line of JSON per mixer in ``names``, for one model's step."""
    if run:
        devices = jax.devices("tpu")
    else:
        devices = topologies.get_topology_desc(topology, "tpu").devices
    # Auto axes, since the convolutions do not specify shardings for Explicit ones.
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.sharding.Mesh(np.array(devices), (AXIS,), axis_types=auto)
    model = {**MODELS, **SMALL}[name]
    share = model.batch * int(np.prod(model.image)) * jnp.dtype(DTYPE).itemsize
    base, programs = None, {}
    for mixer in names:
        start = time.perf_counter()
        program = lowered(mixer, model, mesh).compile()
        seconds, found = time.perf_counter() - start, facts(program)
        base = base or found
        row = {
            "topology": topology,
            "model": name,
            "mixing": mixer,
            "GB": found.bytes_accessed / 1e9,
            "bytes %": 100 * (found.bytes_accessed / base.bytes_accessed - 1),
            "bytes, batches": (found.bytes_accessed - base.bytes_accessed) / share,
            "temporary, batches": (found.temporary - base.temporary) / share,
            "collectives": more(found, base),
            "loops": found.loops - base.loops,
            "fusions": _fusions(program, model),
            "compile s": seconds,
        }
        print(json.dumps(row), flush=True)
        programs[mixer] = program
    if run:
        for mixer, overhead in _timed(programs, model, mesh).items():
            row = {"topology": topology, "model": name, "mixing": mixer}
            print(json.dumps(row | {"time": overhead._asdict()}), flush=True)


def _timed(
    programs: dict[str, Any], model: Model, mesh: jax.sharding.Mesh
) -> dict[str, _measure.Ratio]:
    """Return the time of each step relative to the one without mixing."""
    whole, shared = (jax.NamedSharding(mesh, spec) for spec in (jax.P(), jax.P(AXIS)))
    size, key = model.batch * mesh.size, jax.device_put(jax.random.key(0), whole)
    images = jax.random.normal(key, (size, *model.image), DTYPE)
    labels = jax.nn.one_hot(jnp.arange(size) % model.classes, model.classes)
    batch = jax.device_put({"image": images, "label": labels}, shared)
    contenders = {}
    for name, program in programs.items():
        held = [jax.device_put(initial_state(model, DTYPE, key), whole)]

        def run(program=program, held=held):  # the donated state is replaced
            held[0], metrics = program(held[0], key, batch)
            return metrics

        contenders[name] = _measure.Contender(run)
    times = _measure.interleaved(contenders)
    base = times[next(iter(times))]
    return {name: _measure.ratio(taken, base) for name, taken in times.items()}


def _fusions(program: Any, model: Model) -> int:
    """Count the fusions whose result has the size of the batch of images."""
    dims = sorted((model.batch, *model.image))
    text, count = program.as_text(), 0
    for line in text.splitlines():
        if " fusion(" in line and " = bf16[" in line:
            made = line.split(" = bf16[", 1)[1].split("]", 1)[0]
            count += sorted(int(n) for n in made.split(",") if n) == dims
    return count


def picture(rows: list[dict[str, Any]]) -> Any:
    """Plot the bytes that each kind of mixing adds, in percent of the step."""
    groups = list(dict.fromkeys((row["topology"], row["model"]) for row in rows))
    figure, axes = plt.subplots(
        1, len(groups), figsize=(5.2 * len(groups), 4), squeeze=False, sharex=True
    )
    for axis, group in zip(axes[0], groups):
        shown = [r for r in rows if (r["topology"], r["model"]) == group][1:]
        values = [row["bytes %"] for row in shown]
        axis.barh([row["mixing"] for row in shown], values, color="tab:blue")
        for i, value in enumerate(values):
            axis.text(max(value, 0), i, f" {value:+.2f}%", va="center", fontsize=8)
        axis.set_title(f"{group[1]}, {group[0]}", fontsize=10)
        axis.set_xlabel("bytes accessed per step, more than without mixing, %")
        axis.invert_yaxis()
        axis.margins(x=0.2)
    figure.tight_layout()
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Compile the steps, one process per model, and write the results."""
    parser = _scripts.arguments("tpu", __doc__)
    parser.add_argument(
        "--run", action="store_true", help="on TPUs: time the steps as well"
    )
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        topology, model, *names = args.worker
        return compile_for(topology, model, names, run=args.run)

    if not args.run:
        jax.config.update("jax_platforms", "cpu")
        if importlib.util.find_spec("libtpu") is None:
            parser.error(
                "libtpu is not installed. It needs x86-64 Linux: pip install '.[tpu]'."
            )
    if args.out is None and not args.run:
        args.out = _scripts.RESULTS / ("tpu-compiler" + "/quick" * args.quick)
    _scripts.check_out(parser, "tpu", args)
    try:
        rows = _scripts.known("tpu", args).get("rows", [])
    except ValueError as error:
        parser.error(str(error))
    work = QUICK if args.quick else FULL
    with command_line.Interruption() as interruption:
        for _ in interruption.until(_compiled(rows, work, run=args.run)):
            _write(args, rows, work)
        if rows:
            title = "The train step compiled for TPUs, and what mixing adds"
            _scripts.show(title, rows)
            _write(args, rows, work)


def _compiled(
    rows: list[dict[str, Any]], work: Work, *, run: bool
) -> Iterator[dict[str, Any]]:
    """Add the rows of ``work`` that ``rows`` lacks, and yield each new one."""
    with _scripts.progress("compiling") as bar:
        task = bar.add_task("", total=sum(len(names) for *_, names in work))
        for topology, model, names in work:
            missing = [n for n in names if not _of(rows, (topology, model, n))]
            bar.advance(task, len(names) - len(missing))
            bar.update(task, description=f"{model} for {topology}")
            # The others are compared with the first, so it is compiled again.
            asked = list(dict.fromkeys([names[0], *missing])) if missing else []
            for row in _worker(topology, model, asked, run=run) if missing else ():
                found = _of(rows, (topology, model, row["mixing"]))
                if found:
                    found.update(row)
                    continue
                rows.append(row)
                bar.advance(task)
                yield row


def _write(args: argparse.Namespace, rows: list[dict[str, Any]], work: Work) -> None:
    """Write the rows so far, and the names of the missing ones."""
    missing = [
        f"{model} for {topology}: {name}"
        for topology, model, names in work
        for name in names
        if not _of(rows, (topology, model, name))
    ]
    _scripts.write("tpu", __doc__, args, {"rows": rows}, picture(rows), missing)


def _of(rows: list[dict[str, Any]], wanted: tuple[str, str, str]) -> dict[str, Any]:
    """Return the row of a topology, model and mixer, or an empty dict."""
    keys = ("topology", "model", "mixing")
    return next((row for row in rows if tuple(map(row.get, keys)) == wanted), {})


def _worker(
    topology: str, model: str, names: list[str], *, run: bool
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one model and topology from a separate process."""
    command = [sys.executable, "-m", "benchmarks.tpu", "--worker", topology, model]
    environment, flags = dict(os.environ), ["--run"]
    if not run:
        environment |= ABSENT | {"TPU_ACCELERATOR_TYPE": TOPOLOGIES[topology]}
        flags = []
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            [*command, *names, *flags],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=environment,
            start_new_session=True,  # so that Ctrl-C only reaches this process
        ) as worker,
    ):
        assert worker.stdout is not None
        try:
            for line in worker.stdout:
                if line.startswith("{"):
                    yield json.loads(line)
            code = worker.wait()
        finally:
            worker.kill()
        if code:
            said.seek(0)
            last = (said.read().strip().splitlines() or ["no output"])[-1]
            raise SystemExit(
                f"{model} for {topology}: the compiler exited ({code}) with: "
                f"{last}. It needs libtpu (pip install '.[tpu]', x86-64 Linux), or a "
                "TPU with --run."
            )


if __name__ == "__main__":
    command_line.start(main)
