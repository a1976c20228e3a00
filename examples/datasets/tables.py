"""Tabular data sets, read from the original files.

``read_table`` (classification) and ``read_regression`` read any CSV or ARFF file into a
``Table``. ``UCI`` maps names to readers of the data sets of the Mixup papers. Errors
name the file and the line.
"""

import os
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from examples.datasets import _arff, _csv, _sheets
from examples.datasets._sheets import NUMBER as NUMBER
from examples.datasets._sheets import Column, Sheet

PathLike = str | os.PathLike[str]


class Table(NamedTuple):
    """A tabular data set.

    Features are float32 ``[N, D]``. Labels are int32 ``[N]`` indices into ``classes``;
    for regression they are float32 ``[N]``, and ``classes`` is empty.
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
    """Read a CSV or ARFF file for classification, with int32 ``[N]`` labels.

    The first line of a CSV file is a header if a numeric column has text there, or if
    any column is given by name. Fields are separated by ``delimiter``; by default, the
    first of tab, semicolon and comma that occurs in the first line, otherwise white
    space. Empty fields, ``?``, ``NA``, ``N/A``, ``NaN``, ``nan`` and ``null`` are
    missing values.

    A column is numeric if most of its fields are numbers and it is not listed in
    ``categorical``. Other columns, and nominal ARFF attributes, are categorical and are
    one-hot encoded. Missing numbers are replaced by the mean of the column, missing
    levels by the most frequent level (the first of several), over the whole file.

    The classes are the declared levels of a nominal ARFF attribute; otherwise the
    distinct labels, sorted by value if all are numbers, otherwise alphabetically.

    Args:
      path: the file; ARFF if its name ends in ``.arff``, otherwise CSV.
      label: name or index of the column to predict.
      delimiter: one character, or ``" "`` for any white space. Only for CSV.
      categorical: names or indices of numeric columns to treat as categorical.

    Raises:
      FileNotFoundError: If the file does not exist.
      ValueError: If a line is malformed; the message names the file and the line.
    """
    sheet = read_sheet(Path(path), label, delimiter, categorical)
    table = _table(sheet, label, sheet.path.stem)
    if len(table.classes) < 2:
        raise ValueError(
            f"{path}, line {sheet.lines[-1]}: expected at least two classes in the "
            f"column {label!r}, got {len(table.classes)} up to the last row. Pass the "
            "column of the labels, by name if there is a header."
        )
    return table


def read_regression(
    path: PathLike,
    label: Column = -1,
    *,
    delimiter: str | None = None,
    categorical: Collection[Column] = (),
) -> Table:
    """Read a CSV or ARFF file for regression, with float32 ``[N]`` labels.

    Arguments, features and errors are those of ``read_table``.
    """
    sheet = read_sheet(Path(path), label, delimiter, categorical)
    return _regression(sheet, label, sheet.path.stem)


def _table(sheet: Sheet, label: Column, name: str) -> Table:
    ids, classes = _sheets.classes_of(sheet, sheet.find(label))
    return Table(_sheets.features_of(sheet, label), ids, classes, name)


def _regression(sheet: Sheet, label: Column, name: str) -> Table:
    column = sheet.find(label)
    _sheets.refuse_missing_labels(sheet, column)
    targets = _sheets.numbers_of(sheet, column).astype(np.float32)
    return Table(_sheets.features_of(sheet, label), targets, (), name)


def read_sheet(
    path: Path,
    label: Column,
    delimiter: str | None,
    categorical: Collection[Column],
) -> Sheet:
    """Return the text of the fields that ``read_table`` converts."""
    if path.suffix.lower() == ".arff":
        sheet = _arff.read_arff(path)
    else:
        named = any(isinstance(column, str) for column in (label, *categorical))
        sheet = _csv.read_csv(path, delimiter, names_wanted=named)
    forced = {sheet.find(column) for column in categorical} - set(sheet.levels)
    levels = {j: tuple(_sheets.spellings(sheet.column(j))) for j in forced}
    return sheet._replace(levels={**sheet.levels, **levels})


# The UCI data sets: each reader takes the folder with the original files.


def abalone(data_dir: PathLike) -> Table:
    """Return Abalone: float32 ``[4177, 10]``, sex one-hot; 28 classes (rings)."""
    sheet = _original(data_dir, "abalone.data", rows=4177, checksum=0xBEAE66DA)
    return _table(sheet, -1, "abalone")


def arcene(data_dir: PathLike) -> Table:
    """Return Arcene: float32 ``[200, 10000]``, 2 classes.

    The first 100 rows are the original training part, the others the validation part.
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
    """Return Arrhythmia: float32 ``[452, 279]``, 13 of 16 classes occur."""
    sheet = _original(data_dir, "arrhythmia.data", rows=452, checksum=0xD9ABD873)
    return _table(sheet, -1, "arrhythmia")


def htru2(data_dir: PathLike) -> Table:
    """Return HTRU2: float32 ``[17898, 8]``, 2 classes."""
    sheet = _original(data_dir, "HTRU_2.csv", rows=17_898, checksum=0x52912960)
    return _table(sheet, -1, "htru2")


def iris(data_dir: PathLike) -> Table:
    """Return Iris: float32 ``[150, 4]``, 3 classes, with the two errors in the file."""
    sheet = _original(data_dir, "iris.data", rows=150, checksum=0xE0F55414)
    return _table(sheet, -1, "iris")


def phishing(data_dir: PathLike) -> Table:
    """Return Phishing Websites: float32 ``[11055, 30]`` in {-1, 0, 1}, 2 classes.

    The attributes are nominal, but their levels are ordered (legitimate, suspicious,
    phishing), so they are kept as numbers; ``read_table`` would one-hot encode them.
    """
    name = "Training Dataset.arff"
    sheet = _original(data_dir, name, rows=11_055, checksum=0x228AFB1D)
    ids, classes = _sheets.classes_of(sheet, sheet.find(-1))
    features = _sheets.features_of(sheet._replace(levels={}), -1)
    return Table(features, ids, classes, "phishing")


def airfoil(data_dir: PathLike) -> Table:
    """Return Airfoil Self-Noise: float32 ``[1503, 5]``, labels in dB."""
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
    """Read an original file, and check its number of rows and its values."""
    path = Path(data_dir) / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{data_dir}: expected a folder with {name}, found no such file. Pass the "
            "folder with the original file under its original name."
        )
    sheet = read_sheet(path, -1, None, ())
    if len(sheet.rows) != rows:
        raise ValueError(
            f"{path}, line {sheet.lines[min(len(sheet.rows), rows + 1) - 1]}: expected "
            f"{rows} rows as documented, got {len(sheet.rows)} up to the last line. "
            "Replace the file, which is incomplete or changed, with the original."
        )
    if _checksum(sheet) != checksum:
        raise ValueError(
            f"{path}, lines {sheet.lines[0]} to {sheet.lines[-1]}: expected the values "
            "of the original, got others: the last line is truncated, or a field has "
            "been changed. Replace the file with the original."
        )
    return sheet


def _checksum(sheet: Sheet) -> int:
    """Return a checksum of all values that does not depend on their spelling."""
    fields = ("?" if f is None else _sheets.spelled(f) for r in sheet.rows for f in r)
    return zlib.crc32(" ".join(fields).encode())
