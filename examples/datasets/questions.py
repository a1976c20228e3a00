"""The TREC questions and their classes, read from the original files."""

import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from examples.datasets._originals import damaged

_TRAIN, _TEST = "train_5500.label", "TREC_10.label"
_QUESTION = re.compile(r"(?P<label>[A-Z]+):[a-z]+\s+(?P<text>\S.*?)\s*")


class Questions(NamedTuple):
    """Labeled questions, split into a training and a test part.

    Labels are int32 ``[N]`` indices into ``classes``, which are sorted alphabetically.
    """

    train_texts: tuple[str, ...]
    train_labels: NDArray[np.int32]
    test_texts: tuple[str, ...]
    test_labels: NDArray[np.int32]
    classes: tuple[str, ...]


def trec(data_dir: str | os.PathLike[str]) -> Questions:
    """Return the TREC questions with their coarse classes.

    Lines of the two files have the form ``LABEL:kind question``, with tokens separated
    by spaces. The fine class ``kind`` is dropped.

    Raises:
      FileNotFoundError: If a file is missing.
      ValueError: If a file contains other lines.
    """
    folder = Path(data_dir)
    missing = [name for name in (_TRAIN, _TEST) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder}: expected a folder with {_TRAIN} and {_TEST}, but it has no "
            f"{' and no '.join(missing)}. Pass the folder with the original files."
        )
    (train, train_texts), (test, test_texts) = (
        _read(folder, _TRAIN),
        _read(folder, _TEST),
    )
    classes = tuple(sorted({*train}))
    unknown = sorted({*test} - {*classes})
    if unknown:
        raise damaged(
            folder / _TEST, f"only the labels {', '.join(classes)}", ", ".join(unknown)
        )
    return Questions(
        train_texts,
        np.array([classes.index(label) for label in train], np.int32),
        test_texts,
        np.array([classes.index(label) for label in test], np.int32),
        classes,
    )


def _read(folder: Path, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the labels and texts of the lines of a file."""
    file, found = folder / name, []
    # Latin-1 decodes every byte; one question has 0xf0 in place of a space.
    lines = file.read_text("latin-1").split("\n")
    for number, line in enumerate(lines, start=1):
        match = _QUESTION.fullmatch(line)
        if match:
            found.append((match["label"], match["text"]))
        elif line.strip():
            where = f"{file}, line {number}"
            raise damaged(where, "'LABEL:kind question'", repr(line[:80]))
    if not found:
        raise damaged(file, "questions", "an empty file")
    labels, texts = zip(*found, strict=True)
    return labels, texts
