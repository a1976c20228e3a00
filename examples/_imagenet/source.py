"""The input of a run, from the flags."""

import argparse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Input(NamedTuple):
    """The pictures of a run.

    Attributes:
      train: iterator over training batches, without an end.
      tests: returns an iterator over the test pictures, each once.
      classes: names of the classes.
      steps: number of steps of the run.
      steps_per_epoch: number of batches of an epoch.
      skipped: returns the number of pictures skipped so far, by reason.
    """

    train: Iterator[Any]
    tests: Callable[[], Iterator[Any]]
    classes: tuple[str, ...]
    steps: int
    steps_per_epoch: int
    skipped: Callable[[], dict[str, int]]


def opened(args: argparse.Namespace) -> Input:
    """Return the input that the flags describe."""
    raise NotImplementedError
