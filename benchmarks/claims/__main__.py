"""Which of the claims made for Mixup hold? One command each, on real data.

    python -m benchmarks.claims uci --data-dir DIR
    python -m benchmarks.claims all --data-dir DIR
    python -m benchmarks.claims uci --table my.csv --label species
    python -m benchmarks.claims report

Each prints ours beside the published numbers and states the verdict, and writes a JSON
file and a picture. A run that was interrupted goes on where it stopped. `all` runs
every claim, says which could not be run and why, and writes the report; `report` writes
it anew from the files.
"""

import argparse
import datetime
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib
import rich.console

matplotlib.use("Agg")

from benchmarks import _measure
from benchmarks.claims import _report
from benchmarks.claims._claim import Found, NotRun, Options
from benchmarks.claims._runs import Runs

CLAIMS = (
    "uci",
    "boundary",
    "corrupt",
    "adversarial",
    "ablation",
    "gan",
    "speech",
    "features",
    "regression",
    "calibration",
    "cifar",
)


def main(arguments: list[str] | None = None) -> None:
    args = _arguments().parse_args(arguments)
    names = CLAIMS if "all" in args.claims else args.claims
    out = args.out or _measure.RESULTS / "claims" / _place(args)
    missing, broken = {}, {}
    for name in names:
        if name == "report":
            continue
        try:
            _run(name, args, out)
        except NotRun as error:
            missing[name] = str(error)
        except (OSError, ValueError) as error:  # one broken file does not stop all
            if "all" not in args.claims:
                raise
            broken[name] = str(error)
        else:
            continue
        why = {**missing, **broken}[name]
        rich.console.Console().print(f"{name}: not run, {why}", markup=False)
    if "all" in args.claims or "report" in args.claims:
        for file in _report.write(out, CLAIMS, {**missing, **broken}):
            print(f"wrote {file}")
    if broken:
        raise SystemExit(f"broken: {', '.join(broken)}")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.claims",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    choices = [*CLAIMS, "all", "report"]
    parser.add_argument("claims", nargs="+", choices=choices, metavar="CLAIM")
    parser.add_argument("--data-dir", type=Path, help="folder of the data")
    parser.add_argument("--full", action="store_true", help="full size, for a GPU")
    parser.add_argument("--quick", action="store_true", help="only show that it runs")
    parser.add_argument("--seeds", type=_at_least_two, help="how many")
    parser.add_argument("--table", type=Path, help="uci: a CSV or ARFF file instead")
    parser.add_argument("--label", default=-1, help="uci: its label column")
    parser.add_argument("--out", type=Path, help="folder for results")
    return parser


def _at_least_two(text: str) -> int:
    if not text.isdigit() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"expected 2 or more; got {text}")
    return int(text)


def _place(args: Any) -> str:
    """Return the folder of the results; tables of one's own are not of the report."""
    table = f"tables/{args.table.stem}" if args.table else ""
    return table or ("quick" if args.quick else "full" if args.full else "")


def _run(name: str, args: Any, out: Path) -> None:
    script = importlib.import_module(f"benchmarks.claims.{name}")
    title = (script.__doc__ or "").strip().splitlines()[0]
    label = args.label
    if isinstance(label, str) and label.lstrip("-").isdigit():
        label = int(label)
    start = time.perf_counter()
    with _measure.progress(name) as bar:
        runs = Runs(out / "runs" / f"{name}.jsonl", script, bar)
        options = Options(
            runs=runs,
            data_dir=args.data_dir,
            full=args.full,
            quick=args.quick,
            seeds=args.seeds,
            table=args.table,
            label=label,
        )
        found: Found = script.run(options)
    seconds = time.perf_counter() - start + runs.seconds_before
    for heading, rows in found.tables.items():
        _measure.show(f"{title}\n{heading}", rows)
    _measure.show("verdicts", [_row(part) for part in found.parts])
    for line in found.notes:
        print(line)
    record = {
        "claim": title,
        "source": (script.__doc__ or "").strip().partition("\n")[2].strip(),
        "command": _command(name, args),
        "date": datetime.date.today().isoformat(),
        "device": _measure.device(),
        "seconds": round(seconds, 1),
        "protocol": found.protocol,
        "notes": found.notes,
        "verdicts": [_row(part) for part in found.parts],
        "tables": found.tables,
    }
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=1, default=_measure.plain)
    (out / f"{name}.json").write_text(text + "\n")
    found.figure.savefig(out / f"{name}.png", dpi=110)
    print(f"{seconds:.0f} s; wrote {out / name}.json and .png")


def _command(name: str, args: Any) -> str:
    words = ["python -m benchmarks.claims", name]
    words += ["--data-dir DIR"] * (args.data_dir is not None)
    words += [f"--{size}" for size in ("full", "quick") if getattr(args, size)]
    words += [f"--seeds {args.seeds}"] * (args.seeds is not None)
    if args.table:
        words += [f"--table {args.table.name}", f"--label {args.label}"]
    return " ".join(words)


def _row(part: Any) -> dict[str, Any]:
    return {
        "statement": part.statement,
        "gain": part.gain,
        "unit": part.unit,
        "verdict": part.verdict,
    }


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted; finished runs are kept, run it again", file=sys.stderr)
        sys.stdout.flush()
        # A program that still runs in the background crashes an orderly exit.
        os._exit(130)
