"""Reader of ARFF files with dense rows of numeric and nominal attributes."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

from examples.datasets import _sheets

_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_ARFF_COMMENT = re.compile(rf"((?:{_QUOTED}|[^%'\"])*)%.*")
_ARFF_FIELD = re.compile(rf"\s*({_QUOTED}|[^,'\"]*?)\s*(,|$)")
_ARFF_ATTRIBUTE = re.compile(
    rf"@attribute\s+(?P<name>{_QUOTED}|[^\s{{'\"]+)"
    r"(\s*\{(?P<levels>.*)\}|\s+(numeric|real|integer)(\s*\[.*\])?)",
    re.IGNORECASE,
)


def read_arff(path: Path) -> _sheets.Sheet:
    numbered = _arff_lines(_sheets.read_text(path))
    names, levels = _arff_header(path, numbered)
    rows, lines = _sheets.complete(
        path, names, ((line, _arff_fields(path, line, text)) for line, text in numbered)
    )
    sheet = _sheets.Sheet(path, names, rows, lines, levels)
    for index in levels:
        _refuse_undeclared(sheet, index)
    return sheet


def _arff_lines(text: str) -> Iterator[tuple[int, str]]:
    for line, content in enumerate(io.StringIO(text, newline=None), start=1):
        comment = _ARFF_COMMENT.match(content) if "%" in content else None
        bare = (comment[1] if comment else content).strip()
        if bare:
            yield line, bare


def _arff_header(
    path: Path, numbered: Iterator[tuple[int, str]]
) -> tuple[tuple[str, ...], dict[int, tuple[str, ...]]]:
    names: list[str] = []
    levels: dict[int, tuple[str, ...]] = {}
    line = 1
    for line, text in numbered:
        keyword = text.split(maxsplit=1)[0].lower()
        if keyword == "@data":
            return _sheets.distinct(path, line, names), levels
        if keyword != "@relation":
            name, declared = _arff_attribute(path, line, text)
            if declared is not None:
                levels[len(names)] = declared
            names.append(name)
    raise ValueError(
        f"{path}, line {line}: expected @data, got the end of the file. Replace the "
        "file with the original."
    )


def _arff_attribute(
    path: Path, line: int, text: str
) -> tuple[str, tuple[str, ...] | None]:
    match = _ARFF_ATTRIBUTE.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{path}, line {line}: expected '@attribute NAME TYPE' with a type "
            f"numeric, real, integer or {{LEVEL, ...}}, got {text!r}. Other types are "
            "not supported; remove the attribute."
        )
    name = _unquoted(match["name"])
    if match["levels"] is None:
        return name, None
    fields = _arff_fields(path, line, match["levels"])
    # Even if ``?`` is declared, it is a missing value rather than a level.
    declared = [field for field in fields if field is not None]
    return name, _sheets.distinct(path, line, declared)


def _arff_fields(path: Path, line: int, text: str) -> list[str | None]:
    fields: list[str | None] = []
    position, separator = 0, ","
    while separator:
        match = _ARFF_FIELD.match(text, position)
        if match is None or text.startswith("{"):
            raise ValueError(
                f"{path}, line {line}: expected values separated by commas, got "
                f"{text!r}. Quote values that contain quotes; sparse rows are not "
                "supported."
            )
        fields.append(None if match[1] == "?" else _unquoted(match[1]))
        position, separator = match.end(), match[2]
    return fields


def _unquoted(field: str) -> str:
    if field[:1] not in ("'", '"'):
        return field
    return re.sub(r"\\(.)", r"\1", field[1:-1])


def _refuse_undeclared(sheet: _sheets.Sheet, index: int) -> None:
    declared = {None, *sheet.levels[index]}
    for field, line in zip(sheet.column(index), sheet.lines, strict=True):
        if field not in declared:
            raise ValueError(
                f"{sheet.path}, line {line}: expected one of the levels declared for "
                f"{sheet.names[index]!r}, {_sheets.shortened(sheet.levels[index])}, "
                f"got {field!r}. Correct the field or declare the level."
            )
