"""The members of tar files, found by reading their headers only.

Tars are not compressed, so a member is a range of bytes of the file. ImageNet's
training set is a tar of 1000 tars, one for each class; a tar within a tar is a range
too, and so are its members.
"""

import io
import json
import os
import tarfile
import uuid
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from examples._imagenet.faults import Fault

SUFFIXES = (".jpeg", ".jpg", ".png")
NO_PICTURE = "a member that is not a picture"
FORMAT = 1  # of the cache; count up if what is written there changes


class Part(NamedTuple):
    """A tar with pictures: a file, or a member of one.

    Attributes:
      file: absolute path of the file.
      name: name without folder and suffix; for training tars, that of the class.
      where: the file and, if it is a member, its name; for messages.
      offset: where the tar starts in the file.
      size: its length in bytes.
    """

    file: str
    name: str
    where: str
    offset: int
    size: int


class Members(NamedTuple):
    """The pictures of some tars, in the order in which they are there.

    Attributes:
      parts: the tars.
      part: int32 [N], indices into ``parts``.
      offset: int64 [N], where the picture starts in the part's file.
      size: int64 [N], in bytes.
      name: bytes [N], the name without folder.
      faults: what was left out, and why.
    """

    parts: tuple[Part, ...]
    part: NDArray[np.int32]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    name: NDArray[np.bytes_]
    faults: tuple[Fault, ...]


def files_in(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the files, with each folder replaced by the tars in it.

    Raises:
      FileNotFoundError: If a path does not exist, or a folder has no tars.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(path.glob("*.tar")) if path.is_dir() else [path]
        if not path.exists() or not inside:
            got = "a folder without any" if path.exists() else "no such path"
            raise FileNotFoundError(
                f"{path}: expected a tar file or a folder of tar files; got {got}. "
                "Pass the files as they are downloaded, not unpacked."
            )
        found += inside
    return found


def members(
    paths: Iterable[str | os.PathLike[str]],
    *,
    cache: str | os.PathLike[str] | None = None,
) -> Members:
    """Return the pictures in tar files, in tars within these, and in folders of tars.

    Args:
      paths: tar files, or folders of them.
      cache: an ``.npz`` file that keeps the result until a tar changes.

    Raises:
      FileNotFoundError: If a path does not exist, or a folder has no tars.
    """
    files = files_in(paths)
    stamps = [(str(file.absolute()), file.stat()) for file in files]
    key = [FORMAT, *([name, at.st_size, at.st_mtime_ns] for name, at in stamps)]
    found = None if cache is None else _cached(Path(cache), json.dumps(key))
    if found is None:
        found = _scanned(files)
        if cache is not None:
            _save(Path(cache), json.dumps(key), found)
    return found


def _scanned(files: Sequence[Path]) -> Members:
    parts, columns, faults, seen = [], [], [], set()
    queue = deque(
        Part(str(file.absolute()), file.stem, str(file), 0, file.stat().st_size)
        for file in files
    )
    console = Console(stderr=True)
    silent = not console.is_terminal
    with Progress(console=console, transient=True, disable=silent) as progress:
        total = sum(part.size for part in queue)
        bar = progress.add_task("Reading tar headers", total=total)
        while queue:
            part = queue.popleft()
            before, inner, rows = len(faults), [], []
            for entry in _entries(part, faults):
                name, offset, size = entry
                if name.endswith(".tar") and part.offset == 0:
                    where = f"{part.where}:{name}"
                    stem = os.path.basename(name).removesuffix(".tar")
                    inner.append(Part(part.file, stem, where, offset, size))
                elif _is_new_picture(part, entry, seen, faults):
                    rows.append((os.fsencode(os.path.basename(name)), offset, size))
            queue.extendleft(reversed(inner))
            progress.advance(bar, part.size - sum(each.size for each in inner))
            if not rows and not inner and len(faults) == before:
                faults.append(Fault(part.where, "a tar without pictures"))
            if rows or not inner:
                names, offsets, sizes = zip(*rows) if rows else ((), (), ())
                columns.append(
                    (
                        np.full(len(rows), len(parts), np.int32),
                        np.array(offsets, np.int64),
                        np.array(sizes, np.int64),
                        np.array(names, np.bytes_),
                    )
                )
                parts.append(part)
    part, offset, size, name = (np.concatenate(column) for column in zip(*columns))
    return Members(tuple(parts), part, offset, size, name, tuple(faults))


def _is_new_picture(
    part: Part,
    entry: tuple[str, int, int],
    seen: set[tuple[str, str]],
    faults: list[Fault],
) -> bool:
    name, _, size = entry
    short, where = os.path.basename(name), f"{part.where}:{name}"
    if not short.lower().endswith(SUFFIXES) or short.startswith("."):
        faults.append(Fault(where, NO_PICTURE))
    elif not size:
        faults.append(Fault(where, "an empty file"))
    elif (part.name, short) in seen:
        faults.append(Fault(where, "a picture that was there before"))
    else:
        seen.add((part.name, short))
        return True
    return False


def _entries(part: Part, faults: list[Fault]) -> Iterator[tuple[str, int, int]]:
    """Yield the name, offset in the file, and size of each file in a tar."""
    last, end = "", 0
    with open(part.file, "rb", buffering=0) as file:
        window = _Window(file.fileno(), part.offset, part.size)
        try:
            with tarfile.open(fileobj=window, mode="r:") as tar:
                for member in tar:
                    start, size = member.offset_data, member.size
                    last, end = member.name, start + size
                    if end > part.size and not last.endswith(".tar"):
                        break
                    if member.isreg() and not member.issparse():
                        yield last, part.offset + start, min(size, part.size - start)
                    elif not member.isdir():
                        where = f"{part.where}:{last}"
                        faults.append(Fault(where, NO_PICTURE))
        except (tarfile.TarError, ValueError, OverflowError) as error:
            if not last:
                faults.append(Fault(part.where, "not an uncompressed tar", str(error)))
                return
        # tarfile takes a header that it cannot read for the end, which is a zero block.
        window.seek(-(-end // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
        if window.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            detail = f"after the header of {last}"
            faults.append(Fault(part.where, "a tar that is cut off or damaged", detail))


class _Window(io.RawIOBase):
    """A range of bytes of a file. Not buffered: headers are far from each other."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor, self._offset, self._size = descriptor, offset, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}
        self._position = start[whence] + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        count = max(0, min(len(buffer), self._size - self._position))
        read = os.pread(self._descriptor, count, self._offset + self._position)
        buffer[: len(read)] = read
        self._position += len(read)
        return len(read)


def _save(cache: Path, key: str, found: Members) -> None:
    # Replacing the file is atomic, so that of another process is whole too.
    cache.parent.mkdir(parents=True, exist_ok=True)
    new = cache.with_suffix(f".{uuid.uuid4().hex}.new")
    content: dict[str, Any] = found._asdict()
    for name in ("parts", "faults"):
        content[name] = json.dumps(content[name])
    with new.open("wb") as file:
        np.savez(file, key=np.array(key), **content)
    new.replace(cache)


def _cached(cache: Path, key: str) -> Members | None:
    """Return what was saved, unless it is of other tars or cannot be read."""
    try:
        with cache.open("rb") as file, np.load(file) as saved:
            if str(saved["key"]) != key:
                return None
            content: dict[str, Any] = {name: saved[name] for name in Members._fields}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    for name, kind in {"parts": Part, "faults": Fault}.items():
        content[name] = tuple(kind(*each) for each in json.loads(str(content[name])))
    return Members(**content)
