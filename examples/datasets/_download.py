"""Downloads into ``.part`` files, which are renamed once their checksum is correct."""

import functools
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

# A server that is silent for this long is considered gone.
TIMEOUT_SECONDS = 30.0
BLOCK_BYTES = 1 << 16


def cache_folder() -> Path:
    """Return the folder for downloads: ``mixup_jax`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mixup_jax"


def download(url: str, sha256: str, folder: Path) -> Path:
    """Download the file at ``url`` to ``folder`` unless it exists; return its path.

    An interrupted download leaves ``<name>.part``, which the next call resumes.

    Raises:
      ConnectionError: If the file cannot be downloaded.
      ValueError: If the checksum differs from ``sha256``; the download is then deleted.
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
            f"Could not download {url} into {part}: {error}. Run again to resume the "
            "download. Without a network, copy the file to this machine and pass its "
            "folder as data_dir (--data-dir)."
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
        # The part may already be complete; the checksum decides.
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
            "download was deleted; run again. If the error persists, the file at that "
            "address has changed: get the original elsewhere and pass its folder as "
            "data_dir (--data-dir)."
        )
