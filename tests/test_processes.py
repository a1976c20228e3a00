"""Two real processes: values that one of them does not have are not looked at."""

import os
import subprocess
import sys
from pathlib import Path

from examples.two_processes import free_port

ROOT = Path(__file__).parents[1]
CHECKS = (
    *("one_hot", "inputs", "targets", "partners", "Mix", "choose", "fgsm", "uniform"),
    "lam: expected a number in [0, 1]; got 1.5. It is the share of the own content.",
    "accuracy",
)


def test_arrays_that_span_processes_outside_jit(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    port = str(free_port())
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error",
                "-m",
                "tests.processes",
                port,
                str(process),
                str(tmp_path / str(process)),
            ],
            cwd=ROOT,
            env=environment | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    try:
        for process, worker in enumerate(workers):
            _, errors = worker.communicate(timeout=240)
            assert worker.returncode == 0, errors
            said = (tmp_path / str(process)).read_text(encoding="utf-8")
            assert tuple(said.splitlines()) == CHECKS
    finally:  # one without the other would wait for ever
        for worker in workers:
            worker.kill()
