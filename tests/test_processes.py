"""Real processes on one mesh: they compute and report what a single one would."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from examples.two_processes import free_port
from tests import processes

ROOT = Path(__file__).parents[1]
SAID = [
    *("one_hot", "inputs", "targets", "partners", "Mix", "choose", "fgsm", "uniform"),
    "lam: expected a number in [0, 1]; got 1.5. "
    "It is the share of each example's own content.",
    "accuracy",
]
COUNTS = [2, pytest.param(4, marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=COUNTS)
def files(request, tmp_path_factory) -> list[Path]:
    """Return the file that each of the processes has written."""
    folder, count = tmp_path_factory.mktemp("processes"), request.param
    command = [sys.executable, "-W", "error", "-m", "tests.processes"]
    command += [str(free_port()), str(count)]
    found = [folder / f"{process}.npz" for process in range(count)]
    workers = [
        subprocess.Popen(
            [*command, str(process), str(file)],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process, file in enumerate(found)
    ]
    try:
        for worker in workers:
            _, errors = worker.communicate(timeout=240)
            assert worker.returncode == 0, errors
    finally:  # each process would wait forever for the others
        for worker in workers:
            worker.kill()
            worker.communicate()
    return found


@pytest.mark.slow
def test_arrays_that_span_processes_outside_jit(files):
    for file in files:
        assert json.loads(file.with_suffix(".json").read_text()) == SAID


def test_processes_equal_one_with_as_many_devices(files):
    devices = jax.devices()[: processes.DEVICES]
    names = processes.names(len(files))
    expected = processes.on_mesh(processes.mesh_of(devices), names)
    for file in files:
        found = np.load(file)
        assert {*found} == {*expected}
        for name, value in expected.items():
            # Sums over devices have another order; nothing else is summed.
            is_summed = "loss" in name or name in ("['own part']", "['whole']")
            rtol = 1e-6 if is_summed else 0
            np.testing.assert_allclose(found[name], value, rtol, err_msg=name)


def test_processes_draw_what_one_device_draws(files):
    batch = processes.X, processes.HOT
    mixed = partial(processes.mixed, processes.names(len(files)))
    alone = jax.jit(mixed)(jax.random.key(0), batch)
    leaves = jax.tree_util.tree_leaves_with_path(alone)
    for file in files:
        found = np.load(file)
        for path, leaf in leaves:
            name = "['jit']" + jax.tree_util.keystr(path)
            np.testing.assert_array_equal(found[name], leaf, err_msg=name)
