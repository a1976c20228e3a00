"""The image readers, on small synthetic files, a local server and the real data."""

import gzip
import hashlib
import io
import re
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from examples import datasets
from examples.datasets import _download
from examples.datasets import images as readers

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_shared_data = pytest.mark.skipif(
    not SHARED_DATA.is_dir(), reason="the real data sets are not beside the repository"
)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# Digits.


def test_digits_are_bytes_over_their_whole_range():
    images = datasets.digits()
    assert images.train_images.shape == (1437, 8, 8, 1)
    assert images.test_images.shape == (360, 8, 8, 1)
    assert images.train_images.dtype == images.test_images.dtype == np.uint8
    assert images.train_labels.dtype == images.test_labels.dtype == np.int32
    assert (images.train_images.min(), images.train_images.max()) == (0, 255)
    assert images.classes == tuple("0123456789")


def test_digits_split_is_the_same_each_time_and_holds_every_class_on_both_sides():
    first, second = datasets.digits(), datasets.digits()
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.bincount(first.train_labels, minlength=10).min() > 100
    assert np.bincount(first.test_labels, minlength=10).min() > 30


# Fashion-MNIST.


def idx(array: np.ndarray) -> bytes:
    magic = (0x0800 + array.ndim).to_bytes(4, "big")
    shape = np.array(array.shape, ">u4").tobytes()
    return magic + shape + array.astype(np.uint8).tobytes()


def gz(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def fashion_files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    files = {}
    for split, count in (("train", 12), ("t10k", 5)):
        images = rng.integers(0, 256, (count, 28, 28))
        labels = rng.permutation(np.arange(count) % 10)
        files[f"{split}-images-idx3-ubyte.gz"] = gz(idx(images))
        files[f"{split}-labels-idx1-ubyte.gz"] = gz(idx(labels))
    return files


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_fashion_mnist_reads_what_was_written(tmp_path):
    images = datasets.fashion_mnist(write(tmp_path, fashion_files()))
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(
        images.train_images[..., 0], rng.integers(0, 256, (12, 28, 28))
    )
    np.testing.assert_array_equal(
        images.train_labels, rng.permutation(np.arange(12) % 10)
    )
    assert images.test_images.shape == (5, 28, 28, 1)
    assert images.train_images.dtype == np.uint8
    assert images.test_labels.dtype == np.int32
    assert len(images.classes) == 10
    assert images.train_images.flags.writeable


FASHION_DAMAGE = {
    "empty file": (b"", "IDX header of 16 bytes, got 0 bytes"),
    "no gzip": (b"<html>not found</html>", "whole gzip file"),
    "gzip cut short": (gz(idx(np.ones((12, 28, 28))))[:-20], "whole gzip file"),
    "gzip corrupt": (
        gz(idx(np.arange(12 * 784).reshape(12, 28, 28)))[:-8] + b"\0" * 8,
        "whole gzip file",
    ),
    "header cut short": (gz(b"\0\0\x08\x03\0\0"), "header of 16 bytes, got 6"),
    "labels for images": (gz(idx(np.zeros(99))), "number 0x0803, got 0x0801"),
    "floats": (gz(b"\0\0\x0d\x03" + bytes(99)), "number 0x0803, got 0x0d03"),
    "pixels cut short": (gz(idx(np.ones((12, 28, 28)))[:-1]), "9408 bytes.*got 9407"),
    "pixels too many": (gz(idx(np.ones((12, 28, 28))) + b"x"), "9408.*got 9409"),
    "other size": (gz(idx(np.ones((12, 32, 32)))), r"\(N, 28, 28\), got \(12, 32, 32"),
    "no images": (gz(idx(np.ones((0, 28, 28)))), r"\(N, 28, 28\), got \(0, 28, 28"),
}


@pytest.mark.parametrize("damage", FASHION_DAMAGE)
def test_fashion_mnist_names_the_damaged_image_file(damage, tmp_path):
    content, words = FASHION_DAMAGE[damage]
    name = "train-images-idx3-ubyte.gz"
    folder = write(tmp_path, fashion_files() | {name: content})
    with pytest.raises(ValueError, match=f"(?s){re.escape(name)}: .*{words}"):
        datasets.fashion_mnist(folder)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.full(12, 10), "labels in 0..9, got a label 10"),
        (np.zeros(11), "12 labels, got 11"),
        (np.zeros((12, 1)), "number 0x0801, got 0x0802"),
    ],
)
def test_fashion_mnist_names_the_damaged_label_file(labels, words, tmp_path):
    name = "train-labels-idx1-ubyte.gz"
    folder = write(tmp_path, fashion_files() | {name: gz(idx(labels))})
    with pytest.raises(ValueError, match=f"{re.escape(name)}: .*{words}"):
        datasets.fashion_mnist(folder)


def test_fashion_mnist_says_which_files_it_looked_for(tmp_path):
    files = fashion_files()
    del files["t10k-labels-idx1-ubyte.gz"]
    with pytest.raises(
        FileNotFoundError, match=r"it has no t10k-labels-idx1-ubyte\.gz\."
    ):
        datasets.fashion_mnist(write(tmp_path, files))
    with pytest.raises(FileNotFoundError, match=r"train-images.*--data-dir"):
        datasets.fashion_mnist(tmp_path / "nowhere")


# CIFAR-10.

RECORDS = 4


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(readers, "CIFAR10_RECORDS", RECORDS)


def cifar_files() -> dict[str, bytes]:
    return {
        name: cifar_batch(number).tobytes()
        for number, name in enumerate(readers.CIFAR10_FILES)
    }


def cifar_batch(number: int) -> np.ndarray:
    rng = np.random.default_rng(number)
    records = rng.integers(0, 256, (RECORDS, 3073), dtype=np.uint8)
    records[:, 0] = (number + np.arange(RECORDS)) % 10
    return records


def cifar_archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        # The official archive lists its members out of order.
        for name, content in reversed(files.items()):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def check_cifar(images: datasets.Images) -> None:
    assert images.train_images.shape == (5 * RECORDS, 32, 32, 3)
    assert images.test_images.shape == (RECORDS, 32, 32, 3)
    assert images.train_images.dtype == np.uint8
    assert images.train_labels.dtype == images.test_labels.dtype == np.int32
    for number in range(5):
        records = cifar_batch(number)
        for i in range(RECORDS):
            image = images.train_images[number * RECORDS + i]
            assert images.train_labels[number * RECORDS + i] == records[i, 0]
            for channel in range(3):
                plane = records[i, 1 + 1024 * channel :][:1024].reshape(32, 32)
                np.testing.assert_array_equal(image[..., channel], plane)
    np.testing.assert_array_equal(images.test_labels, cifar_batch(5)[:, 0])


@pytest.mark.parametrize("place", ["", "cifar-10-batches-bin"])
def test_cifar10_reads_a_folder_or_the_folder_in_it(place, tmp_path, small_batches):
    write(tmp_path / place, cifar_files())
    check_cifar(datasets.cifar10(tmp_path))


def test_cifar10_reads_the_archive(tmp_path, small_batches):
    write(tmp_path, {"cifar-10-binary.tar.gz": cifar_archive(cifar_files())})
    check_cifar(datasets.cifar10(str(tmp_path)))


@pytest.mark.parametrize("got", [0, 3073 * RECORDS - 1, 3073 * (RECORDS - 1), 99999])
def test_cifar10_names_a_batch_of_another_length(got, tmp_path, small_batches):
    files = cifar_files() | {"data_batch_3.bin": b"\1" * got}
    write(tmp_path, files)
    with pytest.raises(
        ValueError, match=rf"data_batch_3\.bin: expected 12292 bytes.*got {got}\."
    ):
        datasets.cifar10(tmp_path)


def test_cifar10_names_the_batch_with_a_label_out_of_range(tmp_path, small_batches):
    records = cifar_batch(5)
    records[2, 0] = 10
    write(tmp_path, cifar_files() | {"test_batch.bin": records.tobytes()})
    with pytest.raises(ValueError, match=r"test_batch\.bin: .*0\.\.9, got a label 10"):
        datasets.cifar10(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 0.3, 0.99])
def test_cifar10_names_an_archive_cut_short(keep, tmp_path, small_batches):
    archive = cifar_archive(cifar_files())
    length = keep if isinstance(keep, int) else int(keep * len(archive))
    write(tmp_path, {"cifar-10-binary.tar.gz": archive[:length]})
    with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz: expected a whole"):
        datasets.cifar10(tmp_path)


def test_cifar10_names_a_corrupt_archive(tmp_path, small_batches):
    archive = bytearray(cifar_archive(cifar_files()))
    middle = len(archive) // 2
    archive[middle : middle + 64] = bytes(64)
    write(tmp_path, {"cifar-10-binary.tar.gz": bytes(archive)})
    with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz"):
        datasets.cifar10(tmp_path)


def test_cifar10_names_an_archive_with_a_link_to_nothing(tmp_path, small_batches):
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", mode="w:gz") as tar:
        member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        member.type, member.linkname = tarfile.SYMTYPE, "elsewhere.bin"
        tar.addfile(member)
    with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz: expected a whole"):
        datasets.cifar10(tmp_path)


def test_cifar10_names_the_members_that_an_archive_lacks(tmp_path, small_batches):
    files = cifar_files()
    del files["data_batch_2.bin"]
    write(tmp_path, {"cifar-10-binary.tar.gz": cifar_archive(files)})
    with pytest.raises(ValueError, match=r"members \S*/data_batch_2\.bin, got none"):
        datasets.cifar10(tmp_path)


def test_cifar10_says_which_files_it_looked_for(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"cifar-10-batches-bin/.*cifar-10-binary\.tar\.gz"
    ):
        datasets.cifar10(tmp_path)
    (tmp_path / "data_batch_1.bin").touch()
    with pytest.raises(FileNotFoundError, match=r"it has no data_batch_2\.bin, .*test"):
        datasets.cifar10(tmp_path)


@pytest.mark.parametrize("place", [".", ".."])
def test_cifar10_sends_the_holder_of_sheets_to_their_script(place, tmp_path):
    sheets = write(tmp_path / "sheets", {"data_batch_1.webp": b"RIFF"})
    with pytest.raises(FileNotFoundError, match="unpack them"):
        datasets.cifar10(sheets)
    (sheets / place / "unpack_cifar10.py").touch()
    with pytest.raises(FileNotFoundError, match=r"run `python .*unpack_cifar10\.py"):
        datasets.cifar10(sheets)


# Downloads.


class Server(ThreadingHTTPServer):
    """A local file server that can misbehave."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.cut: int | None = None
        self.requests: list[tuple[str, str | None]] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        server, name = self.server, self.path.removeprefix("/")
        wanted = self.headers.get("Range")
        server.requests.append((name, wanted))
        if name not in server.files:
            self.send_error(404)
            return
        content = server.files[name]
        start = 0
        if wanted and server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            end = len(content) - 1
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : server.cut])

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


CONTENT = np.random.default_rng(1).bytes(200_000)


def listing(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_download_brings_the_file_once(server, tmp_path):
    server.files["set.bin"] = CONTENT
    folder = tmp_path / "new" / "cache"
    for _ in range(2):
        file = _download.download(server.url("set.bin"), sha256(CONTENT), folder)
        assert file == folder / "set.bin"
        assert file.read_bytes() == CONTENT
    assert listing(folder) == ["set.bin"]
    assert server.requests == [("set.bin", None)]


def test_an_interrupted_download_goes_on_where_it_ended(server, tmp_path):
    server.files["set.bin"], server.cut = CONTENT, 70_000
    with pytest.raises(ConnectionError, match="70000 of 200000 bytes"):
        _download.download(server.url("set.bin"), sha256(CONTENT), tmp_path)
    assert listing(tmp_path) == ["set.bin.part"]
    assert (tmp_path / "set.bin.part").read_bytes() == CONTENT[:70_000]
    server.cut = 150_000
    with pytest.raises(ConnectionError, match="150000 of 200000 bytes"):
        _download.download(server.url("set.bin"), sha256(CONTENT), tmp_path)
    server.cut = None
    file = _download.download(server.url("set.bin"), sha256(CONTENT), tmp_path)
    assert file.read_bytes() == CONTENT
    assert listing(tmp_path) == ["set.bin"]
    ranges = [wanted for _, wanted in server.requests]
    assert ranges == [None, "bytes=70000-", "bytes=150000-"]


def test_a_server_without_ranges_starts_the_file_again(server, tmp_path):
    server.files["set.bin"], server.ranges = CONTENT, False
    (tmp_path / "set.bin.part").write_bytes(CONTENT[:70_000])
    file = _download.download(server.url("set.bin"), sha256(CONTENT), tmp_path)
    assert file.read_bytes() == CONTENT
    assert server.requests == [("set.bin", "bytes=70000-")]


def test_a_part_that_is_already_whole_is_kept(server, tmp_path):
    server.files["set.bin"] = CONTENT
    (tmp_path / "set.bin.part").write_bytes(CONTENT)
    file = _download.download(server.url("set.bin"), sha256(CONTENT), tmp_path)
    assert file.read_bytes() == CONTENT
    assert listing(tmp_path) == ["set.bin"]


@pytest.mark.parametrize("part", [b"", b"not the start", CONTENT + b"more"])
def test_a_wrong_checksum_deletes_the_part(part, server, tmp_path):
    server.files["set.bin"] = CONTENT if part else CONTENT[::-1]
    (tmp_path / "set.bin.part").write_bytes(part)
    with pytest.raises(ValueError, match=f"expected .*{sha256(CONTENT)}, got .*delet"):
        _download.download(server.url("set.bin"), sha256(CONTENT), tmp_path)
    assert listing(tmp_path) == []


def test_a_file_that_is_not_there_is_said_in_words(server, tmp_path):
    with pytest.raises(ConnectionError, match=r"set\.bin into .*404.*--data-dir"):
        _download.download(server.url("set.bin"), sha256(CONTENT), tmp_path)
    assert listing(tmp_path) == []


def test_without_a_network_the_error_tells_of_the_data_dir(server, tmp_path):
    url = server.url("set.bin")
    server.server_close()
    with pytest.raises(ConnectionError, match=r"Without a network.*--data-dir"):
        _download.download(url, sha256(CONTENT), tmp_path)


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _download.cache_folder() == tmp_path / "mixup_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _download.cache_folder() == tmp_path / ".cache" / "mixup_jax"


def test_fashion_mnist_without_a_folder_is_downloaded(server, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    server.files = fashion_files()
    checksums = {name: sha256(content) for name, content in server.files.items()}
    monkeypatch.setattr(readers, "FASHION_MNIST_SHA256", checksums)
    monkeypatch.setattr(readers, "FASHION_MNIST_URL", server.url("").rstrip("/"))
    assert datasets.fashion_mnist().train_images.shape == (12, 28, 28, 1)
    assert listing(tmp_path / "mixup_jax" / "fashion_mnist") == sorted(checksums)
    assert datasets.fashion_mnist().test_images.shape == (5, 28, 28, 1)
    assert len(server.requests) == 4


def test_cifar10_without_a_folder_is_downloaded(
    server, monkeypatch, tmp_path, small_batches
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    name = "cifar-10-binary.tar.gz"
    server.files[name] = cifar_archive(cifar_files())
    monkeypatch.setattr(readers, "CIFAR10_URL", server.url(name))
    monkeypatch.setattr(readers, "CIFAR10_SHA256", sha256(server.files[name]))
    check_cifar(datasets.cifar10())
    assert listing(tmp_path / "mixup_jax") == [name]


def test_the_table_names_every_set():
    for name in ("digits", "fashion_mnist", "cifar10"):
        assert datasets.DATASETS[name] is getattr(datasets, name)
    assert len(datasets.DATASETS) == 3


# The real data sets.


@needs_shared_data
def test_the_real_fashion_mnist():
    images = datasets.fashion_mnist(SHARED_DATA / "fashion_mnist")
    assert images.train_images.shape == (60_000, 28, 28, 1)
    assert images.test_images.shape == (10_000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(images.train_labels), [6000] * 10)
    np.testing.assert_array_equal(np.bincount(images.test_labels), [1000] * 10)
    # The first training image is an ankle boot.
    assert images.classes[images.train_labels[0]] == "Ankle boot"
    assert (images.train_images.min(), images.train_images.max()) == (0, 255)


@needs_shared_data
def test_the_published_checksums_are_those_of_the_real_files():
    for name, checksum in readers.FASHION_MNIST_SHA256.items():
        assert sha256((SHARED_DATA / "fashion_mnist" / name).read_bytes()) == checksum


@pytest.mark.slow
@needs_shared_data
def test_the_real_cifar10(tmp_path):
    pytest.importorskip("PIL")
    script = SHARED_DATA / "unpack_cifar10.py"
    subprocess.run([sys.executable, script, tmp_path], check=True)
    images = datasets.cifar10(tmp_path)
    assert images.train_images.shape == (50_000, 32, 32, 3)
    assert images.test_images.shape == (10_000, 32, 32, 3)
    np.testing.assert_array_equal(np.bincount(images.train_labels), [5000] * 10)
    np.testing.assert_array_equal(np.bincount(images.test_labels), [1000] * 10)
    # The first image is a frog; the mean color is the one that papers subtract.
    assert images.classes[images.train_labels[0]] == "frog"
    np.testing.assert_allclose(
        images.train_images.mean(axis=(0, 1, 2)), [125.3, 123.0, 113.9], atol=0.1
    )
