"""The recipes, and what each one prints, for the pages that show it.

python -m tests.recipes [NAMES]    # run and record these recipes, or all
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "recipes"
PLACE = PAGES / "output"

RECIPES = (
    "with_equinox",
    "with_haiku",
    "with_keras",
    "from_grain",
    "from_tf_data",
    "from_torch",
    "ema",
    "mixed_metrics",
    "multi_label",
    "regression",
    "distillation",
    "evaluation",
    "accumulation",
)

# The program for ImageNet has a page too, and is no short recipe.
ALL = (*RECIPES, "imagenet")

# What a recipe imports that the extra `examples` does not install.
NEEDS = {
    "with_equinox": ("equinox",),
    "with_haiku": ("haiku",),
    "with_keras": ("keras",),
    "from_tf_data": ("tensorflow",),
    "from_torch": ("torch",),
}

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")


def flags(name: str) -> list[str]:
    """Return the flags with which the page of a recipe runs it first."""
    page = PAGES / f"{name}.md"
    text = page.read_text().replace("\\\n", " ") if page.exists() else ""
    found = re.search(rf"python -m examples\.{name} (.*)", text)
    return found[1].split() if found else []


def missing(name: str) -> list[str]:
    """Return the modules that a recipe needs and that are not installed."""
    # Not imported: most of them take seconds, and have nothing to do with each other.
    return [x for x in NEEDS.get(name, ()) if importlib.util.find_spec(x) is None]


def output(name: str) -> str:
    """Run a recipe as its page says, with warnings as errors; return its stdout.

    Raises:
      RuntimeError: If it fails, with what it wrote to stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _output(name, Path(folder))


def _output(name: str, folder: Path) -> str:
    """Return the output of a recipe that writes its files to a folder."""
    # Without the XLA flags of the tests, which users do not set.
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", f"examples.{name}", *flags(name)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        raise RuntimeError(
            f"examples.{name}: exit code {done.returncode}\n{done.stderr}"
        )
    return done.stdout


def differences(found: str, recorded: str) -> Iterator[str]:
    """Yield the lines in which two outputs differ by more than another CPU explains.

    Words are equal, whatever the space between them, and so are counts and zeros. A
    mean is within its standard error, and that within half of itself. A number in
    scientific notation is rounding, and within a factor of 10. Others are within 5% or
    0.02, whichever is more.
    """
    lines = (text.splitlines() for text in (found, recorded))
    for i, (new, old) in enumerate(zip_longest(*lines), start=1):
        if new is None or old is None or not _alike(new, old):
            yield f"line {i}: {new!r} instead of {old!r}"


def _alike(new: str, old: str) -> bool:
    if _words(new) != _words(old):
        return False
    pairs = zip(_numbers(new), _numbers(old), strict=True)
    return all(_near(a, b, error) for (a, _), (b, error) in pairs)


def _words(line: str) -> list[str]:
    return NUMBER.sub(" # ", line).split()


def _numbers(line: str) -> list[tuple[str, str | None]]:
    """Return each number, and the standard error that follows it.

    A standard error itself is given half of its own value as the error.
    """
    found = []
    for number in NUMBER.finditer(line):
        text = number[0].replace(",", "")
        if line[: number.start()].rstrip().endswith("±"):
            found[-1] = found[-1][0], text
            found.append((text, str(float(text) / 2)))
        else:
            found.append((text, None))
    return found


def _near(new: str, old: str, error: str | None) -> bool:
    is_count = not re.search(r"[.e]", old)
    a, b = float(new), float(old)
    if is_count:
        return new == old
    if b == 0:
        return a == 0
    if error is not None:
        return abs(a - b) <= max(float(error), 0.02)
    if "e" in old:
        return 0.1 <= a / b <= 10
    return abs(a - b) <= max(0.05 * abs(b), 0.02)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Record what recipes print.")
    parser.add_argument("names", nargs="*", metavar="NAME")
    names = parser.parse_args(argv).names or ALL
    for name in names:
        if name not in ALL:
            parser.error(
                f"NAME: expected one of {', '.join(ALL)}; got {name}. Add a new "
                "recipe to RECIPES."
            )
    PLACE.mkdir(parents=True, exist_ok=True)
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            text = _output(name, Path(folder))
            for picture in Path(folder).rglob("*.png"):
                shutil.copy(picture, PLACE / f"{name}.png")
        (PLACE / f"{name}.txt").write_text(text)
        print(f"{name}\n{text}", flush=True)


if __name__ == "__main__":
    main()
