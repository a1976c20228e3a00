"""What do drawing and compiling cost, compared with another version of this library?

    python -m benchmarks.against CHECKOUT [--models mlp cnn] [--quick] [--out DIR]

CHECKOUT is a folder with the other version: `git worktree add CHECKOUT COMMIT`. One
process per version compiles the train steps of `benchmarks.train_step`, in turns. The
script reports the seconds that mixing adds to tracing, lowering and compiling from
scratch, and their ratio to those of the other version. Then both draw for 2048
examples. The floor is Mixup with a constant `lam` and CutMix with a constant box:
nothing is drawn. Pasted is the naive version, `jax.random.beta` and a permutation.
"""

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TextIO, cast

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import command_line
import mixup_jax as mx
from benchmarks import _measure, _scripts, train_step
from benchmarks.models import MODELS, dense

DRAWN = ("mixup", "cutmix", "choose", "floor of mixup", "floor of cutmix")
COMPILED = (*DRAWN, "pasted")
HERE = Path(__file__).resolve()
EXAMPLES = 2048


def middle(key: Any, lam: Any, inputs: Any, partners: Any, *, spatial: Any) -> Any:
    """Return the same centered box for all examples."""
    del key, partners
    grid = mx.regions.grid(inputs, spatial=spatial)
    start, stop = (
        jnp.asarray([[part * n // 4 for n in grid.sizes]] * lam.shape[0], jnp.int32)
        for part in (1, 3)
    )
    return mx.regions.Box(start, stop, grid), jnp.full_like(lam, 0.75)


def mixers() -> dict[str, Any]:
    """Return the mixers to compare, by name."""
    mixup = functools.partial(mx.mixup, alpha=0.2)
    constant = mx.ratios.constant(0.3)
    return {
        "none": mx.erm,
        "mixup": mixup,
        "cutmix": mx.cutmix,
        "choose": mx.choose([mixup, mx.cutmix], [0.5, 0.5]),
        "floor of mixup": functools.partial(mx.mixup, ratio=constant),
        "floor of cutmix": functools.partial(mx.cutmix, ratio=constant, region=middle),
        "pasted": train_step.naive,
    }


def compile_seconds(model: str, mixing: str) -> float:
    """Return the seconds to trace, lower and compile a step from scratch."""
    steps = train_step.steps_of(model, train_step.ON_CPU[model])
    train_step.MIXERS[mixing] = (mixers()[mixing], "dense", dense)
    jax.clear_caches()
    start = time.perf_counter()
    steps.compiled(mixing)
    return time.perf_counter() - start


@functools.cache
def drawer(mixing: str) -> Callable[[], Any]:
    """Return a compiled draw for ``EXAMPLES`` examples."""
    key, batch = jax.random.key(0), (jnp.ones((EXAMPLES, 8, 8, 3)), None)
    program = jax.jit(mx.draw_of(mixers()[mixing])).lower(key, batch).compile()
    return lambda: jax.block_until_ready(program(key, batch))


def draw_microseconds(model: str, mixing: str) -> float:
    """Return the minimum time of many draws."""
    del model
    run, taken = drawer(mixing), []
    for _ in range(300):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return 1e6 * min(taken)


ASKED = {"compile": compile_seconds, "draw": draw_microseconds}


def serve() -> None:
    """Answer requests on stdin, one line of JSON each, until it is closed."""
    jax.config.update("jax_enable_compilation_cache", False)
    for line in sys.stdin:
        what, model, mixing = json.loads(line)
        print(json.dumps(ASKED[what](model, mixing)), flush=True)


class Version:
    """A process that has imported one version of the library."""

    def __init__(self, checkout: Path):
        # This file from here, and everything that it imports from the checkout.
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        code = (
            "import importlib.util as u, sys; sys.path.remove('');"
            f"s = u.spec_from_file_location('against', {str(HERE)!r});"
            "m = u.module_from_spec(s); s.loader.exec_module(m); m.serve()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        cast(TextIO, self.process.stdin).close()  # the process then exits
        self.process.wait()
        cast(TextIO, self.process.stdout).close()

    def ask(self, *question: str) -> float:
        """Return the answer to a request."""
        out, answers = cast(TextIO, self.process.stdin), self.process.stdout
        out.write(json.dumps(question) + "\n")
        out.flush()
        line = cast(TextIO, answers).readline()
        if not line:
            raise SystemExit("against: the process of one version exited; see above.")
        return json.loads(line)


def compared(
    case: tuple[str, str], *, versions: dict[str, Version], rounds: int
) -> list[dict[str, Any]]:
    """Return a row per kind of mixing, with what it takes or adds in both versions."""
    what, model = case
    names, base = (DRAWN, ()) if what == "draw" else (COMPILED, ("none",))
    found = {(version, name): [] for version in versions for name in (*base, *names)}
    for turn in range(rounds):
        order = list(found)
        for version, name in order[turn % len(order) :] + order[: turn % len(order)]:
            taken = versions[version].ask(what, model, name)
            found[version, name].append(taken)
    rows = []
    for name in names:
        here, there = (
            np.array(found[version, name])
            - sum(np.array(found[version, b]) for b in base)
            for version in versions
        )
        row: dict[str, Any] = {"what": f"{what}, {model}".rstrip(", "), "mixing": name}
        row["unit"] = "s" if what == "compile" else "µs"
        row["here"], row["there"] = _measure.median(here), _measure.median(there)
        row["of there"] = _measure.median(here / there)
        rows.append(row)
    return rows


def picture(rows: list[dict[str, Any]]) -> Any:
    """Plot the ratios to the other version."""
    figure, axis = plt.subplots(figsize=(8, 0.3 * len(rows) + 1.2))
    for at, row in enumerate(rows[::-1]):
        middle, low, high = row["of there"]
        axis.plot([low, high], [at, at], color="tab:blue")
        axis.plot([middle], [at], "o", color="tab:blue")
    names = [f"{row['what']}, {row['mixing']}" for row in rows[::-1]]
    axis.set_yticks(np.arange(len(rows)), names, fontsize=8)
    axis.axvline(1, color="gray", lw=1)
    axis.set_xlim(left=0)
    axis.set_xlabel("of what the other version takes")
    figure.tight_layout()
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    parser = _scripts.arguments("against", __doc__)
    parser.add_argument(
        "checkout", type=Path, nargs="?", help="a folder with the other version"
    )
    parser.add_argument(
        "--models",
        nargs="+",
        choices=MODELS,
        default=list(MODELS),
        help="models to measure again",
    )
    args = parser.parse_args(argv)
    package = (args.checkout or Path("")) / "mixup_jax" / "__init__.py"
    if not args.checkout or not package.exists():
        parser.error(
            f"CHECKOUT: expected a folder with mixup_jax in it; got {args.checkout}. "
            "Make one: git worktree add CHECKOUT COMMIT."
        )
    _scripts.check_out(parser, "against", args)
    try:
        known = _scripts.known("against", args).get("rows", [])
    except ValueError as error:
        parser.error(str(error))
    models = args.models[:1] if args.quick else args.models
    cases = {f"compile {model}": ("compile", model) for model in models}
    cases["draw"] = ("draw", "")
    here, there = HERE.parent.parent, args.checkout.resolve()
    with (
        Version(here) as one,
        Version(there) as other,
        command_line.Interruption() as interruption,
    ):
        versions = {"here": one, "there": other}
        measure = functools.partial(compared, versions=versions, rounds=9)
        found = _scripts.measured(interruption, "against", cases, measure)
        rows = [row for each in found.values() for row in each]
        # Results of other models from previous runs are kept.
        measured = {row["what"] for row in rows}
        rows = [row for row in known if row["what"] not in measured] + rows
        if found:
            _scripts.show("Compared with the other version", rows)
            missing = [case for case in cases if case not in found]
            record = {"rows": rows}
            _scripts.write("against", __doc__, args, record, picture(rows), missing)


if __name__ == "__main__":
    command_line.start(main)
