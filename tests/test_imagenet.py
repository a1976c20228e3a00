"""The ImageNet program runs end to end, and goes on exactly where it was killed."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from examples import imagenet
from examples._imagenet import journal, options, training
from tests import imagenet_files

ROOT = Path(__file__).parents[1]
TOY_FLAGS = {
    "data": "made",
    "image-size": 32,
    "patch": 8,
    "width": 24,
    "heads": 3,
    "depth": 1,
    "batch-size": 32,
    "warmup-steps": 5,
    "ema": 0.9,
    "cutmix": 1,
    "threads": 2,
}
TOY = [word for name, x in TOY_FLAGS.items() for word in (f"--{name}", str(x))]


@pytest.fixture(autouse=True)
def relaxed():
    """Promote as JAX does for users by default."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def parsed(*flags: object) -> Any:
    return options.parsed([*TOY, *map(str, flags)], "")


def started(*flags: object, out: Path) -> subprocess.Popen[str]:
    """Start the program on 8 virtual devices, with warnings as errors."""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, "-W", "error", "-m", "examples.imagenet", *TOY]
    command += ["--devices", "8", "--fsdp", "2", "--out", out, *flags]
    return subprocess.Popen(
        list(map(str, command)),
        cwd=ROOT,
        env=environment | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # with its workers, which outlive a kill otherwise
    )


def ended(process: subprocess.Popen[str]) -> str:
    """Return what a process prints; fail if it fails."""
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return out


def told(out: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run, without its speed."""
    rows = journal.rows(out / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "images_per_s"} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_resumes_where_it_was(tmp_path, workers):
    flags = ["--epochs", 8, "--log-every", 5, "--save-every", 20, "--eval-every", 4]
    flags += ["--workers", workers]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    text = ended(started(*flags, out=whole))
    assert "vit_s16 on 8 devices, steps 1 to 100" in text

    process = started(*flags, out=killed)
    while not (killed / "checkpoints" / "40").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    text = ended(started(*flags, out=killed))
    [first] = re.findall(r"steps (\d+) to 100", text)
    assert 21 <= int(first) <= 81
    assert told(killed) == told(whole)

    steps = [row["step"] for row in told(whole)]
    assert steps == [*range(5, 51, 5), 50, *range(55, 101, 5), 100]
    rows = journal.rows(whole / "metrics.jsonl")
    assert rows[0]["images_per_s"] > 0
    assert rows[-2]["loss"] < rows[0]["loss"]
    assert (whole / "metrics.png").read_bytes()[:4] == b"\x89PNG"

    other = started(*flags, "--mixup", 1, out=killed)
    _, errors = other.communicate(timeout=600)
    assert other.returncode == 2
    assert "the run in this folder, {'mixup': 0.2}; got {'mixup': 1.0}" in errors
    assert "all 100 steps are done" in ended(started(*flags, out=killed))


@pytest.mark.slow
def test_resnet_and_float32(tmp_path):
    flags = "--model resnet50 --width 8 --blocks 1 1 1 1 --dtype float32 --epochs 3"
    text = ended(started(*flags.split(), "--limit", 64, out=tmp_path))
    assert "resnet50 on 8 devices, steps 1 to 6" in text
    assert {"test_error", "test_error_ema"} <= told(tmp_path)[-1].keys()


@pytest.mark.slow
def test_two_processes_train_together(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    flags = ["--epochs", 2, "--log-every", 5, "--devices", 2, "--distributed"]
    flags += ["--coordinator", f"127.0.0.1:{port}", "--processes", 2]
    processes = [started(*flags, "--process", k, out=tmp_path) for k in range(2)]
    first, second = map(ended, processes)
    assert "vit_s16 on 4 devices, steps 1 to 25" in first
    assert "steps" not in second  # Gloo itself says something
    assert "Written" in first
    assert "Written" not in second
    rows = told(tmp_path)
    assert [row["step"] for row in rows if "loss" in row] == [5, 10, 15, 20, 25]
    assert rows[-1]["step"] == 25
    assert (tmp_path / "checkpoints" / "25").exists()


def tars(folder: Path, *, cut: bool) -> Path:
    """Write ImageNet's files with ten training pictures, one of them cut off."""
    found = imagenet_files.ten_pictures()
    if cut:
        name = f"{imagenet_files.CLASSES[1]}_5.JPEG"
        of_class = found[imagenet_files.CLASSES[1]]
        of_class[name] = of_class[name][:-200]
    imagenet_files.train_tar(folder, imagenet_files.class_tars(found))
    imagenet_files.val_tar(folder)
    imagenet_files.devkit(folder)
    return folder


OF_TARS = ["--data", "imagenet", "--batch-size", "8", "--epochs", "8"]


@pytest.mark.slow
def test_ten_pictures_in_tars(tmp_path):
    flags = [*OF_TARS, "--data-dir", tars(tmp_path, cut=False), "--workers", 1]
    text = ended(started(*flags, "--classes", 3, out=tmp_path / "out"))
    assert "vit_s16 on 8 devices, steps 1 to 10" in text
    assert "skipped" not in text
    last = told(tmp_path / "out")[-1]
    assert last["step"] == 10
    assert last["test_error"] in {0, 20, 40, 60, 80, 100}  # of five pictures


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_picture_is_refused_or_skipped_and_counted(tmp_path, workers):
    flags = [*OF_TARS, "--data-dir", tars(tmp_path, cut=True), "--workers", workers]
    flags += ["--classes", 3]
    refused = started(*flags, out=tmp_path / "out")
    _, errors = refused.communicate(timeout=600)
    assert refused.returncode == 2
    assert "Traceback" not in errors
    assert re.search(r"n01443537_5\.JPEG: .*--skip-faults", errors.splitlines()[-1])
    text = ended(started(*flags, "--skip-faults", out=tmp_path / "out"))
    assert "skipped: 1 times a truncated picture" in text
    rows = [row for row in told(tmp_path / "out") if "loss" in row]
    assert rows[-1]["skipped"] == 1


@pytest.mark.slow
def test_a_missing_class_is_refused_or_counted(tmp_path):
    flags = [*OF_TARS, "--data-dir", tars(tmp_path, cut=False), "--classes", 4]
    refused = started(*flags, out=tmp_path / "out")
    _, errors = refused.communicate(timeout=600)
    assert refused.returncode == 2
    assert "expected 4, got 3" in errors.splitlines()[-1]
    text = ended(started(*flags, "--skip-faults", out=tmp_path / "out"))
    assert "skipped: 1 times wrong number of classes" in text


def test_rows_after_the_checkpoint_and_a_cut_one_are_dropped(tmp_path):
    file = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "loss": 1.5}) for step in (5, 10, 15)]
    file.write_text("\n".join([*lines, '{"step": 20, "lo']))
    with journal.opened(file, 10) as opened:
        journal.write(opened, {"step": 15, "loss": 1 / 3})
    assert journal.rows(file) == [
        {"step": 5, "loss": 1.5},
        {"step": 10, "loss": 1.5},
        {"step": 15, "loss": 0.333333},
    ]


def test_a_loss_that_is_not_finite_ends_the_run():
    row = {"step": 5, "loss": 1.0}
    assert journal.checked(row) == row
    with pytest.raises(SystemExit, match=r"step 5: expected finite.*loss = nan.*Lower"):
        journal.checked({"step": 5, "loss": float("nan")})


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--image-size 30", "--image-size: expected a multiple of --patch, 8; got 30"),
        ("--width 25", "--width: expected a multiple of --heads, 3; got 25"),
        ("--data imagenet", "--data-dir: expected the folder with the files of imagen"),
        ("--switch 1.5", "expected a number from 0 to 1; got 1.5"),
        ("--augment nothing:here", "expected MODULE:FUNCTION that can be imported"),
        ("--augment math:pi", "expected a function; got math:pi"),
        ("--out gs://bucket/run", "--out: expected a folder of a file system; got"),
        ("--distributed --process 1", "expected all three, with --distributed; got"),
        ("--coordinator a:1 --processes 2 --process 1", "with --distributed; got"),
    ],
)
def test_bad_flags(tmp_path, capsys, flags, said):
    with pytest.raises(SystemExit) as exit_:
        parsed("--out", tmp_path, *flags.split())
    assert exit_.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_devices_that_do_not_fit(tmp_path, capsys):
    for flags, count, said in (
        ("--fsdp 3", 8, "--fsdp: expected a divisor of the number of devices, 8"),
        ("--batch-size 12", 8, "--batch-size: expected a multiple of the number"),
    ):
        with pytest.raises(SystemExit):
            options.check_devices(parsed(*flags.split(), "--out", tmp_path), count)
        assert said in capsys.readouterr().err


def test_every_flag_has_help():
    parser = parsed().parser
    actions = [a for a in parser._actions if a.option_strings != ["-h", "--help"]]
    assert len(actions) > 30
    assert not [a.dest for a in actions if not a.help]


def test_a_resumed_run_shares_every_flag_that_matters():
    free = {"out", "log_every", "save_every", "eval_every", "devices", "fsdp"}
    free |= {
        "coordinator",
        "processes",
        "process",
        "distributed",
        "threads",
        "skip_faults",
        "data_dir",
        "parser",
    }
    assert {*vars(parsed())} == {*imagenet.SAME} | free


def batch_of(count: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return {"image": images, "label": draw.integers(0, 10, count).astype(np.int32)}


def test_mixing_ends_after_its_epochs():
    args = parsed("--epochs", 10, "--mix-epochs", 5)
    mixer = training.mixer_of(args, steps=40)
    lam = [mixer(step)(jax.random.key(0), batch_of(8))[1].lam for step in (19, 20)]
    assert jnp.any(lam[0] < 1)
    assert jnp.all(lam[1] == 1)


def test_without_mixing_bytes_are_normalized():
    mixer = training.mixer_of(parsed("--mixup", 0, "--cutmix", 0), steps=40)
    batch = batch_of(4)
    mixed, mix = mixer(jax.random.key(0), batch)
    want = (batch["image"] / 255 - training.MEAN) / training.DEVIATION
    np.testing.assert_allclose(mixed["image"], want, rtol=1e-5, atol=1e-5)
    assert jnp.all(mix.lam == 1)


def test_the_average_forgets_its_start_and_follows_the_parameters():
    class Fake:
        def __init__(self, step: int, value: float, ema: Any):
            self.step, self.params, self.batch_stats = step, jnp.float32(value), {}
            self.ema = ema

        def replace(self, *, ema: Any) -> "Fake":
            return Fake(self.step, float(self.params), ema)

    def step(state: Fake, key: Any, batch: Any) -> tuple[Fake, dict]:
        return Fake(state.step + 1, state.step + 1.0, state.ema), {}

    state = Fake(0, 0.0, {"params": jnp.float32(-1000), "batch_stats": {}})
    values, averaged = [], training.averaging(step, 0.5)
    for _ in range(40):
        state, _ = averaged(state, None, None)
        values.append(float(state.ema["params"]))
    want = -1000.0
    for k in range(1, 41):
        rate = max(0.5, 10 / (10 + k))
        want += rate * (k - want)
    assert values[-1] == pytest.approx(want, rel=1e-5)
    assert abs(want - 39) < 1


def test_the_test_error_counts_each_picture_once():
    mesh = imagenet.mesh_of(parsed("--fsdp", 2), jax.devices()[:4])
    args = parsed("--dtype", "float32")
    run = training.program(args, mesh, classes=10, steps=20)
    state = jax.jit(run.create, out_shardings=run.layout)(jax.random.key(0))
    specs = [x.sharding.spec for x in jax.tree.leaves(state.params)]
    assert any("fsdp" in spec for spec in specs)
    batch = batch_of(12)
    padded = {k: np.concatenate([x, x[:4]]) for k, x in batch.items()}
    parts = [
        {k: x[rows] for k, x in padded.items()} | {"weight": np.ones(8, np.float32)}
        for rows in (slice(0, 8), slice(8, 16))
    ]
    parts[1]["weight"] = np.repeat(np.array([1, 0], np.float32), 4)
    other = jax.tree.map(lambda x: -x, state.params)
    state = state.replace(ema={**state.ema, "params": other})
    found = imagenet.tested(run, state, iter(parts))
    images = training.normalized(jnp.asarray(batch["image"]))
    for name, params in (("", state.params), ("_ema", other)):
        logits = state.apply_fn({"params": params}, images, train=False)
        wrong = np.mean(np.argmax(logits, -1) != batch["label"])
        losses = -jax.nn.log_softmax(logits)[np.arange(12), batch["label"]]
        loss = pytest.approx(float(losses.mean()), rel=1e-4)
        assert found[f"test_error{name}"] == pytest.approx(100 * wrong)
        assert found[f"test_loss{name}"] == loss
    assert found["test_loss"] != found["test_loss_ema"]


def test_only_kernels_decay():
    args = parsed("--learning-rate", 1.0, "--weight-decay", 0.5, "--warmup-steps", 0)
    tx, _ = training.optimizer(args, steps=10)
    model: Any = training.network(args, classes=10)
    params = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    params = jax.tree.map(jnp.ones_like, params)
    nothing = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(nothing, tx.init(params), params)
    names = {
        jax.tree_util.keystr(path): bool(jnp.any(x != 0))
        for path, x in jax.tree_util.tree_leaves_with_path(updates)
    }
    decayed = {name for name, changed in names.items() if changed}
    assert decayed == {name for name in names if name.endswith("['kernel']")}
    assert len(decayed) == 8  # the patches, 4 of attention, 2 of the MLP, the logits


def test_the_step_lowers_for_devices_that_need_not_run():
    flags = [*TOY, "--fsdp", "2", "--classes", "10"]
    text = imagenet.lowered(flags, jax.devices()[:4], pictures=320).as_text()
    assert "tensor<32x32x32x3xui8>" in text


def test_a_warmup_longer_than_the_run_is_refused(tmp_path, capsys):
    args = parsed("--warmup-steps", 20, "--out", tmp_path)
    options.check_steps(args, 21)
    with pytest.raises(SystemExit):
        options.check_steps(args, 20)
    assert "--warmup-steps: expected fewer than the 20" in capsys.readouterr().err
