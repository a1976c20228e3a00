"""Train ViT-S/16 or ResNet-50 on ImageNet with Mixup and CutMix.

    python -m examples.imagenet --data-dir DIR --out OUT
    python -m examples.imagenet --data-dir DIR --out OUT    # run it again, after a kill
    python -m examples.imagenet --data made --model vit_s16 --image-size 32 ...

A whole program to copy from: Grain reads ImageNet's own tar files, crops and flips;
the step mixes bytes on the devices and trains with AdamW, warmup and a cosine schedule,
in bfloat16, with the state sharded over a mesh of (data, fsdp); parameters are averaged
over the steps; Orbax saves the state, the key and the position of the input, so that a
killed run goes on as if it had not been. ``OUT/metrics.jsonl`` has a line for each
logged step and each evaluation, and ``OUT/metrics.png`` draws them.

Epochs, batch size, learning rate, warmup, weight decay, clipping and alpha default to
those of big_vision's plain ViT-S/16 [1]_; the network and the draws differ in details.
RandAugment is not here: pass your own by --augment. No accuracy is claimed, since this
was never run on the whole of ImageNet.

.. [1] Beyer et al., "Better plain ViT baselines for ImageNet-1k",
   https://arxiv.org/abs/2205.01580.
"""

import argparse
import collections
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import AxisType
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import command_line
from examples._imagenet import faults, journal, options
from examples._imagenet.source import Input, opened
from examples._imagenet.training import Program, program
from examples.fsdp import AXES
from examples.resume import check_arguments, restored, saved

# Flags that a resumed run has to share; the position of the input depends on --workers.
SAME = ("data", "classes", "limit", "workers", "model", "image_size", "width", "patch")
SAME += ("depth", "heads", "blocks", "dtype", "epochs", "batch_size", "learning_rate")
SAME += ("warmup_steps", "weight_decay", "clip_norm", "ema", "seed", "mixup", "cutmix")
SAME += ("switch", "smoothing", "mix_epochs", "augment")


class Now(NamedTuple):
    """What a step depends on, besides the position of the input."""

    state: Any
    key: jax.Array


def resumed(
    manager: ocp.CheckpointManager, args: argparse.Namespace, now: Now, data: Input
) -> tuple[int, Now]:
    """Return the step and the state of the last checkpoint, or 0 and ``now``."""
    last = manager.latest_step() or 0
    if last:
        only = ocp.args.Composite(run=ocp.args.JsonRestore())
        try:
            before = manager.restore(last, args=only)["run"]
            check_arguments(before, described(args, data))
        except ValueError as error:
            args.parser.error(str(error))
        now = Now(*restored(manager, last, tuple(now), data.train))
    return last, now


def described(args: argparse.Namespace, data: Input) -> dict[str, Any]:
    """Return what a resumed run has to share."""
    flags = {name: getattr(args, name) for name in SAME}
    return flags | {"processes": jax.process_count(), "pictures": data.identity}


def tested(run: Program, state: Any, tests: Iterator[Any]) -> dict[str, float]:
    """Return the errors in percent, and the losses, over all test pictures."""
    counts = [run.evaluate(state, batch) for batch in tests]
    total = {k: sum(float(each[k]) for each in counts) for k in counts[0]}
    if not total["examples"]:
        raise SystemExit("test set: expected pictures; got none that can be read.")
    return {
        f"test_{name}{of}": scale * total[f"{count}{of}"] / total["examples"]
        for name, count, scale in (("loss", "loss", 1), ("error", "wrong", 100))
        for of in ("", "_ema")
    }


def trained(
    run: Program,
    args: argparse.Namespace,
    data: Input,
    start: int,
    now: Now,
    save: Callable,
) -> Iterator[dict[str, Any]]:
    """Yield the metrics of each logged step and evaluation, and the number of each."""
    state, key = now
    begin, since = time.perf_counter(), start
    for step in range(start + 1, data.steps + 1):
        state, metrics = run.step(state, key, next(data.train))
        if step == start + 1:  # compiled
            jax.block_until_ready(metrics)
            begin, since = time.perf_counter(), step
        at = {"step": step, "epoch": round(step * args.epochs / data.steps, 3)}
        is_last = step == data.steps
        if step % args.log_every == 0 or is_last:
            row = at | {name: float(x) for name, x in metrics.items()}
            row["learning_rate"] = float(run.learning_rate(step - 1))
            if step > since:
                seconds = time.perf_counter() - begin
                row["images_per_s"] = args.batch_size * (step - since) / seconds
            begin, since = time.perf_counter(), step
            yield journal.checked(row | {"skipped": sum(data.skipped().values())})
        epochs = [k * args.epochs // data.steps for k in (step - 1, step)]
        if len({k // args.eval_every for k in epochs}) == 2 or is_last:
            paused = time.perf_counter()
            yield journal.checked(at | tested(run, state, data.tests()))
            begin += time.perf_counter() - paused
        if step % args.save_every == 0 or is_last:
            journal.checked({"step": step, "loss": float(metrics["loss"])})
            save(step, Now(state, key))
        yield at


def train(args: argparse.Namespace, data: Input) -> None:
    """Run the training, from its last checkpoint if there is one."""
    options.check_steps(args, data.steps)
    count, is_first = jax.device_count(), jax.process_index() == 0
    mesh = mesh_of(args, jax.devices())
    run = program(args, mesh, classes=len(data.classes), steps=data.steps)

    def first(key: jax.Array) -> Now:
        key_init, key = jax.random.split(key)
        return Now(run.create(key_init), key)

    # Created with its sharding, so that no device ever holds the whole state.
    whole: Any = jax.NamedSharding(mesh, jax.P())
    start = jax.jit(first, out_shardings=Now(run.layout, whole))
    now = start(command_line.key(args.seed))
    metrics = args.out / "metrics.jsonl"
    # Delete checkpoints that a killed process did not finish writing.
    settings = ocp.CheckpointManagerOptions(max_to_keep=2, cleanup_tmp_directories=True)
    folder = (args.out / "checkpoints").absolute()
    with (
        ocp.CheckpointManager(folder, options=settings) as manager,
        command_line.Interruption() as interruption,
    ):
        last, now = resumed(manager, args, now, data)

        def save(step: int, now: Now) -> None:
            parts = saved(described(args, data), tuple(now), data.train)
            manager.save(step, args=parts)

        rows = interruption.until(trained(run, args, data, last, now, save))
        if not is_first:  # the others take part, and leave the files to the first
            collections.deque(rows, maxlen=0)
            return
        if last == data.steps:
            print(f"all {last} steps are done: pass another --out for another run")
            return
        print(f"{args.model} on {count} devices, steps {last + 1} to {data.steps}")
        print(f"augmented by crop and flip, {args.augment or 'no RandAugment'}")
        with journal.opened(metrics, last) as file, _progress() as bar:
            task = bar.add_task("compiling", total=data.steps, completed=last)
            for row in rows:
                bar.update(task, completed=row["step"])
                if said := _said(row):
                    journal.write(file, row)
                    bar.update(task, description=said)
                    if not bar.console.is_terminal:  # a log instead of a bar
                        print(f"step {row['step']}: {said}", file=sys.stderr)
        journal.draw(metrics, metrics.with_suffix(".png"))
        for row in [r for r in journal.rows(metrics) if "test_error" in r][-1:]:
            print(f"step {row['step']}: {_said(row)}")
        for what, times in data.skipped().items():
            print(f"skipped: {times} times {what}; see {args.out}/skipped-0.jsonl")
        print(f"Written: {metrics}, {metrics.with_suffix('.png')}")


def lowered(argv: Sequence[str], devices: Any, pictures: int) -> jax.stages.Lowered:
    """Lower the step of a run on ``pictures`` for devices, which may be absent.

    Args:
      argv: the flags of the run.
      devices: the devices, such as those of a TPU topology.
      pictures: number of training pictures.
    """
    args = options.parsed(argv, "")
    mesh = mesh_of(args, devices)
    steps = args.epochs * pictures // args.batch_size
    run = program(args, mesh, classes=args.classes, steps=steps)
    whole, shared = (jax.NamedSharding(mesh, spec) for spec in (jax.P(), jax.P(AXES)))
    key = jax.eval_shape(lambda: jax.random.key(0))
    shapes = {"image": (args.image_size, args.image_size, 3), "label": ()}
    dtypes = {"image": jnp.uint8, "label": jnp.int32}
    batch = {
        name: jax.ShapeDtypeStruct(
            (args.batch_size, *shape), dtypes[name], sharding=shared
        )
        for name, shape in shapes.items()
    }

    def placed(leaf: Any, sharding: Any) -> Any:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    state = jax.tree.map(placed, jax.eval_shape(run.create, key), run.layout)
    return run.step.lower(state, placed(key, whole), batch)


def mesh_of(args: argparse.Namespace, devices: Any) -> jax.sharding.Mesh:
    """Return the mesh of (data, fsdp) with the shards of the state side by side."""
    grid = np.asarray(devices).reshape(-1, args.fsdp)
    return jax.sharding.Mesh(grid, AXES, axis_types=(AxisType.Auto,) * 2)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("step {task.completed}/{task.total}, left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _said(row: dict[str, Any]) -> str:
    names = ("loss", "images_per_s", "test_error", "test_error_ema")
    return ", ".join(f"{name} {row[name]:.4g}" for name in names if name in row)


def _opened(args: argparse.Namespace) -> Input:
    try:
        return opened(args)
    except (OSError, ValueError) as error:
        return args.parser.error(str(error))


def main(argv: Sequence[str] | None = None) -> None:
    args = options.parsed(argv, (__doc__ or "").partition("\n")[0])
    if args.distributed:
        jax.distributed.initialize(args.coordinator, args.processes, args.process)
    if args.devices:
        jax.config.update("jax_num_cpu_devices", args.devices)
    options.check_devices(args, jax.device_count())
    try:
        train(args, _opened(args))
    except Exception as error:  # of Grain, which wraps those of its workers
        message = faults.refusal(error)
        if message is None:
            raise
        args.parser.error(message)


if __name__ == "__main__":
    command_line.start(main)
