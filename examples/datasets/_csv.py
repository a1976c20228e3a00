"""Reader of CSV files with any delimiter, with or without a header."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from examples.datasets import _sheets

_CSV_MISSING = frozenset({"", "?", "NA", "N/A", "NaN", "nan", "null"})


def read_csv(path: Path, delimiter: str | None, *, names_wanted: bool) -> _sheets.Sheet:
    (line, first), *rest = _csv_rows(path, _sheets.read_text(path), delimiter)
    unnamed = tuple(str(j) for j in range(len(first)))
    body, lines = _sheets.complete(path, unnamed, [(line, first), *rest])
    if names_wanted or _is_header(first, body[1:]):
        names = _sheets.distinct(path, line, [field or "" for field in first])
        body, lines = _sheets.complete(path, names, rest)
    else:
        names = unnamed
    columns = enumerate(zip(*body, strict=True))
    levels = {
        j: tuple(_sheets.spellings(c)) for j, c in columns if not _mostly_numbers(c)
    }
    return _sheets.Sheet(path, names, body, lines, levels)


def _csv_rows(
    path: Path, text: str, delimiter: str | None
) -> Iterator[tuple[int, list[str | None]]]:
    handle = io.StringIO(text, newline=None)
    delimiter = delimiter or _delimiter(text)
    # A run of white space is a single separator.
    source = (" ".join(line.split()) for line in handle) if delimiter == " " else handle
    reader = csv.reader(source, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for fields in reader:
            stripped = [field.strip() for field in fields]
            if stripped not in ([], [""]):
                yield (
                    reader.line_num,
                    [None if field in _CSV_MISSING else field for field in stripped],
                )
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {reader.line_num}: expected fields separated by "
            f"{delimiter!r}, got a malformed line ({error})."
        ) from error


def _delimiter(text: str) -> str:
    first = text.strip().splitlines()[0]
    unquoted = re.sub(r'"[^"]*"', "", first)
    return next((mark for mark in "\t;," if mark in unquoted), " ")


def _is_header(first: list[str | None], body: list[list[str | None]]) -> bool:
    if any(field is not None and _sheets.NUMBER.fullmatch(field) for field in first):
        return False
    columns = zip(*body, strict=True)
    return any(
        name is not None and any(column) and _mostly_numbers(column)
        for name, column in zip(first, columns, strict=False)
    )


def _mostly_numbers(fields: Sequence[str | None]) -> bool:
    present = [field for field in fields if field is not None]
    numbers = sum(_sheets.NUMBER.fullmatch(field) is not None for field in present)
    return 2 * numbers > len(present) or not present
