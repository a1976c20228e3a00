"""Which of the claims made for Mixup hold? One command each, on real data.

    python -m benchmarks.claims uci --data-dir DIR
    python -m benchmarks.claims all --data-dir DIR
    python -m benchmarks.claims uci --table my.csv --label species
    python -m benchmarks.claims report

Each prints our numbers next to the published ones, states the verdict, and writes a
JSON file and a figure. An interrupted run resumes where it stopped when it is started
again. `all` runs every claim, reports those that could not be run, with the reason, and
writes the report, interrupted or not; `report` only writes the report, from the JSON
files.
"""

import argparse
import importlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import rich.console

matplotlib.use("Agg")

import command_line
from benchmarks import _scripts
from benchmarks.claims._engine import report, runner
from benchmarks.claims._engine.claim import NotRun

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
    out = args.out or _scripts.RESULTS / "claims" / _place(args)
    is_reporting = is_all or "report" in args.claims
    files = [out / f"{name}{suffix}" for name in names for suffix in (".json", ".png")]
    files += [out / "runs" / f"{name}.jsonl" for name in names]
    files += [out / name for name in report.FILES if is_reporting]
    command_line.check_writable(parser, *files)

    missing, broken = {}, {}
    with command_line.Interruption() as interruption:
        found = _each(names, args, out, missing, broken)
        done = [
            runner.keep(ran, _command(ran.name, args), out)
            for ran in interruption.until(found)
        ]
        failed = {**missing, **broken}
        left = [name for name in names if name not in {*done, *failed}]
        # Results of an earlier run are still there.
        left = [name for name in left if not (out / f"{name}.json").exists()]
        failed |= dict.fromkeys(left, "interrupted")
        if is_reporting:
            try:
                for file in report.write(out, CLAIMS, failed):
                    print(f"wrote {file}")
            except (OSError, ValueError, KeyError, TypeError) as error:
                parser.error(
                    f"the report needs the files that the claims wrote to {out}; got "
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
) -> Iterator[runner.Ran]:
    """Yield each claim's result, or put the reason into ``missing`` or ``broken``."""
    for name in names:
        try:
            yield _run(name, args, out)
            continue
        except NotRun as error:
            missing[name] = str(error)
        except (OSError, ValueError) as error:  # the other claims still run
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
    add("--quick", action="store_true", help="only check that it runs")
    # A single seed has no interval.
    add("--seeds", type=command_line.whole(2), help="number of seeds, 2 or more")
    add("--table", type=command_line.file, help="uci: use this CSV or ARFF file")
    add("--label", help="uci: label column, a name or an index (default: last)")
    add("--out", type=Path, help="folder for results")
    return parser


def _place(args: Any) -> str:
    """Return the subfolder for results; a user's tables are not in the report."""
    table = f"tables/{args.table.stem}" if args.table else ""
    return table or ("quick" if args.quick else "full" if args.full else "")


def _run(name: str, args: Any, out: Path) -> runner.Ran:
    return runner.run(
        name,
        importlib.import_module(f"benchmarks.claims.{name}"),
        out,
        data_dir=args.data_dir,
        full=args.full,
        quick=args.quick,
        seeds=args.seeds,
        table=args.table,
        label=_label(args),
    )


def _label(args: argparse.Namespace) -> str | int:
    """Return the label column, as an index if it is an integer."""
    if args.label is None:
        return -1
    return int(args.label) if re.fullmatch(r"-?[0-9]+", args.label) else args.label


def _command(name: str, args: Any) -> str:
    words = ["python -m benchmarks.claims", name]
    words += ["--data-dir DIR"] * (args.data_dir is not None)
    words += [f"--{size}" for size in ("full", "quick") if getattr(args, size)]
    words += [f"--seeds {args.seeds}"] * (args.seeds is not None)
    if args.table:
        words += [f"--table {args.table.name}", f"--label {_label(args)}"]
    return " ".join(words)


if __name__ == "__main__":
    command_line.start(main)
