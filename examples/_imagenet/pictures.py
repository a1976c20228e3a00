"""Pictures: read, decoded and cropped.

The crops are those of Inception and torchvision: a box of 8% to 100% of the area and an
aspect of 3/4 to 4/3 for training, and the center for evaluation.
"""

import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from examples._imagenet.faults import Fault, OnFault
from examples._imagenet.index import Index

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
FORMATS = ("JPEG", "PNG")  # Pillow runs other programs for some of the rest
TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)
# What Pillow raises for damaged files: PNG alone has SyntaxError and the last two.
DAMAGED = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error)

Augment: TypeAlias = Callable[[np.random.Generator, Image.Image], Image.Image]
Box: TypeAlias = tuple[float, float, float, float]


class Example(NamedTuple):
    """A labeled picture: an encoded file, uint8 [H, W, 3], or why there is none."""

    content: bytes | NDArray[np.uint8] | Fault
    label: np.int32
    where: str


class Source(Protocol):
    """Examples with random access, as Grain reads them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


class Pictures:
    """The pictures of an index, as they are in the tars.

    It has no open files, so any number of threads and processes can read at once.
    """

    def __init__(self, labeled: Index) -> None:
        self.labeled = labeled

    def __len__(self) -> int:
        return len(self.labeled.label)

    def __getitem__(self, index: int) -> Example:
        of = self.labeled
        part, name = of.parts[of.part[index]], os.fsdecode(of.name[index])
        where, content = f"{part.where}:{name}", b""
        try:
            content = _read(part.file, int(of.offset[index]), int(of.size[index]))
        except OSError as error:
            content = Fault(where, "a picture that cannot be read", str(error))
        return Example(content, of.label[index], where)


def _read(file: str, offset: int, size: int) -> bytes:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        return os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)


def unchanged(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    """Return the picture: no augmentation beyond crop and flip."""
    del rng
    return picture


def train_example(
    example: Example,
    rng: np.random.Generator,
    *,
    size: int,
    augment: Augment,
    on_fault: OnFault,
) -> dict[str, NDArray] | None:
    """Return a random crop and the label, or None if the picture is to be skipped."""
    cropped = _cropped(example, lambda picture: train_crop(rng, picture, size))
    if isinstance(cropped, Fault):
        on_fault(cropped)
        return None
    image = np.asarray(augment(rng, cropped), np.uint8)
    return {"image": image, "label": np.asarray(example.label)}


def test_example(
    example: Example, *, size: int, on_fault: OnFault
) -> dict[str, NDArray]:
    """Return the center, the label and a weight, 0 if the picture is to be skipped."""
    cropped = _cropped(example, lambda picture: test_crop(picture, size))
    if isinstance(cropped, Fault):
        on_fault(cropped)
        return nothing(size)
    image, label = np.asarray(cropped, np.uint8), np.asarray(example.label)
    return {"image": image, "label": label, "weight": np.ones((), np.float32)}


def nothing(size: int) -> dict[str, NDArray]:
    """Return an example of weight 0, which fills a batch."""
    image, label = np.zeros((size, size, 3), np.uint8), np.zeros((), np.int32)
    return {"image": image, "label": label, "weight": np.zeros((), np.float32)}


def _cropped(
    example: Example, crop: Callable[[Image.Image], Image.Image]
) -> Image.Image | Fault:
    if isinstance(example.content, Fault):
        return example.content
    try:
        return crop(opened(example.content))
    except UnidentifiedImageError:
        start = bytes(example.content[:8])
        detail = f"expected a JPEG or PNG file; it starts with {start!r}"
        return Fault(example.where, "not a picture", detail)
    except TOO_LARGE as error:
        return Fault(example.where, "a picture with too many pixels", str(error))
    except DAMAGED as error:
        is_cut = "truncated" in str(error).lower()
        what = "a truncated picture" if is_cut else "a damaged picture"
        return Fault(example.where, what, str(error))


def opened(content: bytes | NDArray[np.uint8]) -> Image.Image:
    """Return the picture. That of a file is decoded when it is used, not before."""
    if isinstance(content, np.ndarray):
        return Image.fromarray(content)
    return Image.open(BytesIO(content), formats=FORMATS)


def train_crop(
    rng: np.random.Generator, picture: Image.Image, size: int
) -> Image.Image:
    """Return a random box of the picture, resized, and flipped half of the time."""
    cropped = _resized(picture, random_box(rng, *picture.size), size)
    is_flipped = rng.random() < 0.5
    return cropped.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if is_flipped else cropped


def random_box(
    rng: np.random.Generator, width: int, height: int
) -> tuple[int, int, int, int]:
    """Return the left, top, right and bottom of a random box.

    After ten boxes that do not fit, the box is the largest at the center whose aspect
    is allowed.
    """
    low, high = np.log(ASPECT)
    for _ in range(10):
        area = width * height * rng.uniform(*AREA)
        aspect = np.exp(rng.uniform(low, high))
        across = round(np.sqrt(area * aspect))
        down = round(np.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            left = int(rng.integers(width - across + 1))
            top = int(rng.integers(height - down + 1))
            return left, top, left + across, top + down
    across = min(width, round(height * ASPECT[1]))
    down = min(height, round(width / ASPECT[0]))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


def test_crop(picture: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side to 256/224 of ``size``, and return the center.

    The resized picture is computed where it is visible only.
    """
    shorter, (width, height) = round(size * 256 / 224), picture.size
    across = max(shorter, int(shorter * width / height))
    down = max(shorter, int(shorter * height / width))
    left, top = round((across - size) / 2), round((down - size) / 2)
    x, y = width / across, height / down
    box = left * x, top * y, (left + size) * x, (top + size) * y
    return _resized(picture, box, size)


def _resized(picture: Image.Image, box: Box, size: int) -> Image.Image:
    width, height = picture.size
    # Of a JPEG file, each 2nd, 4th or 8th pixel can be decoded alone. Twice as many as
    # needed are kept, so that the bicubic filter still averages.
    kept = 2 * size / min(box[2] - box[0], box[3] - box[1])
    if kept <= 1 / 2:
        picture.draft(None, (int(width * kept), int(height * kept)))
        x, y = picture.width / width, picture.height / height
        box = box[0] * x, box[1] * y, box[2] * x, box[3] * y
    bicubic = Image.Resampling.BICUBIC
    colors = picture if picture.mode == "RGB" else picture.convert("RGB")
    return colors.resize((size, size), bicubic, box=box)
