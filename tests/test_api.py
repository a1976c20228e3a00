"""The rules of the interface, and the direction of imports between the files."""

import ast
import inspect
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

import mixup_jax as mx
from tests import imports

PACKAGE = Path(mx.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMESPACES = [
    "attacks",
    "follow",
    "hidden",
    "losses",
    "metrics",
    "pairings",
    "ratios",
    "regions",
    "training",
]

# Arguments that are passed by position although they have a default.
BY_PLACE = {"ratios.beta": {"b"}, "pairings.of_same_class": {"candidates"}}

METHODS = {path.stem for path in PACKAGE.glob("_mixers/[a-z]*.py")}
DERIVED = {"fmix"}  # derived from other mixers, with other defaults

# From bottom to top: a file imports only from the rows above its own.
ROWS = [
    {"_core", "_mixers", "_combinators", "plot"},  # these export nothing
    {"_core.arrays", "_core.axes", "_core.versions", "_core.products"},
    {"_core.mesh"},
    {"_core.checks", "_core.follow", "_core.bound", "_core.layouts"}
    | {"_core.shifts", "_core.cut"},
    {"_core.made", "_core.grid", "_core.cast", "_core.threefry"},
    {"_core.words"},
    {"_core.move", "_core.random"},
    {"_core.register"},
    {"_core.types"},
    {"_core.moves", "_core.labels"},
    {"_core.region", "_core.windows", "_core.blend"},
    {"_core.source", "_core.coverage"},
    {"_core.leaf"},
    {"_core.mix"},
    {"follow"},
    {"_core.compose", "_core.halves"},
    {"_core.mixer"},
    {"ratios._implicit"},
    {"ratios._beta"},
    {"ratios._hat"},
    {"ratios._known"},
    {"ratios._ranges"},
    {"ratios._shared"},
    {"ratios"},
    {"pairings._positions"},
    {"pairings._distances", "pairings._fixed", "pairings._random", "pairings._classes"},
    {"pairings._affinities"},
    {"pairings._weighted"},
    {"pairings"},
    {"regions._share", "regions._field", "regions._everywhere", "regions._chosen"},
    {"regions._lowest"},
    {"regions._bell", "regions._blob", "regions._box", "regions._layer"},
    {"regions._window"},
    {"regions"},
    {"losses._targets"},
    {"losses._termwise"},
    {"losses._attention"},
    {"losses"},
    {"attacks", "metrics"},
    {f"_mixers.{method}" for method in METHODS - DERIVED},
    {f"_mixers.{method}" for method in DERIVED},
    {"_combinators.once", "_combinators.entries", "_combinators.merge"}
    | {"_combinators.nested"},
    {"_combinators.devices", "_combinators.names", "_combinators.scheduled"}
    | {"_combinators.cast"},
    {"_combinators.outermost"},
    {"_combinators.choose", "_combinators.until"},
    {"hidden", "training._nodes"},
    {"training._state", "training._loss"},
    {"training._place", "training._placement"},
    {"training._step", "training._traced", "training._donation"},
    {"training._run"},
    {"training._drivers"},
    {"training"},
    {"plot._kinds", "plot._labels", "plot._scales"},
    {"plot._rows"},
    {"plot._maps"},
    {"plot._draw"},
    {"plot._figure"},
    {"__init__"},
    {"plot._files"},
    {"plot.__main__"},
]
ROW = {name: number for number, row in enumerate(ROWS) for name in row}


def name_of(path):
    """Return the name of a module within the package: ``ratios``, ``_core.mix``."""
    *folders, stem = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(folders if folders and stem == "__init__" else [*folders, stem])


MODULES = {name_of(path): path for path in FILES}


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def exported():
    """Return the names that the package exports: ``from ... import x as x``."""
    return [
        alias.name
        for node in tree(PACKAGE / "__init__.py").body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    ]


def own_functions(module):
    """Return the public functions that a module defines itself."""
    return {
        name: function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith("_")
        # A namespace of several files re-exports what they define.
        if function.__module__.partition("._")[0] == module.__name__
    }


TOP = {name: getattr(mx, name) for name in exported()}
FUNCTIONS = {name: value for name, value in TOP.items() if inspect.isfunction(value)}
for _name in NAMESPACES:
    for _function, _value in own_functions(getattr(mx, _name)).items():
        FUNCTIONS[f"{_name}.{_function}"] = _value
CLASSES = {name: value for name, value in TOP.items() if inspect.isclass(value)}
MIXERS = [
    name
    for name, value in FUNCTIONS.items()
    if "." not in name and next(iter(inspect.signature(value).parameters)) == "key"
    if not name.endswith("_key")  # keys derived from keys
]


def parameters(name):
    return list(inspect.signature(FUNCTIONS[name]).parameters.values())


def test_the_names_are_all_there():
    assert {"erm", "mixup", "cutmix", "fmix", "Mix", "Mixer", "per_device"} <= set(TOP)
    assert {"Batch", "Pairing", "Partners", "Ratio", "Region", "RegionDraw"} <= set(TOP)
    assert {"choose", "with_probability", "scheduled", "on_keys"} <= set(FUNCTIONS)
    assert {"ratios.beta", "pairings.roll", "regions.box"} <= set(FUNCTIONS)
    assert {"losses.termwise", "metrics.accuracy"} <= set(FUNCTIONS)
    assert {"erm", "mixup", "cutmix", "fmix"} <= set(MIXERS)
    assert {"manifold", "extrapolate", "gaussian"} <= set(MIXERS)
    for namespace in NAMESPACES:
        assert isinstance(getattr(mx, namespace), types.ModuleType)
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        _ = mx.no_such_name  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_exported_under_their_own_name(name):
    assert FUNCTIONS[name].__name__ == name.rpartition(".")[2]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_are_keyword_only(name):
    for parameter in parameters(name):
        assert parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        ), f"{parameter} hides what {name} takes"
        if parameter.default is not parameter.empty:
            by_place = parameter.name in BY_PLACE.get(name, ())
            assert by_place or parameter.kind is parameter.KEYWORD_ONLY, parameter


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_key_comes_first(name):
    names = [parameter.name for parameter in parameters(name)]
    assert "key" not in names[1:]
    assert not {"rng", "rngs", "seed", "prob", "mode"} & set(names)


@pytest.mark.parametrize("name", MIXERS)
def test_mixers_take_a_key_and_a_batch(name):
    first, second, *options = parameters(name)
    assert (first.name, second.name) == ("key", "batch")
    assert all(option.kind is option.KEYWORD_ONLY for option in options)


def test_the_signatures_of_the_contract():
    def said(function):
        return [
            (p.name, p.default if p.default is not p.empty else "required")
            for p in inspect.signature(function).parameters.values()
        ]

    assert said(mx.mixup) == [
        ("key", "required"),
        ("batch", "required"),
        ("alpha", 1.0),
        ("ratio", None),
        ("pairing", mx.pairings.neighbour),
    ]
    for mixer in (mx.cutmix, mx.fmix):
        assert said(mixer)[:5] == said(mx.mixup)
    assert said(mx.erm) == [("key", "required"), ("batch", "required")]
    assert said(mx.ratios.beta) == [("a", "required"), ("b", None)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_says_what_it_does(name):
    text = inspect.getdoc(FUNCTIONS[name])
    assert text
    assert text.splitlines()[0].endswith((".", ":")), text.splitlines()[0]


# Parts that are passed as arguments rather than called.
NOT_SHOWN = {
    "regions.everywhere",
    "regions.from_pixels",
    "regions.as_drawn",
}


@pytest.mark.parametrize("name", [*sorted(set(FUNCTIONS) - NOT_SHOWN), "Mix"])
def test_every_function_shows_an_example(name):
    text = inspect.getdoc(FUNCTIONS.get(name) or CLASSES[name]) or ""
    _, title, example = text.partition("\nExample:\n")
    assert title
    assert ">>> " in example


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_says_what_it_is(name):
    text = CLASSES[name].__doc__ or ""
    assert text
    # Dataclasses generate one: "Mix(lam, partner, ...)".
    assert not text.startswith(f"{name}(")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_file_says_what_it_holds(path):
    assert ast.get_docstring(tree(path))


# The cost of importing


def python(program):
    """Run a program in a fresh interpreter without any device to compute on."""
    path = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "JAX_PLATFORMS": "no_such_device", "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_importing_computes_nothing_and_loads_neither_flax_nor_optax():
    found = python(
        "import sys, mixup_jax\n"
        "others = {'flax', 'optax', 'chex', 'mixup_jax.training', 'matplotlib'}\n"
        "loaded = others & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "import jax\n"
        "try:\n"
        "    jax.numpy.zeros(1)\n"
        "except RuntimeError as error:\n"
        "    print('no device:', error)\n"
    )
    assert found.returncode == 0, found.stderr
    # Any computation on import would have raised the error there.
    assert "no device:" in found.stdout


def test_training_is_loaded_when_it_is_first_used():
    found = python(
        "import sys, mixup_jax\n"
        "mixup_jax.training.train_step\n"
        "assert {'flax', 'optax'} <= set(sys.modules)\n"
    )
    assert found.returncode == 0, found.stderr


# The direction of imports


def imported(path):
    """Yield ``(package, module)`` for each import; ``module`` is empty for others."""
    for name, _ in imports.imported(path.read_text(encoding="utf-8")):
        package, _, inner = name.partition(".")
        # The last part is a module, or a name in the module before it.
        inner = inner if inner in MODULES else inner.rpartition(".")[0]
        yield package, inner or "__init__" if package == "mixup_jax" else ""


@pytest.mark.parametrize("name", MODULES)
def test_arrows_point_one_way(name):
    path = MODULES[name]
    ours = {inner for package, inner in imported(path) if package == "mixup_jax"}
    upwards = {inner for inner in ours if ROW[inner] >= ROW[name]}
    assert not upwards, f"{name} imports {upwards}"


def test_each_module_has_one_row():
    assert set(ROW) == set(MODULES)
    assert len(ROW) == sum(map(len, ROWS))
    assert {"erm", "mixup", "cutmix", "fmix"} <= METHODS


@pytest.mark.parametrize("name", MODULES)
def test_the_core_needs_jax_and_numpy_alone(name):
    allowed = {"jax", "numpy", "mixup_jax"} | set(sys.stdlib_module_names)
    of_users = {"training": {"optax"}, "hidden": {"flax"}}
    of_users["plot"] = {"matplotlib", "PIL"}
    allowed |= of_users.get(name.partition(".")[0], set())
    allowed |= {"flax"} if name == "training._nodes" else set()  # where it is installed
    assert not {package for package, _ in imported(MODULES[name])} - allowed


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_private_of_jax_is_used(path):
    assert "jax._src" not in path.read_text(encoding="utf-8")


HOMES_OF_MESHES = {"_core.bound", "_core.layouts", "_core.mesh"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_is_known_of_a_mesh_is_asked_in_three_files(path):
    collectives = {"axis_index", "all_gather", "ppermute", "pmean", "psum", "axis_size"}
    asked = {"typeof", "reshard", "spec", "explicit_axes", "auto_axes", "manual_axes"}
    used = {
        node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)
    }
    assert name_of(path) in HOMES_OF_MESHES or not used & (collectives | asked)


# The classes of regions and moves are not inspected


def below(kind: type) -> set[type]:
    """Return a class of the library and its subclasses within the library."""
    below_it = [below(each) for each in kind.__subclasses__()]
    own = {kind} if kind.__module__.startswith("mixup_jax") else set()
    return own.union(*below_it)


ASKED = {kind.__name__: kind for kind in below(mx.Region) | below(mx.Move)}
ROOT = PACKAGE.parent
READ = [
    *PACKAGE.rglob("*.py"),
    *(ROOT / "benchmarks").rglob("*.py"),
    *(ROOT / "examples").rglob("*.py"),
    ROOT / "tests" / "oracle.py",
]


def looks_into(source: str, defined: set[str]) -> list[str]:
    """Return where a source compares with the class of a region or a move.

    Args:
      source: the text of a file.
      defined: the classes that it defines itself, which it may inspect.
    """
    module = ast.parse(source)
    named = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    def is_class(node):
        name = getattr(node, "attr", "") or getattr(node, "id", "")
        name = named.get(name, name)
        return name in ASKED and name not in defined

    def names_one(node):
        return any(map(is_class, ast.walk(node)))

    def is_made(node):
        return isinstance(node, ast.Call) and is_class(node.func)

    def is_type(node):
        of = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "type"
        return of or getattr(node, "attr", "") == "__class__"

    def is_found(node):
        if isinstance(node, ast.Call):
            asks = getattr(node.func, "id", "") in ("isinstance", "issubclass")
            return asks and names_one(node.args[1])
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            of_type = any(is_type(each) for side in sides for each in ast.walk(side))
            return any(map(is_made, sides)) or (of_type and any(map(names_one, sides)))
        return isinstance(node, ast.MatchClass) and is_class(node.cls)

    return [ast.unparse(node) for node in ast.walk(module) if is_found(node)]


@pytest.mark.parametrize("path", READ, ids=lambda path: path.stem)
def test_regions_and_moves_are_asked_and_not_looked_into(path):
    of_module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    defined = {name for name, kind in ASKED.items() if kind.__module__ == of_module}
    assert not looks_into(path.read_text(encoding="utf-8"), defined)


@pytest.mark.parametrize(
    "source",
    [
        "isinstance(x, Box)",
        "isinstance(x, mx.regions.Box | Field)",
        "isinstance(x, (int, Everywhere))",
        "issubclass(kind, mx.Region)",
        "type(x) is Box",
        "type(x) != regions.Box",
        "type(x) in (Box, Window)",
        "x.__class__ is Gather",
        "type(x).__name__ == Box.__name__",
        "x == Gather()",
        "Stay() != x",
        "x in [Box(1, 2)] == Stay()",
        "from mixup_jax.regions import Box as B\nisinstance(x, B)",
        "match x:\n    case Box(start=a): pass",
        "match x:\n    case mx.regions.Window(): pass",
    ],
)
def test_code_that_inspects_a_class_is_found(source):
    assert looks_into(source, set())


@pytest.mark.parametrize(
    "source",
    [
        "isinstance(x, Grid)",
        "Box(start, stop, grid)",
        "x.region == y.region",
        "type(x).__name__ == 'Box'",
        "region = x or Everywhere()",
        "from mixup_jax.regions import Grid as Box\nisinstance(x, Box)",
    ],
)
def test_code_that_uses_the_protocol_is_not_found(source):
    assert not looks_into(source, set())


def test_a_file_may_look_into_the_classes_that_it_defines():
    source = "isinstance(x, Box), isinstance(x, Window)"
    assert looks_into(source, {"Box"}) == ["isinstance(x, Window)"]
    assert {"Region", "Everywhere", "Box", "Bell", "Chosen"} <= set(ASKED)
    assert {"Move", "Gather", "Stay", "Flip"} <= set(ASKED)


def test_types_travel_with_the_package():
    assert (PACKAGE / "py.typed").exists()
