"""Errors for original files that are missing or damaged."""

from collections.abc import Iterable
from pathlib import Path


def damaged(file: object, expected: str, got: str) -> ValueError:
    """Return an error about a file with unexpected content."""
    return ValueError(
        f"{file}: expected {expected}, got {got}. Replace the file with the original; "
        "if it was downloaded into the cache folder, delete it and run again."
    )


def require(folder: Path, names: Iterable[str]) -> None:
    """Raise FileNotFoundError unless ``folder`` contains all of these files."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder}: expected a folder with {', '.join(names)}, but it has no "
            f"{', '.join(missing)}. Pass the folder with the original files, or "
            "leave data_dir out (no --data-dir) to download them."
        )
