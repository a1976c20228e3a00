"""Figures for the pages, read from the results that the benchmarks committed."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
# What verdicts say of mixing.
SIDES = ("helps", "nothing", "hurts")
# What the benchmarks call the programs of a method.
PROGRAMS = {
    "mixup": "mixup",
    "cutmix": "cutmix",
    "fmix": "fmix",
    "dirichlet": "dirichlet of three",
    "resizemix": "resizemix",
    "saliencymix": "saliencymix",
    "smoothmix": "smoothmix",
    "manifold": "manifold",
    "extrapolate": "extrapolate",
    "gaussian": "gaussian",
}
# A batch of bfloat16 in ``benchmarks.facts``: 256 and 128 images.
BATCH_BYTES = {"32x32": 256 * 32 * 32 * 3 * 2, "224x224": 128 * 224 * 224 * 3 * 2}
IMAGENET = "tpu-compiler/imagenet.json"
SMALL, LARGE = "32x32, float32", "224x224, bfloat16"


def read(name: str) -> dict[str, Any]:
    """Return the committed JSON ``name``, a path under ``benchmarks/results``."""
    return json.loads((RESULTS / name).read_text())


def figures() -> dict[str, str]:
    """Return the measured figures that pages quote, by the name they use."""
    gpu = _gpu()
    tpu = pd.DataFrame(read("tpu-compiler/tpu.json")["rows"])
    tpu = tpu[(tpu.topology == "v5e:2x2") & (tpu.model == "vit_s16")]
    tpu = tpu.set_index("mixing")
    compiled = {
        row["mixing"]: row["here"][0] for row in _compiled() if row["model"] == "mlp"
    }
    peers = pd.DataFrame(read("cpu/transform.json")["bars"])
    peers = peers[(peers.per == "example") & peers["library x ours"].notna()]
    faster = peers["library x ours"].map(lambda interval: interval[0])
    verdicts = {
        f"verdicts_{stem}": f"*{record['verdict']}* for “{record['primary']}”; all "
        f"statements: {record['words']}"
        for stem, record in _claims().items()
    }
    return verdicts | {
        "imagenet_cost": read(IMAGENET)["cost"],
        "kernels": str(gpu.loc[("h100", SMALL, "mixup"), "kernels"]),
        "kernels_pasted": str(gpu.loc[("h100", SMALL, "pasted"), "kernels"]),
        "tpu_bytes": f"{tpu.loc['mixup, jit', 'bytes %']:.1f}",
        "tpu_bytes_pasted": f"{tpu.loc['pasted, jit', 'bytes %']:.0f}",
        "tpu_collectives": str(sum(tpu.loc["mixup, jit", "collectives"].values())),
        "tpu_collectives_pasted": str(
            sum(tpu.loc["pasted, jit", "collectives"].values())
        ),
        "compile": f"{compiled['mixup']:.1f}",
        "compile_pasted": f"{compiled['pasted']:.1f}",
        "peers_slowest": f"{faster.max():.0f}",
        "peers_fastest": f"{faster.min():.1f}",
    }


def write(folder: Path) -> None:
    """Write the tables that pages include."""
    (folder / "cost").mkdir(parents=True, exist_ok=True)
    for method, program in PROGRAMS.items():
        (folder / "cost" / f"{method}.md").write_text(_cost(program))
    for name, table in {
        "verdicts": _verdicts,
        "transform": _transform,
        "compile": _compile,
        "tpu": _tpu,
        "imagenet": _imagenet,
        "gpu": _kernels,
    }.items():
        (folder / f"{name}.md").write_text(table())
    for name, lines in _sides().items():
        (folder / f"claims-{name}.md").write_text(lines)


def _gpu() -> pd.DataFrame:
    rows = pd.DataFrame(read("gpu-compiler/gpu.json")["summary"])
    return rows.set_index(["target", "work", "mixing"])


def _compiled() -> list[dict[str, Any]]:
    """Return the rows about the seconds that mixing adds to compiling a step."""
    return [
        row | {"model": row["what"].removeprefix("compile, ")}
        for row in read("cpu/against.json")["rows"]
        if row["what"].startswith("compile, ")
    ]


def _cost(program: str) -> str:
    """Return a table of what the compilers make of one method."""
    gpu, rows = _gpu(), []
    for work in (SMALL, LARGE):
        if ("h100", work, program) in gpu.index:
            row = gpu.loc[("h100", work, program)]
            rows.append((work, "H100", row["bytes, batches"], int(row["kernels"])))
    facts = read("facts.json")
    (tpu,) = (facts[key] for key in facts if key.startswith("v5e"))
    for size, nbytes in BATCH_BYTES.items():
        if fact := tpu.get(f"{program}, {size}"):
            moved = fact["bytes"] / nbytes
            rows.append((f"{size}, bfloat16", "TPU v5e", moved, fact["fusions"]))
    return _table(
        {
            "batch": work,
            "machine": machine,
            "bytes moved, in batches": f"{moved:.2f}",
            "kernels or fusions": count,
        }
        for work, machine, moved, count in rows
    )


def _transform() -> str:
    """Return a table of the time of a call, beside the fastest other library."""
    rows = pd.DataFrame(read("cpu/transform.json")["bars"])
    rows = rows[(rows.per == "example") & (rows.dtype == "float32")]
    return _table(
        {
            "method": row["method"],
            "batch": row["size"],
            "copies": _interval(row["x copy"]),
            "fastest other library": row["fastest library"],
            "its time, over ours": _interval(row["library x ours"]),
        }
        for row in rows.to_dict("records")
    )


def _compile() -> str:
    """Return a table of the seconds that mixing adds to compiling a step."""
    return _table(
        {
            "model": row["model"],
            "mixing": row["mixing"],
            "seconds": _interval(row["here"]),
        }
        for row in _compiled()
    )


def _tpu() -> str:
    """Return a table of what mixing adds to a step on a TPU."""
    return _table(
        {
            "chips": row["topology"],
            "model": row["model"],
            "mixing": row["mixing"],
            "bytes added, %": f"{row['bytes %']:.2f}",
            "collectives added": sum(row["collectives"].values()),
        }
        for row in read("tpu-compiler/tpu.json")["rows"]
        if row["mixing"] != "no mixing"
    )


def _imagenet() -> str:
    """Return a table of what a step of the ImageNet program takes on a TPU."""
    return _table(
        {
            "chips": row["topology"],
            "model": row["model"],
            "images a step": row["batch"],
            "shards of the state": row["fsdp"],
            "state and batch, GB": f"{row['state and batch, GB']:.2f}",
            "temporary, GB": f"{row['temporary, GB']:.2f}",
            "bytes accessed, GB": f"{row['bytes accessed, GB']:.1f}",
            "ms": f"{row['step, ms']:.1f}",
            "chip hours an epoch": f"{row['device hours per epoch']:.2f}",
        }
        for row in read(IMAGENET)["rows"]
    )


def _kernels() -> str:
    """Return a table of the kernels and bytes of each mixer on an H100."""
    return _table(
        {
            "batch": row["work"],
            "mixing": row["mixing"],
            "kernels": row["kernels"],
            "that touch the batch": row["over the batch"],
            "bytes, in batches": f"{row['bytes, batches']:.2f}",
        }
        for row in read("gpu-compiler/gpu.json")["summary"]
        if row["target"] == "h100" and row["mixing"] != "no mixing"
    )


def _interval(found: list[float]) -> str:
    """Return a median and its interval as ``1.04 [1.01, 1.07]``."""
    median, low, high = found[:3]
    return f"{median:.2f} [{low:.2f}, {high:.2f}]"


def _table(rows: Iterable[dict[str, Any]]) -> str:
    """Return a Markdown table of dicts with the same keys."""
    rows = list(rows)
    lines = [tuple(rows[0]), ("---",) * len(rows[0]), *(row.values() for row in rows)]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def _verdicts() -> str:
    """Return a table of the claims, their primary statements and all verdicts."""
    return _table(
        {
            "claim": record["claim"],
            "primary statement": record["primary"],
            "verdict": f"*{record['verdict']}*",
            "all statements": record["words"],
        }
        for record in _claims().values()
    )


def _sides() -> dict[str, str]:
    """Return the statements by side, as lists."""
    lists = {}
    for name in SIDES:
        lines = [
            f"- {record['claim'].rstrip('.')}: {row['statement']}, {_gain(row)}\n"
            for record in _claims().values()
            for row in record["rows"]
            if row["side"] == name
        ]
        lists[name] = "".join(lines) or "None of the statements.\n"
    return lists


def _gain(row: dict[str, Any]) -> str:
    """Return a gain, its interval and the published gain."""
    mean, low, high = row["gain"]
    words = f"{mean:.3g} [{low:.3g}, {high:.3g}] {row['unit']}"
    if row["published"] is not None:
        words += f" (published: {row['published']:.3g})"
    return words


def _claims() -> dict[str, dict[str, Any]]:
    """Return each claim, its verdicts, and their counts, by the name of its file."""
    claims = {}
    for path in sorted((RESULTS / "claims").glob("*.json")):
        found = json.loads(path.read_text())
        rows = found["verdicts"]
        counts = Counter(row["verdict"] for row in rows)
        words = ", ".join(
            f"{count} {verdict}" for verdict, count in counts.most_common()
        )
        (primary,) = (row for row in rows if row["primary"])
        claims[path.stem] = {
            "claim": found["claim"],
            "primary": primary["statement"],
            "verdict": primary["verdict"],
            "words": words,
            "rows": rows,
        }
    return claims
