"""Tables of rows, read from the files as their authors gave them.

Any CSV or ARFF file becomes a `Table` with `read_table` (a class to predict) or
`read_regression` (a number to predict); `UCI` holds the sets of the Mixup papers by
name. Every error names the file and the line.
"""

import os
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from examples.datasets import _arff, _csv, _sheets
from examples.datasets._sheets import Column, Sheet

PathLike = str | os.PathLike[str]


class Table(NamedTuple):
    """A data set of rows.

    Features are float32[N, D]. Labels are int32[N], which index `classes`, or for
    regression float32[N], with no classes.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int32 | np.float32]
    classes: tuple[str, ...]
    name: str


def read_table(
    path: PathLike,
    label: Column = -1,
    *,
    delimiter: str | None = None,
    categorical: Collection[Column] = (),
) -> Table:
    """Return the rows of a CSV or ARFF file with int32[N] class labels.

    A CSV file may have a header, which is recognised where a column of numbers has a
    name on its first line, or where a column is asked for by name. Fields are separated
    by `delimiter`, by default the first of tab, semicolon and comma that splits the
    first line, or else by white space. `?`, `NA`, `N/A`, `NaN`, `nan`, `null` and an
    empty field are missing.

    A column is numeric where most of its fields are numbers; `categorical` lists the
    columns that are not, though they look it. Other columns are categorical, as are
    the nominal attributes of an ARFF file, and become one feature for each level
    (one-hot). A missing number becomes the mean of its column, a missing level the most
    frequent one (the first of these), over all rows of the file.

    Classes are the declared levels of a nominal ARFF attribute; otherwise the distinct
    labels, in order of their value where all are numbers, else of their spelling.

    Args:
      path: the file; ARFF where its name ends in `.arff`, else CSV.
      label: the column to predict, by name or by index.
      delimiter: one character, or `" "` for any white space. CSV only.
      categorical: columns by name or by index, to be read as levels, not as numbers.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a line is malformed; the message names file and line.
    """
    sheet = _read_sheet(Path(path), label, delimiter, categorical)
    table = _table(sheet, label, sheet.path.stem)
    if len(table.classes) < 2:
        raise ValueError(
            f"{path}, line {sheet.lines[-1]}: expected at least two classes in the "
            f"column {label!r}, got {len(table.classes)} up to the last row. Give the "
            "column that holds the labels, by its name if there is a header."
        )
    return table


def read_regression(
    path: PathLike,
    label: Column = -1,
    *,
    delimiter: str | None = None,
    categorical: Collection[Column] = (),
) -> Table:
    """Return the rows of a CSV or ARFF file with float32[N] targets, and no classes.

    Arguments, features and errors are those of `read_table`.
    """
    sheet = _read_sheet(Path(path), label, delimiter, categorical)
    return _regression(sheet, label, sheet.path.stem)


def _table(sheet: Sheet, label: Column, name: str) -> Table:
    ids, classes = _sheets.classes_of(sheet, sheet.find(label))
    return Table(_sheets.features_of(sheet, label), ids, classes, name)


def _regression(sheet: Sheet, label: Column, name: str) -> Table:
    column = sheet.find(label)
    _sheets.refuse_missing_labels(sheet, column)
    targets = _sheets.numbers_of(sheet, column).astype(np.float32)
    return Table(_sheets.features_of(sheet, label), targets, (), name)


def _read_sheet(
    path: Path,
    label: Column,
    delimiter: str | None,
    categorical: Collection[Column],
) -> Sheet:
    if path.suffix.lower() == ".arff":
        sheet = _arff.read_arff(path)
    else:
        named = any(isinstance(column, str) for column in (label, *categorical))
        sheet = _csv.read_csv(path, delimiter, names_wanted=named)
    forced = {sheet.find(column) for column in categorical} - set(sheet.levels)
    levels = {j: tuple(_sheets.spellings(sheet.column(j))) for j in forced}
    return sheet._replace(levels={**sheet.levels, **levels})


# The UCI sets: each takes the folder with its original files.


def abalone(data_dir: PathLike) -> Table:
    """Return Abalone: float32[4177, 10], the sex one-hot, and 28 counts of rings."""
    sheet = _original(data_dir, "abalone.data", rows=4177, checksum=0xBEAE66DA)
    return _table(sheet, -1, "abalone")


def arcene(data_dir: PathLike) -> Table:
    """Return Arcene: float32[200, 10000], 2 classes.

    The first 100 rows are the authors' training part, the others their validation part.
    """
    parts = [
        _original(data_dir, f"arcene_{name}", rows=100, checksum=checksum)
        for name, checksum in (
            ("train.data", 0xC58F44C2),
            ("valid.data", 0x8D8ABAAD),
            ("train.labels", 0xAD94E8DE),
            ("valid.labels", 0x29491BC8),
        )
    ]
    features = [
        np.stack([_sheets.numbers_of(rows, j) for j in range(len(rows.names))], axis=1)
        for rows in parts[:2]
    ]
    ids, classes = zip(*(_sheets.classes_of(rows, 0) for rows in parts[2:]))
    x = np.concatenate(features).astype(np.float32)
    return Table(x, np.concatenate(ids), classes[0], "arcene")


def arrhythmia(data_dir: PathLike) -> Table:
    """Return Arrhythmia: float32[452, 279], the 13 classes that occur of 16."""
    sheet = _original(data_dir, "arrhythmia.data", rows=452, checksum=0xD9ABD873)
    return _table(sheet, -1, "arrhythmia")


def htru2(data_dir: PathLike) -> Table:
    """Return HTRU2: float32[17898, 8], 2 classes."""
    sheet = _original(data_dir, "HTRU_2.csv", rows=17_898, checksum=0x52912960)
    return _table(sheet, -1, "htru2")


def iris(data_dir: PathLike) -> Table:
    """Return Iris: float32[150, 4], 3 classes, with UCI's two slips as they are."""
    sheet = _original(data_dir, "iris.data", rows=150, checksum=0xE0F55414)
    return _table(sheet, -1, "iris")


def phishing(data_dir: PathLike) -> Table:
    """Return Phishing Websites: float32[11055, 30] in -1, 0, 1, and 2 classes.

    The attributes are nominal, but their levels are an order (legitimate, suspicious,
    phishing), so the numbers are kept where `read_table` would make them one-hot.
    """
    name = "Training Dataset.arff"
    sheet = _original(data_dir, name, rows=11_055, checksum=0x228AFB1D)
    ids, classes = _sheets.classes_of(sheet, sheet.find(-1))
    features = _sheets.features_of(sheet._replace(levels={}), -1)
    return Table(features, ids, classes, "phishing")


def airfoil(data_dir: PathLike) -> Table:
    """Return Airfoil self-noise: float32[1503, 5], and targets float32[1503] in dB."""
    name = "airfoil_self_noise.dat"
    sheet = _original(data_dir, name, rows=1503, checksum=0x26C390CB)
    return _regression(sheet, -1, "airfoil")


UCI: Mapping[str, Callable[[PathLike], Table]] = {
    "abalone": abalone,
    "arcene": arcene,
    "arrhythmia": arrhythmia,
    "htru2": htru2,
    "iris": iris,
    "phishing": phishing,
    "airfoil": airfoil,
}


def _original(data_dir: PathLike, name: str, *, rows: int, checksum: int) -> Sheet:
    """Return an original file, refused where rows or values are not the authors'."""
    path = Path(data_dir) / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{data_dir}: expected a folder with {name}, found no such file. Give the "
            "folder that holds the original file under its original name."
        )
    sheet = _read_sheet(path, -1, None, ())
    if len(sheet.rows) != rows:
        raise ValueError(
            f"{path}, line {sheet.lines[min(len(sheet.rows), rows + 1) - 1]}: expected "
            f"{rows} rows as documented, got {len(sheet.rows)} up to the last line. A "
            "part of the file is missing or it has been changed; replace it with the "
            "original."
        )
    if _checksum(sheet) != checksum:
        raise ValueError(
            f"{path}, lines {sheet.lines[0]} to {sheet.lines[-1]}: expected the values "
            "of the original, got others: the last line was cut off, or a field has "
            "been changed. Replace the file with the original."
        )
    return sheet


def _checksum(sheet: Sheet) -> int:
    """Return a number that depends on all values, not on how they are spelled."""
    fields = ("?" if f is None else _sheets.spelled(f) for r in sheet.rows for f in r)
    return zlib.crc32(" ".join(fields).encode())
