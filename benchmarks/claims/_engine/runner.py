"""Trains the arms of a claim, and keeps its measures, verdicts and pictures."""

import datetime
import json
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
    programs = list(claim.programs(options))
    count = sum(len(program.runs) for program in programs)
    runs = Runs(out / "runs" / f"{name}.jsonl", lambda k: advance(k / count))
    trained = runs.trained(programs)
    out.mkdir(parents=True, exist_ok=True)
    table = trained.table
    table.insert(0, "claim", name)
    # A measure of some factors only is NaN for the others.
    file = out / f"{name}.csv"
    table.to_csv(file, index=False, float_format="%.7g", na_rep="nan")
    if trained.arrays:
        halves = {key: x.astype(np.float16) for key, x in trained.arrays.items()}
        np.savez_compressed(out / f"{name}.npz", **halves)
    ran = {
        "command": command,
        "date": datetime.date.today().isoformat(),
        "device": _scripts.device(),
        "seconds": round(trained.seconds, 1),
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
    again = out / CONFIRMING / f"{name}.csv"
    confirming = measures(again) if again.exists() else None
    judged = analysis.judge(claim, table, confirming)
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


def show(record: dict[str, Any]) -> None:
    """Print the tables and verdicts of a claim."""
    for heading, rows in record["tables"].items():
        _scripts.show(f"{record['claim']}\n{heading}", rows)
    _scripts.show("verdicts", [analysis.shown(row) for row in record["verdicts"]])
    for line in record["notes"]:
        print(line)
