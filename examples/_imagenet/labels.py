"""Labels of the validation set, from ImageNet's devkit or Kaggle's CSV file."""

import csv
import io
import os
import tarfile
import zlib
from pathlib import Path

from examples._imagenet.index import WORDNET_ID

TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
META = "data/meta.mat"
PICTURE = "ILSVRC2012_val_{:08d}.JPEG"


def read(file: str | os.PathLike[str]) -> dict[str, str]:
    """Return the WordNet id of each validation picture, by its name.

    Args:
      file: ``ILSVRC2012_devkit_t12.tar.gz``, or Kaggle's ``LOC_val_solution.csv``.

    Raises:
      ValueError: If the file is neither, or damaged.
    """
    path = Path(file)
    try:
        found = _of_kaggle(path) if path.suffix == ".csv" else _of_devkit(path)
    except (tarfile.TarError, zlib.error, EOFError, LookupError, ValueError) as error:
        raise _damaged(path, f"one that cannot be read ({error})") from error
    wrong = [name for name in found.values() if not WORDNET_ID.fullmatch(name)]
    if wrong or not found:
        got = f"{wrong[0]!r} in place of one" if wrong else "none"
        raise _damaged(path, got)
    return found


def _damaged(path: Path, got: str) -> ValueError:
    return ValueError(
        f"{path}: expected WordNet ids of validation pictures, as in "
        f"ILSVRC2012_devkit_t12.tar.gz or Kaggle's LOC_val_solution.csv; got {got}. "
        "Download the file again."
    )


def _of_kaggle(path: Path) -> dict[str, str]:
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        # The id is followed by the corners of a box, once for each object.
        found = {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}
    return {f"{name}.JPEG": wordnet for name, wordnet in found.items()}


def _of_devkit(path: Path) -> dict[str, str]:
    from scipy.io import loadmat  # slow to import

    raw = {}
    with tarfile.open(path, "r:gz") as tar:
        for member in tar:
            for end in (TRUTH, META):
                content = tar.extractfile(member) if member.name.endswith(end) else None
                if content is not None:
                    raw[end] = content.read()
    synsets = loadmat(io.BytesIO(raw[META]), squeeze_me=True)["synsets"]
    # The ids of classes are followed by those of their ancestors in WordNet.
    wordnet = {int(each["ILSVRC2012_ID"]): str(each["WNID"]) for each in synsets}
    lines = raw[TRUTH].decode().split()
    names = (PICTURE.format(number) for number in range(1, len(lines) + 1))
    return {name: wordnet[int(line)] for name, line in zip(names, lines)}
