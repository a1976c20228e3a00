"""Reports of two strict type checkers on user code, and types of public signatures."""

import collections.abc
import dataclasses
import importlib.util
import inspect
import json
import os
import re
import runpy
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

import mixup_jax as mx
from tests.test_api import NAMESPACES, python

ROOT = Path(mx.__file__).parent.parent
FOLDER = Path(__file__).parent / "typing"
GOOD = ["train_step.py", "more.py"]

# Complaints about other packages in the files of valid uses: a pattern, and the reason.
OF_OTHERS = {
    "pyright": {
        r'Stub file not found for "optax"': "Optax ships no types: it has no py.typed",
        r'Type of "(zeros|full|asarray|make_mesh|device_count)" is partially unknown': (
            "the class of JAX's devices is compiled, and pyright cannot find its type"
        ),
        r'Type of "apply" is partially unknown': (
            "the type of a Flax module's `capture_intermediates` is a bare Callable"
        ),
    },
    "mypy": {r'Skipping analyzing "optax"': "Optax ships no types: it has no py.typed"},
}


class Complaint(typing.NamedTuple):
    """A complaint of a checker about one line."""

    file: str
    line: int
    rule: str
    text: str


def strict(checker: str) -> list[str]:
    """Return the command that runs a checker in strict mode over the whole folder."""
    if checker == "pyright":
        options = ["--project", str(FOLDER), "--pythonpath", sys.executable]
        return [sys.executable, "-m", "pyright", "--outputjson", *options]
    files = [str(FOLDER / name) for name in [*GOOD, "mistakes.py"]]
    said = ["--no-error-summary", "--no-color-output", "--no-pretty"]
    # Ignore errors in the package, and the configuration of this repository.
    own = [
        "--follow-imports=silent",
        "--config-file=",
        f"--cache-dir={ROOT}/.cache/mypy",
    ]
    return [sys.executable, "-m", "mypy", "--strict", *said, *own, *files]


def complaints(checker: str, said: str) -> list[Complaint]:
    """Return the complaints in the output of a checker."""
    if checker == "pyright":
        return [
            Complaint(
                Path(each["file"]).name,
                each["range"]["start"]["line"] + 1,
                each.get("rule", ""),
                each["message"],
            )
            for each in json.loads(said)["generalDiagnostics"]
        ]
    pattern = r"^(.*):(\d+): (?:error|warning): (.*?)(?:  \[(.*)\])?$"
    found = re.findall(pattern, said, re.MULTILINE)
    return [Complaint(Path(f).name, int(n), rule, text) for f, n, text, rule in found]


# By default only the checker that .ci/run uses, which is also the faster one.
CHECKERS = ["pyright", pytest.param("mypy", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=CHECKERS)
def found(request: Any) -> tuple[str, list[Complaint]]:
    """Return a checker and its complaints; skip if the checker does not run."""
    checker = request.param
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed")
    run = subprocess.run(
        strict(checker),
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if checker == "pyright" and not run.stdout.startswith("{"):
        pytest.skip(f"pyright does not run here, without Node: {run.stderr[-300:]}")
    assert run.returncode in (0, 1), run.stdout + run.stderr
    return checker, complaints(checker, run.stdout)


def lines(name: str) -> list[str]:
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", GOOD)
def test_our_names_add_no_complaint(found, name):
    checker, answer = found
    if checker == "pyright" and jax.__version_info__ < (0, 10):
        pytest.skip("of older JAX and NumPy arrays themselves are partially unknown")
    ours = [
        each
        for each in answer
        if each.file == name
        and not any(re.match(pattern, each.text) for pattern in OF_OTHERS[checker])
    ]
    assert not ours, "\n".join(map(str, ours))


def test_each_mistake_is_an_error(found):
    _, answer = found
    # Unknown types are reported at every use of an untyped name.
    errors = {
        each.line
        for each in answer
        if each.file == "mistakes.py" and not each.rule.startswith("reportUnknown")
    }
    source = lines("mistakes.py")
    marked = {k for k, line in enumerate(source, start=1) if "  # error" in line}
    assert len(marked) > 50
    assert not marked - errors, [source[k - 1] for k in sorted(marked - errors)]
    assert not errors - marked, [source[k - 1] for k in sorted(errors - marked)]


def test_the_train_step_is_one_of_a_user():
    code = [line for line in lines("train_step.py") if line.strip()]
    assert 30 < len(code) < 50
    assert not [line for line in code if re.search(r"ignore|cast|Any\b", line)]


@pytest.mark.parametrize("name", GOOD)
def test_what_passes_also_runs(name, capsys):
    with jax.numpy_dtype_promotion("standard"):  # as for a user
        scope = runpy.run_path(str(FOLDER / name))
        if name == "train_step.py":
            assert int(scope["main"]().step) == 1
            assert capsys.readouterr().out


# The types in signatures

# Functions that return the type that callers pass in, or that their functions return.
AS_GIVEN = {
    "Mix.inputs",
    "Mix.targets",
    "Mix.partners",
    "Mix.union",
    "Partners.bring",
    "attacks.fgsm",
    "attacks.iterated_fgsm",
    "follow.tree_of",
    "training.State.apply_gradients",
    "training.State.params",
    "training.State.step",
}
# Where an ellipsis for the arguments of a function is justified, and why.
ELLIPSES: dict[str, str] = {}


def of_class(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the functions of a class that this library defines."""
    for name, value in vars(kind).items():
        function = value.fget if isinstance(value, property) else value
        function = getattr(function, "__func__", function)
        hidden = name.startswith("_") and name != "__call__"
        if hidden or not inspect.isfunction(function):
            continue
        if function.__module__.startswith("mixup_jax"):
            yield name, function


def public() -> dict[str, Any]:
    """Return the public names: functions, methods, classes and type aliases."""
    found: dict[str, Any] = {}
    for namespace in ["", *NAMESPACES]:
        module = getattr(mx, namespace) if namespace else mx
        for name, value in vars(module).items():
            where = f"{namespace}.{name}".lstrip(".")
            alias = typing.get_origin(value) is not None
            if name.startswith("_") or not (alias or hasattr(value, "__qualname__")):
                continue
            # A namespace of several files re-exports everything that it imports.
            home = "mixup_jax" if hasattr(module, "__path__") else module.__name__
            if not alias and not value.__module__.startswith(home):
                continue
            found[where] = value
            if inspect.isclass(value):
                for method, function in of_class(value):
                    found[f"{where}.{method}"] = function
    return found


PUBLIC = public()


def said_of(value: Any) -> dict[str, Any]:
    """Return the types in a signature, class or type alias, by argument or field."""
    if inspect.isclass(value):
        return inspect.get_annotations(value)
    if not callable(value) or typing.get_origin(value) is not None:
        return {"": value}
    return typing.get_type_hints(value)


def inside(hint: Any) -> Iterator[Any]:
    """Yield a type and all types nested in it."""
    yield hint
    for part in hint if isinstance(hint, list) else typing.get_args(hint):
        yield from inside(part)


def test_the_walk_reaches_all():
    assert {"mixup", "Mix.terms", "Mix.from_pairs", "regions.Grid.axes_of"} <= set(
        PUBLIC
    )
    assert {"training.Step.__call__", "hidden.linen", "Batch"} <= set(PUBLIC)
    assert {"training.State.params", "losses.ExampleLoss"} <= set(PUBLIC)
    assert len(PUBLIC) > 120


@pytest.mark.parametrize("name", PUBLIC)
def test_every_argument_and_result_has_a_type(name):
    value = PUBLIC[name]
    if not inspect.isfunction(value):
        return
    for function in typing.get_overloads(inspect.unwrap(value)) or [value]:
        hints = typing.get_type_hints(function)
        wanted = {*inspect.signature(function).parameters, "return"} - {"self", "cls"}
        assert wanted <= set(hints), wanted - set(hints)
        assert (hints["return"] is Any) == (name in AS_GIVEN)


@pytest.mark.parametrize("name", PUBLIC)
def test_functions_that_are_handed_over_say_what_they_take(name):
    for place, hint in said_of(PUBLIC[name]).items():
        for part in inside(hint):
            assert part not in (collections.abc.Callable, typing.Callable), place
            assert not (isinstance(part, str) and "Callable" in part), place
            if typing.get_origin(part) is collections.abc.Callable:
                honest = typing.get_args(part)[0] is not Ellipsis or name in ELLIPSES
                assert honest, (place, part)


@dataclasses.dataclass
class Bare:
    """A class with a bare Callable, which the walk has to find."""

    function: collections.abc.Callable
    fine: int = 0


def test_the_walk_finds_a_bare_callable():
    (hint, _) = said_of(Bare).values()
    assert collections.abc.Callable in inside(hint)
    nested = said_of(list[collections.abc.Callable | None])[""]
    assert collections.abc.Callable in inside(nested)


# The names in the package


def test_dir_lists_what_is_loaded_late():
    assert {"training", "hidden", "mixup", "Mix", "__version__"} <= set(dir(mx))
    assert dir(mx) == sorted(set(dir(mx)))
    assert all(hasattr(mx, name) for name in dir(mx))


def test_to_list_the_names_loads_nothing():
    program = (
        "import sys\n"
        "from mixup_jax import *\n"
        "import mixup_jax\n"
        "assert {'training', 'hidden'} <= set(dir(mixup_jax))\n"
        "assert mixup and not {'flax', 'optax'} & set(sys.modules)\n"
    )
    run = python(program)
    assert run.returncode == 0, run.stderr
