"""The input of a run, from its flags."""

import argparse
import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import grain
import jax
import numpy as np

from examples._imagenet import faults, index, labels, pipeline, tars, toy
from examples._imagenet.faults import OnFault
from examples._imagenet.options import imported
from examples._imagenet.pictures import Pictures, unchanged

TRAIN = ("ILSVRC2012_img_train.tar", "train")  # the tar, or a folder of class tars
TEST = ("ILSVRC2012_img_val.tar", "val")
LABELS = ("ILSVRC2012_devkit_t12.tar.gz", "LOC_val_solution.csv")


class Input(NamedTuple):
    """The pictures of a run.

    Attributes:
      train: iterator over the training batches of this process, for the whole run.
      tests: returns an iterator over the test pictures, each once.
      classes: names of the classes.
      steps: number of steps of the run.
      identity: a hash of the training pictures' classes and labels.
      skipped: returns the number of things skipped so far, by kind of fault.
    """

    train: grain.DatasetIterator
    tests: Callable[[], Iterator[Any]]
    classes: tuple[str, ...]
    steps: int
    identity: str
    skipped: Callable[[], dict[str, int]]


def opened(args: argparse.Namespace) -> Input:
    """Return the input that the flags describe.

    Raises:
      OSError: If a file is missing.
      ValueError: If something is damaged, unless the flags say to skip it.
    """
    # A file for each process, since hosts can't append to the same one.
    count = jax.process_count()
    skipped = [args.out / f"skipped-{process}.jsonl" for process in range(count)]
    mine = skipped[jax.process_index()]
    if not (args.out / "checkpoints").exists():
        mine.unlink(missing_ok=True)  # of an earlier run
    on_fault: OnFault = faults.refuse
    if args.skip_faults:
        on_fault = faults.skip(mine)
    train, test, classes, numbers = _SOURCES[args.data](args, on_fault)
    if not len(test):
        raise ValueError("test set: expected pictures with labels; got none.")
    size = args.batch_size // jax.process_count()
    given: dict[str, Any] = {
        "size": args.image_size,
        "batch_size": size,
        "workers": args.workers,
        "threads": args.threads,
        "on_fault": on_fault,
    }
    augment = imported(args.augment) if args.augment else unchanged
    of_run = {"epochs": args.epochs, "seed": args.seed, "augment": augment}
    return Input(
        pipeline.batches(train, **given, **of_run),
        partial(pipeline.evaluation_batches, test, **given),
        classes,
        pipeline.steps(train, batch_size=size, epochs=args.epochs),
        hashlib.sha256(repr(classes).encode() + numbers.tobytes()).hexdigest()[:16],
        partial(faults.counted, *skipped),
    )


def _imagenet(args: argparse.Namespace, on_fault: OnFault) -> tuple[Any, ...]:
    files = [_first(args.data_dir, names) for names in (TRAIN, TEST, LABELS)]
    caches = [args.out / f"index-{part}.npz" for part in ("train", "test")]
    found = [tars.members([f], cache=c) for f, c in zip(files, caches)]
    truth = labels.read(files[2])
    train, wrong = index.training(found[0])
    known = sorted(set(truth.values()))
    wrong += index.check_classes(train, args.classes, known=known)
    test, unlabeled = index.validation(found[1], truth, train.classes)
    faults.report([*wrong, *unlabeled], on_fault)
    some = [_some(each, args.limit) for each in (train, test)]
    trained, tested = (Pictures(each) for each in some)
    return trained, tested, train.classes, some[0].label


def _first(folder: Path, names: tuple[str, ...]) -> Path:
    """Return the first of some files that is in a folder."""
    found = [folder / name for name in names if (folder / name).exists()]
    if not found:
        raise FileNotFoundError(
            f"--data-dir: {folder}: expected {' or '.join(names)}; got neither. "
            "Download them from https://image-net.org, and do not unpack them."
        )
    return found[0]


def _some(whole: index.Index, limit: int | None) -> index.Index:
    """Return pictures of all classes, as the tars hold them class by class."""
    if limit is None:
        return whole
    order = np.random.default_rng(0).permutation(len(whole.label))
    return whole.rows(np.sort(order[:limit]))


def _cifar10(args: argparse.Namespace, on_fault: OnFault) -> tuple[Any, ...]:
    del on_fault  # damaged files are always refused
    return _toy(toy.cifar10(args.data_dir), args)


def _made(args: argparse.Namespace, on_fault: OnFault) -> tuple[Any, ...]:
    del on_fault
    return _toy(toy.stripes(), args)


def _toy(data: toy.Toy, args: argparse.Namespace) -> tuple[Any, ...]:
    parts = [
        toy.Arrays(each.images[: args.limit], each.labels[: args.limit], each.where)
        for each in (data.train, data.test)
    ]
    return *parts, data.classes, parts[0].labels


_SOURCES: dict[str, Callable[..., Any]] = {
    "imagenet": _imagenet,
    "cifar10": _cifar10,
    "made": _made,
}
