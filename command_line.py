"""Command-line utilities shared by the examples and the benchmarks.

Types for ``add_argument``, so that a bad value gives a one-line error and exit code 2;
a check before the work that its results can be written; keys from seeds of any size;
and handling of SIGINT, which stops the work but still writes the completed results.
"""

import argparse
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Self, TypeVar, cast

import jax
import numpy as np

T = TypeVar("T")

INTERRUPTED = 128 + signal.SIGINT
LARGEST_INT = 2**31 - 1  # steps and sizes are int32 in JAX
LARGEST_FLOAT = float(np.finfo(np.float32).max)
MOST_DEVICES = 256  # more virtual CPU devices take minutes to start


def whole(low: int, high: int | None = LARGEST_INT) -> Callable[[str], int]:
    """Return a type for whole numbers from ``low`` to ``high``, both inclusive."""
    wanted = f"{low} or more" if high is None else f"from {low} to {high}"

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:  # also raised for more digits than Python converts
            number = low - 1
        if number < low or (high is not None and number > high):
            raise argparse.ArgumentTypeError(
                f"expected a whole number, {wanted}; got {_shortened(text)}"
            )
        return number

    return parse


positive_int = whole(1)
devices = whole(1, MOST_DEVICES)
seed = whole(0, None)


def positive_float(text: str) -> float:
    """Parse a positive float32 number; a type for ``add_argument``."""
    return _real(text, "above 0", lambda number: number > 0)


def nonnegative_float(text: str) -> float:
    """Parse a nonnegative float32 number; a type for ``add_argument``."""
    return _real(text, "0 or more", lambda number: number >= 0)


def _real(text: str, wanted: str, fits: Callable[[float], bool]) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (fits(number) and number <= LARGEST_FLOAT):
        raise argparse.ArgumentTypeError(
            f"expected a finite number, {wanted}; got {_shortened(text)}"
        )
    return number


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}... ({len(text)} characters)"


def folder(text: str) -> Path:
    """Return the path of an existing folder; a type for ``add_argument``."""
    path = Path(text)
    if not path.is_dir():
        found = "a file" if path.exists() else "a path that does not exist"
        raise argparse.ArgumentTypeError(f"{path}: expected a folder; got {found}")
    return path


def file(text: str) -> Path:
    """Return the path of an existing file; a type for ``add_argument``."""
    path = Path(text)
    if not path.is_file():
        found = "a folder" if path.exists() else "a path that does not exist"
        raise argparse.ArgumentTypeError(f"{path}: expected a file; got {found}")
    return path


def check_writable(parser: argparse.ArgumentParser, *files: Path) -> None:
    """Exit with code 2 unless all ``files``, specified by --out, can be written."""
    for path in files:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not path.exists()
            path.open("ab").close()
            if is_new:
                path.unlink(missing_ok=True)  # another process may have been first
        except OSError as error:
            reason = error.strerror or error
            parser.error(
                f"--out: could not write {path} ({reason}). Choose a location that "
                "can be written."
            )


def key(seed: int) -> jax.Array:
    """Return a PRNG key for a nonnegative seed of any size.

    Seeds that differ give different keys: ``jax.random.key`` uses only the lowest 32
    bits, and the others are folded in.
    """
    found = jax.random.key(np.uint32(seed % 2**32))
    while seed := seed >> 32:
        found = jax.random.fold_in(found, np.uint32(seed % 2**32))
    return found


class Interruption:
    """Context in which SIGINT stops the work but not the writing of results.

    ::

        with Interruption() as interruption:
            for row in interruption.until(work()):  # SIGINT stops this loop,
                rows.append(row)
            write(rows)                             # but not this.

    After SIGINT, leaving the context prints a line to stderr and raises SystemExit with
    code 130.

    Attributes:
      came: True once SIGINT has been received.
    """

    came = False
    _may_raise = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def until(self, pieces: Iterable[T]) -> Iterator[T]:
        """Yield ``pieces`` until SIGINT, which may also interrupt one in progress."""
        making, end = iter(pieces), object()
        # Check the flag as well: an exception raised within a callback of the garbage
        # collector is lost.
        while not self.came:
            try:
                self._may_raise = True
                piece = next(making, end)
                self._may_raise = False
            except KeyboardInterrupt:
                return
            if piece is end:
                return
            yield cast(T, piece)

    def _handle(self, *_: object) -> None:
        self.came = True
        if self._may_raise:
            self._may_raise = False
            raise KeyboardInterrupt

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)
        if self.came and kind is None:
            print("interrupted; completed results are kept", file=sys.stderr)
            raise SystemExit(INTERRUPTED)


def start(main: Callable[[], object]) -> None:
    """Run ``main``; on SIGINT print a line to stderr and exit with code 130."""
    try:
        main()
        return
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    except SystemExit as exit_:
        if exit_.code != INTERRUPTED:
            raise
    sys.stdout.flush()
    sys.stderr.flush()
    # A regular exit could crash while XLA still runs in the background.
    os._exit(INTERRUPTED)
