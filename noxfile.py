"""The tests on each Python that can be found here; those that cannot are named."""

import glob
import os

import nox

nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests"]

# The interpreters of pyenv are not on the path under names of their own.
pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
folders = glob.glob(os.path.join(pyenv, "versions", "*", "bin"))
os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *folders])


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def tests(session: nox.Session) -> None:
    """Run the tests with the newest JAX that this Python admits."""
    _tested(session, *session.posargs)


@nox.session(python=["3.11", "3.13"])
def tests_all(session: nox.Session) -> None:
    """Run the slow tests as well, which takes hours, on the oldest and a newer JAX."""
    _tested(session, "-m", "slow or not slow", *session.posargs)


def _tested(session: nox.Session, *arguments: str) -> None:
    session.install("-e", ".[tests]")
    session.run("python", "-c", "import jax; print('jax', jax.__version__)")
    session.run("pytest", "-n", "2", *arguments)
