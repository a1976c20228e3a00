"""A reader of tables of one's own that refuses what it may misread.

A file that is read without an error need not be read as it was meant: an index column
becomes a feature, -999 a measurement, a year that names a column the first example.
Each doubt is an error of one line that says how to remove it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from examples.datasets.tables import (
    NUMBER,
    Column,
    Sheet,
    Table,
    read_sheet,
    read_table,
)

FEWEST = 20  # rows, for parts to train on, to choose by and to test on
INFINITE = re.compile(r"[+-]?(inf|infinity|∞)", re.IGNORECASE)
# Numbers that stand for missing values; written as -9e0, they are numbers.
CODE = re.compile(r"-9(\.0*)?|[+-]?99+(\.0*|\.9+)?")


def read(path: Path, label: Column) -> Table:
    """Read a CSV or ARFF file for classification, as ``read_table`` does.

    Raises:
      FileNotFoundError: If the file does not exist.
      ValueError: If the file is malformed; if its first line may be names or its last
        line incomplete; if it holds infinities or what may be codes for missing
        values; if a column counts or names the rows; if a class has one example or
        labels are continuous; or if there are fewer than ``FEWEST`` rows.
    """
    sheet = read_sheet(path, label, None, ())
    of_label = sheet.find(label)
    refuse_cut_off(sheet, path.read_text("utf-8-sig"))
    refuse_infinities(sheet)
    table = read_table(path, label)
    refuse_names_as_values(sheet)
    refuse_codes(sheet)
    refuse_row_names(sheet, of_label)
    refuse_labels(sheet, of_label, table)
    if len(sheet.rows) < FEWEST:
        raise ValueError(
            f"{path}: expected at least {FEWEST} rows; got {len(sheet.rows)}. Add "
            "examples."
        )
    return table


def refuse_names_as_values(sheet: Sheet) -> None:
    """Raise if the first line, read as values, may be one of names."""
    if sheet.path.suffix.lower() == ".arff" or sheet.names != tuple(
        str(j) for j in range(len(sheet.names))
    ):
        return
    numbers = pd.DataFrame(dict(_numeric(sheet)))
    if len(numbers) < 2 or numbers.iloc[0].isna().any():
        return
    first, others = numbers.iloc[0], numbers.iloc[1:]
    low, high = others.min(), others.max()
    distance = np.maximum(low - first, first - high)
    is_apart = bool((distance > high - low).all())
    text = pd.DataFrame(sheet.rows)[list(numbers.columns)]
    decimals = text.iloc[1:].apply(lambda c: c.str.contains(r"[.eE]", na=True).all())
    points = text.iloc[0][decimals].str.contains(r"[.eE]")
    is_whole = len(points) >= 2 and not points.any()
    steps = _is_counting(numbers)
    if is_apart or is_whole or (steps.iloc[0] and not steps.iloc[1:].any()):
        raise ValueError(
            f"{sheet.path}, line {sheet.lines[0]}: expected values like those below; "
            f"got {', '.join(str(x) for x in sheet.rows[0][:5])}, which may be names. "
            "Begin the file with a line of names that are not numbers."
        )


def _is_counting(numbers: pd.DataFrame) -> pd.Series:
    """Return which rows are three or more whole numbers in equal steps upwards."""
    steps = numbers.diff(axis=1).iloc[:, 1:]
    equal = steps.eq(steps.iloc[:, 0] if steps.shape[1] else 0, axis=0).all(axis=1)
    whole = (numbers % 1 == 0).all(axis=1)
    return equal & whole & (steps > 0).all(axis=1) & (steps.shape[1] >= 2)


def refuse_cut_off(sheet: Sheet, text: str) -> None:
    """Raise if the last field may have been cut short.

    A line that ends is complete. Otherwise the last field has to end with a quotation
    mark; or occur in another row without being the beginning of another field of its
    column; or have as many decimals as any number in the column.
    """
    if text.endswith(("\n", "\r", '"')):
        return
    last = sheet.rows[-1][-1]
    others = {row[-1] for row in sheet.rows[:-1]} - {None}
    if sheet.path.suffix.lower() == ".arff":
        others |= {*sheet.levels.get(len(sheet.names) - 1, ())}
    if last is not None:
        is_known = last in others
        is_part = any(each != last and str(each).startswith(last) for each in others)
        most = max((_decimals(each) for each in others), default=0)
        if (is_known and not is_part) or _decimals(last) >= max(most, 1):
            return
    raise ValueError(
        f"{sheet.path}, line {sheet.lines[-1]}: expected the last line to end; got "
        f"{'no value' if last is None else repr(last)} at the end of the file, which "
        "may have been cut off. Complete the file, or end it with an empty line."
    )


def _decimals(field: str | None) -> int:
    """Return the number of decimals of a number, or 0."""
    found = re.fullmatch(r"[+-]?[0-9]*\.([0-9]+)", field or "")
    return len(found[1]) if found else 0


def refuse_infinities(sheet: Sheet) -> None:
    """Raise if a field is infinite, or a number that becomes so in float32."""
    for line, row in zip(sheet.lines, sheet.rows, strict=True):
        for name, field in zip(sheet.names, row, strict=True):
            is_large = (
                field is not None
                and NUMBER.fullmatch(field) is not None
                and abs(float(field)) > np.finfo(np.float32).max
            )
            if is_large or INFINITE.fullmatch(field or ""):
                raise ValueError(
                    f"{sheet.path}, line {line}: expected finite numbers; got "
                    f"{field!r} in the column {name!r}. Write ? if it is missing, or "
                    "remove the row."
                )


def refuse_codes(sheet: Sheet) -> None:
    """Raise if a column has a number that may stand for missing values.

    These are -9, and two or more nines of either sign. They are suspect if negative
    where nothing else is; if further from the other numbers than these are apart; or
    between words.
    """
    for index, name in enumerate(sheet.names):
        fields = [field for field in sheet.column(index) if field is not None]
        codes = {field for field in fields if CODE.fullmatch(field)}
        others = {field for field in fields if field not in codes}
        if not codes or not others:
            continue
        is_number = [NUMBER.fullmatch(field) is not None for field in others]
        if all(is_number):
            known = np.array([float(field) for field in others])
            suspect = [code for code in codes if _is_apart(float(code), known)]
        else:
            suspect = list(codes)
        if suspect:
            code = min(suspect, key=float)
            raise ValueError(
                f"{sheet.path}, column {name!r}: expected ? for missing values; got "
                f"{code}, {fields.count(code)} times, which may stand for them. Write "
                f"?, or {code}e0 if it is a number."
            )


def _is_apart(code: float, known: np.ndarray) -> bool:
    """Return whether ``code`` has another sign, or is far from the known numbers."""
    low, high = known.min(), known.max()
    is_odd = code < 0 <= low
    return bool(is_odd or max(low - code, code - high) > high - low)


def refuse_row_names(sheet: Sheet, of_label: int) -> None:
    """Raise if a feature counts the rows, in whatever order, or names them."""
    numbers = dict(_numeric(sheet))
    for index, name in enumerate(sheet.names):
        if index == of_label:
            continue
        if index in numbers:
            values = np.sort(numbers[index].to_numpy())
            what = "counts the rows"
            # A single step is a feature of two values.
            is_name = len(values) > 2 and bool((np.diff(values) == 1).all())
        else:
            what = "has another text in each row"
            is_name = len({*sheet.column(index)}) == len(sheet.rows)
        if is_name:
            raise ValueError(
                f"{sheet.path}, column {name!r}: expected a feature; got one that "
                f"{what}. Remove the column."
            )


def refuse_labels(sheet: Sheet, of_label: int, table: Table) -> None:
    """Raise if labels are continuous, or if a class has a single example."""
    counts = np.bincount(table.labels.astype(int), minlength=len(table.classes))
    name, rows = sheet.names[of_label], len(sheet.rows)
    if of_label not in sheet.levels:
        is_fractional = any(not float(each).is_integer() for each in table.classes)
        # More classes than that have few examples each.
        most = min(10, 2 * rows**0.5) if is_fractional else 2 * rows**0.5
        if len(counts) > most:
            raise ValueError(
                f"{sheet.path}, column {name!r}: expected classes; got {len(counts)} "
                f"numbers in {rows} rows. Pass --label with the column of the classes."
            )
    once = [each for each, count in zip(table.classes, counts) if count == 1]
    if once:
        raise ValueError(
            f"{sheet.path}, column {name!r}: expected two or more examples of each "
            f"class; got one of {once[0]!r}. Correct the label, or remove the row."
        )


def _numeric(sheet: Sheet) -> Iterator[tuple[int, pd.Series]]:
    """Yield the index and values of each numeric column."""
    for index in range(len(sheet.names)):
        if index not in sheet.levels:
            fields = [np.nan if x is None else float(x) for x in sheet.column(index)]
            yield index, pd.Series(fields)
