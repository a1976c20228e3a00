"""The report of all claims, in Markdown and HTML, from their files."""

import base64
import html
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
from markdown_it import MarkdownIt

from benchmarks import _scripts
from benchmarks.claims._engine import analysis, statistics
from benchmarks.claims._engine.runner import CONFIRMING
from benchmarks.claims._engine.statistics import Interval

TITLE = "The claims made for Mixup, tested"
INTRODUCTION = """\
Which of the claims made for Mixup hold? Each was tested with one command, and is listed
next to the published numbers. A gain is paired over seeds, and positive where the claim
holds. Each claim has one primary statement, named in the code before the run, with an
interval of 95%. The intervals of its other statements are Holm's: the chance that any
of them excludes 0 wrongly is at most 5%. The verdicts:

- *holds*: the interval is above 0, and not wholly below the published gain;
- *holds, but smaller*: the interval is above 0, and wholly below the published gain;
- *no effect*: the interval contains 0, and the published gain is above it;
- *cannot tell*: the interval contains 0 and the published gain, or other seeds gave
  another verdict;
- *opposite*: the interval is below 0;
- *not a test*: with these or with other seeds, ERM's networks do not fit their training
  data, so the comparison says nothing about Mixup.

Without a published number, a verdict is *holds*, *cannot tell* or *opposite*. Where the
publication reports no difference, *holds* means that the interval lies within one point
of 0 (or within the published error, if larger), and *opposite* that it excludes 0 and
reaches further. z is the distance to a published number in standard errors of the
difference.

`python -m benchmarks.claims report` computes every measured number from the table of
measures per seed next to its figure, except those of the overhead, which come from the
results of `benchmarks.train_step` and `benchmarks.tpu`.
"""
SINGLE = "The same report in a single file: [report.html](report.html).\n"

SIDES = {
    "helps": "Where Mixup helps",
    "nothing": "Where it does nothing",
    "hurts": "Where it hurts",
}

NOT_RUN = """\
- **94% on CIFAR-10 in 24 epochs** (fastai): needs a GPU, `python -m benchmarks.claims
  cifar --full --data-dir DIR`; {cost}
- **ImageNet** (Table 1 of the paper, 0.2 to 1.5 points of top-1 error): not tried, for
  want of devices. `python -m examples.imagenet --data-dir DIR --model resnet50 --epochs
  200 --mixup 0.2` trains it from the original files, and `--mixup 0` its baseline.
  {imagenet}
"""

# Published results, not repeated here.
ELSEWHERE = (
    "Published results in which Mixup hurts or has no effect, not repeated here:"
)
IMAGENET = _scripts.RESULTS / "tpu-compiler" / "imagenet.json"
PUBLISHED = Path(__file__).with_name("published.csv")

FILES = ("README.md", "report.html")
NOTHING: Mapping[str, str] = MappingProxyType({})

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
       padding: 0 1rem }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto }
td, th { border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: left }
img { max-width: 100% }
"""


def write(
    folder: Path, names: Sequence[str], failed: Mapping[str, str] = NOTHING
) -> list[Path]:
    """Write README.md and report.html into ``folder``, and return the two files.

    Args:
      folder: folder of the claims' files.
      names: names of the claims, in order.
      failed: reasons why claims could not be run; their earlier results are left out.
    """
    records = {
        name: json.loads((folder / f"{name}.json").read_text())
        for name in names
        if name not in failed and (folder / f"{name}.json").exists()
    }
    missing = {name: failed.get(name, "") for name in names if name not in records}
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(_markdown(folder, records, missing)) + "\n"
    files = [folder / name for name in FILES]
    files[0].write_text(text)
    files[1].write_text(_html(folder, text))
    return files


def _markdown(
    folder: Path, records: Mapping[str, Any], missing: Mapping[str, str]
) -> Iterator[str]:
    yield f"# {TITLE}\n"
    yield INTRODUCTION
    yield SINGLE
    yield table(
        {
            "claim": f"[{record['claim']}](#{name})",
            "primary statement": _primary(record),
            "all statements": _counts(record),
        }
        for name, record in records.items()
    )
    for name, why in missing.items():
        yield f"- {name}: not run{why and ': '}{why}"
    minutes = sum(record["ran"]["seconds"] for record in records.values()) / 60
    again = sum(map(seconds_of, sorted((folder / CONFIRMING).glob("*.json")))) / 60
    more = f" The run with other seeds: {again:.0f} minutes." if again else ""
    yield f"\nIn total: {minutes:.0f} minutes.{more}\n"
    yield from _sides(records)
    yield from _changed(records)
    yield "## Not run here\n"
    costs = [r["ran"]["cost"] for r in records.values() if "cost" in r["ran"]]
    cost = " ".join(costs) or "its cost was not computed."
    imagenet = json.loads(IMAGENET.read_text())["cost"]
    yield NOT_RUN.format(cost=cost, imagenet=imagenet)
    yield f"{ELSEWHERE}\n"
    yield table(pd.read_csv(PUBLISHED, dtype=str).to_dict("records"))
    for name, record in records.items():
        yield from _section(folder, name, record)


def seconds_of(file: Path) -> float:
    """Return how long the runs took that a claim's JSON records."""
    return json.loads(file.read_text())["ran"]["seconds"]


def _primary(record: Mapping[str, Any]) -> str:
    rows = [row for row in record["verdicts"] if row["primary"]]
    return "; ".join(f"{row['statement']}: **{row['verdict']}**" for row in rows)


def _counts(record: Mapping[str, Any]) -> str:
    counts = Counter(row["verdict"] for row in record["verdicts"])
    return ", ".join(f"{counts[v]} {v}" for v in statistics.VERDICTS if counts[v])


def _sides(records: Mapping[str, Any]) -> Iterator[str]:
    for side, title in SIDES.items():
        yield f"## {title}\n"
        found = [
            f"- [{name}](#{name}): {row['statement']}: {Interval(*row['gain'])} "
            f"{row['unit']}"
            for name, record in records.items()
            for row in record["verdicts"]
            if row["side"] == side
        ]
        yield "\n".join(found or ["None of the statements."]) + "\n"


def _changed(records: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the confirming run did to the verdicts."""
    confirmed = [name for name, record in records.items() if record.get("confirmed")]
    yield "## What other seeds changed\n"
    if not confirmed:
        yield "The confirming run, with other seeds, has not been made.\n"
        return
    pairs = [
        (name, row)
        for name in confirmed
        for row in records[name]["verdicts"]
        if row["again"] and row["again"][0] != row["again"][1]
    ]
    positive = {statistics.HOLDS, statistics.SMALLER}
    turned = sum(
        statistics.OPPOSITE in row["again"] and bool(positive & {*row["again"]})
        for _, row in pairs
    )
    count = sum(len(records[name]["verdicts"]) for name in confirmed)
    yield (
        f"Run again with other seeds: {', '.join(confirmed)}. Of {count} verdicts, "
        f"{len(pairs)} changed, and {turned} turned into the opposite. Those that "
        f"changed became *{statistics.CANNOT_TELL}* or *{statistics.NOT_A_TEST}*.\n"
    )
    yield "\n".join(
        f"- [{name}](#{name}): {row['statement']}: {row['why']}" for name, row in pairs
    )
    yield ""


def _section(folder: Path, name: str, record: Mapping[str, Any]) -> Iterator[str]:
    yield f'<a id="{name}"></a>\n'
    yield f"## {record['claim']}\n"
    yield f"{record['source']}\n"
    ran, device = record["ran"], record["ran"]["device"]
    took = f"{ran['seconds']:.0f} s" if ran["seconds"] else "measured"
    yield (
        f"`{ran['command']}`: {took} on {device['kind']}, "
        f"{device['cores']} cores, jax {device['jax']}, {ran['date']}.\n"
    )
    yield "\n".join(f"- {line}" for line in record["protocol"]) + "\n"
    for heading, rows in record["tables"].items():
        yield f"**{heading}**\n\n{table(rows)}"
    yield f"**verdicts**\n\n{table(map(analysis.shown, record['verdicts']))}"
    yield from (f"{line}\n" for line in record["notes"])
    for picture in (f"{name}.png", f"{name}-seen.png"):
        if (folder / picture).exists():
            yield f"![{record['claim']}]({picture})\n"


def table(rows: Any) -> str:
    """Return rows as a table in Markdown."""
    found = pd.DataFrame(list(rows)).fillna("")
    return found.to_markdown(index=False, disable_numparse=True) + "\n"


def _html(folder: Path, text: str) -> str:
    """Return the Markdown as one page that contains its pictures."""
    text = text.replace(SINGLE, "")
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)

    def inline(found: re.Match[str]) -> str:
        picture = base64.b64encode((folder / found[1]).read_bytes()).decode()
        return f'src="data:image/png;base64,{picture}"'

    body = re.sub(r'src="([\w-]+\.png)"', inline, body)
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>{html.escape(TITLE)}</title><style>{STYLE}</style>\n{body}</html>\n"
    )
