"""The command line of the ImageNet program: every option is a flag."""

import argparse
import importlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import command_line

PROGRAM = "python -m examples.imagenet"
SOURCES = ("imagenet", "cifar10", "made")


def arguments(description: str) -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=description,
        formatter_class=partial(argparse.HelpFormatter, width=88),
    )
    _data(parser.add_argument_group("data"))
    _network(parser.add_argument_group("network"))
    _training(parser.add_argument_group("training"))
    _mixing(parser.add_argument_group("mixing"))
    _run(parser.add_argument_group("devices and files"))
    return parser


def parsed(argv: Sequence[str] | None, description: str) -> argparse.Namespace:
    """Return the flags, checked against each other, and the parser as ``parser``."""
    parser = arguments(description)
    args = parser.parse_args(argv)
    _check(parser, args)
    args.parser = parser
    return args


def _adding(group: Any) -> Callable[..., None]:
    """Return ``group.add_argument``, which also says the default."""

    def add(name: str, *, help: str, default: Any = None, **given: Any) -> None:
        if default is not None:
            words = default if isinstance(default, list) else [default]
            help += f" (default: {' '.join(map(str, words))})"
        group.add_argument(name, help=help, default=default, **given)

    return add


def _data(group: Any) -> None:
    add, size = _adding(group), command_line.positive_int
    add(
        "--data",
        choices=SOURCES,
        default="imagenet",
        help="where pictures are from; made: by the script",
    )
    add(
        "--data-dir",
        type=command_line.folder,
        help="folder with the original files: ILSVRC2012_img_train.tar or its class "
        "tars, ILSVRC2012_img_val.tar, and ILSVRC2012_devkit_t12.tar.gz or "
        "LOC_val_solution.csv; for cifar10, the binary version",
    )
    add("--classes", type=size, default=1000, help="expected number, for imagenet")
    add(
        "--skip-faults",
        action="store_true",
        help="skip what cannot be read, and list it in OUT/skipped-0.jsonl; without "
        "this, the run ends at the first fault",
    )
    add("--limit", type=size, help="use LIMIT training and LIMIT test pictures")
    add(
        "--workers",
        type=command_line.whole(0, 256),
        default=0,
        help="processes that read pictures; 0: threads of this one",
    )
    add("--threads", type=size, default=16, help="threads of each")
    add(
        "--augment",
        metavar="MODULE:FUNCTION",
        type=function,
        help="(numpy.random.Generator, PIL.Image) -> PIL.Image, applied after crop and "
        "flip, such as your RandAugment; there is none here",
    )


def _network(group: Any) -> None:
    add, size = _adding(group), command_line.positive_int
    dtypes = "bfloat16", "float32"
    add(
        "--model",
        choices=("vit_s16", "resnet50"),
        default="vit_s16",
        help="the network",
    )
    add("--image-size", type=size, default=224, help="height and width in pixels")
    add("--dtype", choices=dtypes, default="bfloat16", help="of layers")
    add("--width", type=size, help="features: 384 for the ViT, 64 for the ResNet")
    add("--patch", type=size, default=16, help="of the ViT, in pixels")
    add("--depth", type=size, default=12, help="of the ViT")
    add("--heads", type=size, default=6, help="of the ViT")
    add(
        "--blocks",
        type=size,
        nargs="+",
        default=[3, 4, 6, 3],
        help="of each stage of the ResNet",
    )


def _training(group: Any) -> None:
    add, size = _adding(group), command_line.positive_int
    real = command_line.positive_float
    add("--epochs", type=size, default=90, help="passes over the pictures")
    add("--batch-size", type=size, default=1024, help="over all devices")
    add(
        "--learning-rate",
        type=real,
        default=1e-3,
        help="at its highest",
    )
    add(
        "--warmup-steps",
        type=command_line.whole(0),
        default=10_000,
        help="of a rising rate",
    )
    add(
        "--weight-decay",
        type=command_line.nonnegative_float,
        default=0.1,
        help="of AdamW",
    )
    add(
        "--clip-norm",
        type=real,
        default=1.0,
        help="of gradients",
    )
    add("--ema", type=share, default=0.9999, help="decay of the averaged parameters")
    add("--seed", type=command_line.seed, default=0, help="of all that is random")


def _mixing(group: Any) -> None:
    add, real = _adding(group), command_line.nonnegative_float
    add("--mixup", type=real, default=0.2, help="alpha of Mixup; 0: none")
    add("--cutmix", type=real, default=0.0, help="alpha of CutMix; 0: none")
    add("--switch", type=share, default=0.5, help="share of CutMix, beside Mixup")
    add("--smoothing", type=share, default=0.0, help="of labels")
    add(
        "--mix-epochs",
        type=command_line.positive_int,
        help="epochs with mixing; by default, all",
    )


def _run(group: Any) -> None:
    add, size = _adding(group), command_line.positive_int
    add("--devices", type=command_line.devices, help="number of virtual CPU devices")
    add("--fsdp", type=size, default=1, help="number of shards of the state")
    add(
        "--distributed",
        action="store_true",
        help="call jax.distributed.initialize(), for several hosts; where it does not "
        "find them by itself, pass the next three flags too",
    )
    add("--coordinator", metavar="HOST:PORT", help="of the first process")
    add("--processes", type=size, help="number of processes")
    add("--process", type=command_line.whole(0), help="number of this process")
    add(
        "--out",
        type=Path,
        default=Path("results/imagenet"),
        help="folder; a run that was killed is resumed from it",
    )
    add("--log-every", type=size, default=50, help="number of steps")
    add("--save-every", type=size, default=1000, help="number of steps")
    add("--eval-every", type=size, default=1, help="number of epochs")


def share(text: str) -> float:
    """Parse a number in [0, 1]; a type for ``add_argument``."""
    number = command_line.nonnegative_float(text)
    if number > 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1; got {text}")
    return number


def imported(text: str) -> Callable[..., Any]:
    """Return the function named ``MODULE:FUNCTION``."""
    module, _, name = text.partition(":")
    return getattr(importlib.import_module(module), name)


def function(text: str) -> str:
    """Return the name of a function, if it is one; a type for ``add_argument``."""
    try:
        found = imported(text)
    except (ImportError, AttributeError, ValueError) as error:
        raise argparse.ArgumentTypeError(
            f"expected MODULE:FUNCTION that can be imported; got {text} ({error})"
        ) from error
    if not callable(found):
        raise argparse.ArgumentTypeError(f"expected a function; got {text}, {found!r}")
    return text


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.data != "made" and args.data_dir is None:
        parser.error(
            f"--data-dir: expected the folder with the files of {args.data}, which "
            "this program does not download. Try it first with --data made."
        )
    if args.model == "vit_s16" and args.image_size % args.patch:
        parser.error(
            f"--image-size: expected a multiple of --patch, {args.patch}; got "
            f"{args.image_size}."
        )
    if args.model == "vit_s16" and (args.width or 384) % args.heads:
        parser.error(
            f"--width: expected a multiple of --heads, {args.heads}; got "
            f"{args.width or 384}."
        )
    if "://" in str(args.out) or str(args.out).startswith("gs:"):
        parser.error(
            f"--out: expected a folder of a file system; got {args.out}. Mount the "
            "bucket, or use etils.epath in your copy of this program."
        )
    others = (args.coordinator, args.processes, args.process)
    if len({x is None for x in others}) > 1 or (others[0] and not args.distributed):
        parser.error(
            "--coordinator, --processes and --process: expected all three, with "
            f"--distributed; got {others}."
        )
    command_line.check_writable(
        parser, *(args.out / name for name in ("metrics.jsonl", "metrics.png"))
    )


def check_devices(args: argparse.Namespace, count: int) -> None:
    """Exit with code 2 unless the devices divide the batch, and shards the devices."""
    if count % args.fsdp:
        args.parser.error(
            f"--fsdp: expected a divisor of the number of devices, {count}; got "
            f"{args.fsdp}."
        )
    if args.batch_size % count:
        args.parser.error(
            f"--batch-size: expected a multiple of the number of devices, {count}; got "
            f"{args.batch_size}."
        )


def check_steps(args: argparse.Namespace, steps: int) -> None:
    """Exit with code 2 unless the warmup ends before the run."""
    if args.warmup_steps >= steps:
        args.parser.error(
            f"--warmup-steps: expected fewer than the {steps} steps of the run; got "
            f"{args.warmup_steps}."
        )
