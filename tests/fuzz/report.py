"""The tally of many tries, and the page that reports it."""

import collections
import dataclasses
import platform
import traceback

import jax
import numpy as np

from tests.fuzz.cases import Case
from tests.fuzz.law import parts
from tests.fuzz.outcome import tried
from tests.fuzz.supported import supported


@dataclasses.dataclass
class Count:
    """How many cases satisfied the law, and how many were refused."""

    held: int = 0
    refused: int = 0

    @property
    def all(self) -> int:
        return self.held + self.refused

    def __str__(self) -> str:
        return f"{self.held} + {self.refused}" if self.refused else str(self.held)


def _counts() -> dict[str, Count]:
    return collections.defaultdict(Count)


@dataclasses.dataclass
class Tally:
    """The outcome of the cases so far."""

    cells: dict[tuple[str, str], Count] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(Count)
    )
    dtypes: dict[str, Count] = dataclasses.field(default_factory=_counts)
    arounds: dict[str, Count] = dataclasses.field(default_factory=_counts)
    reasons: dict[str, Count] = dataclasses.field(default_factory=_counts)
    supported: int = 0
    defects: list[tuple[Case, str]] = dataclasses.field(default_factory=list)

    @property
    def total(self) -> Count:
        every = self.cells.values()
        return Count(sum(c.held for c in every), sum(c.refused for c in every))

    def add(self, case: Case) -> None:
        """Try a case, and count its outcome."""
        in_table = supported(case)
        self.supported += in_table
        try:
            refused = tried(case)
            if refused and in_table:
                raise AssertionError(f"supported, but refused: {refused}")
        except Exception as error:
            *_, last = traceback.extract_tb(error.__traceback__)
            text = f"{type(error).__name__} at {last.name}: {error}"
            self.defects.append((case, " ".join(text.split())[:300]))
            return
        if refused:
            self.reasons[refused].refused += 1
        found = [
            leaf for half in (case.inputs, case.targets) for _, leaf in parts(half)
        ]
        for count in (
            self.cells[case.row, case.driver],
            self.arounds[case.around],
            *(self.dtypes[dtype] for dtype in {leaf.dtype for leaf in found}),
        ):
            count.held += not refused
            count.refused += bool(refused)


def page(tally: Tally, command: str) -> str:
    """Return the report, in Markdown."""
    total = tally.total
    rows = sorted({row for row, _ in tally.cells})
    drivers = sorted({driver for _, driver in tally.cells})
    lines = [
        "# Fuzzing results",
        "",
        "The fuzzer runs random mixers on random batches under random drivers, and "
        "checks that the result obeys the formula of its method or that the library "
        "raises its own error. This page reports the last long run.",
        "",
        f"`{command}`, JAX {jax.__version__}, NumPy {np.__version__}, Python "
        f"{platform.python_version()}, on eight CPU devices.",
        "",
        f"Of {total.all + len(tally.defects):,} cases, "
        f"{total.held:,} satisfied the law of their method, {total.refused:,} were "
        f"refused with an error of the library, and {len(tally.defects):,} did "
        f"neither. {tally.supported:,} are listed as supported in "
        "`tests/fuzz/supported.py`, and none of those may be refused.",
        "",
        "In cells with two numbers, the second counts refusals.",
        "",
        "## Method and driver",
        "",
        _line(["", *drivers]),
        _line(["---"] * (1 + len(drivers))),
        *(
            _line([r, *(str(tally.cells.get((r, d), "")) for d in drivers)])
            for r in rows
        ),
        "",
        *_table("By dtype of the leaves", tally.dtypes),
        *_table("By wrapper around the mixer", tally.arounds),
        *_table("Refusals, by unmet expectation", tally.reasons),
    ]
    if tally.defects:
        lines += ["## Neither", ""]
        lines += [f"- {what}\n\n      {case}\n" for case, what in tally.defects]
    return "\n".join(lines).rstrip("\n") + "\n"


def _table(name: str, counts: dict[str, Count]) -> list[str]:
    rows = sorted(counts.items(), key=lambda each: (-each[1].all, each[0]))
    head = [f"## {name}", "", _line(["", "cases"]), _line(["---"] * 2)]
    return [*head, *(_line([name, str(count)]) for name, count in rows), ""]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
