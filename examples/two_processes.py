"""Train from two processes, each of which loads half of every batch.

    python -m examples.two_processes

Trains on a mesh twice: from two processes with ``jax.distributed`` (Gloo on CPU), and
from one process with the same number of devices. Prints the losses side by side, and
exits with code 1 if they differ by more than float32 rounding.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training.train_state import TrainState

import command_line
import mixup_jax as mx
from examples.datasets import DATASETS

PROCESSES = 2


def train(steps: int, batch_size: int) -> list[float]:
    """Return the losses. Each process runs this, over the devices of all processes."""
    data = DATASETS["digits"](None)
    images = data.train_images.reshape(-1, 64).astype(np.float32) / 255
    model = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(len(data.classes))])
    mixer = mx.on_keys(partial(mx.mixup, alpha=0.2), inputs="image")
    entropy = mx.losses.termwise(optax.losses.softmax_cross_entropy_with_integer_labels)

    def loss(params, batch, mix):
        logits = state.apply_fn(params, batch["image"])
        return jnp.mean(entropy(logits, batch["label"], mix)), {}

    key_init, key = jax.random.split(jax.random.key(0))
    state = TrainState.create(
        apply_fn=model.apply,
        params=model.init(key_init, images[:1]),
        tx=optax.adam(1e-3),
    )
    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    train_step = mx.training.sharded(mx.training.train_step(loss, mixer), mesh)
    shuffle = np.random.default_rng(0)  # the same order in each process
    share = batch_size // jax.process_count()
    losses = []
    for _ in range(steps):
        rows = shuffle.choice(len(images), batch_size, replace=False)
        mine = rows[jax.process_index() * share :][:share]
        batch = {"image": images[mine], "label": data.train_labels[mine]}
        state, metrics = train_step(state, key, batch)
        losses.append(float(metrics["loss"]))
    return losses


def worker(args: argparse.Namespace) -> None:
    """Run process ``args.process`` of ``args.processes``, and write its losses."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", args.devices // args.processes)
    if args.processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(args.coordinator, args.processes, args.process)
    losses = train(args.steps, args.batch_size)
    args.out.write_text(json.dumps(losses))


def run(processes: int, args: argparse.Namespace) -> list[float]:
    """Start the workers, wait for them, and return the losses, which must agree."""
    deadline = time.monotonic() + args.timeout
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{process}.json" for process in range(processes)]
        command = [sys.executable, "-m", "examples.two_processes"]
        command += ["--processes", str(processes), "--steps", str(args.steps)]
        command += ["--devices", str(args.devices)]
        command += ["--batch-size", str(args.batch_size)]
        command += ["--coordinator", f"127.0.0.1:{free_port()}"]
        workers: list[subprocess.Popen] = []
        try:
            for process, file in enumerate(files):
                mine = ["--process", str(process), "--out", str(file)]
                # In a new session, so that Ctrl-C reaches only this process.
                workers.append(
                    subprocess.Popen([*command, *mine], start_new_session=True)
                )
            while any(worker.poll() is None for worker in workers):
                failed = [worker.poll() for worker in workers if worker.poll()]
                if failed:
                    raise RuntimeError(f"a process failed with exit code {failed[0]}")
                if time.monotonic() > deadline:
                    raise RuntimeError(f"timed out after {args.timeout:g} seconds")
                time.sleep(0.1)
            codes = [worker.returncode for worker in workers]
            if any(codes):
                raise RuntimeError(f"the processes ended with exit codes {codes}")
        finally:
            # A process without its peer would wait forever.
            for worker in workers:
                worker.kill()
                worker.wait()
        losses = [json.loads(file.read_text()) for file in files]
    if any(other != losses[0] for other in losses):
        raise RuntimeError("the processes report different losses")
    return losses[0]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.two_processes",
        description="Train from two processes, and compare with one process.",
    )
    add, size = parser.add_argument, command_line.positive_int
    add("--steps", type=size, default=20)
    add("--batch-size", type=size, default=64)
    add("--devices", type=command_line.devices, default=4, help="devices in total")
    add("--timeout", type=command_line.positive_float, default=300, help="in seconds")
    # The following options are for the processes that this one starts.
    add("--process", type=command_line.whole(0), help=argparse.SUPPRESS)
    add("--processes", type=size, help=argparse.SUPPRESS)
    add("--coordinator", help=argparse.SUPPRESS)
    add("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.devices % PROCESSES:
        parser.error(f"--devices: expected an even number; got {args.devices}.")
    examples = len(DATASETS["digits"](None).train_labels)
    if args.batch_size % args.devices or args.batch_size > examples:
        parser.error(
            f"--batch-size: expected a multiple of {args.devices}, the number of "
            f"devices, and at most {examples}, the number of training examples; got "
            f"{args.batch_size}."
        )
    worker = (args.process, args.processes, args.coordinator, args.out)
    if len({value is None for value in worker}) > 1:
        parser.error("--process and similar options are for internal use.")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    if args.process is not None:
        return worker(args)
    try:
        two, one = run(PROCESSES, args), run(1, args)
    except RuntimeError as error:
        sys.exit(f"two_processes: {error}")
    print(f"{args.devices} devices\nstep  two processes  one process")
    for step, losses in enumerate(zip(two, one)):
        print("{:4}  {:13.6f}  {:11.6f}".format(step, *losses))
    if not np.allclose(two, one, rtol=1e-5, atol=1e-6):
        sys.exit("The losses differ.")
    print("The losses are equal to float32 tolerance.")


if __name__ == "__main__":
    command_line.start(main)
