"""What a claim consists of: arms to train, statements about them, and words."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims._engine.statistics import Independent, Sampling

FIRST_CONFIRMING = 1000  # the first seed of the confirming run
ERM = "ERM"
LONGER = "ERM, twice as long"
ERRORS = {"error": "test error, %", "train": "training error, %"}

Numbers = Mapping[str, Any]


class NotRun(Exception):
    """Raised with the reason why a claim cannot be run: its data are missing."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the command; ``seeds`` is their number, ``first`` the first one."""

    data_dir: Path | None = None
    full: bool = False
    quick: bool = False
    seeds: int | None = None
    first: int = 0

    def size(self, default: Any, *, quick: Any, full: Any) -> Any:
        """Return the value for the requested size."""
        if self.quick:
            return quick
        return full if self.full else default

    def count(self, default: int, *, full: int, quick: int = 2) -> int:
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
class Published:
    """A published number, a mean of ``runs``, with its standard error if published."""

    value: float
    runs: int = 1
    error: float | None = None


@dataclasses.dataclass(frozen=True)
class Statement:
    """A contrast: the weighted sum of one measure over arms and factors.

    It holds if the contrast is positive.
    """

    words: str
    of: str  # the measure
    contrast: Mapping[tuple[str, str], float]  # weights by arm and factor
    unit: str = "points"
    published: Published | None = None  # 0 if no difference was reported
    primary: bool = False  # the one statement that the claim is judged by
    favors: int = 1  # 1 for mixing, -1 against it, 0 if it compares other things

    def __post_init__(self) -> None:
        if self.published is not None and self.published.value < 0:
            raise ValueError(
                f"{self.words}: expected a published gain of 0 or more; got "
                f"{self.published.value}. State the claim the other way round."
            )


def less(words: str, arm: str, than: str, at: str = "", **how: Any) -> Statement:
    """Return the statement that ``arm`` has less of a measure than another arm."""
    how.setdefault("of", "error")
    return Statement(words, contrast={(than, at): 1.0, (arm, at): -1.0}, **how)


def more(words: str, arm: str, than: str, at: str = "", **how: Any) -> Statement:
    """Return the statement that ``arm`` has more of a measure than another arm."""
    return less(words, than, arm, at, **how)


@dataclasses.dataclass(frozen=True)
class Chosen:
    """An arm that is, for each seed, the one of several that is best on ``by``.

    That measure is taken on a validation part, and is minimized.
    """

    name: str
    among: Sequence[str]
    by: str = "validation"


@dataclasses.dataclass(frozen=True)
class Fit:
    """When a network is fitted, so that a comparison with ERM is a test.

    ERM's training error on the labels it was given is at most ``most``; or training it
    twice as long, the arm ``LONGER``, changes its test error by less than half the
    width of the statement's interval. In both cases it lies at least ``below`` under
    the error of the best constant prediction, the measure ``constant``.

    The ``baselines`` are the arms that have to be fitted, one at each factor; ``train``
    and ``test`` name the measures of the two errors.
    """

    train: str = "train"
    test: str = "error"
    most: float = 5.0
    below: float = 2.0
    baselines: Sequence[str] = (ERM,)


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run."""

    arm: str  # empty if the run returns the measures of each arm by name
    factor: str  # what differs between the arms' comparisons: data, size, noise
    numbers: Numbers  # those that the program is called with, the seed among them


@dataclasses.dataclass(frozen=True)
class Program:
    """Runs that share one compiled program, ``together`` at a time.

    ``run`` is a function of the numbers and ``data``, a pytree of arrays that all runs
    share. It returns the measures: scalars for the table, arrays for the picture.
    """

    name: str
    run: Callable[[Numbers, Any], Mapping[str, Any]]
    runs: Sequence[Run]
    data: Any = ()
    together: int = 1


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How the networks of a claim are trained; its words are those of the report.

    The ``arms`` are the numbers that each is called with, by name.
    """

    data: str
    networks: str
    recipe: str
    arms: Mapping[str, Numbers]
    seeds: int
    sampling: Sampling = Independent()  # noqa: RUF009
    remarks: Sequence[str] = ()

    def words(self) -> list[str]:
        """Return the protocol, one fact per line."""
        return [
            f"data: {self.data}",
            f"network: {self.networks}",
            f"training: {self.recipe}",
            f"arms: {'; '.join(self.arms)}",
            f"{self.seeds} seeds; {self.sampling}",
            *self.remarks,
        ]

    def runs(
        self,
        options: Options,
        factors: Mapping[str, Numbers],
        arms: Sequence[str] | None = None,
        *,
        seeds: int | None = None,
    ) -> list[Run]:
        """Return the runs of ``arms``, all by default, for each factor and seed."""
        # A number of seeds that the user asked for goes before that of some runs.
        limit = None if options.seeds else seeds
        return [
            Run(arm, factor, {**self.arms[arm], **numbers, "seed": options.first + k})
            for arm in (self.arms if arms is None else arms)
            for factor, numbers in factors.items()
            for k in range(self.seeds)[:limit]
        ]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim; ``fit`` is None if nothing is fitted to labels."""

    title: str  # in one line
    source: str  # the publication, and what it reports
    protocol: Protocol
    programs: Callable[[Options], Sequence[Program]]  # loads the data
    statements: Sequence[Statement]  # one is primary
    # Heading of each measure in the tables.
    measures: Mapping[str, str] = dataclasses.field(default_factory=lambda: ERRORS)
    fit: Fit | None = Fit()
    chosen: Sequence[Chosen] = ()
    # Values of measures, by arm, factor and measure.
    published: Mapping[tuple[str, str, str], Published] = dataclasses.field(
        default_factory=dict
    )
    notes: Sequence[str] = ()
    picture: Callable[..., Any] | None = None  # of the table and the arrays
    cost: Callable[[], str] | None = None  # of the published experiment, in words

    def __post_init__(self) -> None:
        primary = [each.words for each in self.statements if each.primary]
        if len(primary) != 1:
            raise ValueError(
                f"{self.title}: expected one primary statement; got {primary}."
            )


def titled(doc: str | None) -> tuple[str, str]:
    """Return the title and the source of a claim from its module's docstring."""
    title, _, source = (doc or "").strip().partition("\n")
    return title, source.strip()
