"""Faults of the input, and the policies for them: ``refuse`` or ``skip``.

A policy is a function ``(fault) -> None``. If it returns, what is at fault is left out.
Worker processes call it too, so it must be picklable.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias


class Fault(NamedTuple):
    """Something wrong with a tar, a class or a picture.

    Attributes:
      where: the tar, and the member in it.
      what: the kind of fault; ``counted`` counts by it.
      detail: what was found, if there is more to say.
    """

    where: str
    what: str
    detail: str = ""

    def __str__(self) -> str:
        detail = f" ({' '.join(self.detail.split())})" if self.detail else ""
        return f"{self.where}: {self.what}{detail}"


OnFault: TypeAlias = Callable[[Fault], None]


class Refused(ValueError):
    """Raised by ``refuse``. The message is one line, to be shown as it is."""


def refuse(fault: Fault, *, flag: str = "--skip-faults") -> None:
    """Raise ``Refused``, naming the fault and the flag that skips it."""
    raise Refused(
        f"{fault}. Replace the file with the original, or pass {flag} to leave out "
        "everything like it and count it."
    )


def refusal(error: BaseException) -> str | None:
    """Return the message of ``Refused``, or None if the error is another.

    Grain before 0.2.16 wraps errors of worker processes, with their tracebacks as text.
    """
    if isinstance(error, Refused):
        return str(error)
    _, is_within, rest = str(error).rpartition(f"{Refused.__name__}: ")
    return rest.splitlines()[0] if is_within else None


def skip(file: str | os.PathLike[str]) -> OnFault:
    """Return a policy that appends each fault to ``file``, as a line of JSON."""
    return partial(_append, os.fspath(file))


def _append(file: str, fault: Fault) -> None:
    line = json.dumps(fault._asdict()) + "\n"
    # Appending one short line by one call is atomic, so processes need no lock.
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def counted(*files: str | os.PathLike[str]) -> dict[str, int]:
    """Return how many things were skipped, by kind of fault.

    A picture is skipped again in every epoch, but counts once.
    """
    paths = [path for path in map(Path, files) if path.exists()]
    lines = [line for path in paths for line in path.read_text().splitlines(True)]
    whole = [line for line in lines if line.endswith("\n")]  # the last may be written
    distinct = {(fault["what"], fault["where"]) for fault in map(json.loads, whole)}
    return dict(Counter(what for what, _ in sorted(distinct)))


def report(faults: Iterable[Fault], on_fault: OnFault) -> None:
    """Apply a policy to each of the faults."""
    for fault in faults:
        on_fault(fault)
