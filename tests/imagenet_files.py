"""Small files in ImageNet's own formats, for the tests of the ImageNet program."""

import csv
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from examples._imagenet import labels

CLASSES = ("n01440764", "n01443537", "n02105855")
MODES = {1: "CMYK", 2: "L"}  # the modes of some pictures; the others have RGB


def picture(row: int, mode: str = "RGB", file_format: str = "JPEG") -> bytes:
    """Return a picture of 50 x 40 pixels, all of a color of this row."""
    color = (20 * row + 20, 100, 200 - 15 * row)
    content = io.BytesIO()
    Image.new("RGB", (50, 40), color).convert(mode).save(content, file_format)
    return content.getvalue()


def tar_of(members: Mapping[str, bytes]) -> bytes:
    return tar_of_list([*members.items()])


def tar_of_list(members: list[tuple[str, bytes]]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, each in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(each)
            tar.addfile(entry, io.BytesIO(each))
    return content.getvalue()


def ten_pictures() -> dict[str, dict[str, bytes]]:
    """Return 4, 3 and 3 pictures of the classes: CMYK, gray, and a PNG among them."""
    found: dict[str, dict[str, bytes]] = {name: {} for name in CLASSES}
    for row in range(10):
        name = CLASSES[0 if row < 4 else 1 if row < 7 else 2]
        kind = "PNG" if row == 9 else "JPEG"
        content = picture(row, MODES.get(row, "RGB"), kind)
        found[name][f"{name}_{row}.JPEG"] = content
    return found


def class_tars(found: Mapping[str, Mapping[str, bytes]]) -> dict[str, bytes]:
    return {f"{name}.tar": tar_of(members) for name, members in found.items()}


def train_tar(folder: Path, members: Mapping[str, bytes] | None = None) -> Path:
    file = folder / "ILSVRC2012_img_train.tar"
    file.write_bytes(tar_of(members or class_tars(ten_pictures())))
    return file


def train_folder(folder: Path, members: Mapping[str, bytes] | None = None) -> Path:
    for name, content in (members or class_tars(ten_pictures())).items():
        (folder / name).write_bytes(content)
    return folder


def val_tar(folder: Path, count: int = 5) -> Path:
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, count + 1)]
    file = folder / "ILSVRC2012_img_val.tar"
    file.write_bytes(tar_of({name: picture(row) for row, name in enumerate(names)}))
    return file


TRUTH = (2, 1, 3, 3, 1)  # ids of the devkit, in an order other than that of the names
IDS = {1: CLASSES[1], 2: CLASSES[0], 3: CLASSES[2], 4: "n00001740"}


def devkit(folder: Path, truth: tuple[int, ...] = TRUTH) -> Path:
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")]
    synsets = np.array([(id_, name, id_ // 4) for id_, name in IDS.items()], kind)
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})
    lines = "".join(f"{each}\n" for each in truth).encode()
    members = {labels.META: meta.getvalue(), labels.TRUTH: lines}
    inside = {f"ILSVRC2012_devkit_t12/{name}": raw for name, raw in members.items()}
    file = folder / "ILSVRC2012_devkit_t12.tar.gz"
    with tarfile.open(file, "w:gz") as tar:
        for name, raw in inside.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(raw)
            tar.addfile(entry, io.BytesIO(raw))
    return file


def kaggle(folder: Path) -> Path:
    file = folder / "LOC_val_solution.csv"
    with file.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["ImageId", "PredictionString"])
        for number, id_ in reversed([*enumerate(TRUTH, start=1)]):
            boxes = f"{IDS[id_]} 1 2 3 4 {IDS[id_]} 5 6 7 8 "
            writer.writerow([f"ILSVRC2012_val_{number:08d}", boxes])
    return file
