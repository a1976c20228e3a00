"""Original files that are missing or damaged, and what is said of them."""

from collections.abc import Iterable
from pathlib import Path


def damaged(file: object, expected: str, got: str) -> ValueError:
    """Return the error that says what was expected of a file, and what it holds."""
    return ValueError(
        f"{file}: expected {expected}, got {got}. Replace the file with the original; "
        "if it was downloaded into the cache folder, delete it and run again."
    )


def require(folder: Path, names: Iterable[str]) -> None:
    """Raise FileNotFoundError unless ``folder`` holds all files of these names."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder}: expected a folder with {', '.join(names)}, but it has no "
            f"{', '.join(missing)}. Give the folder that holds the original files, or "
            "leave data_dir out (no --data-dir) to download them."
        )
