"""Mixing is free on a TPU too, as its compiler sees it, on machines that have none."""

import importlib.util
import json
import os
import platform
import subprocess
import sys

import pytest

from benchmarks.tpu import ABSENT, TOPOLOGIES

BASE, MIXING = "no mixing", "mixup, jit"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason=f"libtpu is not installed (the extra 'tpu', for Linux on x86_64; this is "
    f"{platform.system()} on {platform.machine()})",
)


@pytest.fixture(scope="module")
def rows():
    topology, model = "v5e:2x2", "cnn"
    worker = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.tpu",
            "--worker",
            topology,
            model,
            BASE,
            MIXING,
        ],
        env=os.environ | ABSENT | {"TPU_ACCELERATOR_TYPE": TOPOLOGIES[topology]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert worker.returncode == 0, worker.stderr[-2000:]
    found = map(json.loads, filter(lambda s: s[:1] == "{", worker.stdout.splitlines()))
    return {row["mixing"]: row for row in found}


def test_mixing_adds_no_collective_and_no_loop(rows):
    assert rows[MIXING]["collectives"] == {}
    assert rows[MIXING]["loops"] == 0


def test_mixing_adds_at_most_two_percent_of_the_bytes(rows):
    assert 0 < rows[MIXING]["bytes %"] <= 2


def test_the_batch_is_read_and_written_once(rows):
    # One more fusion that makes a batch: it reads the images and writes the mixed ones.
    assert rows[MIXING]["fusions"] <= rows[BASE]["fusions"] + 1
