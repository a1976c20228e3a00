"""Tables as text, with the line number of each row, and their conversion to arrays."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Column = int | str

# Stricter than ``float()``, which accepts "1_0", "nan" and "infinity".
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LARGEST = float(np.finfo(np.float32).max)


class Sheet(NamedTuple):
    """The text fields of a file, None where missing, and the line of each row."""

    path: Path
    names: tuple[str, ...]
    rows: list[list[str | None]]
    lines: list[int]
    # The levels of each categorical column, in order.
    levels: Mapping[int, tuple[str, ...]]

    def find(self, column: Column) -> int:
        """Return the index of a column given by name or index."""
        if isinstance(column, str):
            if column in self.names:
                return self.names.index(column)
        elif -len(self.names) <= column < len(self.names):
            return column % len(self.names)
        raise ValueError(
            f"{self.path}: expected a column among {shortened(self.names)} or an "
            f"index below {len(self.names)}, got {column!r}."
        )

    def column(self, index: int) -> list[str | None]:
        return [row[index] for row in self.rows]


def features_of(sheet: Sheet, label: Column) -> NDArray[np.float32]:
    columns = [j for j in range(len(sheet.names)) if j != sheet.find(label)]
    if not columns:
        raise ValueError(
            f"{sheet.path}, line {sheet.lines[0]}: expected features beside the label, "
            "got one column. Pass the delimiter of the fields."
        )
    blocks = [
        _one_hot(sheet, j) if j in sheet.levels else _filled(sheet, j)[:, np.newaxis]
        for j in columns
    ]
    return np.concatenate(blocks, axis=1).astype(np.float32)


def _filled(sheet: Sheet, index: int) -> NDArray[np.float64]:
    numbers = numbers_of(sheet, index)
    missing = np.isnan(numbers)
    return np.where(missing, numbers[~missing].mean(), numbers)


def numbers_of(sheet: Sheet, index: int) -> NDArray[np.float64]:
    """Return a column as float64 ``[N]``, NaN where missing."""
    numbers = np.array(
        [
            np.nan if field is None else _number(sheet, line, index, field)
            for field, line in zip(sheet.column(index), sheet.lines, strict=True)
        ]
    )
    if np.isnan(numbers).all():
        raise _no_value(sheet, index)
    return numbers


def _number(sheet: Sheet, line: int, index: int, field: str) -> float:
    number = float(field) if NUMBER.fullmatch(field) else np.nan
    if not abs(number) <= _LARGEST:
        raise ValueError(
            f"{sheet.path}, line {line}: expected a finite float32 number in column "
            f"{sheet.names[index]!r}, got {field!r}. Correct the field; if the column "
            "is categorical, add it to `categorical`."
        )
    return number


def _one_hot(sheet: Sheet, index: int) -> NDArray[np.float64]:
    levels, fields = sheet.levels[index], sheet.column(index)
    position = {level: i for i, level in enumerate(levels)}
    ids = np.array([-1 if field is None else position[field] for field in fields])
    present = ids[ids >= 0]
    if not len(present):
        raise _no_value(sheet, index)
    most_frequent = np.bincount(present, minlength=len(levels)).argmax()
    return np.eye(len(levels))[np.where(ids < 0, most_frequent, ids)]


def _no_value(sheet: Sheet, index: int) -> ValueError:
    return ValueError(
        f"{sheet.path}: expected a value in the column {sheet.names[index]!r}, but all "
        "are missing. Remove the column from the file."
    )


def classes_of(sheet: Sheet, index: int) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    refuse_missing_labels(sheet, index)
    if index in sheet.levels:
        names = sheet.levels[index]
        position = {name: i for i, name in enumerate(names)}
        ids = [position[str(field)] for field in sheet.column(index)]
        return np.array(ids, np.int32), names
    # Compare by value: 1 and 1.0 are the same class.
    values, ids = np.unique(numbers_of(sheet, index), return_inverse=True)
    names = tuple(str(int(v)) if v.is_integer() else str(v) for v in values.tolist())
    return ids.astype(np.int32), names


def refuse_missing_labels(sheet: Sheet, index: int) -> None:
    for field, line in zip(sheet.column(index), sheet.lines, strict=True):
        if field is None:
            raise ValueError(
                f"{sheet.path}, line {line}: expected a label in the column "
                f"{sheet.names[index]!r}, got a missing value. Remove the row: labels "
                "cannot be imputed."
            )


def spellings(fields: Iterable[str | None]) -> list[str]:
    return sorted({field for field in fields if field is not None})


def distinct(path: Path, line: int, names: Sequence[str]) -> tuple[str, ...]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"{path}, line {line}: expected distinct names, got "
            f"{shortened(repeated)} more than once. Rename them."
        )
    return tuple(names)


def shortened(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:10])
    return shown if len(names) <= 10 else f"{shown}, ... ({len(names)} in all)"


def spelled(field: str) -> str:
    """Return a field, with numbers in a canonical spelling of their float32 value."""
    return f"{float(field):.6g}" if NUMBER.fullmatch(field) else field


def read_text(path: Path) -> str:
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: expected text in UTF-8, got the byte "
            f"{raw[error.start]:#04x}. Save the file as UTF-8."
        ) from error
    if not text.strip():
        raise ValueError(
            f"{path}, line 1: expected rows, got an empty file. Replace the file with "
            "the original."
        )
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ValueError(
            f"{path}, line {line}: expected text, got a NUL character. The file is "
            "damaged; replace it with the original."
        )
    if text.startswith("version https://git-lfs"):
        raise ValueError(
            f"{path}, line 1: expected rows, got a Git LFS pointer. Fetch the file "
            "itself (git lfs pull)."
        )
    return text


def complete(
    path: Path,
    names: Sequence[str],
    numbered: Iterable[tuple[int, list[str | None]]],
) -> tuple[list[list[str | None]], list[int]]:
    """Return the rows and their lines, after checking that no field is absent."""
    rows, lines = [], []
    for line, fields in numbered:
        if len(fields) != len(names):
            raise ValueError(
                f"{path}, line {line}: expected {len(names)} fields, got {len(fields)}."
                " Complete the line or replace the file with the original."
            )
        rows.append(fields)
        lines.append(line)
    if not rows:
        raise ValueError(
            f"{path}: expected rows after the header, got none. Replace the file with "
            "the original."
        )
    return rows, lines
