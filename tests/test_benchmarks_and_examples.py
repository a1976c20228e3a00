"""The structure of benchmarks and examples: imports, and the length of files."""

import ast
import re
from pathlib import Path

import pytest

from tests.imports import imported

ROOT = Path(__file__).parents[1]
FILES = sorted(
    file for room in ("benchmarks", "examples") for file in (ROOT / room).rglob("*.py")
)


def named(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_files_are_found():
    assert {"benchmarks/claims/uci.py", "examples/train.py"} <= {*map(named, FILES)}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


# They use the library through its public names, as its users do.


def private_names(source: str) -> list[str]:
    """Return the private names of the library that a source imports or reads."""
    ours = [each for each in imported(source) if each[0].split(".")[0] == "mixup_jax"]
    asked, known = [name for name, _ in ours], {name for _, name in ours}
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute():
                asked.append(path(node))
            case ast.Call(ast.Name("getattr"), [of, ast.Constant(str(name)), *_]):
                asked.append(f"{path(of)}.{name}")
            case ast.Constant(str(text)) if text.startswith("mixup_jax."):
                # Only the name of a module to import, not a sentence.
                asked += [text] * (" " not in text)
    return [
        name
        for name in asked
        if name.split(".")[0] in {"mixup_jax", *known}
        and any(map(is_private, name.split(".")))
    ]


def path(node: ast.AST) -> str:
    """Return the dotted name of an expression, or the empty string."""
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(of, name) if path(of):
            return f"{path(of)}.{name}"
    return ""


@pytest.mark.parametrize(
    "source",
    [
        "import mixup_jax._devices",
        "import mixup_jax._devices as devices",
        "from mixup_jax import _devices",
        "from mixup_jax import _devices as devices",
        "from mixup_jax._devices import apart",
        "from mixup_jax.regions import _draw",
        "def late():\n    from mixup_jax import _devices",
        "import mixup_jax as mx\nmx._devices",
        "import mixup_jax as mx\nmx.training._changed(1)",
        "import mixup_jax as mx\nmx._devices.apart('data').mixer",
        "import mixup_jax.training\nmixup_jax.training._changed",
        "from mixup_jax import training\ntraining._changed",
        "from mixup_jax import training as t\nt._changed",
        "import importlib\nimportlib.import_module('mixup_jax._devices')",
        "import mixup_jax as mx\ngetattr(mx.training, '_changed')",
    ],
)
def test_private_names_are_seen(source):
    assert private_names(source)


@pytest.mark.parametrize(
    "source",
    [
        "import mixup_jax as mx\nmx.training.pmapped(step)._cache",
        "import mixup_jax\nmixup_jax.__file__",
        "from mixup_jax import training\ntraining.train_step",
        "import jax\njax._src",
        "from examples import _on_devices",
        "mx._devices",
        "'mixup_jax._devices is where devices are'",
    ],
)
def test_other_names_are_not(source):
    assert not private_names(source)


@pytest.mark.parametrize("file", FILES, ids=named)
def test_the_library_is_used_by_its_public_names(file):
    assert private_names(file.read_text()) == []


# Imports point one way.


def of(source: str, room: str) -> list[str]:
    """Return the full names that a source imports from a folder."""
    found = (name for name, _ in imported(source))
    return [name for name in found if f"{name}.".startswith(f"{room}.")]


SHARED = ("examples.datasets", "examples.networks", "examples.imagenet")


def of_examples(source: str) -> list[str]:
    """Return the imports from the examples, except for those of what is shared."""
    found = of(source, "examples")
    shared = [name for room in SHARED for name in of(source, room)]
    return [n for n in found if n not in shared or any(map(is_private, n.split(".")))]


@pytest.mark.parametrize(
    "source",
    [
        "import examples.train",
        "from examples import decision_boundary",
        "from examples.train import CNN",
        "from examples.datasets import _download",
        "from examples.datasets._sheets import Sheet",
        "from examples._imagenet import options",
    ],
)
def test_what_is_asked_of_an_example_is_seen(source):
    assert of_examples(source)


@pytest.mark.parametrize(
    "source",
    [
        "from examples import datasets",
        "import examples.datasets.tables",
        "from examples.datasets import tables, Images",
        "from examples.datasets.tables import airfoil",
        "from examples import imagenet",
        "from examples.networks import ViT",
        "import examples_of_mine",
    ],
)
def test_what_is_asked_of_the_readers_is_not(source):
    assert not of_examples(source)


@pytest.mark.parametrize("file", FILES, ids=named)
def test_benchmarks_ask_the_examples_for_real_files_alone(file):
    if named(file).startswith("benchmarks"):
        assert of_examples(file.read_text()) == []
    else:
        assert of(file.read_text(), "benchmarks") == []


CLAIMS = ROOT / "benchmarks" / "claims"
ROOMS = ("__main__", "", "_networks", "_data", "_engine")  # "": the claims themselves


def upwards(source: str, room: str) -> list[str]:
    """Return the imports of a source in a folder of the claims from higher folders.

    A claim may not import another claim.
    """
    here, found = ROOMS.index(room), []
    for name in of(source, "benchmarks.claims"):
        part = [*name.split("."), ""][2]
        there = ROOMS.index(part if part in ROOMS else "")
        if there < here or there == here == ROOMS.index(""):
            found.append(name)
    return found


def test_imports_that_point_up_are_seen():
    ask = "from benchmarks.claims._{} import x"
    for here in range(1, len(ROOMS)):
        for there in range(2, len(ROOMS)):
            found = upwards(ask.format(ROOMS[there][1:]), ROOMS[here])
            assert bool(found) == (there < here), (ROOMS[here], ROOMS[there])
    for room in ROOMS[1:]:
        assert upwards("from benchmarks.claims import uci", room)
        assert upwards("from benchmarks.claims.__main__ import main", room)
    assert not upwards("from benchmarks.claims import uci", "__main__")


@pytest.mark.parametrize("file", sorted(CLAIMS.rglob("*.py")), ids=named)
def test_imports_within_the_claims_point_down(file):
    first = file.relative_to(CLAIMS).parts[0].removesuffix(".py")
    room = first if first in ROOMS else ""
    assert upwards(file.read_text(), room) == []


def test_a_benchmark_is_no_part_of_the_claims():
    for file in (ROOT / "benchmarks").glob("*.py"):
        assert of(file.read_text(), "benchmarks.claims") == [], named(file)


# Each file has one subject, and is short enough to read in one sitting.

FOLDERS = ("mixup_jax", "benchmarks", "examples")
MOST = 300


def too_long(source: str) -> bool:
    """Return whether a file is long and does not explain why in its docstring."""
    if len(source.splitlines()) < MOST:
        return False
    words = ast.get_docstring(ast.parse(source)) or ""
    return not any(part.startswith("Long because ") for part in sentences(words))


def sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.:?])\s+", " ".join(text.split()))


def test_long_files_are_seen():
    lines = "x = 1\n" * MOST
    assert too_long(lines)
    assert too_long('"""A file. It is long."""\n' + lines)
    assert not too_long('"""A file.\n\nLong because\nit is a table."""\n' + lines)
    assert not too_long("x = 1\n" * (MOST - 1))


@pytest.mark.parametrize(
    "file",
    sorted(file for room in FOLDERS for file in (ROOT / room).rglob("*.py")),
    ids=named,
)
def test_a_long_file_says_why(file):
    assert not too_long(file.read_text())
