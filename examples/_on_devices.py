"""The command line shared by the examples that train on several devices."""

import argparse
from collections.abc import Sequence

import jax

import command_line
from examples.datasets import DATASETS, Images


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments that these examples share."""
    parser = argparse.ArgumentParser(description=description)
    add, size = parser.add_argument, command_line.positive_int
    add("--data", choices=DATASETS, default="digits")
    add("--data-dir", type=command_line.folder, help="folder with the original files")
    add("--devices", type=command_line.devices, help="number of virtual CPU devices")
    add("--epochs", type=size, default=10)
    add("--batch-size", type=size, default=64)
    add("--seed", type=command_line.seed, default=0)
    return parser


def parsed(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> tuple[argparse.Namespace, Images]:
    """Parse the arguments, set the number of CPU devices, and read the data.

    Exits with code 2 if the data cannot be read, or if the number of devices does not
    divide the batch size.
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
            f"--batch-size: expected a multiple of {count}, the number of devices, and "
            f"at most {examples}, the number of training examples; got "
            f"{args.batch_size}."
        )
    return args, data
