"""The report of all claims, in Markdown and HTML, from their JSON files."""

import base64
import html
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.claims._engine.statistics import REVERSED, Interval

INTRODUCTION = """\
Which of the claims made for Mixup hold? Each was tested by one command on real data,
and is listed next to the published numbers. Intervals are 95% (Student's t over seeds);
gains are paired over seeds, and positive where the claim holds. *Reproduced*: the
interval is above 0; *reversed*: below 0; *not reproduced*: it contains 0, maybe along
with the published gain. Of statements without any effect, one in forty would be
reproduced and one in forty reversed; if the best of several alphas is selected, more
and fewer. If seeds split a single data set, intervals reflect splits, initializations
and batches, but not other data. Every number is from the JSON file next to its figure,
which the command wrote. The same in a single file: [report.html](report.html).
"""

HURTS = "Reversed claims, with the measured gain:"

# Published results, not repeated here.
ELSEWHERE = (
    "Published results in which Mixup hurts or has no effect, not repeated here:"
)
PUBLISHED = [
    {
        "task": "ImageNet, ResNet-18, 100 epochs",
        "without": "70.04% accuracy",
        "with Mixup": "69.98",
        "source": "OpenMixup's benchmarks",
    },
    {
        "task": "FGVC-Aircraft, ResNet-18",
        "without": "80.23% accuracy",
        "with Mixup": "79.52",
        "source": "OpenMixup's benchmarks",
    },
    {
        "task": "CIFAR-10, PyramidNet",
        "without": "98.31% accuracy",
        "with Mixup": "97.92",
        "source": "FMix, README",
    },
    {
        "task": "ImageNet, ResNet-101",
        "without": "76.51% accuracy",
        "with Mixup": "76.27",
        "source": "FMix, README",
    },
    {
        "task": "Tiny-ImageNet, PreAct ResNet-18, alpha 1 (alpha 2)",
        "without": "55.52% accuracy",
        "with Mixup": "52.65 (44.18)",
        "source": "Verma et al. 2019, arXiv:1806.05236",
    },
    {
        "task": "SVHN, PreAct ResNet-18",
        "without": "NLL 0.136",
        "with Mixup": "NLL 0.212, although the error falls from 2.89% to 2.76%",
        "source": "Verma et al. 2019, arXiv:1806.05236",
    },
    {
        "task": "sentences (SST-1), CNN",
        "without": "37.00% accuracy",
        "with Mixup": "35.24 to 35.93",
        "source": "xashru/mixup-text",
    },
    {
        "task": "speech commands, WRN-52-10",
        "without": "98.04% accuracy",
        "with Mixup": "97.45",
        "source": "tugstugi/pytorch-speech-commands",
    },
    {
        "task": "mini-ImageNet, 80% of the labels wrong (20%, 40%)",
        "without": "13.4% accuracy (63.4, 55.9)",
        "with Mixup": "7.8 (66.5, 59.4: it helps)",
        "source": "google-research/scenic, README",
    },
    {
        "task": "detecting out-of-distribution inputs by confidence",
        "without": "AUROC 87.3",
        "with Mixup": "49.3 (CutMix 94.4)",
        "source": "Yun et al. 2019, arXiv:1905.04899, Table 12",
    },
    {
        "task": "object detection on VOC, pretrained with Mixup",
        "without": "mAP",
        "with Mixup": "1.7 points lower",
        "source": "Yun et al. 2019, arXiv:1905.04899",
    },
    {
        "task": "CIFAR-10 to 94% in seconds, with few epochs",
        "without": "2.59 s on an A100",
        "with Mixup": "not used by any of the fastest methods",
        "source": "KellerJordan/cifar10-airbench, README",
    },
]

FILES = ("README.md", "report.html")
NOTHING: Mapping[str, str] = MappingProxyType({})

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
       padding: 0 1rem }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto }
td, th { border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: left;
         white-space: nowrap }
img { max-width: 100% }
.reproduced { color: #176b2c }
.reversed { color: #a11 }
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
    files = [folder / name for name in FILES]
    folder.mkdir(parents=True, exist_ok=True)
    files[0].write_text("\n".join(_markdown(records, missing)) + "\n")
    files[1].write_text("\n".join(_html(folder, records, missing)) + "\n")
    return files


def _markdown(records: Mapping[str, Any], missing: Mapping[str, str]) -> Iterator[str]:
    yield "# The claims made for Mixup, tested"
    yield ""
    yield INTRODUCTION
    yield "| claim | command | verdicts |"
    yield "| --- | --- | --- |"
    for name, record in records.items():
        link = f"[{record['claim']}](#{name})"
        yield f"| {link} | `{record['command']}` | {_summary(record)} |"
    for name, why in missing.items():
        yield f"| {name} | `python -m benchmarks.claims {name}` | {_not_run(why)} |"
    yield ""
    yield f"{_together(records)}\n"
    yield f"{HURTS}\n"
    yield from (f"- [{name}](#{name}): {said}" for name, said in _reversed(records))
    yield f"\n{ELSEWHERE}\n"
    yield from _markdown_table(PUBLISHED)
    for name, record in records.items():
        yield ""
        yield f'<a id="{name}"></a>'
        yield ""
        yield f"## {record['claim']}"
        yield ""
        yield record["source"]
        yield ""
        yield _ran(record)
        yield ""
        yield from (f"- {line}" for line in record["protocol"])
        for heading, rows in [*record["tables"].items(), _verdicts(record)]:
            yield f"\n**{heading}**\n"
            yield from _markdown_table(rows)
        yield ""
        yield from (f"{line}\n" for line in record["notes"])
        yield f"![{record['claim']}]({name}.png)"


def _markdown_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    columns = _columns(rows)
    yield "| " + " | ".join(columns) + " |"
    yield "|" + " --- |" * len(columns)
    for row in rows:
        yield "| " + " | ".join(_cell(row.get(c, "")) for c in columns) + " |"


def _html(
    folder: Path, records: Mapping[str, Any], missing: Mapping[str, str]
) -> Iterator[str]:
    yield "<!doctype html><html lang=en><meta charset=utf-8>"
    yield "<title>The claims made for Mixup, tested</title>"
    yield f"<style>{STYLE}</style>"
    yield "<h1>The claims made for Mixup, tested</h1>"
    words = INTRODUCTION.partition("The same in a single file")[0].replace("*", "")
    yield f"<p>{html.escape(words)}</p>"
    yield "<table><tr><th>claim<th>command<th>verdicts</tr>"
    for name, record in records.items():
        yield (
            f"<tr><td><a href='#{name}'>{html.escape(record['claim'])}</a>"
            f"<td><code>{html.escape(record['command'])}</code>"
            f"<td>{html.escape(_summary(record))}</tr>"
        )
    for name, why in missing.items():
        yield f"<tr><td>{name}<td><td>{html.escape(_not_run(why))}</tr>"
    yield f"</table><p>{_together(records)}<p>{HURTS}<ul>"
    for name, said in _reversed(records):
        yield f"<li><a href='#{name}'>{name}</a>: {html.escape(said)}"
    yield f"</ul><p>{ELSEWHERE}"
    yield from _html_table(PUBLISHED)
    for name, record in records.items():
        yield f"<h2 id={name}>{html.escape(record['claim'])}</h2>"
        yield "".join(f"<p>{html.escape(t)}" for t in (record["source"], _ran(record)))
        yield "<ul>" + "".join(f"<li>{html.escape(p)}" for p in record["protocol"])
        yield "</ul>"
        for heading, rows in [*record["tables"].items(), _verdicts(record)]:
            yield f"<h3>{html.escape(heading)}</h3>"
            yield from _html_table(rows)
        yield "".join(f"<p>{html.escape(line)}</p>" for line in record["notes"])
        picture = base64.b64encode((folder / f"{name}.png").read_bytes()).decode()
        alt = html.escape(record["claim"])
        yield f"<img alt='{alt}' src='data:image/png;base64,{picture}'>"
    yield "</html>"


def _html_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    columns = _columns(rows)
    yield "<table><tr>" + "".join(f"<th>{html.escape(c)}" for c in columns) + "</tr>"
    for row in rows:
        kind = str(row.get("verdict", "")).replace(" ", "-")
        cells = (html.escape(_cell(row.get(c, ""))) for c in columns)
        yield f"<tr class={kind or 'row'}>" + "".join(f"<td>{c}" for c in cells)
    yield "</table>"


def _not_run(why: str) -> str:
    return f"not run: {why}" if why else "not run"


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _verdicts(record: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    return "verdicts", record["verdicts"]


def _summary(record: Mapping[str, Any]) -> str:
    counts = Counter(row["verdict"] for row in record["verdicts"])
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())


def _together(records: Mapping[str, Any]) -> str:
    minutes = sum(record["seconds"] for record in records.values()) / 60
    return f"In total: {minutes:.0f} minutes."


def _reversed(records: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the claim's name and a description of each reversed statement."""
    for name, record in records.items():
        for row in record["verdicts"]:
            if row["verdict"] == REVERSED:
                yield name, f"{row['statement']}: {_cell(row['gain'])} {row['unit']}"


def _ran(record: Mapping[str, Any]) -> str:
    device = record["device"]
    return (
        f"{record['command']}: {record['seconds']:.0f} s on {device['kind']}, "
        f"{device['cores']} cores, jax {device['jax']}, {record['date']}."
    )


def _cell(value: Any) -> str:
    """Format a number, an interval ``(mean, low, high, count)`` or a string."""
    if isinstance(value, list) and len(value) == 4:
        return str(Interval(*value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
