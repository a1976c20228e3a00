"""Intervals over seeds, and the verdicts that they allow."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95
HOLDS, SMALLER, NO_EFFECT, CANNOT_TELL, OPPOSITE, NOT_A_TEST = VERDICTS = (
    "holds",
    "holds, but smaller",
    "no effect",
    "cannot tell",
    "opposite",
    "not a test",
)
TIE = 1.0  # points within which two methods do not differ


class Interval(NamedTuple):
    """A mean with its interval."""

    mean: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half the width."""
        return self.high - self.mean

    def __str__(self) -> str:
        if not 0 < self.half < math.inf:
            return f"{self.mean:.4g}"
        # Three digits of the interval show on which side of 0 it ends.
        places = max(0, 2 - math.floor(math.log10(self.half)))
        if not math.isclose(self.half, self.mean - self.low, rel_tol=1e-6):
            low, high = (f"{end:.{places}f}" for end in self[1:])
            return f"{self.mean:.{places}f} [{low}, {high}]"
        return f"{self.mean:.{places}f} ± {self.half:.{places}f}"


class Estimate(NamedTuple):
    """A mean, its standard error, and the degrees of freedom of the latter.

    Attributes:
      mean: the mean over seeds.
      error: its standard error; infinite for a single value.
      freedom: degrees of freedom.
      spread: the standard deviation of a single value.
    """

    mean: float
    error: float
    freedom: float
    spread: float

    def interval(self, level: float = LEVEL) -> Interval:
        """Return Student's interval at this level."""
        if not math.isfinite(self.error):
            return Interval(self.mean, -math.inf, math.inf)
        half = self.error * float(stats.t.ppf((1 + level) / 2, self.freedom))
        return Interval(self.mean, self.mean - half, self.mean + half)

    @property
    def p(self) -> float:
        """The p-value of a mean of 0, two-sided."""
        if not math.isfinite(self.error):
            return 1.0
        if self.error == 0:
            return float(self.mean == 0)
        return float(2 * stats.t.sf(abs(self.mean) / self.error, self.freedom))


class Sampling(Protocol):
    """What the seeds of a claim sample."""

    def estimate(self, values: pd.Series) -> Estimate:
        """Return the estimate of the mean of ``values``, indexed by seed."""
        ...


def _estimate(values: Any, overlap: float = 0.0) -> Estimate:
    """Return the estimate from values whose variance is shared to this extent."""
    found = np.asarray(values, np.float64)
    if not found.size:
        raise ValueError("estimate: expected at least one value; got none.")
    if found.size == 1:
        return Estimate(float(found[0]), math.inf, 1, math.inf)
    spread = float(found.std(ddof=1))
    error = spread * math.sqrt(1 / found.size + overlap)
    return Estimate(float(found.mean()), error, found.size - 1, spread)


@dataclasses.dataclass(frozen=True)
class Independent:
    """Each seed draws its own data, initial parameters and batches."""

    words: str = "each draws its own data, initial parameters and batches"

    def __str__(self) -> str:
        return f"{self.words}; Student's t"

    def estimate(self, values: pd.Series) -> Estimate:
        return _estimate(values)


SAME_DATA = Independent("each draws initial parameters and batches")


@dataclasses.dataclass(frozen=True)
class Splits:
    """Each seed splits one data set; splits overlap, so their errors are correlated.

    The corrected resampled t of Nadeau and Bengio, "Inference for the Generalization
    Error", Machine Learning 52, 2003.

    Attributes:
      test_to_train: size of the test set over that of the training set.
    """

    test_to_train: float

    def __str__(self) -> str:
        return (
            "each draws a split of one data set, initial parameters and batches; "
            "corrected resampled t (Nadeau and Bengio 2003), test / training "
            f"{self.test_to_train:.2f}"
        )

    def estimate(self, values: pd.Series) -> Estimate:
        return _estimate(values, self.test_to_train)


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Seed ``k`` belongs to block ``k % count``, whose mean is one value.

    Attributes:
      count: the number of blocks.
      of: what a block is.
    """

    count: int
    of: str

    def __str__(self) -> str:
        return f"{self.count} {self.of}, each a block; Student's t over blocks"

    def estimate(self, values: pd.Series) -> Estimate:
        means = values.groupby(values.index.to_numpy() % self.count).mean()
        return _estimate(means)


def holm(estimates: Sequence[Estimate]) -> list[float]:
    """Return the levels of the intervals that Holm's procedure allows together.

    An interval at its level excludes 0 exactly if Holm rejects its hypothesis.
    """
    if not estimates:
        return []
    ps = np.array([each.p for each in estimates])
    order, left = np.argsort(ps), np.arange(len(ps), 0, -1)
    adjusted = np.maximum.accumulate(ps[order] * left)
    shares = np.empty(len(ps))
    # Where p underflows, the share is that of the smallest of all.
    shares[order] = np.where(
        adjusted > 0, ps[order] / np.where(adjusted > 0, adjusted, 1), 1 / len(ps)
    )
    return [float(1 - (1 - LEVEL) * share) for share in shares]


def verdict(
    gain: Interval, published: float | None, published_error: float = 0.0
) -> str:
    """Return the verdict that the interval of a gain allows.

    Args:
      gain: the interval; positive if the statement holds.
      published: the published gain; 0 if no difference was reported.
      published_error: the error of the latter.
    """
    if published == 0:
        margin = max(TIE, published_error)
        if -margin <= gain.low and gain.high <= margin:
            return HOLDS
        return CANNOT_TELL if gain.low <= 0 <= gain.high else OPPOSITE
    if gain.high < 0:
        return OPPOSITE
    if gain.low > 0:
        return SMALLER if published is not None and gain.high < published else HOLDS
    if published is not None and gain.high < published:
        return NO_EFFECT
    return CANNOT_TELL
