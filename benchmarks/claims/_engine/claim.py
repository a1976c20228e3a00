"""What a claim consists of: arms to train, statements about them, and words."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims._engine.statistics import Independent, Sampling

FIRST_CONFIRMING = 1000  # the first seed of the confirming run
ERM = "ERM"
LONGER = "ERM, twice as long"

Numbers = Mapping[str, Any]


class NotRun(Exception):
    """Raised with the reason why a claim cannot be run: its data are missing."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
      data_dir: folder of the data, or None.
      full: use the sizes of the paper, for a GPU.
      quick: use sizes that only check that the script runs.
      seeds: number of seeds; None is the claim's default.
      first: the first seed.
    """

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
    """A published number.

    Attributes:
      value: the number.
      runs: the number of runs that it is the mean of.
      error: its standard error, if it was published.
    """

    value: float
    runs: int = 1
    error: float | None = None


@dataclasses.dataclass(frozen=True)
class Statement:
    """A contrast: the weighted sum of one measure over arms and factors.

    Attributes:
      words: the statement; it holds if the contrast is positive.
      of: the measure.
      contrast: weight of each pair of an arm and a factor.
      unit: unit of the measure.
      published: the published value of the contrast; 0 if no difference was reported.
      primary: whether this is the one statement that the claim is judged by.
      favors: 1 if the statement speaks for mixing, -1 if it speaks against it, 0 if it
        compares other things.
    """

    words: str
    of: str
    contrast: Mapping[tuple[str, str], float]
    unit: str = "points"
    published: Published | None = None
    primary: bool = False
    favors: int = 1

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
    """An arm that is, for each seed, the one of several that validates best.

    Attributes:
      name: name of the arm.
      among: the arms to choose from.
      by: the measure to minimize, taken on a validation part.
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

    Attributes:
      train: the measure of the training error.
      test: the measure of the test error.
      most: the largest training error of a fitted network.
      below: the least distance from the error of a constant prediction.
      baselines: the arms that have to be fitted, one at each factor.
    """

    train: str = "train"
    test: str = "error"
    most: float = 5.0
    below: float = 2.0
    baselines: Sequence[str] = (ERM,)


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
      arm: name of the arm; empty if the run returns the measures of each arm by name.
      factor: what differs between the arms' comparisons: data, size, noise.
      numbers: the numbers that the program is called with, the seed among them.
    """

    arm: str
    factor: str
    numbers: Numbers


@dataclasses.dataclass(frozen=True)
class Program:
    """Runs that share one compiled program.

    Attributes:
      name: words for the progress bar.
      run: a function of the numbers and ``data`` that returns the measures: scalars
        for the table, arrays for the picture.
      runs: the runs.
      data: a pytree of arrays that all runs share.
      together: the number of runs in one program.
    """

    name: str
    run: Callable[[Numbers, Any], Mapping[str, Any]]
    runs: Sequence[Run]
    data: Any = ()
    together: int = 1


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How the networks of a claim are trained; its words are those of the report.

    Attributes:
      data: what they are trained and tested on.
      networks: the networks, in words.
      recipe: the optimizer, epochs and batches, in words.
      arms: the numbers of each arm.
      seeds: the number of seeds.
      sampling: what seeds are, for the intervals.
      remarks: further facts.
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
    """A claim.

    Attributes:
      title: the claim, in one line.
      source: the publication, and what it reports.
      protocol: how networks are trained.
      programs: a function of the options that loads the data and returns the programs.
      statements: what is claimed; one is primary.
      measures: heading of each measure in the tables.
      fit: when networks are fitted; None if nothing is fitted to labels.
      chosen: arms that are chosen by a validation part.
      published: published values of measures, by arm, factor and measure.
      notes: further remarks.
      picture: a function of the table and the arrays that returns a further figure.
      cost: a function that returns what the published experiment costs.
    """

    title: str
    source: str
    protocol: Protocol
    programs: Callable[[Options], Sequence[Program]]
    statements: Sequence[Statement]
    measures: Mapping[str, str]
    fit: Fit | None = Fit()
    chosen: Sequence[Chosen] = ()
    published: Mapping[tuple[str, str, str], Published] = dataclasses.field(
        default_factory=dict
    )
    notes: Sequence[str] = ()
    picture: Callable[..., Any] | None = None
    cost: Callable[[], str] | None = None

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
