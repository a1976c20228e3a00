"""The results of ``examples.train``: a table, a figure, and JSON."""

import argparse
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from rich.console import Console
from rich.table import Table

import mixup_jax as mx
from examples.datasets import Images

COLORS = {"erm": "0.35", "mixup": "#0072b2", "cutmix": "#d55e00", "mixture": "#009e73"}


def write(
    errors: dict[str, np.ndarray],
    args: argparse.Namespace,
    data: Images,
    recipe: Any,
) -> None:
    """Print the table and write the figure and JSON for the completed epochs."""
    missing = {name: recipe.epochs - len(errors.get(name, ())) for name in args.methods}
    missing = {name: epochs for name, epochs in missing.items() if epochs}
    seeds = "one seed" if recipe.seeds == 1 else f"{recipe.seeds} seeds"
    after = "interrupted" if missing else f"after epoch {recipe.epochs}"
    title = f"{args.data}: test error {after}, {seeds}"
    Console().print(table(errors, title, recipe.epochs))
    spread = "" if recipe.seeds == 1 else ", mean ± standard error"
    draw(errors, data, f"{args.data}, {seeds}{spread}", args.picture)
    results = {
        "data": args.data,
        "examples": len(data.train_labels),
        "alpha": args.alpha,
        "seed": args.seed,
        **recipe._asdict(),
        "interrupted": bool(missing),
        "epochs_missing": missing,
        "test_error": {name: curve.T.tolist() for name, curve in errors.items()},
    }
    args.json.write_text(json.dumps(results, indent=2) + "\n")
    print(f"Written: {args.picture}, {args.json}")


def mean_and_error(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over seeds, the last axis, and its standard error."""
    seeds = errors.shape[-1]
    if seeds == 1:
        return errors[..., 0], np.full(errors.shape[:-1], np.nan)
    return errors.mean(-1), errors.std(-1, ddof=1) / math.sqrt(seeds)


def amount(mean: Any, error: Any) -> str:
    return f"{mean:.2f} %" if np.isnan(error) else f"{mean:.2f} ± {error:.2f} %"


def table(errors: dict[str, np.ndarray], title: str, epochs: int) -> Table:
    is_whole = all(len(curve) == epochs for curve in errors.values())
    table = Table(title=title)
    table.add_column("method")
    table.add_column("mean ± standard error", justify="right")
    table.add_column("each seed", justify="right")
    if not is_whole:
        table.add_column("epochs", justify="right")
    for name, curve in errors.items():
        each = "  ".join(f"{100 * e:.2f}" for e in curve[-1])
        done = [] if is_whole else [f"{len(curve)} of {epochs}"]
        table.add_row(name, amount(*mean_and_error(100 * curve[-1])), each, *done)
    return table


def draw(errors: dict[str, np.ndarray], data: Images, title: str, file: Path) -> None:
    """Plot the learning curves, with a row of mixed examples below."""
    figure = Figure(figsize=(9, 6.6), layout="constrained")
    grid = figure.add_gridspec(2, 8, height_ratios=[3, 1])
    axes = figure.add_subplot(grid[0, :])
    for name, curve in errors.items():
        mean, error = mean_and_error(100 * curve)
        epochs = np.arange(1, len(mean) + 1)
        label = f"{name}: {amount(mean[-1], error[-1])}"
        axes.plot(epochs, mean, color=COLORS[name], marker=".", label=label)
        axes.fill_between(
            epochs, mean - error, mean + error, color=COLORS[name], alpha=0.2, lw=0
        )
    axes.set(title=title, xlabel="epoch", ylabel="test error (%)", yscale="log")
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(ScalarFormatter())
    axes.grid(which="both", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_axisbelow(True)
    axes.legend(title="after the last epoch", edgecolor="none", framealpha=1)

    cells = [figure.add_subplot(grid[1, i]) for i in range(8)]
    mixed = [*mixed_examples(mx.mixup, data, 4), *mixed_examples(mx.cutmix, data, 4)]
    for cell, (image, label) in zip(cells, mixed):
        cell.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        cell.set_xlabel(label, fontsize=8)
        cell.set(xticks=[], yticks=[])
    for cell in cells[len(mixed) :]:  # --limit may leave fewer
        cell.set_axis_off()
    cells[0].set_title("mixup", loc="left", fontsize=10)
    cells[len(mixed) // 2].set_title("cutmix", loc="left", fontsize=10)
    figure.savefig(file, dpi=150)


def mixed_examples(method: Any, data: Images, count: int) -> list[tuple[Any, str]]:
    """Return mixed images in [0, 1], each with a caption for its label."""
    images = jnp.asarray(data.train_images[: 2 * count], jnp.float32) / 255
    # Away from 0 and 1, so that both examples are visible.
    ratio = mx.ratios.constant(np.linspace(0.4, 0.7, len(images), dtype=np.float32))
    mixer = jax.jit(partial(method, ratio=ratio))
    (images, _), mix = mixer(jax.random.key(0), (images, None))
    names = [data.classes[label] for label in data.train_labels]
    examples = []
    for i in range(0, len(images), 2):  # the first example of each pair
        share = float(mix.lam[i])
        own, partner = names[i], names[int(mix.partner[i])]
        label = f"{own}: {share:.0%}\n{partner}: {1 - share:.0%}"
        examples.append((np.asarray(images[i]), label))
    return examples
