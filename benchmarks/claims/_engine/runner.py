"""Runs one claim, prints its results, and writes them."""

import datetime
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import _scripts
from benchmarks.claims._engine.claim import Found, Options, Part
from benchmarks.claims._engine.runs import Runs


class Ran(NamedTuple):
    """A claim, its results, and the seconds that it took."""

    name: str
    title: str
    source: str
    found: Found
    seconds: float


def run(name: str, script: Any, out: Path, **how: Any) -> Ran:
    """Run one claim, or resume it.

    Args:
      name: name of the claim.
      script: module of the claim.
      out: folder in which runs are stored.
      **how: fields of ``Options`` other than ``runs``.
    """
    title, _, source = (script.__doc__ or "").strip().partition("\n")
    start = time.perf_counter()
    with _scripts.progress(name) as bar:
        runs = Runs(out / "runs" / f"{name}.jsonl", script, bar)
        found: Found = script.run(Options(runs=runs, **how))
    seconds = time.perf_counter() - start + runs.seconds_before
    return Ran(name, title, source.strip(), found, seconds)


def keep(ran: Ran, command: str, out: Path) -> str:
    """Print the results of a claim and write its files; return its name.

    Args:
      ran: the claim.
      command: the command that runs it again.
      out: folder to write to.
    """
    name, title, source, found, seconds = ran
    for heading, rows in found.tables.items():
        _scripts.show(f"{title}\n{heading}", rows)
    _scripts.show("verdicts", [_row(part) for part in found.parts])
    for line in found.notes:
        print(line)
    record = {
        "claim": title,
        "source": source,
        "command": command,
        "date": datetime.date.today().isoformat(),
        "device": _scripts.device(),
        "seconds": round(seconds, 1),
        "protocol": found.protocol,
        "notes": found.notes,
        "verdicts": [_row(part) for part in found.parts],
        "tables": found.tables,
    }
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=1, default=_scripts.plain)
    (out / f"{name}.json").write_text(text + "\n")
    found.figure.savefig(out / f"{name}.png", dpi=110)
    print(f"{seconds:.0f} s; wrote {out / name}.json and .png")
    return name


def _row(part: Part) -> dict[str, Any]:
    return {
        "statement": part.statement,
        "gain": part.gain,
        "unit": part.unit,
        "verdict": part.verdict,
    }
