"""Runs of ``examples.resume``, killed with SIGKILL, resume as if never interrupted."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from examples import resume

ROOT = Path(__file__).parents[1]
EVERY, DEVICES = 20, 4


def start(out: Path, devices: int = DEVICES, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-m", "examples.resume"]
    command += ["--out", str(out), "--devices", str(devices), *more]
    # Without the XLA flags of the tests, which users do not set.
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return subprocess.Popen(
        [*command, "--epochs", "8", "--every", str(EVERY)],
        cwd=ROOT,
        env=environment | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(run: subprocess.Popen[str], code: int = 0) -> str:
    said, errors = run.communicate(timeout=300)
    assert run.returncode == code, errors
    return said + errors


def killed(out: Path, where: Callable[[Path], bool]) -> None:
    """Start a run, and kill it without warning once ``where`` returns True."""
    run = start(out)
    try:
        while run.poll() is None:
            run.send_signal(signal.SIGSTOP)  # paused while it is examined
            if where(out):
                break
            run.send_signal(signal.SIGCONT)
            time.sleep(0.003)
        run.kill()
        assert run.wait(60) == -signal.SIGKILL, "it had ended"
    finally:
        run.kill()
        run.communicate()


def checkpoints(out: Path) -> list[int]:
    folder = out / "checkpoints"
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(int(name) for name in names if name.isdecimal())


def unfinished(out: Path) -> list[Path]:
    return [*(out / "checkpoints").glob("*tmp*")]


def steps(out: Path) -> list[str]:
    """Return the complete lines of the log."""
    log = out / "steps.csv"
    return log.read_text().splitlines(keepends=True)[1:] if log.exists() else []


def is_between(out: Path) -> bool:
    done, last = len(steps(out)), max(checkpoints(out), default=0)
    return last > 0 and not unfinished(out) and last + 5 < done < last + EVERY - 2


def is_writing(out: Path) -> bool:
    return bool(checkpoints(out) and unfinished(out))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    assert f"digits on {DEVICES} devices, from step 0" in finished(start(out))
    return out


@pytest.fixture(scope="module")
def between(tmp_path_factory, whole) -> Path:
    out = tmp_path_factory.mktemp("between")
    killed(out, is_between)
    done = steps(out)
    assert done == steps(whole)[: len(done)] != steps(whole)
    return out


@pytest.mark.slow
def test_on_the_same_devices_it_is_the_run_that_was_not_killed(
    whole, between, tmp_path
):
    out = shutil.copytree(between, tmp_path / "out")
    last = max(checkpoints(out))
    assert f"from step {last}\n" in finished(start(out))
    assert (out / "steps.csv").read_bytes() == (whole / "steps.csv").read_bytes()
    lines = [*csv.DictReader(steps(out), ["step", "loss", "draws"])]
    assert [int(line["step"]) for line in lines] == [*range(1, 8 * 22 + 1)]
    for name in ("loss", "draws"):
        assert len({line[name] for line in lines}) == len(lines), "each has its own"


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 8])
def test_on_other_devices_it_draws_the_same(devices, whole, between, tmp_path):
    out = shutil.copytree(between, tmp_path / "out")
    last = max(checkpoints(out))
    said = finished(start(out, devices))
    assert f"digits on {devices} devices, from step {last}\n" in said
    names = ["step", "loss", "draws"]
    found, expected = ([*csv.DictReader(steps(o), names)] for o in (out, whole))
    assert [f["draws"] for f in found] == [e["draws"] for e in expected]
    losses = [[float(line["loss"]) for line in lines] for lines in (found, expected)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.slow
def test_a_checkpoint_that_was_not_finished_is_not_taken(whole, tmp_path):
    killed(tmp_path, is_writing)
    last = max(checkpoints(tmp_path))
    assert unfinished(tmp_path)
    assert f"from step {last}\n" in finished(start(tmp_path))
    assert not unfinished(tmp_path)
    assert steps(tmp_path) == steps(whole)


@pytest.mark.slow
def test_a_run_with_other_arguments_is_not_taken_for_it(between, tmp_path):
    out = shutil.copytree(between, tmp_path / "out")
    before = steps(out)
    said = finished(start(out, DEVICES, "--batch-size", "32"), code=2)
    assert "the run in this folder, {'data': 'digits', 'batch_size'" in said
    assert steps(out) == before


@pytest.mark.slow
def test_a_run_whose_log_is_gone_is_not_gone_on_with(between, tmp_path):
    out = shutil.copytree(between, tmp_path / "out")
    (out / "steps.csv").unlink()
    said = finished(start(out), code=2)
    assert "steps.csv: expected the lines of steps 1 to" in said
    assert not (out / "steps.csv").exists()


def test_fewer_epochs_than_the_checkpoint_has_are_refused():
    resume.check_epochs(44, 2, 22)  # a finished run is not an error
    resume.check_epochs(40, 2, 22)
    words = "expected at least 3.*of step 45; got 2, .*step is 44.*--epochs 3 or more"
    with pytest.raises(ValueError, match=words):
        resume.check_epochs(45, 2, 22)


HEAD = "step,loss,draws\n"


@pytest.mark.parametrize(
    ("log", "got"),
    [
        (None, "no such file"),
        ("", "the first 0"),
        (HEAD + "1,0.5,aa\n", "the first 1"),
        (HEAD + "1,0.5,aa\n2,0.", "the first 1"),
        (HEAD + "1,0.5,aa\n3,0.4,cc\n4,0.4,dd\n", "the first 1"),
    ],
)
def test_a_log_that_lacks_steps_of_the_checkpoint_is_refused(log, got, tmp_path):
    file = tmp_path / "steps.csv"
    if log is not None:
        file.write_text(log)
    with pytest.raises(ValueError, match=f"steps 1 to 2, since.*got {got}. Rest"):
        resume.check_log(file, 2)


@pytest.mark.parametrize("after", ["", "3,0.4,cc\n", "3,0."])
def test_a_log_may_have_what_came_after_the_checkpoint(after, tmp_path):
    file = tmp_path / "steps.csv"
    file.write_text(HEAD + "1,0.5,aa\n2,0.4,bb\n" + after)
    resume.check_log(file, 2)


def test_the_log_is_whole_once_it_is_open(tmp_path):
    file = tmp_path / "steps.csv"
    file.write_text(HEAD + "1,0.5,aa\n2,0.4,bb\n")
    with resume.log(file, 1):  # the next step may take long
        assert file.read_text() == HEAD + "1,0.5,aa\n"
    assert [*tmp_path.iterdir()] == [file]


def test_the_log_goes_on_after_the_checkpoint(tmp_path):
    file = tmp_path / "steps.csv"
    with resume.log(file, 0) as lines:
        lines.write("1,0.5,aa\n2,0.4,bb\n3,0.")  # killed during a write
    with resume.log(file, 1) as lines:
        lines.write("2,0.4,bb\n")
    assert file.read_text() == "step,loss,draws\n1,0.5,aa\n2,0.4,bb\n"
    with resume.log(file, 0):
        pass
    assert file.read_text() == "step,loss,draws\n"
