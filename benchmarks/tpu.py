"""What does mixing add to a sharded train step, as the TPU's compiler sees it?

    python -m benchmarks.tpu [--quick] [--out DIR] [--run]

Compiles the step of ResNet-50 and ViT-S/16 (1000 classes, bfloat16, 128 images of
224x224 a chip) for TPUs that are not there, with libtpu: no mixing, ours, what people
paste, big_vision's. On a machine with TPUs, `--run` compiles for them and times the
steps as well.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jax.experimental import topologies

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import command_line
import mixup_jax as mx
from benchmarks import _measure, _scripts
from benchmarks._programs import facts, more
from benchmarks.models import CNN, KEY, MODELS, Model, dense, initial_state, loss_of

# libtpu then compiles without asking for a TPU or for its neighbours.
ABSENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
}
AXIS = "data"
DTYPE = jnp.bfloat16
SMALL = {
    "cnn": Model(CNN, (64, 64, 3), 10, 32),
    "cnn_224": Model(CNN, (224, 224, 3), 1000, 64),
}
TOPOLOGIES = {
    "v5e:2x2": "v5litepod-4",
    "v5e:16x16": "v5litepod-256",
    "v6e:2x2": "v6e-4",
}
ours = partial(mx.mixup, alpha=0.2)
of_three = partial(mx.dirichlet, partners=3)


def pasted(key: jax.Array, batch: Any) -> Any:
    """Mix as the code that people paste: a random permutation, lam from random.beta."""
    images, labels = batch
    key_lam, key_partner = jax.random.split(key)
    lam = jax.random.beta(key_lam, 0.2, 0.2, (images.shape[0],))
    partner = jax.random.permutation(key_partner, images.shape[0])
    w = lam[:, None, None, None].astype(images.dtype)
    images = w * images + (1 - w) * images[partner]
    labels = lam[:, None] * labels + (1 - lam)[:, None] * labels[partner]
    return (images, labels), None


def big_vision(key: jax.Array, batch: Any) -> Any:
    """Mix by big_vision's formula: one lam a batch, the partner is one place before."""
    lam = jax.random.beta(key, 0.2, 0.2)
    lam = jnp.maximum(lam, 1 - lam)

    def mix(x: jax.Array) -> jax.Array:
        w = lam.astype(x.dtype)
        return w * x + (1 - w) * jnp.roll(x, 1, axis=0)

    return jax.tree.map(mix, batch), None


def scaled(key: jax.Array, batch: Any) -> Any:
    """Multiply every image by a number of its own: the least that any mixing costs."""
    images, labels = batch
    w = jax.random.uniform(key, (images.shape[0], 1, 1, 1)).astype(images.dtype)
    return (w * images, labels), None


def on_shares(mixer: Callable) -> Callable:
    """Return ``mixer`` on each device's share by itself."""

    def mixed(key: jax.Array, batch: Any) -> Any:
        def on_share(key: jax.Array, batch: Any) -> Any:
            key = jax.random.fold_in(key, jax.lax.axis_index(AXIS))
            return mixer(key, batch)[0]

        specs = {"in_specs": (jax.P(), jax.P(AXIS)), "out_specs": jax.P(AXIS)}
        return jax.shard_map(on_share, **specs)(key, batch), None

    return mixed


MIXERS: dict[str, Callable] = {
    "no mixing": mx.erm,
    "images scaled, the floor": on_shares(scaled),
    "mixup, a share": on_shares(ours),
    "mixup, permuted, a share": on_shares(
        partial(ours, pairing=mx.pairings.permutation)
    ),
    "cutmix, a share": on_shares(mx.cutmix),
    "mixup, jit": ours,
    "cutmix, jit": mx.cutmix,
    "pasted, a share": on_shares(pasted),
    "pasted, jit": pasted,
    "big_vision, a share": on_shares(big_vision),
    "resizemix, jit": mx.resizemix,
    "resizemix or mixup, jit": mx.choose([mx.resizemix, ours], [0.5, 0.5]),
    "dirichlet of two, jit": mx.dirichlet,
    "dirichlet of three, jit": of_three,
    "dirichlet of three or mixup, jit": mx.choose([of_three, ours], [0.5, 0.5]),
    "saliencymix, jit": mx.saliencymix,
    "smoothmix, jit": mx.smoothmix,
}
OF_FAMILY = ("no mixing", "mixup, jit", *list(MIXERS)[-7:])
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
]


def lowered(model: Model, mixer: Callable, mesh: jax.sharding.Mesh) -> Any:
    """Return the sharded train step, lowered for the devices of ``mesh``."""

    def mixed(key: jax.Array, batch: Any) -> Any:
        pair, own = (batch["image"], batch["label"]), mixer
        if mixer is mx.saliencymix:
            own = partial(mixer, saliency=batch["saliency"])
        (image, label), _ = own(key, pair)
        # Not all of them return a mix, and the loss does not use it.
        return {"image": image, "label": label}, mx.draw_of(mx.erm)(key, pair)

    step = mx.training.train_step(loss_of(model, DTYPE, dense), mixed)
    whole, shared = (jax.NamedSharding(mesh, spec) for spec in (jax.P(), jax.P(AXIS)))

    def like(leaf: Any, sharding: Any) -> Any:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    state = jax.eval_shape(partial(initial_state, model, DTYPE), KEY)
    size = model.batch * mesh.size
    batch = {
        "image": jax.ShapeDtypeStruct((size, *model.image), DTYPE, sharding=shared),
        "label": jax.ShapeDtypeStruct(
            (size, model.classes), jnp.float32, sharding=shared
        ),
        # Of a step that does not use it the compiler sees nothing.
        "saliency": jax.ShapeDtypeStruct(
            (size, *model.image[:-1]), jnp.float32, sharding=shared
        ),
    }
    with jax.set_mesh(mesh):
        return jax.jit(step, donate_argnums=0).lower(
            jax.tree.map(partial(like, sharding=whole), state), like(KEY, whole), batch
        )


def compile_for(topology: str, name: str, names: list[str], *, run: bool) -> None:
    """Print a line of JSON for each mixer in ``names``, on the step of one model."""
    if run:
        devices = jax.devices("tpu")
    else:
        devices = topologies.get_topology_desc(topology, "tpu").devices
    # Auto axes, since Explicit ones would have to be named in the convolutions.
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.sharding.Mesh(np.array(devices), (AXIS,), axis_types=auto)
    model = {**MODELS, **SMALL}[name]
    share = model.batch * int(np.prod(model.image)) * jnp.dtype(DTYPE).itemsize
    base, programs = None, {}
    for mixer in names:
        start = time.perf_counter()
        program = lowered(model, MIXERS[mixer], mesh).compile()
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
    """Return how many times as long each step takes as that without mixing."""
    whole, shared = (jax.NamedSharding(mesh, spec) for spec in (jax.P(), jax.P(AXIS)))
    size, key = model.batch * mesh.size, jax.device_put(jax.random.key(0), whole)
    images = jax.random.normal(key, (size, *model.image), DTYPE)
    labels = jax.nn.one_hot(jnp.arange(size) % model.classes, model.classes)
    batch = jax.device_put({"image": images, "label": labels}, shared)
    contenders = {}
    for name, program in programs.items():
        held = [jax.device_put(initial_state(model, DTYPE, key), whole)]

        def run(program=program, held=held):  # the state is donated, so it is handed on
            held[0], metrics = program(held[0], key, batch)
            return metrics

        contenders[name] = _measure.Contender(run)
    times = _measure.interleaved(contenders)
    base = times[next(iter(times))]
    return {name: _measure.ratio(taken, base) for name, taken in times.items()}


def _fusions(program: Any, model: Model) -> int:
    """Count the fusions that make something of the size of the batch of images."""
    dims = sorted((model.batch, *model.image))
    text, count = program.as_text(), 0
    for line in text.splitlines():
        if " fusion(" in line and " = bf16[" in line:
            made = line.split(" = bf16[", 1)[1].split("]", 1)[0]
            count += sorted(int(n) for n in made.split(",") if n) == dims
    return count


def picture(rows: list[dict[str, Any]]) -> Any:
    """Draw the bytes that each kind of mixing adds, in percent of the step."""
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
        axis.set_xlabel("bytes accessed a step, more than without mixing, %")
        axis.invert_yaxis()
        axis.margins(x=0.2)
    figure.tight_layout()
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Compile every step in a process of its own, and write down what came out."""
    parser = _scripts.arguments("tpu", __doc__)
    parser.add_argument("--run", action="store_true", help="on TPUs: time it too")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        topology, model, *names = args.worker
        return compile_for(topology, model, names, run=args.run)

    if not args.run:
        jax.config.update("jax_platforms", "cpu")
        if importlib.util.find_spec("libtpu") is None:
            parser.error(
                "libtpu is not installed. It is for x86-64 Linux: pip install '.[tpu]'."
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
            title = "The train step for TPUs, and what mixing adds to it"
            _scripts.show(title, rows)
            _write(args, rows, work)


def _compiled(
    rows: list[dict[str, Any]], work: Work, *, run: bool
) -> Iterator[dict[str, Any]]:
    """Add to ``rows`` what they lack of ``work``, and yield each row that is new."""
    with _scripts.progress("compiling") as bar:
        task = bar.add_task("", total=sum(len(names) for *_, names in work))
        for topology, model, names in work:
            missing = [n for n in names if not _of(rows, (topology, model, n))]
            bar.advance(task, len(names) - len(missing))
            bar.update(task, description=f"{model} for {topology}")
            # The first is what the others are compared with, so it is compiled again.
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
    """Write the rows so far, and which are missing."""
    missing = [
        f"{model} for {topology}: {name}"
        for topology, model, names in work
        for name in names
        if not _of(rows, (topology, model, name))
    ]
    _scripts.write("tpu", __doc__, args, {"rows": rows}, picture(rows), missing)


def _of(rows: list[dict[str, Any]], wanted: tuple[str, str, str]) -> dict[str, Any]:
    """Return the row of a topology, a model and a mixer, or an empty one."""
    keys = ("topology", "model", "mixing")
    return next((row for row in rows if tuple(map(row.get, keys)) == wanted), {})


def _worker(
    topology: str, model: str, names: list[str], *, run: bool
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one model and topology, from a process that knows no other."""
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
            start_new_session=True,  # Ctrl-C is for this process alone
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
            last = (said.read().strip().splitlines() or ["nothing"])[-1]
            raise SystemExit(
                f"{model} for {topology}: the compiler stopped ({code}), and said: "
                f"{last}. It needs libtpu (pip install '.[tpu]', x86-64 Linux), or a "
                "TPU with --run."
            )


if __name__ == "__main__":
    command_line.start(main)
