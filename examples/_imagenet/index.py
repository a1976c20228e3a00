"""The labeled pictures of ImageNet's training and validation sets."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from examples._imagenet.faults import Fault
from examples._imagenet.tars import Members, Part

WORDNET_ID = re.compile(r"n\d{8}")


class Index(NamedTuple):
    """Labeled pictures in tar files.

    Attributes:
      classes: sorted WordNet ids, as in torchvision.
      label: int32 [N], indices into ``classes``.
      parts: the tars.
      part: int32 [N], indices into ``parts``.
      offset: int64 [N], where the picture starts in the part's file.
      size: int64 [N], in bytes.
      name: bytes [N], the name without folder.
    """

    classes: tuple[str, ...]
    label: NDArray[np.int32]
    parts: tuple[Part, ...]
    part: NDArray[np.int32]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    name: NDArray[np.bytes_]

    def rows(self, rows: ArrayLike | slice) -> Self:
        """Return the index of some of the pictures, such as a held-out part."""
        arrays = ("label", "part", "offset", "size", "name")
        which = rows if isinstance(rows, slice) else np.asarray(rows)
        return self._replace(**{name: getattr(self, name)[which] for name in arrays})


def training(members: Members) -> tuple[Index, list[Fault]]:
    """Return the index of training tars, each named by its class, and the faults.

    A class without any picture keeps its label.
    """
    faults = list(members.faults)
    known = [WORDNET_ID.fullmatch(part.name) is not None for part in members.parts]
    for part, is_known in zip(members.parts, known):
        if not is_known:
            detail = "expected the name of its tar to be like n01440764.tar"
            faults.append(Fault(part.where, "a class without a WordNet id", detail))
    names = {part.name for part, is_known in zip(members.parts, known) if is_known}
    classes = tuple(sorted(names))
    number = {name: label for label, name in enumerate(classes)}
    labels = [number.get(part.name, -1) for part in members.parts]
    return _of(members, classes, np.array(labels, np.int32)[members.part]), faults


def validation(
    members: Members, labels: Mapping[str, str], classes: Sequence[str]
) -> tuple[Index, list[Fault]]:
    """Return the index of the validation set, and the faults.

    Args:
      members: the pictures.
      labels: the WordNet id of each name, from ``labels.read``.
      classes: those of the training set.
    """
    faults, number = list(members.faults), {name: i for i, name in enumerate(classes)}
    names = [os.fsdecode(name) for name in members.name]
    found = np.full(len(names), -1, np.int32)
    for row, name in enumerate(names):
        where = f"{members.parts[members.part[row]].where}:{name}"
        if name not in labels:
            faults.append(Fault(where, "a validation picture without a label"))
        elif labels[name] not in number:
            detail = labels[name]
            faults.append(Fault(where, "a picture of a class not in training", detail))
        else:
            found[row] = number[labels[name]]
    if missing := sorted(labels.keys() - set(names)):
        detail = f"{len(missing)} of {len(labels)}, from {missing[0]} on"
        faults.append(Fault("validation set", "labeled pictures are missing", detail))
    return _of(members, tuple(classes), found), faults


def _of(members: Members, classes: tuple[str, ...], label: NDArray[np.int32]) -> Index:
    """Return the index of the members that have a label."""
    parts, part, offset, size, name, _ = members
    every = Index(classes, label, parts, part, offset, size, name)
    return every.rows(label >= 0)


def check_classes(
    index: Index, expected: int, *, known: Collection[str] = ()
) -> list[Fault]:
    """Return a fault unless there are pictures of ``expected`` classes.

    Args:
      index: of the training set.
      expected: the number of classes, 1000 for the whole of ImageNet.
      known: WordNet ids of which to name those that are missing.
    """
    there = {index.classes[label] for label in np.unique(index.label)}
    if len(there) == expected:
        return []
    missing = sorted({*index.classes, *known} - there)
    named = f", without {', '.join(missing[:3])}" if missing else ""
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    detail = f"expected {expected}, got {len(there)}{named}{more}"
    return [Fault("training set", "wrong number of classes", detail)]
