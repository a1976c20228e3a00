"""Images for the examples and the benchmarks, read from their original formats.

Every set is a function `(data_dir) -> Images` in the table `DATASETS`. With
`data_dir=None` a set comes from its official place, is checked, and is kept in a cache
folder; with a folder, the original files in it are read and nothing is downloaded.
"""

import functools
import gzip
import hashlib
import http.client
import math
import os
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

DataDir = str | os.PathLike[str] | None


class Images(NamedTuple):
    """A set of labelled images in two parts, to train on and to test with.

    Images are uint8[N, H, W, C] in 0..255; labels are int32[N] and index `classes`.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int32]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int32]
    classes: tuple[str, ...]


DIGITS_TEST = 360

FASHION_MNIST_URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
    ),
    "train-labels-idx1-ubyte.gz": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
    ),
}
FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
# The authors publish the MD5 of this archive, c32a1d4ab5d03f1284b67883e8d87530; the
# SHA-256 of the same bytes is the one that can still be trusted.
CIFAR10_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10_FILES = (
    *(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test_batch.bin",
)
CIFAR10_RECORDS = 10_000
CIFAR10_RECORD_BYTES = 1 + 3 * 32 * 32
CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

# A server that says nothing for this long is taken for gone.
TIMEOUT_SECONDS = 30.0
BLOCK_BYTES = 1 << 16


def digits(data_dir: DataDir = None) -> Images:
    """Return scikit-learn's handwritten digits, uint8[N, 8, 8, 1].

    1437 images train and the last 360 test: the file is ordered by writer, so nearly
    all test images are by writers that training has not seen. The set is part of
    scikit-learn: nothing is downloaded, and `data_dir` is not looked at.
    """
    from sklearn.datasets import load_digits

    del data_dir
    ink, target = load_digits(return_X_y=True)
    labels = np.asarray(target, np.int32)
    # The levels of ink are 0..16; bytes are what the other sets hold.
    images = np.rint(np.asarray(ink) * (255 / 16)).astype(np.uint8)
    images = images.reshape(-1, 8, 8, 1)
    return Images(
        images[:-DIGITS_TEST],
        labels[:-DIGITS_TEST],
        images[-DIGITS_TEST:],
        labels[-DIGITS_TEST:],
        classes=tuple("0123456789"),
    )


def fashion_mnist(data_dir: DataDir = None) -> Images:
    """Return Fashion-MNIST, uint8[N, 28, 28, 1]: 60000 to train, 10000 to test.

    `data_dir` is a folder with the four original gzip files of IDX arrays.
    Raises FileNotFoundError where one is missing, ValueError where one is damaged.
    """
    folder = _fashion_mnist_cache() if data_dir is None else Path(data_dir)
    _require(folder, FASHION_MNIST_SHA256)
    return Images(
        *_idx_examples(folder, "train"),
        *_idx_examples(folder, "t10k"),
        classes=FASHION_MNIST_CLASSES,
    )


def cifar10(data_dir: DataDir = None) -> Images:
    """Return CIFAR-10, uint8[N, 32, 32, 3]: 50000 to train, 10000 to test.

    `data_dir` is a folder with the authors' binary version: the `.bin` files, or
    `cifar-10-batches-bin/` with them, or `cifar-10-binary.tar.gz`.
    Raises FileNotFoundError where a file is missing, ValueError where one is damaged.
    """
    if data_dir is None:
        archive = download(CIFAR10_URL, CIFAR10_SHA256, cache_folder())
        batches = _archived_batches(archive)
    else:
        batches = _batches(Path(data_dir))
    *train, test = (_records(file, raw) for file, raw in batches.items())
    return Images(
        np.concatenate([images for images, _ in train]),
        np.concatenate([labels for _, labels in train]),
        *test,
        classes=CIFAR10_CLASSES,
    )


DATASETS: Mapping[str, Callable[[DataDir], Images]] = {
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
}


def _damaged(file: object, expected: str, got: str) -> ValueError:
    return ValueError(
        f"{file}: expected {expected}, got {got}. Replace the file with the original; "
        "if it was downloaded into the cache folder, delete it and run again."
    )


def _require(folder: Path, names: Iterable[str]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder}: expected a folder with {', '.join(names)}, but it has no "
            f"{', '.join(missing)}. Give the folder that holds the original files, or "
            "leave data_dir out (no --data-dir) to download them."
        )


# Fashion-MNIST: gzip files of IDX arrays.


def _fashion_mnist_cache() -> Path:
    folder = cache_folder() / "fashion_mnist"
    for name, sha256 in FASHION_MNIST_SHA256.items():
        download(f"{FASHION_MNIST_URL}/{name}", sha256, folder)
    return folder


def _idx_examples(
    folder: Path, split: str
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    images_file = folder / f"{split}-images-idx3-ubyte.gz"
    labels_file = folder / f"{split}-labels-idx1-ubyte.gz"
    images = _idx_array(images_file, dimensions=3)
    labels = _idx_array(labels_file, dimensions=1)
    if images.shape[1:] != (28, 28) or not len(images):
        raise _damaged(images_file, "images of shape (N, 28, 28)", f"{images.shape}")
    if len(labels) != len(images):
        raise _damaged(labels_file, f"{len(images)} labels", f"{len(labels)}")
    return images[..., np.newaxis], _class_ids(labels_file, labels)


def _idx_array(file: Path, dimensions: int) -> NDArray[np.uint8]:
    raw = _gunzip(file)
    header = 4 + 4 * dimensions
    if len(raw) < header:
        raise _damaged(file, f"an IDX header of {header} bytes", f"{len(raw)} bytes")
    # 0x08 says unsigned bytes; the byte after it, the number of dimensions.
    expected, magic = 0x0800 + dimensions, int.from_bytes(raw[:4], "big")
    if magic != expected:
        raise _damaged(file, f"the IDX magic number {expected:#06x}", f"{magic:#06x}")
    shape = tuple(np.frombuffer(raw, ">u4", dimensions, offset=4).tolist())
    if len(raw) - header != math.prod(shape):
        raise _damaged(
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
        raise _damaged(file, "a whole gzip file", f"a broken one ({error})") from error


def _class_ids(file: object, labels: NDArray[np.uint8]) -> NDArray[np.int32]:
    if labels.max() > 9:
        raise _damaged(file, "labels in 0..9", f"a label {labels.max()}")
    return labels.astype(np.int32)


# CIFAR-10: records of one label byte and 3 x 32 x 32 pixels, channels first.


def _batches(folder: Path) -> dict[str, bytes]:
    for place in (folder / CIFAR10_FOLDER, folder):
        if any((place / name).is_file() for name in CIFAR10_FILES):
            _require(place, CIFAR10_FILES)
            files = [place / name for name in CIFAR10_FILES]
            return {str(file): file.read_bytes() for file in files}
    if (folder / CIFAR10_ARCHIVE).is_file():
        return _archived_batches(folder / CIFAR10_ARCHIVE)
    raise FileNotFoundError(
        f"{folder}: expected a folder with {CIFAR10_FOLDER}/ (or, right in it, "
        f"{', '.join(CIFAR10_FILES)}) or {CIFAR10_ARCHIVE}, but found neither. "
        f"{_cifar10_advice(folder)}"
    )


BROKEN_ARCHIVE = (
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    KeyError,  # a link to a member that is not there
)


def _archived_batches(archive: Path) -> dict[str, bytes]:
    members = {f"{CIFAR10_FOLDER}/{name}": b"" for name in CIFAR10_FILES}
    try:
        # One pass in the order of the archive: going back would unpack it again.
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.name in members else None
                if content is not None:
                    members[member.name] = content.read()
    except BROKEN_ARCHIVE as error:
        raise _damaged(
            archive, "a whole tar.gz archive", f"a broken one ({error})"
        ) from error
    missing = [name for name, raw in members.items() if not raw]
    if missing:
        raise _damaged(archive, f"members {', '.join(missing)}", "none of that name")
    return {f"{archive}:{name}": raw for name, raw in members.items()}


def _records(file: str, raw: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    expected = CIFAR10_RECORDS * CIFAR10_RECORD_BYTES
    if len(raw) != expected:
        raise _damaged(
            file,
            f"{expected} bytes ({CIFAR10_RECORDS} records of {CIFAR10_RECORD_BYTES})",
            f"{len(raw)}",
        )
    records = np.frombuffer(raw, np.uint8).reshape(-1, CIFAR10_RECORD_BYTES)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), _class_ids(file, records[:, 0])


def _cifar10_advice(folder: Path) -> str:
    if not any(folder.glob("data_batch_*.webp")):
        return (
            "Give the folder that holds one of them, or leave data_dir out (no "
            "--data-dir) to download the archive."
        )
    for script in (*folder.glob("unpack*.py"), *folder.parent.glob("unpack*.py")):
        return (
            f"It holds the images as WebP sheets: run `python {script} DIR`, which "
            f"writes DIR/{CIFAR10_FOLDER}, and give DIR as data_dir (--data-dir)."
        )
    return "It holds the images as WebP sheets: unpack them to the binary version."


# Downloads: a `.part` file grows until its checksum is right, then takes its name.


def cache_folder() -> Path:
    """Return the folder for downloads: `mixup_jax` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mixup_jax"


def download(url: str, sha256: str, folder: Path) -> Path:
    """Return the path in `folder` of the file at `url`, fetched where not there yet.

    An interrupted download leaves `<name>.part`, from which the next call goes on.
    Raises ConnectionError where the file cannot be fetched, ValueError where what came
    does not have the checksum `sha256`; in that case the part is deleted.
    """
    target = folder / url.rsplit("/", 1)[-1]
    if target.is_file():
        return target
    part = target.with_name(f"{target.name}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(url, part)
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(
            f"Could not download {url} into {part}: {error}. What has arrived is kept; "
            "run again to go on from there. Without a network, bring the file here by "
            "other means and give its folder as data_dir (--data-dir)."
        ) from error
    _verify(url, part, sha256)
    return part.replace(target)


def _fetch(url: str, part: Path) -> None:
    offset = part.stat().st_size if part.is_file() else 0
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        # Nothing lies beyond what is here already: the checksum will tell what it is.
        if offset and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return
        raise
    with response:
        _append(response, part, offset)


def _append(response: http.client.HTTPResponse, part: Path, offset: int) -> None:
    # A server without Range support sends the file from its beginning.
    resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
    start = offset if resumed else 0
    length = response.headers.get("Content-Length")
    total = None if length is None else start + int(length)
    with part.open("ab" if resumed else "wb") as file, _progress() as progress:
        task = progress.add_task(part.stem, total=total, completed=start)
        for block in iter(functools.partial(response.read, BLOCK_BYTES), b""):
            file.write(block)
            progress.advance(task, len(block))
        file.flush()
        os.fsync(file.fileno())
        got = file.tell()
    if total is not None and got < total:
        raise ConnectionError(f"the connection ended after {got} of {total} bytes")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _verify(url: str, part: Path, sha256: str) -> None:
    with part.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != sha256:
        part.unlink()
        raise ValueError(
            f"{url}: expected a file with the SHA-256 {sha256}, got {got}. The "
            "download was deleted; run again, and if this stays so, the file at that "
            "address has changed: get the original elsewhere and give its folder as "
            "data_dir (--data-dir)."
        )
