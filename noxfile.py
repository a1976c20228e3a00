"""The sessions of developers and CI: tests, checks, the documentation, the release.

Tests run on each Python that is installed; nox names those that are missing.
"""

import glob
import os
import re
import shutil
import tempfile
from pathlib import Path

import nox

nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests"]

# pyenv does not put its interpreters on the path by version.
pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
folders = glob.glob(os.path.join(pyenv, "versions", "*", "bin"))
os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *folders])

# The oldest supported dependencies, as declared in pyproject.toml.
LEAST = nox.project.load_toml("pyproject.toml")["project"]["dependencies"]
FLOOR = [least.replace(">=", "==") for least in LEAST]

# Where JAX publishes the wheels of each night.
NIGHTLY = "https://us-python.pkg.dev/ml-oss-artifacts-published/jax/simple/"

# The tests that the wheel has to pass without a checkout.
CORE = ["hidden", "laws", "losses", "metrics", "mix", "release", "training", "types"]


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def tests(session: nox.Session) -> None:
    """Run the tests with the newest JAX for each Python."""
    _tested(session, *session.posargs)


@nox.session(python="3.11")
def floor(session: nox.Session) -> None:
    """Run the tests with the oldest supported version of each dependency."""
    _tested(session, *session.posargs, pins=FLOOR)


@nox.session(python="3.13")
def newest(session: nox.Session) -> None:
    """Run the tests with a JAX version that no longer supports Python 3.11."""
    _tested(session, *session.posargs, pins=["jax>=0.12"])


@nox.session(python="3.13")
def nightly(session: nox.Session) -> None:
    """Run the tests with last night's JAX, where a deprecation is seen first."""
    session.install("-e", ".[tests]")
    # The index is that of JAX alone, so everything else comes from a release.
    session.install("--upgrade", "--pre", "--index-url", NIGHTLY, "jax", "jaxlib")
    _run(session, *session.posargs)


@nox.session(python="3.11")
def without_flax(session: nox.Session) -> None:
    """Run the tests that do not need Flax, without Flax installed."""
    direct = r"^(from|import) (flax|examples|benchmarks(?!\._programs))|\.hidden\b"
    needs = re.compile(rf"{direct}|test_api|donation", re.M)
    files = [
        p
        for p in Path("tests").glob("test_*.py")
        if not needs.search(f"{p.name} {p.read_text()}")
    ]
    _tested(session, *map(str, sorted(files)), *session.posargs, without="flax")


@nox.session(python="3.11")
def tpu(session: nox.Session) -> None:
    """Inspect the programs compiled for TPU; installs a compiler of 0.7 GB."""
    session.install("-e", ".[tests,tpu]")
    session.run(
        "pytest", "tests/test_tpu.py", "-m", "slow or not slow", *session.posargs
    )


@nox.session(python="3.11")
def gpu(session: nox.Session) -> None:
    """Inspect the programs compiled for GPU; installs a compiler of 4.4 GB."""
    session.install("-e", ".[tests,gpu]")
    session.run(
        "pytest", "tests/test_gpu.py", "-m", "slow or not slow", *session.posargs
    )


@nox.session(python="3.11")
def lint(session: nox.Session) -> None:
    """Check the style and the types of everything."""
    session.install("-e", ".[tests]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("pyright")


@nox.session(python="3.11")
def docs(session: nox.Session) -> None:
    """Build the documentation offline, run its code, and open it in a browser."""
    session.install("-e", ".[docs,examples,tests]")
    session.run("sphinx-build", "-W", "--keep-going", "docs", "docs/_build/html")
    session.run("pytest", "docs", "-m", "slow or not slow", *session.posargs)
    session.run("pytest", "tests/test_site.py", "-m", "slow", *session.posargs)


@nox.session(python="3.11")
def examples(session: nox.Session) -> None:
    """Run every example that is no recipe, which takes a quarter of an hour."""
    session.install(".[examples,plot]")
    recipes = {page.stem for page in Path("docs/recipes").glob("*.md")}
    for path in sorted(Path("examples").glob("[a-z]*.py")):
        if path.stem not in recipes and "__main__" in path.read_text():
            session.run("python", "-m", f"examples.{path.stem}", *session.posargs)


@nox.session(python="3.11")
def recipes(session: nox.Session) -> None:
    """Run every recipe, compare with what its page shows; train on tars of pictures."""
    session.install("-e", ".[recipes,tests]")
    names = ("recipes", "imagenet", "imagenet_input")
    files = [f"tests/test_{name}.py" for name in names]
    _run(session, *files, "-m", "slow or not slow", *session.posargs)


@nox.session(python="3.11")
def links(session: nox.Session) -> None:
    """Follow the links of the documentation to other sites, which needs a network."""
    session.install("-e", ".[docs,examples]")
    session.run("sphinx-build", "-b", "linkcheck", "docs", "docs/_build/links")


@nox.session(python="3.11")
def package(session: nox.Session) -> None:
    """Build the sdist and the wheel in dist/, check them, and test the wheel."""
    session.install("build", "check-wheel-contents", "twine")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build")
    [sdist], [wheel] = glob.glob("dist/*.tar.gz"), glob.glob("dist/*.whl")
    session.run("twine", "check", "--strict", sdist, wheel)
    session.run("check-wheel-contents", "--package", "mixup_jax", wheel)
    if os.environ.get("GITHUB_REF_TYPE") == "tag":
        version = os.environ["GITHUB_REF_NAME"].removeprefix("v")
        if f"mixup_jax-{version}-" not in wheel:
            session.error(f"expected the version of the tag, {version}; got {wheel}.")
    session.install(f"{wheel}[tests]")
    with tempfile.TemporaryDirectory() as folder:
        shutil.unpack_archive(sdist, folder, filter="data")
        [root] = Path(folder).iterdir()
        # The tests are those of the sdist, the package is that of the wheel.
        shutil.rmtree(root / "mixup_jax")
        if (root / "benchmarks" / "results").exists():
            session.error("expected an sdist without results; got benchmarks/results.")
        with session.chdir(root):
            at = "mixup_jax.__file__"
            check = f"import mixup_jax; assert 'site-packages' in {at}, {at}"
            session.run("python", "-c", check)
            _run(session, *(f"tests/test_{name}.py" for name in CORE))


@nox.session(python=["3.11", "3.13"])
def tests_all(session: nox.Session) -> None:
    """Run all tests, including slow ones, on two Python versions; takes hours."""
    _tested(session, "-m", "slow or not slow", *session.posargs)


def _tested(
    session: nox.Session, *arguments: str, pins: list[str] | None = None, without=""
) -> None:
    session.install("-e", ".[tests]", *(pins or ()))
    if without:
        session.run("python", "-m", "pip", "uninstall", "-y", without)
    _run(session, *arguments)


def _run(session: nox.Session, *arguments: str) -> None:
    session.run("python", "-c", "import jax; print('jax', jax.__version__)")
    session.run("pytest", "-n", "2", *arguments)
