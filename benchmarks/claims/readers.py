"""Tables and speech for the claims, read from the files as their authors gave them.

Any CSV or ARFF file becomes a `Table` with `read_table` (a class to predict) or
`read_regression` (a number to predict); `UCI` holds the sets of the Mixup papers by
name. Every error names the file and the line.
"""

import csv
import io
import os
import re
import wave
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PathLike = str | os.PathLike[str]
Column = int | str


class Table(NamedTuple):
    """A data set of rows.

    Features are float32[N, D]. Labels are int32[N], which index `classes`, or for
    regression float32[N], with no classes.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int32 | np.float32]
    classes: tuple[str, ...]
    name: str


class Recordings(NamedTuple):
    """Spoken digits, one recording a row, ordered by digit, speaker and take.

    Waveforms are float32[N, T] in [-1, 1), with zeros from `lengths[i]` on; the other
    arrays are int32[N], and `speaker_ids` index `speakers`.
    """

    waveforms: NDArray[np.float32]
    lengths: NDArray[np.int32]
    digits: NDArray[np.int32]
    speaker_ids: NDArray[np.int32]
    takes: NDArray[np.int32]
    speakers: tuple[str, ...]
    rate: int


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
    first line, or else by white space. `?`, `NA` and an empty field are missing.

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
    ids, classes = _classes(sheet, sheet.find(label))
    return Table(_features(sheet, label), ids, classes, sheet.path.stem)


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
    column = sheet.find(label)
    _refuse_missing_labels(sheet, column)
    targets = _numbers(sheet, column).astype(np.float32)
    return Table(_features(sheet, label), targets, (), sheet.path.stem)


# The UCI sets: each takes the folder with its original files.


def abalone(data_dir: PathLike) -> Table:
    """Return Abalone: float32[4177, 10], the sex one-hot, and 28 counts of rings."""
    table = read_table(_original(data_dir, "abalone.data"))
    return _as_documented(table, "abalone", rows=4177, features=10, classes=28)


def arcene(data_dir: PathLike) -> Table:
    """Return Arcene: float32[200, 10000], 2 classes.

    The first 100 rows are the authors' training part, the others their validation part.
    """
    parts = [_arcene_part(data_dir, part) for part in ("train", "valid")]
    features = np.concatenate([part.features for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    return Table(features, labels, parts[0].classes, "arcene")


def arrhythmia(data_dir: PathLike) -> Table:
    """Return Arrhythmia: float32[452, 279], the 13 classes that occur of 16."""
    table = read_table(_original(data_dir, "arrhythmia.data"))
    return _as_documented(table, "arrhythmia", rows=452, features=279, classes=13)


def htru2(data_dir: PathLike) -> Table:
    """Return HTRU2: float32[17898, 8], 2 classes."""
    table = read_table(_original(data_dir, "HTRU_2.csv"))
    return _as_documented(table, "htru2", rows=17_898, features=8, classes=2)


def iris(data_dir: PathLike) -> Table:
    """Return Iris: float32[150, 4], 3 classes, with UCI's two slips as they are."""
    table = read_table(_original(data_dir, "iris.data"))
    return _as_documented(table, "iris", rows=150, features=4, classes=3)


def phishing(data_dir: PathLike) -> Table:
    """Return Phishing Websites: float32[11055, 30] in -1, 0, 1, and 2 classes.

    The attributes are nominal, but their levels are an order (legitimate, suspicious,
    phishing), so the numbers are kept where `read_table` would make them one-hot.
    """
    sheet = _read_sheet(_original(data_dir, "Training Dataset.arff"), -1, None, ())
    ids, classes = _classes(sheet, sheet.find(-1))
    features = _features(sheet._replace(levels={}), -1)
    table = Table(features, ids, classes, "phishing")
    return _as_documented(table, "phishing", rows=11_055, features=30, classes=2)


def airfoil(data_dir: PathLike) -> Table:
    """Return Airfoil self-noise: float32[1503, 5], and targets float32[1503] in dB."""
    table = read_regression(_original(data_dir, "airfoil_self_noise.dat"))
    return _as_documented(table, "airfoil", rows=1503, features=5, classes=0)


UCI: Mapping[str, Callable[[PathLike], Table]] = {
    "abalone": abalone,
    "arcene": arcene,
    "arrhythmia": arrhythmia,
    "htru2": htru2,
    "iris": iris,
    "phishing": phishing,
    "airfoil": airfoil,
}


def _original(data_dir: PathLike, name: str) -> Path:
    file = Path(data_dir) / name
    if not file.is_file():
        raise FileNotFoundError(
            f"{data_dir}: expected a folder with {name}, found no such file. Give the "
            "folder that holds the original file under its original name."
        )
    return file


def _as_documented(
    table: Table, name: str, *, rows: int, features: int, classes: int
) -> Table:
    got = (*table.features.shape, len(table.classes))
    if got != (rows, features, classes):
        raise ValueError(
            f"{name}: expected (rows, features, classes) to be "
            f"{(rows, features, classes)} as documented, got {got}. A part of the file "
            "is missing or it has been changed; replace it with the original."
        )
    return table._replace(name=name)


def _arcene_part(data_dir: PathLike, part: str) -> Table:
    data = _original(data_dir, f"arcene_{part}.data")
    labels = _original(data_dir, f"arcene_{part}.labels")
    rows = _read_csv(data, " ", names_wanted=False)
    features = np.stack([_numbers(rows, j) for j in range(len(rows.names))], axis=1)
    ids, classes = _classes(_read_csv(labels, " ", names_wanted=False), 0)
    if len(ids) != len(features):
        raise ValueError(
            f"{labels}: expected {len(features)} labels, one for each row of "
            f"{data.name}, got {len(ids)}. Replace both with the original files."
        )
    table = Table(features.astype(np.float32), ids, classes, part)
    return _as_documented(table, f"arcene {part}", rows=100, features=10_000, classes=2)


# Speech.

_RECORDING = re.compile(
    r"(?:^|/)(?P<digit>[0-9])_(?P<speaker>[^_/]+)_(?P<take>[0-9]+)\.wav$"
)
_RATE = 8000


def spoken_digits(data_dir: PathLike) -> Recordings:
    """Return the Free Spoken Digit Dataset, read from the one zip file in `data_dir`.

    The authors test on takes 0 to 4 and train on the others.
    Raises FileNotFoundError where there is not one zip file, ValueError where the zip
    or a recording in it is damaged or is not 16-bit mono at 8 kHz.
    """
    archive = _only_zip(Path(data_dir))
    try:
        with zipfile.ZipFile(archive) as zipped:
            found = sorted(_recordings(archive, zipped))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(
            f"{archive}: expected a whole zip file, got a broken one ({error}). "
            "Replace it with the original."
        ) from error
    if not found:
        raise ValueError(
            f"{archive}: expected recordings named DIGIT_SPEAKER_TAKE.wav, got none. "
            "Replace it with the original."
        )
    digits, names, takes, sounds = zip(*found, strict=True)
    speakers = tuple(sorted(set(names)))
    return Recordings(
        *_padded(sounds),
        np.array(digits, np.int32),
        np.array([speakers.index(name) for name in names], np.int32),
        np.array(takes, np.int32),
        speakers,
        _RATE,
    )


def _only_zip(folder: Path) -> Path:
    archives = sorted(folder.glob("*.zip"))
    if len(archives) != 1:
        names = ", ".join(file.name for file in archives) or "none"
        raise FileNotFoundError(
            f"{folder}: expected a folder with one zip file of recordings, got {names}."
        )
    return archives[0]


def _recordings(
    archive: Path, zipped: zipfile.ZipFile
) -> Iterator[tuple[int, str, int, bytes]]:
    for name in zipped.namelist():
        match = _RECORDING.search(name)
        if match:
            sound = _sound(f"{archive}:{name}", zipped.read(name))
            yield int(match["digit"]), match["speaker"], int(match["take"]), sound


def _sound(where: str, content: bytes) -> bytes:
    try:
        with wave.open(io.BytesIO(content)) as file:
            got = (file.getnchannels(), 8 * file.getsampwidth(), file.getframerate())
            count, sound = file.getnframes(), file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(
            f"{where}: expected a wav file, got a broken one ({error})."
        ) from error
    if got != (1, 16, _RATE):
        raise ValueError(
            f"{where}: expected (channels, bits, rate) to be {(1, 16, _RATE)}, got "
            f"{got}. Replace the recording with the original."
        )
    if not count or len(sound) != 2 * count:
        raise ValueError(
            f"{where}: expected {count} samples (at least 1), got {len(sound) // 2}. "
            "Replace the recording with the original."
        )
    return sound


def _padded(sounds: Sequence[bytes]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    lengths = np.array([len(sound) // 2 for sound in sounds], np.int32)
    waveforms = np.zeros((len(sounds), lengths.max()), np.float32)
    for row, sound, length in zip(waveforms, sounds, lengths, strict=True):
        row[:length] = np.frombuffer(sound, "<i2") / np.float32(1 << 15)
    return waveforms, lengths


# From fields to arrays.

# Stricter than float(), which takes "1_0", "nan" and "infinity" for numbers.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LARGEST = float(np.finfo(np.float32).max)


class _Sheet(NamedTuple):
    """A file as text: its fields (None where missing), and the line of each row."""

    path: Path
    names: tuple[str, ...]
    rows: list[list[str | None]]
    lines: list[int]
    # The columns that are not numbers, with their levels in order.
    levels: Mapping[int, tuple[str, ...]]

    def find(self, column: Column) -> int:
        """Return the index of a column, given by its name or by its index."""
        if isinstance(column, str):
            if column in self.names:
                return self.names.index(column)
        elif -len(self.names) <= column < len(self.names):
            return column % len(self.names)
        raise ValueError(
            f"{self.path}: expected a column among {_shortened(self.names)} or an "
            f"index below {len(self.names)}, got {column!r}."
        )

    def column(self, index: int) -> list[str | None]:
        return [row[index] for row in self.rows]


def _read_sheet(
    path: Path,
    label: Column,
    delimiter: str | None,
    categorical: Collection[Column],
) -> _Sheet:
    if path.suffix.lower() == ".arff":
        sheet = _read_arff(path)
    else:
        named = any(isinstance(column, str) for column in (label, *categorical))
        sheet = _read_csv(path, delimiter, names_wanted=named)
    forced = {sheet.find(column) for column in categorical} - set(sheet.levels)
    levels = {j: tuple(_spellings(sheet.column(j))) for j in forced}
    return sheet._replace(levels={**sheet.levels, **levels})


def _features(sheet: _Sheet, label: Column) -> NDArray[np.float32]:
    columns = [j for j in range(len(sheet.names)) if j != sheet.find(label)]
    if not columns:
        raise ValueError(
            f"{sheet.path}, line {sheet.lines[0]}: expected features beside the label, "
            "got one column. Give the delimiter that separates the fields."
        )
    blocks = [
        _one_hot(sheet, j) if j in sheet.levels else _filled(sheet, j)[:, np.newaxis]
        for j in columns
    ]
    return np.concatenate(blocks, axis=1).astype(np.float32)


def _filled(sheet: _Sheet, index: int) -> NDArray[np.float64]:
    numbers = _numbers(sheet, index)
    missing = np.isnan(numbers)
    return np.where(missing, numbers[~missing].mean(), numbers)


def _numbers(sheet: _Sheet, index: int) -> NDArray[np.float64]:
    """The column as float64[N], NaN where missing."""
    numbers = np.array(
        [
            np.nan if field is None else _number(sheet, line, index, field)
            for field, line in zip(sheet.column(index), sheet.lines, strict=True)
        ]
    )
    if np.isnan(numbers).all():
        raise _no_value(sheet, index)
    return numbers


def _number(sheet: _Sheet, line: int, index: int, field: str) -> float:
    number = float(field) if _NUMBER.fullmatch(field) else np.nan
    if not abs(number) <= _LARGEST:
        raise ValueError(
            f"{sheet.path}, line {line}: expected a finite float32 number in column "
            f"{sheet.names[index]!r}, got {field!r}. Correct the field; if the column "
            "holds levels, name it in `categorical`."
        )
    return number


def _one_hot(sheet: _Sheet, index: int) -> NDArray[np.float64]:
    levels, fields = sheet.levels[index], sheet.column(index)
    position = {level: i for i, level in enumerate(levels)}
    ids = np.array([-1 if field is None else position[field] for field in fields])
    present = ids[ids >= 0]
    if not len(present):
        raise _no_value(sheet, index)
    most_frequent = np.bincount(present, minlength=len(levels)).argmax()
    return np.eye(len(levels))[np.where(ids < 0, most_frequent, ids)]


def _no_value(sheet: _Sheet, index: int) -> ValueError:
    return ValueError(
        f"{sheet.path}: expected a value in the column {sheet.names[index]!r}, but all "
        "are missing. Take the column out of the file."
    )


def _classes(sheet: _Sheet, index: int) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    _refuse_missing_labels(sheet, index)
    if index in sheet.levels:
        names = sheet.levels[index]
        position = {name: i for i, name in enumerate(names)}
        ids = [position[str(field)] for field in sheet.column(index)]
        return np.array(ids, np.int32), names
    # By value: 1 and 1.0 are one class.
    values, ids = np.unique(_numbers(sheet, index), return_inverse=True)
    names = tuple(str(int(v)) if v.is_integer() else str(v) for v in values.tolist())
    return ids.astype(np.int32), names


def _refuse_missing_labels(sheet: _Sheet, index: int) -> None:
    for field, line in zip(sheet.column(index), sheet.lines, strict=True):
        if field is None:
            raise ValueError(
                f"{sheet.path}, line {line}: expected a label in the column "
                f"{sheet.names[index]!r}, got a missing value. Take the row out: a "
                "label cannot be filled in."
            )


def _spellings(fields: Iterable[str | None]) -> list[str]:
    return sorted({field for field in fields if field is not None})


def _distinct(path: Path, line: int, names: Sequence[str]) -> tuple[str, ...]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"{path}, line {line}: expected distinct names, got "
            f"{_shortened(repeated)} more than once. Rename them."
        )
    return tuple(names)


def _shortened(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:10])
    return shown if len(names) <= 10 else f"{shown}, ... ({len(names)} in all)"


def _text(path: Path) -> str:
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
    return text


def _complete(
    path: Path,
    names: Sequence[str],
    numbered: Iterable[tuple[int, list[str | None]]],
) -> tuple[list[list[str | None]], list[int]]:
    """The rows, each with a field for every name, and the line of each."""
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


# CSV.

_CSV_MISSING = frozenset({"", "?", "NA"})


def _read_csv(path: Path, delimiter: str | None, *, names_wanted: bool) -> _Sheet:
    (line, first), *rest = _csv_rows(path, _text(path), delimiter)
    unnamed = tuple(str(j) for j in range(len(first)))
    body, lines = _complete(path, unnamed, [(line, first), *rest])
    if names_wanted or _is_header(first, body[1:]):
        names = _distinct(path, line, [field or "" for field in first])
        body, lines = _complete(path, names, rest)
    else:
        names = unnamed
    columns = enumerate(zip(*body, strict=True))
    levels = {j: tuple(_spellings(c)) for j, c in columns if not _mostly_numbers(c)}
    return _Sheet(path, names, body, lines, levels)


def _csv_rows(
    path: Path, text: str, delimiter: str | None
) -> Iterator[tuple[int, list[str | None]]]:
    handle = io.StringIO(text, newline=None)
    delimiter = delimiter or _delimiter(text)
    # A run of white space is one separator.
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
    if any(field is not None and _NUMBER.fullmatch(field) for field in first):
        return False
    columns = zip(*body, strict=True)
    return any(
        name is not None and any(column) and _mostly_numbers(column)
        for name, column in zip(first, columns, strict=False)
    )


def _mostly_numbers(fields: Sequence[str | None]) -> bool:
    present = [field for field in fields if field is not None]
    numbers = sum(_NUMBER.fullmatch(field) is not None for field in present)
    return 2 * numbers > len(present) or not present


# ARFF.

_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_ARFF_COMMENT = re.compile(rf"((?:{_QUOTED}|[^%'\"])*)%.*")
_ARFF_FIELD = re.compile(rf"\s*({_QUOTED}|[^,'\"]*?)\s*(,|$)")
_ARFF_ATTRIBUTE = re.compile(
    rf"@attribute\s+(?P<name>{_QUOTED}|[^\s{{'\"]+)"
    r"(\s*\{(?P<levels>.*)\}|\s+(numeric|real|integer)(\s*\[.*\])?)",
    re.IGNORECASE,
)


def _read_arff(path: Path) -> _Sheet:
    numbered = _arff_lines(_text(path))
    names, levels = _arff_header(path, numbered)
    rows, lines = _complete(
        path, names, ((line, _arff_fields(path, line, text)) for line, text in numbered)
    )
    sheet = _Sheet(path, names, rows, lines, levels)
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
            return _distinct(path, line, names), levels
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
            "not read; take the attribute out."
        )
    name = _unquoted(match["name"])
    if match["levels"] is None:
        return name, None
    fields = _arff_fields(path, line, match["levels"])
    # A declared `?` is still a missing value, not a level.
    declared = [field for field in fields if field is not None]
    return name, _distinct(path, line, declared)


def _arff_fields(path: Path, line: int, text: str) -> list[str | None]:
    fields: list[str | None] = []
    position, separator = 0, ","
    while separator:
        match = _ARFF_FIELD.match(text, position)
        if match is None or text.startswith("{"):
            raise ValueError(
                f"{path}, line {line}: expected values separated by commas, got "
                f"{text!r}. Quote values that hold quotes; sparse rows are not read."
            )
        fields.append(None if match[1] == "?" else _unquoted(match[1]))
        position, separator = match.end(), match[2]
    return fields


def _unquoted(field: str) -> str:
    if field[:1] not in ("'", '"'):
        return field
    return re.sub(r"\\(.)", r"\1", field[1:-1])


def _refuse_undeclared(sheet: _Sheet, index: int) -> None:
    declared = {None, *sheet.levels[index]}
    for field, line in zip(sheet.column(index), sheet.lines, strict=True):
        if field not in declared:
            raise ValueError(
                f"{sheet.path}, line {line}: expected one of the levels declared for "
                f"{sheet.names[index]!r}, {_shortened(sheet.levels[index])}, got "
                f"{field!r}. Correct the field or declare the level."
            )
