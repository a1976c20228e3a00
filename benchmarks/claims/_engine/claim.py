"""The arguments and the results of a claim's script."""

import dataclasses
from pathlib import Path
from typing import Any

from benchmarks.claims._engine.runs import Runs
from benchmarks.claims._engine.statistics import Interval, verdict


class NotRun(Exception):
    """Raised with the reason why a claim cannot be run: its data are missing."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a claim's script.

    Attributes:
      runs: trains networks and stores their results.
      data_dir: folder of the data, or None.
      full: use the sizes of the paper, for a GPU.
      quick: use sizes that only check that the script runs.
      seeds: number of seeds; None is the claim's default.
      table: a user's file, for the claim about tables.
      label: label column of ``table``.
    """

    runs: Runs
    data_dir: Path | None = None
    full: bool = False
    quick: bool = False
    seeds: int | None = None
    table: Path | None = None
    label: str | int = -1

    def size(self, default: Any, *, quick: Any, full: Any) -> Any:
        """Return the value for the requested size."""
        if self.quick:
            return quick
        return full if self.full else default

    def seed_count(self, default: int, *, full: int, quick: int = 2) -> int:
        """Return the number of seeds to run."""
        if self.seeds is not None:
            return self.seeds
        return self.size(default, quick=quick, full=full)

    def folder(self, name: str) -> Path:
        """Return the folder ``name`` in the data folder, or the latter if so named.

        Raises:
          NotRun: If there is no such folder.
        """
        for found in (self.data_dir and self.data_dir / name, self.data_dir):
            if (
                found
                and found.is_dir()
                and (found.name == name or found.parent.name == name)
            ):
                return found
        raise NotRun(
            f"its data are missing: pass --data-dir DIR with the folder {name!r} in it "
            "(benchmarks/README.md lists its files)."
        )


@dataclasses.dataclass(frozen=True)
class Part:
    """One statement of a claim, and the measured gain.

    Attributes:
      statement: the claimed statement.
      gain: the gain, paired over seeds; positive if the statement holds.
      unit: unit of the gain.
    """

    statement: str
    gain: Interval
    unit: str = "points"

    @property
    def verdict(self) -> str:
        return verdict(self.gain)


@dataclasses.dataclass(frozen=True)
class Found:
    """The results of a claim's script.

    Attributes:
      protocol: the experimental setup, one fact per entry.
      tables: rows by title; a row is a dict from column to value.
      parts: the statements with their verdicts.
      figure: a Matplotlib figure.
      notes: further remarks.
    """

    protocol: list[str]
    tables: dict[str, list[dict[str, Any]]]
    parts: list[Part]
    figure: Any
    notes: list[str] = dataclasses.field(default_factory=list)
