"""Mixing is free on a TPU too, according to its compiler; no TPU is needed."""

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


def compiled(model, *mixers, topology="v5e:2x2", host=1):
    """Return the compiler's report on a model's step, one dict for each mixer.

    It is traced on a host with ``host`` devices.
    """
    command = [sys.executable, "-m", "benchmarks.tpu", "--worker"]
    worker = subprocess.run(
        [*command, topology, model, *mixers],
        env=os.environ
        | ABSENT
        | {"TPU_ACCELERATOR_TYPE": TOPOLOGIES[topology]}
        | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={host}"},
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
    _, mixed = compiled("mlp", "no mixing", "mixup, jit")
    assert_free(mixed)
    # Read and written once; beside images this small the draws are noticeable.
    assert 2 < mixed["bytes, batches"] <= 2.75
    assert mixed["temporary, batches"] <= 1


@pytest.mark.slow  # half a minute; `nox -s tpu` runs it
def test_a_chip_of_256_does_what_a_chip_of_4_does_whole_or_in_shares():
    found = {}
    for topology in ("v5e:2x2", "v5e:16x16"):
        mixers = ("no mixing", "mixup, jit", "mixup, a share")
        for row in compiled("mlp", *mixers, topology=topology)[1:]:
            assert_free(row)
            facts = {k: v for k, v in row.items() if k not in ("topology", "compile s")}
            assert found.setdefault(row["mixing"], facts) == facts
    whole, share = found.values()
    assert whole["temporary, batches"] == share["temporary, batches"]
    # The per-device key is noticeable beside images this small.
    assert whole["bytes, batches"] == pytest.approx(share["bytes, batches"], abs=0.1)


def test_traced_where_nothing_is_known_of_the_chips_it_is_the_same_program():
    """With ``in_shardings`` only or exported, on a host with one or as many devices."""
    ways = ("mixup, in_shardings alone", "mixup, exported")
    _, known, *rows = compiled("mlp", "no mixing", "mixup, jit", *ways)
    rows += compiled("mlp", "no mixing", ways[0], host=4)[1:]
    assert len(rows) == 3
    for row in rows:
        assert_free(row)
        assert row["bytes, batches"] == pytest.approx(known["bytes, batches"], abs=0.02)


def test_bytes_are_cast_in_the_pass_that_mixes_them():
    cast = "bytes, cast, no mixing"
    _, within, before = compiled(
        "mlp", cast, "bytes, cast in mixup, jit", "bytes, cast before mixup, jit"
    )
    assert_free(within)
    # Draws, beside images this small; a prior cast writes and reads the batch.
    assert within["bytes, batches"] <= 0.3
    assert before["bytes, batches"] > 2


@pytest.mark.slow
def test_waveforms_of_one_channel_take_no_copy():
    _, mixed = compiled("mlp_wave", "no mixing", "mixup, jit")
    assert_free(mixed)
    assert mixed["bytes, batches"] <= 2.1
    assert mixed["temporary, batches"] <= 0.25  # draws, padded to tiles


@pytest.mark.slow
def test_of_a_step_that_works_mixing_adds_at_most_two_percent_of_the_bytes():
    without, mixed = compiled("cnn", "no mixing", "mixup, jit")
    assert_free(mixed)
    assert 0 < mixed["bytes %"] <= 2
    # One more fusion produces a batch: it reads the images and writes the mixed ones.
    assert mixed["fusions"] <= without["fusions"] + 1
