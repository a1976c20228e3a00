"""Trains the arms of a claim, and keeps its measures, verdicts and pictures."""

import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import _scripts
from benchmarks.claims._engine import analysis, pictures
from benchmarks.claims._engine.claim import Claim, Options
from benchmarks.claims._engine.runs import Runs

CONFIRMING = "confirming"  # the folder of the confirming run


def train(
    name: str,
    claim: Claim,
    options: Options,
    out: Path,
    command: str,
    advance: Callable[[float], Any],
) -> None:
    """Train a claim's arms, or resume, and write its measures.

    Args:
      name: name of the claim.
      claim: the claim.
      options: its options.
      out: folder to write to.
      command: the command that runs it again.
      advance: called with the share of the runs that was finished.
    """
    begin = time.perf_counter()
    programs = list(claim.programs(options))
    count = sum(len(program.runs) for program in programs)
    runs = Runs(out / "runs" / f"{name}.jsonl", lambda k: advance(k / count))
    trained = runs.trained(programs)
    out.mkdir(parents=True, exist_ok=True)
    table = trained.table
    table.insert(0, "claim", name)
    table.to_csv(out / f"{name}.csv", index=False, float_format="%.7g", na_rep="nan")
    (out / f"{name}.npz").unlink(missing_ok=True)
    if trained.arrays:
        halves: Any = {key: x.astype(np.float16) for key, x in trained.arrays.items()}
        np.savez_compressed(out / f"{name}.npz", **halves)
    ran = {
        "command": command,
        "date": datetime.date.today().isoformat(),
        "device": _scripts.device(),
        "seconds": round(time.perf_counter() - begin + runs.seconds_before, 1),
        "options": {
            "full": options.full,
            "quick": options.quick,
            "seeds": options.seeds,
            "first": options.first,
        },
    }
    if claim.cost is not None:
        ran["cost"] = claim.cost()
    (out / f"{name}.json").write_text(json.dumps({"ran": ran}, indent=1) + "\n")


def keep(name: str, claim: Claim, out: Path) -> dict[str, Any]:
    """Judge a claim by its measures in ``out``; write and return its record."""
    file = out / f"{name}.json"
    ran = json.loads(file.read_text())["ran"]
    table = measures(out / f"{name}.csv")
    confirming = _confirming(name, table, ran, out)
    judged = analysis.judge(claim, table, confirming)
    if not ran["options"]["quick"] and len(judged) < len(claim.statements):
        raise ValueError(f"{name}.csv: expected the arms of all statements; run again.")
    record = {
        "claim": claim.title,
        "source": claim.source,
        "ran": ran,
        "confirmed": confirming is not None,
        "protocol": claim.protocol.words(),
        "tables": {
            "measured": analysis.summary(claim, table).to_dict("records"),
        },
        "verdicts": analysis.rows(judged),
        "notes": list(claim.notes),
    }
    text = json.dumps(record, indent=1, default=_scripts.plain)
    file.write_text(text + "\n")
    pictures.gains(judged).savefig(out / f"{name}.png")
    (out / f"{name}-seen.png").unlink(missing_ok=True)
    if claim.picture is not None:
        arrays = out / f"{name}.npz"
        with np.load(arrays) as found:
            shown = {key: found[key].astype(np.float32) for key in found.files}
        claim.picture(table, shown).savefig(out / f"{name}-seen.png", dpi=110)
    return record


def measures(file: Path) -> pd.DataFrame:
    """Return the table of measures in ``file``."""
    return pd.read_csv(
        file,
        keep_default_na=False,
        na_values=["nan"],
        dtype={"arm": str, "factor": str},
    )


def _confirming(
    name: str, table: pd.DataFrame, ran: dict[str, Any], out: Path
) -> pd.DataFrame | None:
    """Return the measures of the confirming run, if there was one of these arms."""
    file = out / CONFIRMING / f"{name}.csv"
    if not file.exists():
        return None
    found = measures(file)
    options = json.loads(file.with_suffix(".json").read_text())["ran"]["options"]
    same = {**options, "first": 0} == {**ran["options"], "first": 0}
    cells, others = (set(zip(each.arm, each.factor)) for each in (table, found))
    if not same or cells != others:
        raise ValueError(f"{file}: expected the arms of {name}.csv; confirm it again.")
    return found


def show(record: dict[str, Any]) -> None:
    """Print the tables and verdicts of a claim."""
    for heading, rows in record["tables"].items():
        _scripts.show(f"{record['claim']}\n{heading}", rows)
    _scripts.show("verdicts", [analysis.shown(row) for row in record["verdicts"]])
    for line in record["notes"]:
        print(line)
