"""Many trainings in one compiled program, each finished one kept on disk.

A run is a function of a few numbers (its seed, alpha, ...). All runs that share a
program are stacked and vmapped, in chunks that fit in memory; a chunk's results are
written as it ends, so that a run that was interrupted goes on where it stopped.
"""

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import rich.progress

import mixup_jax

SHARED = ("train", "images", "resnet")  # the modules that train

Setting = Mapping[str, float]
Result = dict[str, Any]


class Runs:
    """The finished runs of one claim, in a file that grows line by line.

    Args:
      file: where they are kept, JSON lines.
      script: the module of the claim. Runs of another version of it, of what the
        claims share or of the library do not count.
      progress: the bar to advance.

    Attributes:
      seconds_before: what the results took that were known already.
    """

    seconds_before = 0.0

    def __init__(
        self, file: Path, script: ModuleType, progress: rich.progress.Progress
    ):
        self._file, self._progress = file, progress
        self._version = _version(script)
        self._known: dict[str, Result] = {}
        self._counted: set[str] = set()
        if file.exists():
            for line in file.read_text().splitlines():
                self._remember(line)

    def _remember(self, line: str) -> None:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # the last line of a run that was cut off
            return
        if row["version"] == self._version:
            self._known[row["id"]] = row["result"]

    def many(
        self,
        group: str,
        run: Callable[[Any], Mapping[str, jax.Array]],
        settings: Sequence[Setting],
        *,
        chunk: int,
        **facts: Any,
    ) -> list[Result]:
        """Return ``run`` of each setting, those not known yet trained together.

        Args:
          group: what the bar says, and with ``facts`` what tells programs apart.
          run: traced; takes the numbers of one setting as scalars, and returns a dict
            of small arrays.
          settings: one dict of numbers a run, all with the same names.
          chunk: how many runs train together.
          **facts: all else that the result depends on (epochs, sizes), JSON values.

        Returns:
          For each setting its results, as numbers and lists; with ``seconds``, its
          share of the time of its chunk, without compilation.
        """
        ids = [_id(group, setting, facts) for setting in settings]
        todo = [k for k, each in enumerate(ids) if each not in self._known]
        task = self._progress.add_task(group, total=len(ids))
        self._progress.advance(task, len(ids) - len(todo))
        for each in {*ids} & {*self._known} - self._counted:
            self.seconds_before += self._known[each].get("seconds", 0.0)
        self._counted |= {*ids}  # once, whoever asks for it again
        # All at once, so that a name has one dtype in every chunk.
        stacked = {
            name: np.asarray([settings[k][name] for k in todo])
            for name in (settings[todo[0]] if todo else ())
        }
        together = None
        for start in range(0, len(todo), chunk):
            taken = np.arange(start, min(start + chunk, len(todo)))
            # The last chunk is filled up, so that one program serves all.
            filled = np.resize(taken, min(chunk, len(todo)))
            inputs = {name: each[filled] for name, each in stacked.items()}
            if together is None:
                together = jax.jit(jax.vmap(run)).lower(inputs).compile()
            begin = time.perf_counter()
            found = jax.tree.map(np.asarray, jax.block_until_ready(together(inputs)))
            seconds = (time.perf_counter() - begin) / len(taken)
            for row, k in enumerate(taken):
                result = {name: each[row].tolist() for name, each in found.items()}
                self._keep(ids[todo[k]], {**result, "seconds": seconds})
            self._progress.advance(task, len(taken))
        self._progress.remove_task(task)
        return [self._known[each] for each in ids]

    def _keep(self, name: str, result: Result) -> None:
        self._known[name] = result
        self._file.parent.mkdir(parents=True, exist_ok=True)
        row = {"id": name, "version": self._version, "result": result}
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")


def _version(script: ModuleType) -> str:
    """Return a hash of what a result depends on: the claim, what claims share, ours."""
    ours = Path(mixup_jax.__file__).parent.glob("*.py")
    shared = (Path(__file__).with_name(f"_{name}.py") for name in SHARED)
    sources = [file.read_bytes() for file in sorted([*ours, *shared])]
    sources.append(inspect.getsource(script).encode())
    return hashlib.sha256(b"".join(sources)).hexdigest()[:12]


def _id(group: str, setting: Setting, facts: Mapping[str, Any]) -> str:
    return json.dumps([group, dict(setting), dict(facts)], sort_keys=True)
