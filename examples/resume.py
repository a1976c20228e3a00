"""Resume a killed training run exactly where its last checkpoint left off.

    python -m examples.resume --out DIR
    python -m examples.resume --out DIR    # run it again, after kill -9

An Orbax checkpoint holds everything that the next step depends on: the state, whose
``step`` is folded into the key; the key; and the position of the Grain input pipeline.
``DIR/steps.csv`` lists the loss of each step and a checksum of its lam and partners. A
run that was killed and resumed writes the same file, byte for byte, as one that was
not. With another number of devices (``--devices``) the checksums are the same, and the
losses differ by rounding.
"""

import argparse
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import linen as nn

import command_line
import mixup_jax as mx
from examples import _on_devices
from examples.datasets import Images


def batches(data: Images, args: argparse.Namespace) -> grain.DatasetIterator:
    """Return the batches of the whole run, reshuffled in each epoch."""
    images = data.train_images.astype(np.float32) / 255

    def example(row: int) -> dict[str, Any]:
        return {"image": images[row], "label": data.train_labels[row]}

    dataset = grain.MapDataset.range(len(images)).seed(args.seed % 2**32).shuffle()
    dataset = dataset.map(example).batch(args.batch_size, drop_remainder=True)
    return iter(dataset.repeat(args.epochs).to_iter_dataset())


def build(key: jax.Array, data: Images) -> tuple[mx.training.TrainState, Any]:
    """Return the initial state and the step."""
    layers = [nn.Dense(256), nn.relu, nn.Dense(len(data.classes))]
    model: Any = nn.Sequential(layers)
    size = int(np.prod(data.train_images.shape[1:]))
    params = model.init(key, jnp.zeros((1, size)))
    mixer = mx.choose([partial(mx.mixup, alpha=0.2), mx.cutmix], [0.5, 0.5])
    entropy = mx.losses.termwise(optax.losses.softmax_cross_entropy_with_integer_labels)

    def loss(params, batch, mix):
        logits = model.apply(params, batch["image"].reshape(-1, size))
        value = jnp.mean(entropy(logits, batch["label"], mix))
        return value, {"lam": mix.lam, "partner": mix.partner}

    step = mx.training.train_step(loss, mx.on_keys(mixer, inputs="image"))
    return mx.training.TrainState.create(params, optax.adam(1e-3)), step


def saved(run: Any, now: Any, where: Any) -> ocp.args.Composite:
    """Return the contents of a checkpoint: all that the next step depends on."""
    return ocp.args.Composite(
        run=ocp.args.JsonSave(run),
        now=ocp.args.StandardSave(now),
        input=grain.checkpoint.CheckpointSave(where),
    )


def restored(manager: ocp.CheckpointManager, step: int, now: Any, where: Any) -> Any:
    """Return the state and key of a checkpoint, and restore the input position.

    ``now`` provides the devices, which may differ from those of the earlier run.
    """
    both = ocp.args.Composite(
        now=ocp.args.StandardRestore(now),
        input=grain.checkpoint.CheckpointRestore(where),
    )
    return manager.restore(step, args=both)["now"]


def check_arguments(before: Any, run: Any) -> None:
    """Raise ValueError unless the arguments equal those of the run to resume."""
    names = [name for name in {**before, **run} if before.get(name) != run.get(name)]
    if names:
        old, new = ({name: each.get(name) for name in names} for each in (before, run))
        raise ValueError(
            f"--out: expected the arguments of the run in this folder, {old}; got "
            f"{new}. Use another folder."
        )


def check_epochs(step: int, epochs: int, per_epoch: int) -> None:
    """Raise ValueError if the run would end before the step of its checkpoint."""
    if step > epochs * per_epoch:
        least = -(-step // per_epoch)
        raise ValueError(
            f"--epochs: expected at least {least}, since the checkpoint in --out is of "
            f"step {step}; got {epochs}, so the last step is {epochs * per_epoch} and "
            f"nothing is left to do. Pass --epochs {least} or more, or another --out."
        )


def check_log(file: Path, step: int) -> None:
    """Raise ValueError unless the log has a line for each step of the checkpoint."""
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    found = 0
    while found < step and _is_of(found + 1, lines):
        found += 1
    if found < step:
        got = f"the first {found}" if file.exists() else "no such file"
        raise ValueError(
            f"--out: {file}: expected the lines of steps 1 to {step}, since the "
            f"checkpoint beside it is of step {step}; got {got}. Restore the file, or "
            "use another folder."
        )


def _is_of(step: int, lines: Sequence[str]) -> bool:
    whole = step < len(lines) and lines[step].endswith("\n")
    return whole and lines[step].startswith(f"{step},")


def log(file: Path, step: int) -> TextIO:
    """Open the log, dropping lines that were written after the last checkpoint."""
    lines = file.read_text().splitlines()[: 1 + step] if step else ["step,loss,draws"]
    # Replacing the file is atomic: a kill leaves either the old lines or the new.
    new = file.with_suffix(".new")
    new.write_text("".join(f"{line}\n" for line in lines))
    new.replace(file)
    return file.open("a")


def line(step: int, metrics: Mapping[str, Any]) -> str:
    loss, lam, partner = (np.asarray(metrics[k]) for k in ("loss", "lam", "partner"))
    draws = zlib.crc32(lam.tobytes() + partner.tobytes())
    return f"{step},{loss},{draws:08x}\n"


def main(argv: Sequence[str] | None = None) -> None:
    parser = _on_devices.arguments("Train with checkpoints, and resume a killed run.")
    parser.add_argument("--every", type=command_line.positive_int, default=20)
    parser.add_argument("--out", type=Path, default=Path("results/resume"))
    args, data = _on_devices.parsed(parser, argv)
    command_line.check_writable(parser, args.out / "steps.csv")

    key_init, key = jax.random.split(command_line.key(args.seed))
    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    state, step_fn = build(key_init, data)
    train_step = mx.training.sharded(step_fn, mesh)
    now = jax.device_put((state, key), jax.NamedSharding(mesh, jax.P()))
    where = batches(data, args)
    run = {name: getattr(args, name) for name in ("data", "batch_size", "seed")}

    # Delete checkpoints that a killed process did not finish writing.
    options = ocp.CheckpointManagerOptions(max_to_keep=2, cleanup_tmp_directories=True)
    folder = (args.out / "checkpoints").absolute()
    with ocp.CheckpointManager(folder, options=options) as manager:
        last = manager.latest_step() or 0
        if last:
            only = ocp.args.Composite(run=ocp.args.JsonRestore())
            before = manager.restore(last, args=only)["run"]
            per_epoch = len(data.train_images) // args.batch_size
            try:
                check_arguments(before, run)
                check_epochs(last, args.epochs, per_epoch)
                check_log(args.out / "steps.csv", last)
            except ValueError as error:
                parser.error(str(error))
            now = restored(manager, last, now, where)
        state, key = now
        print(f"{args.data} on {jax.device_count()} devices, from step {last}")
        with log(args.out / "steps.csv", last) as lines:
            for step, batch in enumerate(where, start=last + 1):
                state, metrics = train_step(state, key, batch)
                lines.write(line(step, metrics))
                lines.flush()
                if step % args.every == 0:
                    manager.save(step, args=saved(run, (state, key), where))
    print(f"{state.step} steps, in {args.out / 'steps.csv'}")


if __name__ == "__main__":
    command_line.start(main)
