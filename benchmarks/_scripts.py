"""Shared by the scripts: arguments, progress, tables, and result files."""

import argparse
import datetime
import json
import os
import platform
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import rich.console
import rich.progress
import rich.table

import command_line
from benchmarks._measure import Ratio

RESULTS = Path(__file__).parent / "results"

Case = TypeVar("Case")
Found = TypeVar("Found")


def device() -> dict[str, Any]:
    """Return a description of the machine."""
    first = jax.devices()[0]
    return {
        "platform": first.platform,
        "kind": _processor() if first.platform == "cpu" else first.device_kind,
        "devices": jax.device_count(),
        "cores": os.cpu_count(),
        "jax": jax.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    named = re.search(r"^model name\s*:\s*(.+)$", info, re.M)
    return named.group(1).strip() if named else platform.machine()


def folder() -> Path:
    """Return the default folder for results of this device."""
    first = jax.devices()[0]
    words = first.platform if first.platform == "cpu" else first.device_kind
    return RESULTS / re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def arguments(name: str, question: str | None) -> argparse.ArgumentParser:
    """Return a parser for the arguments that every script takes."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=question,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, under a minute"
    )
    parser.add_argument(
        "--out", type=Path, help="folder for results (default: by device)"
    )
    return parser


def check_out(parser: argparse.ArgumentParser, name: str, args: Any) -> None:
    """Exit with code 2 if the results could not be written at the end."""
    out = _out(args)
    command_line.check_writable(parser, out / f"{name}.json", out / f"{name}.png")


def measured(
    interruption: command_line.Interruption,
    what: str,
    cases: Mapping[str, Case],
    measure: Callable[[Case], Found],
) -> dict[str, Found]:
    """Return ``measure(case)`` for each of ``cases``, until SIGINT."""

    def found() -> Iterator[tuple[str, Found]]:
        with progress(what) as bar:
            task = bar.add_task("", total=len(cases))
            for name, case in cases.items():
                bar.update(task, description=name)
                yield name, measure(case)
                bar.advance(task)

    return dict(interruption.until(found()))


def progress(what: str) -> rich.progress.Progress:
    """Return a progress bar on stderr that disappears when done."""
    return rich.progress.Progress(
        rich.progress.TextColumn(what + " {task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        console=rich.console.Console(stderr=True),
        transient=True,
    )


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print ``rows`` as a table; their keys are the columns."""
    table = rich.table.Table(title=title, title_justify="left")
    for column in dict.fromkeys(key for row in rows for key in row):
        numbers = any(isinstance(row.get(column), int | float | Ratio) for row in rows)
        table.add_column(column, justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*(_words(row.get(str(c.header), "")) for c in table.columns))
    width = None if rich.console.Console().is_terminal else 160
    rich.console.Console(width=width).print(table)


def _words(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _out(args: Any) -> Path:
    return args.out or folder() / ("quick" if args.quick else "")


def known(name: str, args: Any) -> dict[str, Any]:
    """Return the record that a previous run wrote to the same folder, or ``{}``.

    Raises:
      ValueError: If the file cannot be read.
    """
    file = _out(args) / f"{name}.json"
    if not file.exists():
        return {}
    try:
        found = dict(json.loads(file.read_text()))
        for rows in found.values():
            for row in rows if isinstance(rows, list) else ():
                if isinstance(row, dict):
                    lists = {k: v for k, v in row.items() if isinstance(v, list)}
                    row.update({k: Ratio(*v) for k, v in lists.items()})
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"{file}: expected what this benchmark wrote before; got something else "
            f"({error}). Delete the file, or pass another folder (--out)."
        ) from error
    return found


def write(
    name: str,
    question: str | None,
    args: Any,
    found: Mapping[str, Any],
    figure: Any,
    missing: Collection[str] = (),
) -> Path:
    """Write the results as JSON and as a figure, and return the folder.

    ``missing`` names the cases that an interrupted run did not reach.

    Raises:
      SystemExit: If the folder cannot be written to.
    """
    out = _out(args)
    record = {
        "question": (question or "").strip().splitlines()[0],
        "command": f"python -m benchmarks.{name}" + " --quick" * args.quick,
        "date": datetime.date.today().isoformat(),
        "device": device(),
        "interrupted": bool(missing),
        "missing": list(missing),
        **found,
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(record, indent=1, default=plain)
        (out / f"{name}.json").write_text(text + "\n")
        figure.savefig(out / f"{name}.png", dpi=110)
    except OSError as error:
        raise SystemExit(
            f"--out: could not write into {out} ({error}). Pass a writable folder."
        ) from error
    print(f"wrote {out / name}.json and .png")
    return out


def plain(value: Any) -> Any:
    """Return an array as a list, and anything else as a string, for JSON."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)
