"""Metrics of a run, as lines of JSON and as a picture."""

import json
from pathlib import Path
from typing import Any, TextIO

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def opened(file: Path, step: int) -> TextIO:
    """Open the metrics to append to, without lines of later steps than ``step``.

    A resumed run repeats the steps after its checkpoint, and so their lines.
    """
    kept = [row for row in rows(file) if row["step"] <= step]
    # Replacing the file is atomic: a kill leaves either the old lines or the new.
    new = file.with_suffix(".new")
    new.write_text("".join(json.dumps(row) + "\n" for row in kept))
    new.replace(file)
    return file.open("a")


def rows(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a file, without a last one that was cut off."""
    if not file.exists():
        return []
    found = []
    for line in file.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return found


def write(file: TextIO, row: dict[str, Any]) -> None:
    """Append a row, numbers rounded to what float32 holds."""
    short = {
        k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()
    }
    file.write(json.dumps(short) + "\n")
    file.flush()


def draw(file: Path, picture: Path) -> None:
    """Draw the losses and the test errors by step."""
    table = rows(file)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    panels = (
        ("loss", {"loss": "mixed training batches", "test_loss": "test"}),
        (
            "test error in percent",
            {"test_error": "parameters", "test_error_ema": "averaged parameters"},
        ),
    )
    for ax, (title, columns) in zip(axes, panels):
        for name, label in columns.items():
            some = [(row["step"], row[name]) for row in table if name in row]
            if some:
                mark = "." if len(some) < 40 else ""
                ax.plot(*zip(*some), marker=mark, label=label)
        ax.set(xlabel="step", title=title)
        ax.set_ylim(bottom=0, top=100 if "error" in title else None)
        if ax.lines:
            ax.legend()
    figure.savefig(picture, dpi=150)
    plt.close(figure)


def checked(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row, or exit if one of its numbers is not finite."""
    bad = [k for k, v in row.items() if isinstance(v, float) and not np.isfinite(v)]
    if bad:
        raise SystemExit(
            f"step {row['step']}: expected finite metrics; got {bad[0]} = "
            f"{row[bad[0]]}. Lower --learning-rate or --clip-norm, or raise "
            "--warmup-steps."
        )
    return row
