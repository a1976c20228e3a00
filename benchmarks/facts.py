"""Did a compiled program get worse?

    python -m benchmarks.facts [--write] [--quick] [--out DIR]

Compiles mixers alone, and what they add to the step of a small CNN, for CPUs and, if
libtpu is installed, for TPUs, which need not be present. Counts equations, hashes,
fusions, loops, collectives, bytes and temporary memory, and compares them with the
counts in `facts.json` for the same versions of JAX and libtpu. Every count that got
worse by more than 3% is listed, and the exit code is 1. `--write` records the counts,
next to those of other versions.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

import command_line
from benchmarks import _scripts
from benchmarks._facts import CPU, DEVICES, PARTS, TPU, Counts, versions
from benchmarks.tpu import ABSENT, TOPOLOGIES

Facts = dict[str, Counts]  # by program

LIMIT = 0.03
_WRITE = "python -m benchmarks.facts --write"
# One process each, all at once.
WORKERS = {CPU: [("alone", "steps")], TPU: [("steps",), ("alone",)]}


def compared(known: Facts, now: Facts) -> tuple[list[dict], list[dict]]:
    """Return the counts that rose, and those that fell, by more than the limit."""
    worse, better = [], []
    for program in known.keys() & now.keys():
        for fact, before in known[program].items():
            after = now[program].get(fact, before)
            if abs(after - before) > LIMIT * abs(before):
                row = {"program": program, "fact": fact, "before": before}
                (worse if after > before else better).append(row | {"now": after})
    return sorted(worse, key=str), sorted(better, key=str)


def judge(known: Mapping[str, Facts], now: Mapping[str, Facts]) -> bool:
    """Print what is new, worse or better; return whether anything is worse.

    Args:
      known: the recorded counts, by versions.
      now: the current counts, by versions.
    """
    any_worse = False
    for key, found in now.items():
        if key not in known:
            print(f"facts: nothing is recorded for {key}. To record it: {_WRITE}")
            continue
        worse, better = compared(known[key], found)
        any_worse |= bool(worse)
        if worse:
            _scripts.show(f"Worse than before: {key}", worse)
        if better:
            _scripts.show(f"Better than before: {key}. To keep it: {_WRITE}", better)
        if other := known[key].keys() ^ found.keys():
            names = ", ".join(sorted(other))
            print(f"facts: not compared for {key}: {names}. To record them: {_WRITE}")
        if not worse:
            print(f"facts: nothing is worse than before, {key}.")
    return any_worse


def measured(targets: Sequence[str]) -> dict[str, Facts]:
    """Return the counts for each target, by versions."""
    found: dict[str, Facts] = {versions(target): {} for target in targets}
    jobs = [(target, parts) for target in targets for parts in WORKERS[target]]
    with tempfile.TemporaryDirectory() as folder, _scripts.progress("compiling") as bar:
        task = bar.add_task("", total=len(jobs))
        files = [Path(folder) / str(k) for k in range(len(jobs))]
        workers = [_started(*job, file) for job, file in zip(jobs, files)]
        try:
            for (target, parts), file, worker in zip(jobs, files, workers):
                bar.update(task, description=f"{target}: {', '.join(parts)}")
                if code := worker.wait():
                    said = file.with_suffix(".log").read_text().strip().splitlines()
                    raise SystemExit(
                        f"facts: {target}: the compiler exited ({code}) with: "
                        f"{said[-1] if said else 'no output'}"
                    )
                found[versions(target)] |= json.loads(file.read_text())
                bar.advance(task)
        finally:
            for worker in workers:
                worker.kill()
    return found


def _started(target: str, parts: Sequence[str], file: Path) -> subprocess.Popen[bytes]:
    """Start a counting process, whose JAX and XLA settings are those made here."""
    ours = ("JAX_", "XLA_", "TPU_", "LIBTPU_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    # Most of the time is spent in LLVM, which runs after the counted passes.
    environment |= {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    environment |= ABSENT | {"TPU_ACCELERATOR_TYPE": TOPOLOGIES[TPU]}
    command = [sys.executable, "-m", "benchmarks.facts", "--worker"]
    with file.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            [*command, str(file), target, *parts],
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # so that Ctrl-C only reaches this process
        )


def count(file: Path, target: str, parts: Sequence[str]) -> None:
    """Write the counts of a target's parts to a file."""
    jax.config.update("jax_num_cpu_devices", DEVICES)
    found = {name: each for part in parts for name, each in PARTS[part](target)}
    file.write_text(json.dumps(found))


def main(argv: Sequence[str] | None = None) -> None:
    """Count, and compare or write."""
    parser = _scripts.arguments("facts", __doc__)
    parser.add_argument("--write", action="store_true", help="record the counts")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        file, target, *parts = args.worker
        return count(Path(file), target, parts)

    file = (args.out or _scripts.RESULTS) / "facts.json"
    if args.write:
        command_line.check_writable(parser, file)
    try:
        known = json.loads(file.read_text()) if file.exists() else {}
    except ValueError as error:
        parser.error(
            f"{file}: expected what --write wrote; got something else ({error}). "
            "Delete the file, or pass another folder (--out)."
        )
    targets = [CPU] if args.quick else [CPU, TPU]
    absent = [target for target in targets if not versions(target)]
    if absent:
        print(
            "facts: libtpu is not installed, so TPUs are skipped: pip install '.[tpu]'."
        )
    now = measured([target for target in targets if target not in absent])
    if args.write:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(known | now, indent=1, sort_keys=True) + "\n")
        print(f"wrote {', '.join(now)} to {file}")
    elif judge(known, now):
        raise SystemExit(1)


if __name__ == "__main__":
    command_line.start(main)
