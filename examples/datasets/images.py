"""Image data sets for the examples and the benchmarks, in their original formats.

``DATASETS`` maps names to functions ``(data_dir) -> Images``. With ``data_dir=None`` a
data set is downloaded from its official source, verified, and cached. With a folder,
the original files in it are read, and nothing is downloaded.
"""

import gzip
import os
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from examples.datasets._download import cache_folder, download
from examples.datasets._idx import read_idx
from examples.datasets._originals import damaged, require

DataDir = str | os.PathLike[str] | None


class Images(NamedTuple):
    """Labeled images, split into a training and a test part.

    Images are uint8 ``[N, H, W, C]`` in 0..255. Labels are int32 ``[N]`` indices into
    ``classes``.
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
# The authors publish only the MD5 of this archive, c32a1d4ab5d03f1284b67883e8d87530.
# This SHA-256 of the same bytes is collision-resistant.
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


def digits(data_dir: DataDir = None) -> Images:
    """Return scikit-learn's handwritten digits, uint8 ``[N, 8, 8, 1]``.

    The first 1437 images are for training and the last 360 for testing. The file is
    ordered by writer, so nearly all test images are by writers not seen in training.
    The data are part of scikit-learn: nothing is downloaded, and ``data_dir`` is
    ignored.
    """
    from sklearn.datasets import load_digits

    del data_dir
    ink, target = load_digits(return_X_y=True)
    labels = np.asarray(target, np.int32)
    # Scale the 17 gray levels to 0..255, the range of the other data sets.
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
    """Return Fashion-MNIST, uint8 ``[N, 28, 28, 1]``: 60000 to train, 10000 to test.

    Args:
      data_dir: folder with the four original gzip files of IDX arrays. None downloads
        them.

    Raises:
      FileNotFoundError: If a file is missing.
      ValueError: If a file is damaged.
    """
    folder = _fashion_mnist_cache() if data_dir is None else Path(data_dir)
    require(folder, FASHION_MNIST_SHA256)
    return Images(
        *_idx_examples(folder, "train"),
        *_idx_examples(folder, "t10k"),
        classes=FASHION_MNIST_CLASSES,
    )


def cifar10(data_dir: DataDir = None) -> Images:
    """Return CIFAR-10, uint8 ``[N, 32, 32, 3]``: 50000 to train, 10000 to test.

    Args:
      data_dir: folder with the authors' binary version: the ``.bin`` files, a folder
        ``cifar-10-batches-bin/`` with them, or ``cifar-10-binary.tar.gz``. None
        downloads the archive.

    Raises:
      FileNotFoundError: If a file is missing.
      ValueError: If a file is damaged.
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
    images = read_idx(images_file, dimensions=3)
    labels = read_idx(labels_file, dimensions=1)
    if images.shape[1:] != (28, 28) or not len(images):
        raise damaged(images_file, "images of shape (N, 28, 28)", f"{images.shape}")
    if len(labels) != len(images):
        raise damaged(labels_file, f"{len(images)} labels", f"{len(labels)}")
    return images[..., np.newaxis], _class_ids(labels_file, labels)


def _class_ids(file: object, labels: NDArray[np.uint8]) -> NDArray[np.int32]:
    if labels.max() > 9:
        raise damaged(file, "labels in 0..9", f"a label {labels.max()}")
    return labels.astype(np.int32)


# CIFAR-10: records of one label byte and 3 x 32 x 32 pixels, channels first.


def _batches(folder: Path) -> dict[str, bytes]:
    for place in (folder / CIFAR10_FOLDER, folder):
        if any((place / name).is_file() for name in CIFAR10_FILES):
            require(place, CIFAR10_FILES)
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
    KeyError,  # a link to a missing member
)


def _archived_batches(archive: Path) -> dict[str, bytes]:
    members = {f"{CIFAR10_FOLDER}/{name}": b"" for name in CIFAR10_FILES}
    try:
        # Read in archive order: seeking back would decompress it again.
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.name in members else None
                if content is not None:
                    members[member.name] = content.read()
    except BROKEN_ARCHIVE as error:
        raise damaged(
            archive, "a whole tar.gz archive", f"a broken one ({error})"
        ) from error
    missing = [name for name, raw in members.items() if not raw]
    if missing:
        raise damaged(archive, f"members {', '.join(missing)}", "none of these names")
    return {f"{archive}:{name}": raw for name, raw in members.items()}


def _records(file: str, raw: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    expected = CIFAR10_RECORDS * CIFAR10_RECORD_BYTES
    if len(raw) != expected:
        raise damaged(
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
            "Pass a folder with one of them, or leave data_dir out (no --data-dir) to "
            "download the archive."
        )
    for script in (*folder.glob("unpack*.py"), *folder.parent.glob("unpack*.py")):
        return (
            f"It contains the images as WebP sheets: run `python {script} DIR`, which "
            f"writes DIR/{CIFAR10_FOLDER}, and pass DIR as data_dir (--data-dir)."
        )
    return "It contains the images as WebP sheets: unpack them to the binary version."
