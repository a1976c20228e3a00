"""Nox sessions: the tests on several Python and JAX versions, and for TPU and GPU."""

import glob
import os
import re
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
    session.run("pytest", "tests/test_tpu.py", *session.posargs)


@nox.session(python="3.11")
def gpu(session: nox.Session) -> None:
    """Inspect the programs compiled for GPU; installs a compiler of 4.4 GB."""
    session.install("-e", ".[tests,gpu]")
    session.run(
        "pytest", "tests/test_gpu.py", "-m", "slow or not slow", *session.posargs
    )


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
    session.run("python", "-c", "import jax; print('jax', jax.__version__)")
    session.run("pytest", "-n", "2", *arguments)


@nox.session(python="3.11")
def docs(session: nox.Session) -> None:
    """Build the documentation offline, run its code, and open it in a browser."""
    session.install("-e", ".[docs,examples,tests]")
    session.run("sphinx-build", "-W", "--keep-going", "docs", "docs/_build/html")
    session.run("pytest", "docs", "-m", "slow or not slow", *session.posargs)
    session.run("pytest", "tests/test_site.py", "-m", "slow", *session.posargs)


@nox.session(python="3.11")
def examples(session: nox.Session) -> None:
    """Run every example as its page says, which takes a quarter of an hour."""
    session.install(".[examples,plot]")
    for path in sorted(Path("examples").glob("[a-z]*.py")):
        session.run("python", "-m", f"examples.{path.stem}", *session.posargs)


@nox.session(python="3.11")
def links(session: nox.Session) -> None:
    """Follow the links of the documentation to other sites, which needs a network."""
    session.install("-e", ".[docs,examples]")
    session.run("sphinx-build", "-b", "linkcheck", "docs", "docs/_build/links")
