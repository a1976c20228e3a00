"""What does mixing add to a train step, in time and in compile time?

    python -m benchmarks.train_step [--quick] [--out DIR] [--only mlp]

The step of `mixup_jax.training`, with SGD and momentum, on one device: without mixing,
with ours, and with the naive version that is usually pasted (`jax.random.beta`,
`x[permutation]`). Labels are dense, or integers with the two-term loss. bfloat16 on
accelerators; float32 and small batches on CPUs. Compile times are from scratch.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import command_line
import mixup_jax as mx
from benchmarks import _measure, _scripts
from benchmarks.models import MODELS, Model, dense, initial_state, loss_of, termwise
from benchmarks.peers import naive_mixup

ON_CPU = {"mlp": 256, "cnn": 64, "resnet50": 4, "vit_s16": 4}
QUICK = {"mlp": 256, "cnn": 16}
BARS = {"mlp": 5.0, "cnn": 1.0, "resnet50": 1.0, "vit_s16": 1.0}  # percent
COMPILE_BAR = 0.3  # seconds
NAIVE_BAR = 0.2  # of what the naive version adds


def naive(key: jax.Array, batch: tuple[Any, Any]) -> Any:
    """Mix with the naive version, with one lam per example."""
    images, labels = batch
    mixed = naive_mixup(key, images, labels, images.shape[:1])
    return mixed, mx.draw_of(mx.erm)(key, batch)  # the loss does not use the mix


def plain(logits: jax.Array, labels: jax.Array, mix: Any) -> jax.Array:
    """Return the cross-entropy against unmixed integer labels."""
    del mix
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)


# Mixer, kind of labels, and loss; each kind of labels has a baseline.
MIXERS: dict[str, tuple[Callable, str, Callable]] = {
    "none": (mx.erm, "dense", dense),
    "mixup": (functools.partial(mx.mixup, alpha=0.2), "dense", dense),
    "cutmix": (mx.cutmix, "dense", dense),
    "naive mixup": (naive, "dense", dense),
    "none, integers": (mx.erm, "integers", plain),
    "mixup, two_term": (functools.partial(mx.mixup, alpha=0.2), "integers", termwise),
}
COMPILED = ("none", "mixup", "cutmix", "naive mixup")  # whose compilation is timed
BASES = {"dense": "none", "integers": "none, integers"}


class Steps:
    """The steps of one model, traced and compiled on each request."""

    def __init__(self, model: Model, size: int):
        self.dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
        self.model, self.key = model, jax.random.key(0)
        images = jax.random.normal(self.key, (size, *model.image), self.dtype)
        labels = jnp.arange(size) % model.classes
        self.labels = {"dense": jax.nn.one_hot(labels, model.classes)}
        self.labels["integers"] = labels
        self.images = images
        self.state = initial_state(model, self.dtype, self.key)

    def batch_for(self, name: str) -> dict[str, jax.Array]:
        """Return the batch for the step of ``name``."""
        return {"image": self.images, "label": self.labels[MIXERS[name][1]]}

    def compiled(self, name: str) -> Any:
        """Trace and compile the step of ``name``."""
        mixer, kind, entropy = MIXERS[name]
        targets = "label" if kind == "dense" else ()
        step = mx.training.train_step(
            loss_of(self.model, self.dtype, entropy),
            mx.on_keys(mixer, inputs="image", targets=targets),
        )
        step = jax.jit(step, donate_argnums=0)
        return step.lower(self.state, self.key, self.batch_for(name)).compile()

    def contender(self, name: str) -> _measure.Contender:
        """Return the compiled step of ``name``, with its own train state."""
        program, batch = self.compiled(name), self.batch_for(name)
        held = [jax.tree.map(jnp.copy, self.state)]

        def run():
            held[0], metrics = program(held[0], self.key, batch)
            return metrics

        return _measure.Contender(run, program=program)


def overheads(times: dict[str, Any], name: str, size: int) -> list[dict[str, Any]]:
    """Return a row per mixer, with what it adds to its baseline in percent."""
    rows = []
    for mixer, taken in times.items():
        base = BASES[MIXERS[mixer][1]]
        row = {"model": name, "batch": size, "mixing": mixer}
        row["ms"] = _measure.median(taken * 1e3)
        if mixer != base:
            row["adds %"] = _measure.median(100 * (taken / times[base] - 1))
            row["bar %"] = BARS[name]
            row["met"] = "naive" in mixer or row["adds %"].low < BARS[name]
        rows.append(row)
    return rows


def compile_rows(times: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a row per mixer, with the seconds that it adds to compilation."""
    added = times["naive mixup"] - times["none"]
    rows = []
    for mixer, taken in times.items():
        row = {"model": name, "mixing": mixer, "compile s": _measure.median(taken)}
        if mixer != "none":
            row["adds s"] = _measure.median(taken - times["none"])
        if mixer not in ("none", "naive mixup"):
            row["of naive"] = _measure.median((taken - times["none"]) / added)
            row["met"] = (
                row["adds s"].median < COMPILE_BAR
                and row["of naive"].median < NAIVE_BAR
            )
        rows.append(row)
    return rows


def picture(rows: list[dict[str, Any]], compiles: list[dict[str, Any]]) -> Any:
    """Plot what mixing adds to each step, and to its compilation."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 0.32 * len(rows) + 1.6))
    for axis, shown, column, words in (
        (axes[0], rows, "adds %", "time that mixing adds to a step, %"),
        (axes[1], compiles, "adds s", "seconds that mixing adds to compilation"),
    ):
        shown = [row for row in shown if column in row][::-1]
        for at, row in enumerate(shown):
            middle, low, high = row[column]
            color = "tab:red" if "naive" in row["mixing"] else "tab:blue"
            axis.plot([low, high], [at, at], color=color)
            axis.plot([middle], [at], "o", color=color)
        names = [f"{row['model']}, {row['mixing']}" for row in shown]
        axis.set_yticks(np.arange(len(shown)), names, fontsize=8)
        axis.axvline(0, color="gray", lw=1)
        axis.set_xlabel(words)
    figure.tight_layout()
    return figure


@functools.lru_cache(maxsize=1)
def steps_of(name: str, size: int) -> Steps:
    """Return the steps of a model, cached between timing and compiling."""
    return Steps(MODELS[name], size)


def added(
    case: tuple[str, int, bool], *, names: Sequence[str], options: Any, compiling: Any
) -> list[dict[str, Any]]:
    """Return what mixing adds to one model's step, or to its compilation."""
    name, size, is_compilation = case
    steps = steps_of(name, size)
    if not is_compilation:
        contenders = {n: steps.contender(n) for n in names}
        return overheads(_measure.interleaved(contenders, **options), name, size)
    programs = {n: functools.partial(steps.compiled, n) for n in COMPILED}
    return compile_rows(_measure.compile_seconds(programs, **compiling), name)


def main(argv: Sequence[str] | None = None) -> None:
    parser = _scripts.arguments("train_step", __doc__)
    parser.add_argument(
        "--only", nargs="+", choices=MODELS, help="models to measure again"
    )
    args = parser.parse_args(argv)
    sizes = {name: model.batch for name, model in MODELS.items()}
    if jax.default_backend() == "cpu":
        sizes = ON_CPU
    if args.quick:
        sizes = QUICK
    unknown = [name for name in args.only or () if name not in sizes]
    if unknown:
        parser.error(
            f"--only: expected some of {', '.join(sizes)} with --quick; got "
            f"{', '.join(unknown)}."
        )
    sizes = {n: size for n, size in sizes.items() if n in (args.only or sizes)}
    options: dict[str, Any] = {"rounds": 41, "seconds": 60.0, "sample": 0.05}
    compiling: dict[str, Any] = {"rounds": 15, "seconds": 60.0}
    if args.quick:
        options = {"rounds": 6, "seconds": 2.0, "sample": 0.01}
        compiling = {"rounds": 6, "seconds": 1.0}
    _scripts.check_out(parser, "train_step", args)
    try:
        known = _scripts.known("train_step", args) if args.only else {}
    except ValueError as error:
        parser.error(str(error))
    cases = {}
    for name, size in sizes.items():
        cases[f"{name}, time"] = (name, size, False)
        if not args.quick or name == "mlp":
            cases[f"{name}, compilation"] = (name, size, True)
    measure = functools.partial(
        added,
        names=list(MIXERS)[: 4 if args.quick else None],
        options=options,
        compiling=compiling,
    )
    with command_line.Interruption() as interruption:
        found = _scripts.measured(interruption, "train step", cases, measure)
        kinds: dict[bool, list[dict[str, Any]]] = {
            is_compilation: [
                row for row in known.get(kind, []) if row["model"] not in sizes
            ]
            for kind, is_compilation in (("rows", False), ("compilation", True))
        }
        for case, rows in found.items():
            kinds[cases[case][2]] += rows
        if found:
            rows, compiles = kinds[False], kinds[True]
            _scripts.show("What mixing adds to a step", rows)
            _scripts.show("What mixing adds to compilation", compiles)
            record = {"rows": rows, "compilation": compiles}
            missing = [case for case in cases if case not in found]
            figure = picture(rows, compiles)
            _scripts.write("train_step", __doc__, args, record, figure, missing)


if __name__ == "__main__":
    command_line.start(main)
