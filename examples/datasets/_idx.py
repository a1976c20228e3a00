"""Reader of gzipped IDX files: a header with the shape, then an array of bytes."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.datasets._originals import damaged


def read_idx(file: Path, dimensions: int) -> NDArray[np.uint8]:
    """Return the array in a file, which must have this number of dimensions."""
    raw = _gunzip(file)
    header = 4 + 4 * dimensions
    if len(raw) < header:
        raise damaged(file, f"an IDX header of {header} bytes", f"{len(raw)} bytes")
    # 0x08 stands for unsigned bytes and is followed by the number of dimensions.
    expected, magic = 0x0800 + dimensions, int.from_bytes(raw[:4], "big")
    if magic != expected:
        raise damaged(file, f"the IDX magic number {expected:#06x}", f"{magic:#06x}")
    shape = tuple(np.frombuffer(raw, ">u4", dimensions, offset=4).tolist())
    if len(raw) - header != math.prod(shape):
        raise damaged(
            file,
            f"{math.prod(shape)} bytes of data for the shape {shape} in its header",
            f"{len(raw) - header}",
        )
    return np.frombuffer(raw[header:], np.uint8).reshape(shape).copy()


def _gunzip(file: Path) -> bytes:
    try:
        with gzip.open(file) as stream:
            return stream.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise damaged(file, "a whole gzip file", f"a broken one ({error})") from error
