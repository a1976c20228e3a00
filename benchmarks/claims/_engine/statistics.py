"""Means and paired differences over seeds, with intervals and verdicts."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

REPRODUCED, NOT_REPRODUCED, REVERSED = "reproduced", "not reproduced", "reversed"


class Interval(NamedTuple):
    """A mean with its 95% interval, and the number of values."""

    mean: float
    low: float
    high: float
    seeds: int

    def __str__(self) -> str:
        half = self.high - self.mean
        if not 0 < half < math.inf:
            return f"{self.mean:.4g}"
        # Three digits of the interval show on which side of 0 it ends.
        places = max(0, 2 - math.floor(math.log10(half)))
        return f"{self.mean:.{places}f} ± {half:.{places}f}"

    @property
    def standard_error(self) -> float:
        """The standard error of the mean; NaN for a single value."""
        if self.seeds < 2:
            return float("nan")
        return float((self.high - self.mean) / student.ppf(0.975, self.seeds - 1))


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of ``values`` with Student's 95% interval (infinite for one)."""
    found = np.asarray(values, np.float64)
    if not found.size:
        raise ValueError("interval: expected at least one value; got none.")
    mean, half = float(found.mean()), float("inf")
    if found.size > 1:
        error = found.std(ddof=1) / np.sqrt(found.size)
        half = float(student.ppf(0.975, found.size - 1) * error)
    return Interval(mean, mean - half, mean + half, found.size)


def paired(values: Sequence[float], others: Sequence[float]) -> Interval:
    """Return the mean of ``values - others``, seed by seed, with its interval."""
    return interval(np.subtract(values, others, dtype=np.float64))  # type: ignore


def verdict(gain: Interval) -> str:
    """Return the verdict for an interval of the claimed gain."""
    if gain.low > 0:
        return REPRODUCED
    return REVERSED if gain.high < 0 else NOT_REPRODUCED
