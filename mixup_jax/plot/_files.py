"""Examples read from files: images, or NumPy arrays."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_LARGEST = np.float64(1e37)  # of which sums and differences are finite in float32
_LONGEST = 512  # pixels per side; a panel of a figure has fewer


class Examples(NamedTuple):
    """The examples that were read.

    Attributes:
      inputs: ``[B, ...]``, integers or floating-point; images are float32 in [0, 1].
      names: the name of each example, or ``None`` if one file contains them all.
      note: what was changed to make them one batch, or an empty string.
    """

    inputs: np.ndarray
    names: list[str] | None
    note: str


def read(paths: Sequence[Path]) -> Examples:
    """Return the examples in these files: images, or ``.npy`` files.

    A single ``.npy`` file has the examples on its first axis; several have one each.

    Raises:
      ValueError: If a file cannot be read, or the files do not make a batch of two or
        more.
    """
    for path in paths:
        if path.suffix.lower() == ".npz":
            raise ValueError(
                f"{path}: expected a .npy file; got an archive. Save one of its arrays "
                "with numpy.save."
            )
    of_numpy = [path.suffix.lower() == ".npy" for path in paths]
    if any(of_numpy) and not all(of_numpy):
        raise ValueError(
            "files: expected images or .npy files; got both. Pass one kind at a time."
        )
    found = (_arrays if any(of_numpy) else _pictures)(paths)
    if len(found.inputs) < 2:
        raise ValueError(
            f"{paths[0]}: expected at least 2 examples; got {len(found.inputs)}. "
            "Name several files, or a .npy file with the examples on its first axis."
        )
    return found


def _arrays(paths: Sequence[Path]) -> Examples:
    arrays = [_loaded(path) for path in paths]
    for path, array in zip(paths, arrays):
        if array.shape != arrays[0].shape:
            raise ValueError(
                f"{path}: expected an array of shape {arrays[0].shape}, as in "
                f"{paths[0]}; got {array.shape}. Crop or pad examples to one size."
            )
    if len(arrays) > 1:
        return Examples(np.stack(arrays), [path.stem for path in paths], "")
    if arrays[0].ndim < 2:
        raise ValueError(
            f"{paths[0]}: expected examples on the first axis of a single file; got "
            f"shape {arrays[0].shape}. Name several files with an example each."
        )
    return Examples(arrays[0], None, "")


def _loaded(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        prefix = file.read(len(np.lib.format.MAGIC_PREFIX))
    if prefix != np.lib.format.MAGIC_PREFIX:
        raise ValueError(
            f"{path}: expected a .npy file; got another format. Save the array with "
            "numpy.save."
        )
    with _reading(path, "a .npy file"):
        array: Any = np.load(path, allow_pickle=False)
    if array.dtype.kind not in "buif" or array.dtype.itemsize > 8:
        raise ValueError(
            f"{path}: expected an integer or floating-point array of at most 64 bits; "
            f"got {array.dtype}. Save it as numpy.float32."
        )
    if array.dtype.kind == "f" and (abs(array[np.isfinite(array)]) > _LARGEST).any():
        raise ValueError(
            f"{path}: expected values from -{_LARGEST:g} to {_LARGEST:g}, as mixers "
            "compute in float32; got larger ones. Scale them."
        )
    return array.astype(np.uint8) * 255 if array.dtype == bool else array


def _pictures(paths: Sequence[Path]) -> Examples:
    from PIL import Image, ImageOps

    pictures = [_opened(path) for path in paths]
    width, height = pictures[0].size
    scale = min(1.0, _LONGEST / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    changed = [path.name for path, each in zip(paths, pictures) if each.size != size]
    note = ""
    if changed:
        shown = ", ".join(changed[:3]) + (", ..." if len(changed) > 3 else "")
        note = f"resized and cropped to {size[0]} x {size[1]} pixels: {shown}"
    fitted = [ImageOps.fit(each, size, Image.Resampling.BOX) for each in pictures]
    pixels = np.stack([np.asarray(each) for each in fitted])
    names = [path.stem for path in paths]
    return Examples(pixels.astype(np.float32) / 255, names, note)


def _opened(path: Path) -> Any:
    from PIL import Image, ImageOps

    with warnings.catch_warnings(), _reading(path, "an image"):
        # A large image is intended if its path was given on the command line.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as picture:
            picture.load()
            mode = picture.mode
            opened = ImageOps.exif_transpose(picture).convert("RGB")
    if mode.startswith(("I", "F")):
        raise ValueError(
            f"{path}: expected 8 bits for each channel; got mode {mode}. Save the "
            "values as .npy."
        )
    return opened


@contextlib.contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Turn any error of a decoder in this context into a ValueError of one line."""
    try:
        yield
    except Exception as error:  # each decoder raises its own
        said = " ".join(str(error).split())[:120] or type(error).__name__
        if "allow_pickle" in said:  # unsafe advice
            said = "it contains Python objects, not numbers"
        raise ValueError(
            f"{path}: expected {what}; got a file that cannot be read ({said})."
        ) from error
