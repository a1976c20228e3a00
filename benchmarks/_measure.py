"""How every benchmark measures, and how it writes down what it found.

Contenders take turns within a round (A B A B ...), so that whatever else the machine is
doing meets all of them, and a comparison is the median over the rounds of the ratio
within each round, with a rank-based 95% interval that assumes nothing about noise.
"""

import argparse
import datetime
import json
import os
import platform
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

# PyTorch may have to fit beside JAX on a GPU.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import numpy as np
import rich.console
import rich.progress
import rich.table
from numpy.typing import NDArray
from scipy.stats import binom

import command_line

RESULTS = Path(__file__).parent / "results"
FEWEST_ROUNDS = 6  # below, no pair of ranks spans 95%
LONG = 0.2  # seconds, beside which threads that come to rest do not matter

Seconds = NDArray[np.float64]
Case = TypeVar("Case")
Found = TypeVar("Found")


class Contender(NamedTuple):
    """Something to be timed.

    Attributes:
      run: starts the work once and returns a handle.
      wait: blocks until the work behind a handle is done.
      program: what XLA compiled, if it did.
    """

    run: Callable[[], Any]
    wait: Callable[[Any], Any] = jax.block_until_ready
    program: Any = None


class Ratio(NamedTuple):
    """A median with its 95% interval."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} [{self.low:.3g}, {self.high:.3g}]"


def interleaved(
    contenders: Mapping[str, Contender],
    *,
    rounds: int = 15,
    seconds: float = 30.0,
    sample: float = 0.01,
    on_round: Callable[[], Any] = lambda: None,
) -> dict[str, Seconds]:
    """Return the seconds that a call of each contender takes, one value a round.

    A round gives every contender its turn: a call that is not timed (unless calls are
    long), which lets the threads of the one before come to rest, then calls for about
    ``sample`` seconds, of which the median counts. On an accelerator calls are queued,
    and their mean counts, since the host would otherwise be measured.

    Args:
      contenders: what to time; everything compiled and on the device.
      rounds: how many rounds, at most.
      seconds: no round begins after so many, once there are ``FEWEST_ROUNDS``.
      sample: how long a turn lasts, at least one call.
      on_round: called after each round, to show progress.
    """
    queued = jax.default_backend() != "cpu"
    once = {}
    for name, contender in contenders.items():
        contender.wait(contender.run())
        once[name] = max(_timed(contender, 1), 1e-9)
    names, times = list(contenders), {name: [] for name in contenders}
    start = time.perf_counter()
    for turn in range(max(rounds, FEWEST_ROUNDS)):
        if turn >= FEWEST_ROUNDS and time.perf_counter() - start > seconds:
            break
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            contender = contenders[name]
            repeats = int(np.clip(sample / once[name], 1, 100))
            if once[name] < LONG:
                contender.wait(contender.run())
            if queued:
                times[name].append(_timed(contender, repeats) / repeats)
            else:
                alone = [_timed(contender, 1) for _ in range(repeats)]
                times[name].append(float(np.median(alone)))
        on_round()
    return {name: np.asarray(found) for name, found in times.items()}


def _timed(contender: Contender, calls: int) -> float:
    start = time.perf_counter()
    handle = None
    for _ in range(calls):
        handle = contender.run()
    contender.wait(handle)
    return time.perf_counter() - start


def median(values: Seconds) -> Ratio:
    """Return the median of ``values`` with its rank-based 95% interval."""
    ordered = np.sort(values)
    rank = int(binom.ppf(0.025, len(ordered), 0.5))
    if rank < 1:
        raise ValueError(
            f"expected at least {FEWEST_ROUNDS} rounds; got {len(ordered)}. "
            "No interval of fewer covers 95%."
        )
    return Ratio(
        float(np.median(ordered)), float(ordered[rank - 1]), float(ordered[-rank])
    )


def ratio(times: Seconds, reference: Seconds) -> Ratio:
    """Return how many times as long as ``reference``, round by round."""
    return median(times / reference)


def compiled(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return ``function`` compiled ahead for ``args``; ``options`` are jit's."""
    return jax.jit(function, **options).lower(*args).compile()


def compile_seconds(
    programs: Mapping[str, Callable[[], Any]],
    *,
    rounds: int = 8,
    seconds: float = 120.0,
    on_round: Callable[[], Any] = lambda: None,
) -> dict[str, Seconds]:
    """Return the seconds that each of ``programs`` takes, one value a round.

    ``programs`` are functions that trace and compile. They take turns, each from
    nothing: JAX's caches are emptied before, and its persistent cache is off.
    """
    kept = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    jax.config.update("jax_enable_compilation_cache", False)
    names, times = list(programs), {name: [] for name in programs}
    start = time.perf_counter()
    try:
        for turn in range(max(rounds, FEWEST_ROUNDS)):
            if turn >= FEWEST_ROUNDS and time.perf_counter() - start > seconds:
                break
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                jax.clear_caches()
                before = time.perf_counter()
                programs[name]()
                times[name].append(time.perf_counter() - before)
            on_round()
    finally:
        jax.config.update("jax_enable_compilation_cache", kept)
    return {name: np.asarray(found) for name, found in times.items()}


def device() -> dict[str, Any]:
    """Return the machine in words."""
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
    """Return where results of this device belong, if nothing else is said."""
    first = jax.devices()[0]
    words = first.platform if first.platform == "cpu" else first.device_kind
    return RESULTS / re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def arguments(name: str, question: str | None) -> argparse.ArgumentParser:
    """Return a parser of the arguments that every script takes."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=question,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="small, within a minute")
    parser.add_argument(
        "--out", type=Path, help="folder for results (default: that of the device)"
    )
    return parser


def check_out(parser: argparse.ArgumentParser, name: str, args: Any) -> None:
    """Exit with code 2 where the results could not be written in the end."""
    out = _out(args)
    command_line.check_writable(parser, out / f"{name}.json", out / f"{name}.png")


def measured(
    interruption: command_line.Interruption,
    what: str,
    cases: Mapping[str, Case],
    measure: Callable[[Case], Found],
) -> dict[str, Found]:
    """Return what ``measure`` finds of each of ``cases``, up to SIGINT."""

    def found() -> Iterator[tuple[str, Found]]:
        with progress(what) as bar:
            task = bar.add_task("", total=len(cases))
            for name, case in cases.items():
                bar.update(task, description=name)
                yield name, measure(case)
                bar.advance(task)

    return dict(interruption.until(found()))


def progress(what: str) -> rich.progress.Progress:
    """Return a progress bar on stderr, gone when done."""
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
    """Return what a run before this one wrote into the same folder, or nothing.

    Raises ValueError where that cannot be read.
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
            f"{file}: expected what this benchmark wrote before, got something else "
            f"({error}). Delete the file, or give another folder (--out)."
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
    """Write what was found as JSON and as a picture, and return the folder.

    ``missing`` names what an interrupted run did not come to. Raises SystemExit, with
    advice, where the folder cannot be written.
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
            f"--out: could not write into {out} ({error}). Give a folder that can be "
            "written."
        ) from error
    print(f"wrote {out / name}.json and .png")
    return out


def plain(value: Any) -> Any:
    """Return an array as a list, and anything else in words, for JSON."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)
