"""Mixup adds little or no computational overhead to a training step.

Zhang et al., "mixup", ICLR 2018, arXiv:1710.09412, section 5: "little or no
computational overhead". Nothing is trained here: the times are those that
`benchmarks.train_step` measured, and the bytes are counted in programs that
`benchmarks.tpu` compiled. The paper publishes no time.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks import _scripts
from benchmarks.claims._engine import analysis, statistics
from benchmarks.claims._engine.analysis import Judged
from benchmarks.claims._engine.claim import Statement, titled
from benchmarks.claims._engine.statistics import Interval

LITTLE = 1.0  # percent of a step
MODELS = {
    "mlp": "MLP",
    "cnn": "CNN",
    "cnn_224": "CNN, 224 x 224",
    "resnet50": "ResNet-50",
    "vit_s16": "ViT-S/16",
}
PRIMARY = ("cnn", "mixup")
JITTED = ("mixup, jit", "cutmix, jit")
TIMES = Path("cpu") / "train_step.json"
BYTES = Path("tpu-compiler") / "tpu.json"


def judged(results: Path = _scripts.RESULTS) -> list[Judged]:
    """Return the verdicts on the time that mixing adds, from the results there."""
    rows = [
        row
        for row in _read(results / TIMES)["rows"]
        if row["mixing"] in ("mixup", "cutmix")
    ]
    found = []
    for row in rows:
        median, low, high = row["adds %"]
        gain = Interval(LITTLE - median, LITTLE - high, LITTLE - low)
        model = MODELS[row["model"]]
        words = f"{model}: {row['mixing']} adds {median:.1f}%, less than {LITTLE:g}%"
        primary = (row["model"], row["mixing"]) == PRIMARY
        statement = Statement(words, "ms", {}, "% of a step", primary=primary, favors=0)
        estimate = statistics.Estimate(gain.mean, float("nan"), 0, float("nan"))
        verdict = statistics.verdict(gain, None)
        found.append(Judged(statement, estimate, gain, verdict))
    return found


def record(results: Path = _scripts.RESULTS) -> dict[str, Any]:
    """Return the record of this claim for the report."""
    times, compiled = (_read(results / file) for file in (TIMES, BYTES))
    title, source = titled(__doc__)
    tpu = [row for row in compiled["rows"] if row["mixing"] in JITTED]
    ran = {
        "command": times["command"],
        "date": times["date"],
        "device": times["device"],
        "seconds": 0,
    }
    protocol = [
        f"batches of {_batches(times)}; float32 on two cores, interleaved rounds",
        "gain: 1% of a step minus the time that mixing adds; intervals are those of "
        "the benchmark, 95% of the median of rounds, each by itself",
        "bytes: what the step moves in memory, compiled for TPU v5e",
    ]
    return {
        "claim": title,
        "source": source,
        "ran": ran,
        "confirmed": False,
        "protocol": protocol,
        "tables": {
            "time of a step, added by mixing": _times(times),
            "bytes of a step, added by mixing": [
                {
                    "chips": row["topology"],
                    "model": MODELS[row["model"]],
                    "mixing": row["mixing"].partition(",")[0],
                    "bytes added, %": f"{row['bytes %']:.2f}",
                }
                for row in tpu
            ],
        },
        "verdicts": analysis.rows(judged(results)),
        "notes": [],
    }


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def _batches(times: dict[str, Any]) -> str:
    sizes = {row["model"]: row["batch"] for row in times["rows"]}
    return ", ".join(f"{size} ({MODELS[name]})" for name, size in sizes.items())


def _times(times: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "model": MODELS[row["model"]],
            "mixing": row["mixing"],
            "ms": f"{row['ms'][0]:.4g}",
            "adds %": "{:.2f} [{:.2f}, {:.2f}]".format(*row["adds %"]),
        }
        for row in times["rows"]
        if "adds %" in row
    ]
