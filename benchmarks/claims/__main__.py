"""Which of the claims made for Mixup hold? One command each, on real data.

    python -m benchmarks.claims uci --data-dir DIR
    python -m benchmarks.claims all --data-dir DIR
    python -m benchmarks.claims uci --table my.csv --label species
    python -m benchmarks.claims report

Each prints ours beside the published numbers and states the verdict, and writes a JSON
file and a picture. A run that was interrupted goes on where it stopped when it is asked
for again. `all` runs every claim, says which could not be run and why, and writes the
report, interrupted or not; `report` writes it anew from the files.
"""

import argparse
import datetime
import importlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import rich.console

matplotlib.use("Agg")

import command_line
from benchmarks import _measure
from benchmarks.claims._engine import report
from benchmarks.claims._engine.claim import Found, NotRun, Options
from benchmarks.claims._engine.runs import Runs

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


class Ran(NamedTuple):
    """A claim that was run, what was found, and the seconds that it took."""

    name: str
    title: str
    source: str
    found: Found
    seconds: float


def main(argv: Sequence[str] | None = None) -> None:
    parser = _arguments()
    args = parser.parse_args(argv)
    is_all = "all" in args.claims
    names = [n for n in dict.fromkeys(args.claims) if n not in ("all", "report")]
    names = list(CLAIMS) if is_all else names
    if args.table and (is_all or names != ["uci"]):
        parser.error(
            f"--table: expected with the claim uci; got it with {args.claims}."
        )
    if args.label is not None and not args.table:
        parser.error("--label: expected with --table FILE, whose column it names.")
    out = args.out or _measure.RESULTS / "claims" / _place(args)
    is_reporting = is_all or "report" in args.claims
    files = [out / f"{name}{suffix}" for name in names for suffix in (".json", ".png")]
    files += [out / "runs" / f"{name}.jsonl" for name in names]
    files += [out / name for name in report.FILES if is_reporting]
    command_line.check_writable(parser, *files)

    missing, broken = {}, {}
    with command_line.Interruption() as interruption:
        found = _each(names, args, out, missing, broken)
        done = [_keep(ran, args, out) for ran in interruption.until(found)]
        failed = {**missing, **broken}
        left = [name for name in names if name not in {*done, *failed}]
        # What was found before is still there.
        left = [name for name in left if not (out / f"{name}.json").exists()]
        failed |= dict.fromkeys(left, "interrupted")
        if is_reporting:
            try:
                for file in report.write(out, CLAIMS, failed):
                    print(f"wrote {file}")
            except (OSError, ValueError, KeyError, TypeError) as error:
                parser.error(
                    f"the report needs the files that the claims wrote into {out}; got "
                    f"{type(error).__name__}: {error}. Run the claim again."
                )
    if not is_all and failed:
        whys = "; ".join(f"{name}: not run, {why}" for name, why in failed.items())
        parser.error(whys)
    if broken:
        raise SystemExit(f"broken: {', '.join(broken)}")


def _each(
    names: Sequence[str],
    args: argparse.Namespace,
    out: Path,
    missing: dict[str, str],
    broken: dict[str, str],
) -> Iterator[Ran]:
    """Yield what each claim found; say why in ``missing`` or ``broken`` where not."""
    for name in names:
        try:
            yield _run(name, args, out)
            continue
        except NotRun as error:
            missing[name] = str(error)
        except (OSError, ValueError) as error:  # one broken file does not stop all
            broken[name] = str(error)
        if "all" in args.claims:
            why = {**missing, **broken}[name]
            rich.console.Console().print(f"{name}: not run, {why}", markup=False)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.claims",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    choices = [*CLAIMS, "all", "report"]
    add(
        "claims",
        nargs="+",
        choices=choices,
        metavar="CLAIM",
        help=f"one or more of {', '.join(choices)}",
    )
    add("--data-dir", type=command_line.folder, help="folder of the data")
    add("--full", action="store_true", help="full size, for a GPU")
    add("--quick", action="store_true", help="only show that it runs")
    # One has no interval.
    add("--seeds", type=command_line.whole(2), help="how many, 2 or more")
    add("--table", type=command_line.file, help="uci: a CSV or ARFF file instead")
    add("--label", help="uci: its label column, a name or an index (default: the last)")
    add("--out", type=Path, help="folder for results")
    return parser


def _place(args: Any) -> str:
    """Return the folder of the results; tables of one's own are not of the report."""
    table = f"tables/{args.table.stem}" if args.table else ""
    return table or ("quick" if args.quick else "full" if args.full else "")


def _run(name: str, args: Any, out: Path) -> Ran:
    script = importlib.import_module(f"benchmarks.claims.{name}")
    title, _, source = (script.__doc__ or "").strip().partition("\n")
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
            label=_label(args),
        )
        found: Found = script.run(options)
    seconds = time.perf_counter() - start + runs.seconds_before
    return Ran(name, title, source.strip(), found, seconds)


def _label(args: argparse.Namespace) -> str | int:
    """Return the label column, an index where it reads as one."""
    if args.label is None:
        return -1
    return int(args.label) if re.fullmatch(r"-?[0-9]+", args.label) else args.label


def _keep(ran: Ran, args: Any, out: Path) -> str:
    """Print what a claim found and write its files; return its name."""
    name, title, source, found, seconds = ran
    for heading, rows in found.tables.items():
        _measure.show(f"{title}\n{heading}", rows)
    _measure.show("verdicts", [_row(part) for part in found.parts])
    for line in found.notes:
        print(line)
    record = {
        "claim": title,
        "source": source,
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
    return name


def _command(name: str, args: Any) -> str:
    words = ["python -m benchmarks.claims", name]
    words += ["--data-dir DIR"] * (args.data_dir is not None)
    words += [f"--{size}" for size in ("full", "quick") if getattr(args, size)]
    words += [f"--seeds {args.seeds}"] * (args.seeds is not None)
    if args.table:
        words += [f"--table {args.table.name}", f"--label {_label(args)}"]
    return " ".join(words)


def _row(part: Any) -> dict[str, Any]:
    return {
        "statement": part.statement,
        "gain": part.gain,
        "unit": part.unit,
        "verdict": part.verdict,
    }


if __name__ == "__main__":
    command_line.start(main)
