"""Mixing is free on a TPU too, as its compiler sees it, on machines that have none."""

import importlib.util
import json
import os
import platform
import subprocess
import sys

import pytest

from benchmarks.tpu import ABSENT, TOPOLOGIES

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason=f"libtpu is not installed (the extra 'tpu', for Linux on x86_64; this is "
    f"{platform.system()} on {platform.machine()})",
)


def compiled(model):
    """Return what the compiler says of the step of a model, without mixing and with."""
    topology = "v5e:2x2"
    command = [sys.executable, "-m", "benchmarks.tpu", "--worker"]
    worker = subprocess.run(
        [*command, topology, model, "no mixing", "mixup, jit"],
        env=os.environ | ABSENT | {"TPU_ACCELERATOR_TYPE": TOPOLOGIES[topology]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert worker.returncode == 0, worker.stderr[-2000:]
    found = filter(lambda s: s[:1] == "{", worker.stdout.splitlines())
    return [json.loads(line) for line in found]


def assert_free(mixed):
    assert mixed["collectives"] == {}
    assert mixed["loops"] == 0


def test_mixing_reads_the_batch_and_writes_it_and_sends_nothing():
    _, mixed = compiled("mlp")
    assert_free(mixed)
    # Read and written once, with what is drawn beside images this small.
    assert 2 < mixed["bytes, batches"] <= 2.75
    assert mixed["temporary, batches"] <= 1


@pytest.mark.slow
def test_of_a_step_that_works_mixing_adds_at_most_two_percent_of_the_bytes():
    without, mixed = compiled("cnn")
    assert_free(mixed)
    assert 0 < mixed["bytes %"] <= 2
    # One more fusion that makes a batch: it reads the images and writes the mixed ones.
    assert mixed["fusions"] <= without["fusions"] + 1
