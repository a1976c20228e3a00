"""Comparison of methods over the same seeds: command line, training, table."""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import command_line
from examples import _curves

Batch = dict[str, jax.Array]
Data = TypeVar("Data")


def parsed(
    argv: Sequence[str] | None,
    program: str,
    read: Callable[[Path], Data],
    made: Callable[[], Data],
    *,
    epochs: int,
) -> tuple[argparse.Namespace, Data]:
    """Return the arguments, and the data: read from a folder, or generated."""
    parser = argparse.ArgumentParser(
        prog=f"python -m examples.{program}",
        description="Compare ERM and Mixup on sequences of varying length.",
    )
    add, size = parser.add_argument, command_line.positive_int
    add(
        "--data-dir",
        type=command_line.folder,
        help="folder with the original files; without it, data are generated",
    )
    add("--epochs", type=size, default=epochs)
    add("--seeds", type=size, default=5, help="number of networks to train per method")
    add("--seed", type=command_line.seed, default=0)
    args = parser.parse_args(argv)
    args.title = (
        f"{program}, {args.data_dir.name if args.data_dir else 'generated data'}"
    )
    try:
        return args, read(args.data_dir) if args.data_dir else made()
    except (OSError, ValueError) as error:
        parser.error(str(error))


def epoch_of(step: Callable, logits: Callable, size: int) -> Callable:
    """Return a function ``epoch(state, key, train, test) -> (state, test error)``.

    The training examples are shuffled.

    Args:
      step: ``(state, key, batch) -> (state, metrics)``.
      logits: ``(params, batch) -> logits``, for unmixed batches.
      size: batch size, limited to the number of training examples.
    """

    def epoch(state: Any, key: jax.Array, train: Batch, test: Batch):
        batch_size = min(size, len(train["label"]))
        steps = len(train["label"]) // batch_size
        key_order, key_step = jax.random.split(key)
        # The default pairing mixes adjacent examples, so shuffle them.
        order = jax.random.fold_in(key_order, state.step)
        order = jax.random.permutation(order, len(train["label"]))
        rows = order[: steps * batch_size].reshape(steps, batch_size)

        def one(state, rows):
            batch = jax.tree.map(lambda x: x[rows], train)
            return step(state, key_step, batch)[0], None

        state, _ = jax.lax.scan(one, state, rows)
        guess = jnp.argmax(logits(state.params, test), axis=-1)
        return state, jnp.mean(guess != test["label"])

    return epoch


def train_all(
    start: Callable,
    arms: Mapping[str, Callable],
    *data: Any,
    epochs: int,
    seeds: int,
    seed: int,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of an arm and its test errors, float ``[seeds]``, per epoch.

    All seeds of an arm are trained together, in one compiled program.

    Args:
      start: ``key -> state``, shared by all arms.
      arms: maps names to epoch functions ``(state, key, *data) -> (state, error)``. A
        seed has the same key in every epoch and arm.
      data: arguments for the epoch functions. Arrays that these close over instead
        become constants of the compiled program.
      epochs: number of epochs.
      seeds: number of networks per arm.
      seed: seed of the keys.
    """
    keys = jax.random.split(command_line.key(seed), (seeds, 2))
    axes = (0, 0, *(None for _ in data))
    started = jax.jit(jax.vmap(start))(keys[:, 0])
    with Progress(
        TextColumn(f"{{task.description:<{max(map(len, arms))}}}"),
        BarColumn(),
        TextColumn("epoch {task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}"),
        console=Console(stderr=True),
    ) as progress:
        for name, epoch in arms.items():
            task = progress.add_task(name, total=epochs, now="compiling")
            run = jax.jit(jax.vmap(epoch, in_axes=axes))
            states = started
            for _ in range(epochs):
                states, error = run(states, keys[:, 1], *data)
                error = np.asarray(error)
                now = f"test error {100 * error.mean():.2f}%"
                progress.update(task, advance=1, now=now)
                yield name, error


def compare(
    start: Callable,
    arms: Mapping[str, Callable],
    data: Sequence[Batch],
    args: argparse.Namespace,
) -> None:
    """Train all arms and print a table of the completed epochs.

    Args:
      start: as for ``train_all``.
      arms: as for ``train_all``.
      data: training and test data.
      args: the parsed command line.
    """
    given = {"epochs": args.epochs, "seeds": args.seeds, "seed": args.seed}
    with command_line.Interruption() as interruption:
        curves: dict[str, list[np.ndarray]] = {}
        for name, error in interruption.until(train_all(start, arms, *data, **given)):
            curves.setdefault(name, []).append(error)
        if curves:
            errors = {name: np.stack(curve) for name, curve in curves.items()}
            seeds = "one seed" if args.seeds == 1 else f"{args.seeds} seeds"
            title = f"{args.title}: test error, {seeds}"
            Console().print(_curves.table(errors, title, args.epochs))
