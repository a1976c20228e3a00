"""Many training runs in one compiled program, with finished ones stored on disk.

A run is a function of a few numbers (its seed, alpha, ...). All runs that share a
program are stacked and vmapped, in chunks that fit in memory. The results of a chunk
are written when it finishes, so that interrupted runs resume where they stopped.
"""

import functools
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

CLAIMS = Path(__file__).parents[1]
SHARED = (  # files and folders that a result depends on
    Path(mixup_jax.__file__).parent,
    CLAIMS / "_data",
    CLAIMS / "_networks",
    CLAIMS.parent / "models.py",
    Path(__file__),  # runs that train together are one program
)

Setting = Mapping[str, float]
Result = dict[str, Any]


class Runs:
    """The finished runs of one claim, appended to a file line by line.

    Args:
      file: file of JSON lines.
      script: module of the claim. Runs of another version of it, of shared code, of the
        library or of JAX, or from another device, are ignored.
      progress: progress bar to advance.

    Attributes:
      seconds_before: seconds that the results loaded from ``file`` took.
    """

    seconds_before = 0.0

    def __init__(
        self, file: Path, script: ModuleType, progress: rich.progress.Progress
    ):
        self._file, self._progress = file, progress
        self._version = version_of(script)
        self._known: dict[str, Result] = {}
        self._counted: set[str] = set()
        if file.exists():
            text = file.read_text()
            for line in text.splitlines():
                self._remember(line)
            if text and not text.endswith("\n"):  # the last row was cut off
                file.write_text(text + "\n")

    def _remember(self, line: str) -> None:
        try:
            row = json.loads(line)
            version, name, result = row["version"], row["id"], row["result"]
        except (json.JSONDecodeError, KeyError, TypeError):
            return  # the row was cut off while it was written
        if version == self._version:
            self._known[name] = result

    def many(
        self,
        group: str,
        run: Callable[[Any], Mapping[str, jax.Array]],
        settings: Sequence[Setting],
        *,
        chunk: int,
    ) -> list[Result]:
        """Return the result of ``run`` for each setting, training missing ones jointly.

        Args:
          group: label of the progress bar.
          run: traced function that takes the numbers of one setting as scalars, and
            returns a dict of small arrays. Anything else that the result depends on
            (data, epochs, sizes) is bound by ``functools.partial``, and identifies the
            program.
          settings: one dict of numbers per run, all with the same keys.
          chunk: number of runs that train together.

        Returns:
          The results of each setting, as numbers and lists, including ``seconds``, its
          share of the time of its chunk, without compilation.
        """
        program = f"{group} {_fingerprint([run])}"
        ids = [json.dumps([program, dict(s)], sort_keys=True) for s in settings]
        todo = [k for k, each in enumerate(ids) if each not in self._known]
        task = self._progress.add_task(group, total=len(ids))
        self._progress.advance(task, len(ids) - len(todo))
        for each in {*ids} & {*self._known} - self._counted:
            self.seconds_before += self._known[each].get("seconds", 0.0)
        self._counted |= {*ids}  # counted once, even if requested again
        # All at once, so that a name has one dtype in every chunk.
        stacked = {
            name: np.asarray([settings[k][name] for k in todo])
            for name in (settings[todo[0]] if todo else ())
        }
        together = None
        for start in range(0, len(todo), chunk):
            taken = np.arange(start, min(start + chunk, len(todo)))
            # The last chunk is padded, so that all chunks use one program.
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


def version_of(script: ModuleType) -> str:
    """Return a hash of everything that a result depends on, except its arguments."""
    files = [
        file
        for each in SHARED
        for file in (sorted(each.rglob("*.py")) if each.is_dir() else [each])
    ]
    sources = [file.read_text() for file in files]
    device = jax.devices()[0].device_kind
    return _fingerprint([sources, inspect.getsource(script), jax.__version__, device])


def _fingerprint(tree: Any) -> str:
    """Return a hash of a pytree of arrays, functions, numbers and strings."""
    leaves, structure = jax.tree.flatten(tree)
    known = hashlib.sha256(str(structure).encode())
    for leaf in leaves:
        if isinstance(leaf, np.ndarray | jax.Array):
            known.update(f"{leaf.dtype}{leaf.shape}".encode())
            known.update(np.asarray(leaf).tobytes())
        elif isinstance(leaf, functools.partial):
            known.update(_fingerprint([leaf.func, leaf.args, leaf.keywords]).encode())
        elif inspect.isfunction(leaf):
            known.update(f"{leaf.__module__}.{leaf.__qualname__}".encode())
        else:
            known.update(repr(leaf).encode())
    return known.hexdigest()[:12]
