"""Which of the claims made for Mixup hold? One command each, on real data.

    python -m benchmarks.claims cifar --data-dir DIR
    python -m benchmarks.claims all --data-dir DIR
    python -m benchmarks.claims all --data-dir DIR --confirm
    python -m benchmarks.claims report
    python -m benchmarks.claims uci --table my.csv --label species

Each trains its networks, prints our numbers next to the published ones with a verdict,
and writes the measures of each seed (CSV), the verdicts (JSON) and a figure. What was
interrupted resumes where it stopped when it is started again. `--confirm` repeats the
claims with other seeds; a verdict that these do not give becomes "cannot tell". `all`
runs every claim and writes the report, naming those that could not be run; `report`
computes every printed number anew from the measures, without any training.
"""

import argparse
import importlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import rich.console
import rich.progress

matplotlib.use("Agg")

import command_line
from benchmarks import _scripts
from benchmarks.claims import overhead
from benchmarks.claims._engine import pictures, report, runner
from benchmarks.claims._engine.claim import FIRST_CONFIRMING, Claim, NotRun, Options

CLAIMS = (
    "uci",
    "boundary",
    "corrupt",
    "adversarial",
    "ablation",
    "vicinal",
    "gan",
    "speech",
    "features",
    "regression",
    "calibration",
    "cifar",
)
NAMES = (*CLAIMS, "all", "report")
SECONDS = 120  # expected of a claim that was never run


def main(argv: Sequence[str] | None = None) -> None:
    parser = _arguments()
    args = parser.parse_args(argv)
    names = _names(parser, args)
    out = args.out or _scripts.RESULTS / "claims" / _place(args)
    kept = out / runner.CONFIRMING if args.confirm else out
    endings = (".csv", ".json", ".png")
    files = [kept / f"{name}{ending}" for name in names for ending in endings]
    is_reporting = not args.table and bool({"all", "report"} & {*args.claims})
    files += [out / name for name in report.FILES if is_reporting]
    command_line.check_writable(parser, *files)

    failed: dict[str, str] = {}
    broken: list[str] = []
    with command_line.Interruption() as interruption, _progress() as bar:
        expected = {name: _expected(out, name) for name in names}
        task = bar.add_task("", total=sum(expected.values()))

        def trained() -> Any:
            for name in names:
                bar.update(task, description=name)
                advance = _advance(bar, task, expected[name])
                yield name, _train(name, args, kept, advance, failed, broken)

        ended = {name for name, _ in interruption.until(trained())}
        left = [name for name in names if name not in ended]
        failed |= {
            name: "interrupted" for name in left if not (out / f"{name}.csv").exists()
        }
        judged = [] if args.confirm else [n for n in names if n in ended - {*failed}]
        for name in judged:
            runner.show(runner.keep(name, _claim(name, args), out))
        if is_reporting:
            _report(parser, out, failed, judged)
    if "all" not in args.claims and failed:
        parser.error("; ".join(f"{n}: not run, {why}" for n, why in failed.items()))
    if broken:
        raise SystemExit(f"broken: {', '.join(broken)}")


def _names(parser: argparse.ArgumentParser, args: argparse.Namespace) -> list[str]:
    """Return the claims to run; checks the arguments for tables."""
    named = [n for n in dict.fromkeys(args.claims) if n not in ("all", "report")]
    names: list[str] = list(CLAIMS) if "all" in args.claims else named
    if args.table and names != ["uci"]:
        parser.error(
            f"--table: expected with the claim uci; got it with {args.claims}."
        )
    if args.label is not None and not args.table:
        parser.error("--label: expected with --table FILE, whose column it names.")
    return names


def _train(name, args, out, advance, failed, broken) -> None:
    """Train one claim, or put the reason into ``failed``."""
    try:
        runner.train(
            name, _claim(name, args), _options(args), out, _command(name, args), advance
        )
        return
    except NotRun as error:
        failed[name] = str(error)
    except (OSError, ValueError) as error:  # the other claims still run
        failed[name] = str(error)
        broken.append(name)
    if "all" in args.claims:
        rich.console.Console().print(f"{name}: not run, {failed[name]}", markup=False)


def _report(
    parser: argparse.ArgumentParser,
    out: Path,
    failed: dict[str, str],
    judged: Sequence[str],
) -> None:
    """Judge all claims in ``out`` that were not, and write the report."""
    try:
        for name in CLAIMS:
            if name not in judged and (out / f"{name}.csv").exists():
                ran = json.loads((out / f"{name}.json").read_text())["ran"]
                runner.keep(name, _module(name).claim(Options(**ran["options"])), out)
        record = overhead.record()
        (out / "overhead.json").write_text(json.dumps(record, indent=1) + "\n")
        pictures.gains(overhead.judged()).savefig(out / "overhead.png")
        for file in report.write(out, (*CLAIMS, "overhead"), failed):
            print(f"wrote {file}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(
            f"the report needs the files that the claims wrote to {out}; got "
            f"{type(error).__name__}: {error}. Run the claim again."
        )


def _progress() -> rich.progress.Progress:
    """Return a progress bar on stderr with the time that is left."""
    return rich.progress.Progress(
        rich.progress.TextColumn("claims {task.description}"),
        rich.progress.BarColumn(),
        rich.progress.TaskProgressColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("left"),
        rich.progress.TimeRemainingColumn(elapsed_when_finished=True),
        console=rich.console.Console(stderr=True),
        transient=True,
    )


def _advance(bar: rich.progress.Progress, task: Any, seconds: float) -> Any:
    return lambda share: bar.advance(task, share * seconds)


def _expected(out: Path, name: str) -> float:
    """Return the seconds that a claim took when it was last run, for the progress."""
    for folder in (out, _scripts.RESULTS / "claims"):
        try:
            return json.loads((folder / f"{name}.json").read_text())["ran"]["seconds"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return SECONDS


def _module(name: str) -> Any:
    return importlib.import_module(f"benchmarks.claims.{name}")


def _claim(name: str, args: argparse.Namespace) -> Claim:
    if args.table:
        return _module(name).of_table(_options(args), args.table, _label(args))
    return _module(name).claim(_options(args))


def _options(args: argparse.Namespace) -> Options:
    return Options(
        data_dir=args.data_dir,
        full=args.full,
        quick=args.quick,
        seeds=args.seeds,
        first=FIRST_CONFIRMING if args.confirm else 0,
    )


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.claims",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "claims",
        nargs="+",
        choices=NAMES,
        metavar="CLAIM",
        help=f"one or more of {', '.join(NAMES)}",
    )
    add("--data-dir", type=command_line.folder, help="folder of the data")
    add("--full", action="store_true", help="full size, for a GPU")
    add("--quick", action="store_true", help="only check that it runs")
    add("--confirm", action="store_true", help="repeat with other seeds")
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


def _label(args: argparse.Namespace) -> str | int:
    """Return the label column, as an index if it is an integer."""
    if args.label is None:
        return -1
    return int(args.label) if re.fullmatch(r"-?[0-9]+", args.label) else args.label


def _command(name: str, args: Any) -> str:
    words = ["python -m benchmarks.claims", name]
    words += ["--data-dir DIR"] * (args.data_dir is not None)
    words += [
        f"--{size}" for size in ("full", "quick", "confirm") if getattr(args, size)
    ]
    words += [f"--seeds {args.seeds}"] * (args.seeds is not None)
    if args.table:
        words += [f"--table {args.table.name}", f"--label {_label(args)}"]
    return " ".join(words)


if __name__ == "__main__":
    command_line.start(main)
