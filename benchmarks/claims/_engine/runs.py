"""Many training runs in one compiled program, with finished ones stored on disk.

All runs that share a program are stacked and vmapped, in chunks that fit in memory, and
each core trains a chunk of its own. Results are written when a chunk finishes, so that
interrupted runs resume where they stopped. A stored result is that of a program, and of
the data and numbers that it was called with: whatever changes neither keeps it.
"""

import concurrent.futures
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from benchmarks.claims._engine.claim import Program

Result = dict[str, Any]


class Trained(NamedTuple):
    """The results of the runs of a claim.

    Attributes:
      table: a row per arm, factor and seed; a column per scalar measure.
      arrays: the other measures, by ``measure/arm/factor``, seeds on axis 0.
    """

    table: pd.DataFrame
    arrays: dict[str, np.ndarray]


class Runs:
    """The finished runs of one claim, appended to a file line by line.

    Args:
      file: file of JSON lines.
      advance: called with the number of runs that were finished or found.

    Attributes:
      seconds_before: the time that the runs took that were found.
    """

    seconds_before = 0.0

    def __init__(self, file: Path, advance: Callable[[int], Any] = lambda count: None):
        self._file, self._advance = file, advance
        self._known: dict[str, Result] = {}
        if file.exists():
            text = file.read_text()
            for line in text.splitlines():
                self._remember(line)
            if text and not text.endswith("\n"):  # the last row was cut off
                file.write_text(text + "\n")

    def _remember(self, line: str) -> None:
        try:
            row = json.loads(line)
            self._known[row["id"]] = row["result"]
        except (json.JSONDecodeError, KeyError, TypeError):
            return  # the row was cut off while it was written

    def trained(self, programs: Sequence[Program]) -> Trained:
        """Run what is not stored; return all results."""
        rows, arrays = [], {}
        for program in programs:
            for run, result in zip(program.runs, self.results(program)):
                by_arm = {run.arm: result["measures"]}
                if not run.arm:
                    by_arm = result["measures"]
                for arm, measures in by_arm.items():
                    seed = int(run.numbers["seed"])
                    row = {"arm": arm, "factor": run.factor, "seed": seed}
                    for name, value in measures.items():
                        if isinstance(value, list):
                            key = f"{name}/{arm}/{run.factor}"
                            arrays.setdefault(key, []).append(value)
                        else:
                            row[name] = value
                    rows.append(row)
        stacked = {name: np.asarray(each) for name, each in arrays.items()}
        return Trained(pd.DataFrame(rows), stacked)

    def results(self, program: Program) -> list[Result]:
        """Return the result of each run of ``program``, as stored or run now."""
        if not program.runs:
            return []
        numbers = [run.numbers for run in program.runs]
        own = _fingerprint(program)
        ids = [
            hashlib.sha256(f"{own}{sorted(each.items())}".encode()).hexdigest()[:16]
            for each in numbers
        ]
        found = [self._known[name] for name in ids if name in self._known]
        self.seconds_before += sum(result["seconds"] for result in found)
        todo = [k for k, name in enumerate(ids) if name not in self._known]
        self._advance(len(ids) - len(todo))
        if not todo:
            return [self._known[name] for name in ids]
        size = min(program.together, len(todo))
        # The last chunk is padded, so that all chunks use one program.
        chunks = [
            (todo[start : start + size], np.resize(todo[start : start + size], size))
            for start in range(0, len(todo), size)
        ]
        stacked = {name: np.asarray([n[name] for n in numbers]) for name in numbers[0]}

        def inputs(rows: Any) -> Any:
            if program.together == 1:
                return {name: each[rows[0]] for name, each in stacked.items()}
            return {name: each[rows] for name, each in stacked.items()}

        run = functools.partial(_called, program.run)
        if program.together > 1:
            run = jax.vmap(run, in_axes=(0, None))
        data = jax.device_put(program.data)
        compiled = jax.jit(run).lower(inputs(chunks[0][1]), data).compile()

        def train(rows: Any) -> tuple[Any, float]:
            begin = time.perf_counter()
            found = jax.device_get(compiled(inputs(rows), data))
            return found, time.perf_counter() - begin

        with concurrent.futures.ThreadPoolExecutor(_workers()) as pool:
            futures = {pool.submit(train, rows): taken for taken, rows in chunks}
            try:
                for future in concurrent.futures.as_completed(futures):
                    taken = futures[future]
                    found, seconds = future.result()
                    for row, k in enumerate(taken):
                        measures = jax.tree.map(
                            lambda x, row=row: (
                                x if program.together == 1 else x[row]
                            ).tolist(),
                            found,
                        )
                        share = seconds / len(taken) / _workers()
                        self._keep(ids[k], {"measures": measures, "seconds": share})
                    self._advance(len(taken))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [self._known[name] for name in ids]

    def _keep(self, name: str, result: Result) -> None:
        self._known[name] = result
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as file:
            file.write(json.dumps({"id": name, "result": result}) + "\n")


def _called(run: Callable[..., Any], numbers: Any, data: Any) -> Any:
    return jax.tree.map(jax.numpy.asarray, run(numbers, data))


def _workers() -> int:
    """Return the number of runs at a time: an accelerator is filled by one."""
    return (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1


def _fingerprint(program: Program) -> str:
    """Return a hash of the program and its data, for results to be stored under."""
    one = {name: np.asarray(x) for name, x in program.runs[0].numbers.items()}
    data = jax.tree.map(np.asarray, program.data)
    lowered = jax.jit(functools.partial(_called, program.run)).lower(one, data)
    known = hashlib.sha256(lowered.as_text().encode())
    for leaf in jax.tree.leaves(data):
        known.update(leaf.tobytes())
    known.update(f"{jax.__version__} {jax.devices()[0].device_kind}".encode())
    return known.hexdigest()
