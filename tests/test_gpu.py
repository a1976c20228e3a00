"""Mixing is one pass over the batch on a GPU too, according to its compiler."""

import importlib.metadata
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from benchmarks import _gpu, _gpu_timed, gpu
from benchmarks._kernels import kernels

needs_plugin = pytest.mark.skipif(bool(_gpu.why_not()), reason=_gpu.why_not())

PROGRAM = """
HloModule jit_f

%fused (a.1: f32[4,2]) -> f32[4,2] {
  %a.1 = f32[4,2]{1,0} parameter(0)
  ROOT %n = f32[4,2]{1,0} negate(%a.1)
}

%body (p: (s32[], bf16[8])) -> (s32[], bf16[8]) {
  %p = (s32[], bf16[8]{0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %v = bf16[8]{0} get-tuple-element(%p), index=1
  %w = bf16[8]{0} copy(%v)
  ROOT %t = (s32[], bf16[8]{0}) tuple(%i, %w)
}

%cond (p.1: (s32[], bf16[8])) -> pred[] {
  %p.1 = (s32[], bf16[8]{0}) parameter(0)
  ROOT %done = pred[] constant(true)
}

ENTRY %main (x: f32[4,2], s: (s32[], bf16[8])) -> f32[4,2] {
  %x = f32[4,2]{1,0} parameter(0)
  %s = (s32[], /*index=1*/bf16[8]{0}) parameter(1)
  %f = (f32[4,2]{1,0}, u8[3]{0}) fusion(%x, %x), kind=kLoop, calls=%fused
  %g = f32[4,2]{1,0} get-tuple-element(%f), index=0
  %l = (s32[], bf16[8]{0}) while(%s), condition=%cond, body=%body
  ROOT %c = f32[4,2]{1,0} custom-call(%g), custom_call_target="g(h)"
}
"""


def test_kernels_are_those_of_the_entry_and_of_what_a_loop_turns():
    found = kernels(PROGRAM)
    assert [k.kind for k in found] == ["fusion", "copy", "custom-call"]
    # Reads 4 x 2 floats once, and writes as many and 3 bytes; a copy; reads and writes.
    assert [k.nbytes for k in found] == [32 + 32 + 3, 16 + 16, 32 + 32]


def test_what_is_no_program_is_refused():
    with pytest.raises(ValueError, match="expected the text of an optimized HLO"):
        kernels("module @jit_f {}")


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        (None, "plugin for CUDA is not installed"),
        ("0.1.2", "expected jax-cuda13-plugin to match the version of jaxlib"),
        ("as jaxlib", None),
        ("as jaxlib, built anew", None),
    ],
)
def test_plugin_and_jaxlib_are_of_one_version(monkeypatch, plugin, said):
    version = importlib.metadata.version
    jaxlib = version("jaxlib")

    def pretended(package):
        if not package.startswith("jax-cuda"):
            return version(package)
        if plugin is None or "cuda12" in package:
            raise importlib.metadata.PackageNotFoundError(package)
        same = {"as jaxlib": jaxlib, "as jaxlib, built anew": jaxlib + ".1"}
        return same.get(plugin, plugin)

    monkeypatch.setattr(importlib.metadata, "version", pretended)
    why = _gpu.why_not()
    assert said in why if said else why == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--run"], "no CUDA device found. On a machine with one: pip install"),
        (["--only", "h200"], "--only: expected words from"),
    ],
)
def test_what_cannot_be_done_is_said(monkeypatch, capsys, tmp_path, arguments, said):
    monkeypatch.setattr(_gpu, "why_not", lambda: "")
    monkeypatch.setattr(_gpu, "absent", lambda target: None)
    with pytest.raises(SystemExit, match="2"):
        gpu.main([*arguments, "--out", str(tmp_path)])
    assert said in capsys.readouterr().err


def test_without_the_plugin_it_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(_gpu, "why_not", lambda: "the plugin is away")
    with pytest.raises(SystemExit, match="2"):
        gpu.main(["--out", str(tmp_path)])
    assert "the plugin is away" in capsys.readouterr().err


def test_times_are_beside_a_copy_and_peers_that_are_away_are_named(monkeypatch):
    # What would run on a GPU runs on the available device.
    monkeypatch.setattr(_gpu_timed, "PER", {"timm": "example"})
    monkeypatch.setitem(sys.modules, "timm.data.mixup", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    work = _gpu.Alone((8, 4, 4, 3), jnp.float32, 4)
    mixers = {name: _gpu.MIXERS[name] for name in ("copy", "mixup")}
    quick = {"rounds": 6, "seconds": 0.01, "sample": 1e-4}
    rows = list(_gpu_timed.timed([work], mixers, **quick))
    assert [row["who"] for row in rows[:2]] == ["copy", "mixup"]
    for row in rows[:2]:
        assert row["us"].low > 0
        assert row["x copy"].low > 0
    assert len(rows) == 4
    assert all("not installed" in row["not measured"] for row in rows[2:])


@pytest.mark.slow
def test_what_runs_on_a_gpu_is_written_down(monkeypatch, tmp_path):
    here = jax.devices()[0]
    monkeypatch.setattr(gpu, "gpu_here", lambda: here)
    row = {"who": "mixup", "us": 1.0}
    monkeypatch.setattr(gpu, "timed", lambda work: iter([row] * len(work)))
    with jax.numpy_dtype_promotion("standard"):
        gpu.main(["--run", "--quick", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["times"] == [row]
    assert {each["target"] for each in found["rows"]} == {here.device_kind}


SMALL, LARGE = _gpu.BATCHES
(STEP,) = _gpu.STEPS
(WAVE,) = _gpu.OF_ONE_CHANNEL

# Upper bounds on the kernels for an H100: one processes the images and one the labels.
# The others draw a few numbers for each example.
MOST = {
    "mixup": 4,
    "cutmix": 5,
    "mixup or cutmix": 8,
    "resizemix": 4,
    "saliencymix": 8,
    "smoothmix": 5,
    "gaussian": 3,
    "extrapolate": 16,
    "dirichlet of three": 8,
    "fmix": 28,
}


def compiled(out, *words, target="h100"):
    """Return the GPU compiler's report on each mixer, by name."""
    # A separate process, since the flags of the tests are meant for CPUs.
    worker = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.gpu",
            "--out",
            out,
            "--only",
            target,
            *words,
        ],
        env=os.environ | {"XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert worker.returncode == 0, worker.stderr[-2000:]
    rows = json.loads((out / "gpu.json").read_text())["summary"]
    return {row["mixing"]: row for row in rows}


@needs_plugin
@pytest.mark.slow
def test_one_kernel_writes_the_batch_and_few_draw(tmp_path):
    found = compiled(tmp_path, SMALL, *MOST)
    assert found.keys() == MOST.keys()
    for name, row in found.items():
        assert row["loops"] == 0, name
        assert row["write it"] == 1, name
        assert row["kernels"] <= MOST[name], name


@needs_plugin
@pytest.mark.slow
def test_fmix_takes_half_of_the_kernels_that_it_took(tmp_path):
    row = compiled(tmp_path, LARGE, "fmix")["fmix"]
    assert row["loops"] == 0
    assert row["write it"] == 1
    assert row["kernels"] <= 33  # half of 66
    assert row["bytes, batches"] <= 11.8  # down from 18.5


@needs_plugin
@pytest.mark.slow
def test_of_a_step_mixing_adds_one_pass_over_the_batch(tmp_path):
    row = compiled(tmp_path, STEP, "mixup")["mixup"]
    assert row["loops"] == 0
    assert row["write it"] <= 1
    assert row["bytes, batches"] <= 2.1
    assert row["temporary, batches"] <= 1.05


@needs_plugin
@pytest.mark.slow
@pytest.mark.parametrize(("target", "work"), [("h100", WAVE), ("a100", LARGE)])
def test_no_mask_is_written_beside_the_batch(tmp_path, target, work):
    mixers = ("mixup", "cutmix", "mixup or cutmix")
    found = compiled(tmp_path, work, *mixers, target=target)
    assert found.keys() == set(mixers)
    for name, row in found.items():
        assert row["write it"] == 1, name
        assert row["bytes, batches"] <= 2.1, name
        assert row["temporary, batches"] <= 0.05, name
