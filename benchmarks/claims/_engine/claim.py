"""What a claim's script is given, and what it hands back to the runner."""

import dataclasses
from pathlib import Path
from typing import Any

from benchmarks.claims._engine.runs import Runs
from benchmarks.claims._engine.statistics import Interval, verdict


class NotRun(Exception):
    """Says why a claim could not be looked at: its data are not there."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How a claim is to be run.

    Attributes:
      runs: trains and remembers.
      data_dir: the folder of the data, or None.
      full: the sizes of the paper, for a GPU.
      quick: sizes that only show that it runs.
      seeds: how many, or None for as many as the claim's default.
      table: a file of one's own, for the claim about tables.
      label: its label column.
    """

    runs: Runs
    data_dir: Path | None = None
    full: bool = False
    quick: bool = False
    seeds: int | None = None
    table: Path | None = None
    label: str | int = -1

    def size(self, default: Any, *, quick: Any, full: Any) -> Any:
        """Return the value for the size that was asked for."""
        if self.quick:
            return quick
        return full if self.full else default

    def seed_count(self, default: int, *, full: int, quick: int = 2) -> int:
        """Return how many seeds to run."""
        if self.seeds is not None:
            return self.seeds
        return self.size(default, quick=quick, full=full)

    def folder(self, name: str) -> Path:
        """Return the folder ``name`` of the data, or the folder itself if that is it.

        Raises NotRun where there is none.
        """
        for found in (self.data_dir and self.data_dir / name, self.data_dir):
            if (
                found
                and found.is_dir()
                and (found.name == name or found.parent.name == name)
            ):
                return found
        raise NotRun(
            f"its data are not there: give --data-dir DIR with the folder {name!r} in "
            "it (benchmarks/README.md says what belongs there)."
        )


@dataclasses.dataclass(frozen=True)
class Part:
    """One statement of a claim, and what was found.

    Attributes:
      statement: what is claimed, in a sentence.
      gain: by how much it holds, positive if it does; paired over seeds.
      unit: of the gain.
    """

    statement: str
    gain: Interval
    unit: str = "points"

    @property
    def verdict(self) -> str:
        return verdict(self.gain)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a claim's script hands back.

    Attributes:
      protocol: how it was done, one fact a line.
      tables: title to rows; a row is a dict from column to value.
      parts: the statements with their verdicts.
      figure: a Matplotlib figure.
      notes: what else is to be known, one sentence each.
    """

    protocol: list[str]
    tables: dict[str, list[dict[str, Any]]]
    parts: list[Part]
    figure: Any
    notes: list[str] = dataclasses.field(default_factory=list)
