"""What got worse of what compilers make of mixing?

    python -m benchmarks.facts [--write] [--quick] [--out DIR]

Mixers by themselves and what they add to the step of a small CNN, compiled for CPUs
and, where libtpu is installed, for TPUs that are not there: equations, hashes, fusions,
loops, collectives, bytes, temporary memory. They are compared with what `facts.json`
has for these versions of JAX and libtpu: what got worse by more than 3% is named, and
the exit code is 1. `--write` writes them there, beside those of other versions.
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

Facts = dict[str, Counts]  # of each program

LIMIT = 0.03
_WRITE = "python -m benchmarks.facts --write"
# Each in a process of its own, all at once.
WORKERS = {CPU: [("alone", "steps")], TPU: [("steps",), ("alone",)]}


def compared(known: Facts, now: Facts) -> tuple[list[dict], list[dict]]:
    """Return what is more than it was, and what is less, by more than the limit."""
    worse, better = [], []
    for program in known.keys() & now.keys():
        for fact, before in known[program].items():
            after = now[program].get(fact, before)
            if abs(after - before) > LIMIT * abs(before):
                row = {"program": program, "fact": fact, "before": before}
                (worse if after > before else better).append(row | {"now": after})
    return sorted(worse, key=str), sorted(better, key=str)


def judge(known: Mapping[str, Facts], now: Mapping[str, Facts]) -> bool:
    """Print what is new, what got worse and what got better; return if any is worse.

    Args:
      known: what was written, by versions.
      now: what was found.
    """
    any_worse = False
    for key, found in now.items():
        if key not in known:
            print(f"facts: nothing is written for {key}. To write it: {_WRITE}")
            continue
        worse, better = compared(known[key], found)
        any_worse |= bool(worse)
        if worse:
            _scripts.show(f"Worse than before: {key}", worse)
        if better:
            _scripts.show(f"Better than before: {key}. To keep it: {_WRITE}", better)
        if other := known[key].keys() ^ found.keys():
            names = ", ".join(sorted(other))
            print(f"facts: not compared of {key}: {names}. To write them: {_WRITE}")
        if not worse:
            print(f"facts: nothing is worse than before, {key}.")
    return any_worse


def measured(targets: Sequence[str]) -> dict[str, Facts]:
    """Return what is counted for each target, by versions."""
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
                        f"facts: {target}: the compiler stopped ({code}), and said: "
                        f"{said[-1] if said else 'nothing'}"
                    )
                found[versions(target)] |= json.loads(file.read_text())
                bar.advance(task)
        finally:
            for worker in workers:
                worker.kill()
    return found


def _started(target: str, parts: Sequence[str], file: Path) -> subprocess.Popen[bytes]:
    """Start a process that counts, in which nothing is set but what is set here."""
    ours = ("JAX_", "XLA_", "TPU_", "LIBTPU_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    # What LLVM does is most of the work, and comes after what is counted.
    environment |= {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    environment |= ABSENT | {"TPU_ACCELERATOR_TYPE": TOPOLOGIES[TPU]}
    command = [sys.executable, "-m", "benchmarks.facts", "--worker"]
    with file.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            [*command, str(file), target, *parts],
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # Ctrl-C is for this process alone
        )


def count(file: Path, target: str, parts: Sequence[str]) -> None:
    """Write what is counted of the parts of a target into a file."""
    jax.config.update("jax_num_cpu_devices", DEVICES)
    found = {name: each for part in parts for name, each in PARTS[part](target)}
    file.write_text(json.dumps(found))


def main(argv: Sequence[str] | None = None) -> None:
    """Count, and compare or write."""
    parser = _scripts.arguments("facts", __doc__)
    parser.add_argument("--write", action="store_true", help="write what is found")
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
            f"{file}: expected what --write wrote, got something else ({error}). "
            "Delete the file, or give another folder (--out)."
        )
    targets = [CPU] if args.quick else [CPU, TPU]
    absent = [target for target in targets if not versions(target)]
    if absent:
        print("facts: libtpu is not installed, so none for TPUs: pip install '.[tpu]'.")
    now = measured([target for target in targets if target not in absent])
    if args.write:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(known | now, indent=1, sort_keys=True) + "\n")
        print(f"wrote {', '.join(now)} into {file}")
    elif judge(known, now):
        raise SystemExit(1)


if __name__ == "__main__":
    command_line.start(main)
