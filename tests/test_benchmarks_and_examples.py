"""How the benchmarks and the examples are built: what each file may import."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    file for room in ("benchmarks", "examples") for file in (ROOT / room).rglob("*.py")
)


def named(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_files_are_found():
    assert {"benchmarks/claims/uci.py", "examples/train.py"} <= {*map(named, FILES)}


def imported(source: str) -> Iterator[tuple[str, str]]:
    """Yield what a source imports, in full, and the name that it is known by in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                # `import a.b` makes `a` known.
                known = alias.asname or alias.name.partition(".")[0]
                yield alias.name, known
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "this repository has no relative imports"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", alias.asname or alias.name


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


# They use the library as its users do.


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
                # A module that is imported by its name, not a sentence.
                asked += [text] * (" " not in text)
    return [
        name
        for name in asked
        if name.split(".")[0] in {"mixup_jax", *known}
        and any(map(is_private, name.split(".")))
    ]


def path(node: ast.AST) -> str:
    """Return the dotted name that an expression is, or nothing."""
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
