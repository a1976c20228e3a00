"""What the examples that train on several devices ask for on their command lines."""

import argparse
from collections.abc import Sequence

import jax

import command_line
from examples.datasets import DATASETS, Images


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser of the arguments that each of them takes."""
    parser = argparse.ArgumentParser(description=description)
    add, size = parser.add_argument, command_line.positive_int
    add("--data", choices=DATASETS, default="digits")
    add("--data-dir", type=command_line.folder, help="the original files")
    add("--devices", type=command_line.devices, help="on a CPU: make it this many")
    add("--epochs", type=size, default=10)
    add("--batch-size", type=size, default=64)
    add("--seed", type=command_line.seed, default=0)
    return parser


def parsed(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> tuple[argparse.Namespace, Images]:
    """Return the arguments and the data, once there are as many devices as asked for.

    Exits with code 2 where the data cannot be read, or the devices do not divide the
    batch.
    """
    args = parser.parse_args(argv)
    try:
        data = DATASETS[args.data](args.data_dir)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if args.devices:
        jax.config.update("jax_num_cpu_devices", args.devices)
    count, examples = jax.device_count(), len(data.train_labels)
    if args.batch_size > examples or args.batch_size % count:
        parser.error(
            f"--batch-size: expected a multiple of the {count} devices, at most the "
            f"{examples} examples to train on; got {args.batch_size}."
        )
    return args, data
