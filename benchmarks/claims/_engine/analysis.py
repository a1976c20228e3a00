"""From the table of a claim's measures to its intervals and verdicts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.claims._engine import statistics
from benchmarks.claims._engine.claim import (
    LONGER,
    Claim,
    Published,
    Statement,
)
from benchmarks.claims._engine.statistics import (
    CANNOT_TELL,
    HOLDS,
    NO_EFFECT,
    NOT_A_TEST,
    Estimate,
    Interval,
)


class Judged(NamedTuple):
    """A statement, the estimate of its contrast, and its verdict."""

    statement: Statement
    gain: Estimate
    interval: Interval  # 95% if the statement is primary, otherwise Holm's
    verdict: str
    why: str = ""  # there is no verdict, or what the confirming run found
    again: tuple[str, str] | None = None  # verdicts of the first and confirming run


def with_chosen(claim: Claim, table: pd.DataFrame) -> pd.DataFrame:
    """Return ``table`` with rows for the arms that a validation part chooses."""
    parts = [table]
    for chosen in claim.chosen:
        some = table[table.arm.isin(chosen.among)]
        if some.empty:
            continue
        best = some.groupby(["factor", "seed"])[chosen.by].idxmin()
        parts.append(some.loc[best].assign(arm=chosen.name))
    return pd.concat(parts, ignore_index=True)


def values(table: pd.DataFrame, of: str, arm: str, factor: str) -> pd.Series:
    """Return one measure of an arm, indexed by seed."""
    found: Any = table[(table.arm == arm) & (table.factor == factor)]
    if found.empty:
        raise ValueError(
            f"expected rows of the arm {arm!r} and the factor {factor!r}; got none."
        )
    return found.set_index("seed")[of].sort_index()


def judge(
    claim: Claim, table: pd.DataFrame, confirming: pd.DataFrame | None = None
) -> list[Judged]:
    """Return the verdict on each statement that the table has the arms for.

    Args:
      claim: the claim.
      table: its measures.
      confirming: those of other seeds. A verdict that they do not give as well becomes
        "cannot tell".
    """
    first = _judged(claim, table)
    if confirming is None:
        return first
    again = {each.statement.words: each for each in _judged(claim, confirming)}
    judged = []
    for each in first:
        other = again[each.statement.words]
        each = each._replace(again=(each.verdict, other.verdict))
        if other.verdict == each.verdict:
            judged.append(each)
            continue
        said = f"{each.verdict}; with other seeds: {other.verdict}, {other.interval}"
        unfit = each.why or other.why
        verdict = NOT_A_TEST if unfit else CANNOT_TELL
        why = said + (f"; {unfit}" if unfit else "")
        judged.append(each._replace(verdict=verdict, why=why))
    return judged


def _judged(claim: Claim, table: pd.DataFrame) -> list[Judged]:
    table = with_chosen(claim, table)
    there = set(zip(table.arm, table.factor))
    said = [each for each in claim.statements if set(each.contrast) <= there]
    gains = [estimate(claim, table, each) for each in said]
    secondary = [k for k, each in enumerate(said) if not each.primary]
    levels = dict(zip(secondary, statistics.holm([gains[k] for k in secondary])))
    judged = []
    for k, (statement, gain) in enumerate(zip(said, gains)):
        interval = gain.interval(levels.get(k, statistics.LEVEL))
        why = unfitted(claim, table, statement, interval)
        published, error = None, 0.0
        if statement.published:
            published = statement.published.value
            error = statement.published.error or 0.0
        verdict = NOT_A_TEST
        if not why:
            verdict = statistics.verdict(interval, published, error)
        judged.append(Judged(statement, gain, interval, verdict, why))
    return judged


def estimate(claim: Claim, table: pd.DataFrame, statement: Statement) -> Estimate:
    """Return the estimate of a statement's contrast."""
    total: Any = sum(
        weight * values(table, statement.of, arm, factor)
        for (arm, factor), weight in statement.contrast.items()
    )
    if total.isna().any():
        raise ValueError(
            f"{statement.words}: expected the same seeds in all arms and finite "
            f"measures; got {statement.of} = NaN for seeds "
            f"{total[total.isna()].index.tolist()}."
        )
    return claim.protocol.sampling.estimate(total)


def unfitted(
    claim: Claim, table: pd.DataFrame, statement: Statement, interval: Interval
) -> str:
    """Return why the statement is not tested by these networks, or nothing."""
    fit = claim.fit
    if fit is None:
        return ""
    for factor in dict.fromkeys(factor for _, factor in statement.contrast):
        where = f" ({factor})" if factor else ""
        base: Any = table[table.arm.isin(fit.baselines) & (table.factor == factor)]
        if base.empty:
            return f"none of {', '.join(fit.baselines)} was trained{where}"
        train, constant = base[fit.train].mean(), base["constant"].mean()
        name = f"{base.arm.iloc[0]}'s training error of {train:.3g}%{where}"
        if train >= constant - fit.below:
            return (
                f"{name} is not more than {fit.below:g} points below that of a "
                f"constant prediction, {constant:.3g}%"
            )
        if train <= fit.most:
            continue
        longer: Any = table[(table.arm == LONGER) & (table.factor == factor)]
        if longer.empty:
            return f"{name} is above {fit.most:g}%"
        change = abs(longer[fit.test].mean() - base[fit.test].mean())
        if change >= interval.half:
            return (
                f"{name} is above {fit.most:g}%, and training twice as long changes "
                f"its test error by {change:.3g}"
            )
    return ""


def summary(claim: Claim, table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of each measure with its interval, by factor and arm."""
    table = with_chosen(claim, table)
    rows = []
    parts: Any = table.groupby(["factor", "arm"], sort=False)
    for (factor, arm), part in parts:
        row: dict[str, Any] = {"factor": factor, "arm": arm}
        for measure, heading in claim.measures.items():
            if measure not in part or part[measure].isna().all():
                continue
            found = claim.protocol.sampling.estimate(part.set_index("seed")[measure])
            row[heading] = str(found.interval())
            published = claim.published.get((str(arm), str(factor), measure))
            if published:
                row[f"published {heading}"] = f"{published.value:g}"
                row[f"z, {heading}"] = f"{z(found, published):+.1f}"
        rows.append(row)
    order = {arm: k for k, arm in enumerate(dict.fromkeys(table.arm))}
    factors = {factor: k for k, factor in enumerate(dict.fromkeys(table.factor))}
    rows.sort(key=lambda row: (factors[row["factor"]], order[row["arm"]]))
    found = pd.DataFrame(rows)
    if set(found.factor) == {""}:
        found = found.drop(columns="factor")
    return found.fillna("")


def z(ours: Estimate, published: Published) -> float:
    """Return the distance of two means in standard errors of their difference.

    If no error was published, a published run is assumed to spread as ours do.
    """
    theirs = published.error
    if theirs is None:
        theirs = ours.spread / math.sqrt(published.runs)
    return (ours.mean - published.value) / float(np.hypot(ours.error, theirs))


def rows(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return the verdicts as rows of a table."""
    return [
        {
            "statement": each.statement.words,
            "primary": each.statement.primary,
            "gain": [float(x) for x in each.interval],
            "published": each.statement.published and each.statement.published.value,
            "unit": each.statement.unit,
            "verdict": each.verdict,
            "side": side(each),
            "why": each.why,
            "again": each.again and list(each.again),
        }
        for each in judged
    ]


def side(judged: Judged) -> str:
    """Return "helps", "nothing" or "hurts", if the verdict says this of mixing."""
    statement, verdict = judged.statement, judged.verdict
    tie = statement.published is not None and statement.published.value == 0
    is_positive = judged.interval.mean > 0
    if statement.favors == 0 or verdict in (CANNOT_TELL, NOT_A_TEST):
        return ""
    if verdict == NO_EFFECT or (tie and verdict == HOLDS):
        return "nothing"
    return "helps" if is_positive == (statement.favors > 0) else "hurts"


def shown(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a row of verdicts as it is printed."""
    published = row["published"]
    return {
        "statement": ("**primary**: " if row["primary"] else "") + row["statement"],
        "gain": f"{Interval(*row['gain'])} {row['unit']}",
        "published": "" if published is None else f"{published:.3g}",
        "verdict": row["verdict"] + (f" ({row['why']})" if row["why"] else ""),
    }
