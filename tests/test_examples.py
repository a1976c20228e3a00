"""Every example runs as a user would start it, and prints or draws what it should."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx
from examples import (
    _curves,
    _shapes,
    batch_norm_linen,
    batch_norm_nnx,
    fsdp,
    segmentation,
    text,
    train,
    two_processes,
    waveforms,
)
from examples.datasets.questions import Questions

ROOT = Path(__file__).parents[1]
PNG = b"\x89PNG\r\n\x1a\n"


def run(example: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run an example from the root of the repository, with warnings as errors."""
    # Without the XLA flags of the tests, which users do not set.
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", f"examples.{example}"]
        + [str(argument) for argument in arguments],
        cwd=ROOT,
        env=environment | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def output(example: str, *arguments: object) -> str:
    done = run(example, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_quickstart():
    rows = re.findall(r"(\w+) +([\d.]+) ± ([\d.]+)\n", output("quickstart"))
    assert [name for name, *_ in rows] == ["ERM", "Mixup", "saved"]
    (erm, _), (mixed, _), (saved, error) = ((float(m), float(e)) for _, m, e in rows)
    assert erm - mixed == pytest.approx(saved, abs=0.02)
    # Fails if the example no longer shows a gain.
    assert saved > 2 * error > 0


# Real images.


@pytest.mark.slow
def test_train(tmp_path):
    methods = ("erm", "mixture")
    small = ("--epochs", 2, "--seeds", 2, "--limit", 256, "--out", tmp_path)
    said = output("train", *small, "--methods", *methods)
    assert "256 training examples, 256 test examples" in said
    for name in methods:
        assert re.search(rf"{name} +│ +[\d.]+ ± [\d.]+ % │( +[\d.]+){{2}}", said)
    assert (tmp_path / "train_digits.png").read_bytes().startswith(PNG)
    results = json.loads((tmp_path / "train_digits.json").read_text())
    assert results["epochs"] == 2
    assert (results["interrupted"], results["epochs_missing"]) == (False, {})
    errors = np.array([results["test_error"][name] for name in methods])
    assert errors.shape == (2, 2, 2), "methods, seeds, epochs"
    assert np.all((errors > 0) & (errors < 0.95))
    assert np.any(errors[:, 0] != errors[:, 1]), "seeds differ"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "imagenet"], "invalid choice: 'imagenet'"),
        (["--methods", "cutout"], "invalid choice: 'cutout'"),
        (["--epochs", "0"], "--epochs: expected a whole number, from 1 to"),
        (["--epochs", "100000000"], "--epochs: expected at most 97612893, which is"),
        (["--learning-rate", "nan"], "--learning-rate: expected a finite number, abov"),
        (["--alpha", "-1"], "--alpha: expected a finite number, 0 or more; got -1"),
        (["--limit", "8"], "most 8, the number of training examples; got 64"),
        (["--data", "cifar10", "--data-dir", "nowhere"], "nowhere: expected a folder"),
    ],
)
def test_train_says_what_is_wrong_with_its_arguments(
    arguments, message, tmp_path, capsys
):
    with pytest.raises(SystemExit) as exit_:
        train.main([*arguments, "--out", str(tmp_path)])
    assert exit_.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_the_standard_error_is_that_of_the_mean():
    mean, error = _curves.mean_and_error(np.array([[1.0, 2.0, 6.0]]))
    np.testing.assert_allclose(mean, [3.0])
    np.testing.assert_allclose(error, [np.sqrt(7 / 3)])
    assert _curves.amount(mean[0], error[0]) == "3.00 ± 1.53 %"


def test_one_seed_has_no_standard_error():
    assert _curves.amount(*_curves.mean_and_error(np.array([3.0]))) == "3.00 %"


# Segmentation.


@pytest.mark.slow
def test_segmentation(tmp_path):
    said = output("segmentation", "--steps", 100, "--out", tmp_path)
    amount = r"(-?[\d.]+) ± [\d.]+"
    rows = re.findall(rf"^(\w+) +{amount}(?: +{amount})?$", said, re.MULTILINE)
    assert [name for name, *_ in rows] == ["ERM", "CutMix", "FMix", "ResizeMix"]
    (_, erm, none), *others = rows
    assert none == ""
    for _, iou, over in others:
        assert float(iou) - float(erm) == pytest.approx(float(over), abs=0.15)
    # Predicting background everywhere scores 17.
    assert all(20 < float(iou) < 60 for _, iou, _ in rows)
    assert (tmp_path / "segmentation.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("name", segmentation.MIXERS)
def test_pixels_are_pasted_with_their_labels(name):
    _, labels = _shapes.scenes(np.random.default_rng(0), 8)
    colors = np.random.default_rng(1).random((len(_shapes.CLASSES), 3), np.float32)
    mixer, key = segmentation.MIXERS[name], jax.random.key(0)
    batch = colors[labels], mx.follow.maps(labels)
    (images, maps), _ = jax.jit(mixer)(key, batch)
    assert maps.tree.dtype == np.int32
    np.testing.assert_array_equal(images, colors[np.asarray(maps.tree)])
    # Some pixels stay and some are pasted.
    stayed = np.mean(maps.tree == labels)
    assert stayed == 1 if name == "ERM" else 0.3 < stayed < 0.95

    named = mx.on_keys(mixer, inputs="image", maps="label")
    found, _ = jax.jit(named)(key, {"image": colors[labels], "label": labels})
    np.testing.assert_array_equal(found["image"], images)
    np.testing.assert_array_equal(found["label"], maps.tree)


def test_the_shapes_to_segment_are_alike_but_for_their_outlines():
    draw = np.random.default_rng(0)
    sizes = np.array(
        [
            [_shapes.shape(draw, sides).sum() for _ in range(400)]
            for sides in _shapes.SIDES.values()
        ]
    )
    error = np.max(sizes.std(1)) / 400**0.5
    assert np.ptp(sizes.mean(1)) < 6 * error < 0.15 * sizes.mean()
    images, labels = _shapes.scenes(draw, 100)
    assert images.shape == (*labels.shape, 3)
    colors = [images[labels == k].mean() for k in range(len(_shapes.CLASSES))]
    assert np.ptp(colors[1:]) < 0.05 < min(colors[1:]) - colors[0]


def test_mean_iou():
    labels = np.array([[0, 1, 2, 3], [3, 2, 1, 0]])
    assert segmentation.mean_iou(labels, labels) == 1
    found = np.array([[0, 1, 2, 2], [3, 2, 1, 1]])
    expected = np.mean([1 / 2, 2 / 3, 2 / 3, 1 / 2])
    np.testing.assert_allclose(segmentation.mean_iou(found, labels), expected)


# Sequences of different lengths.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("example", "arms"),
    [
        ("text", ["ERM", "Manifold Mixup"]),
        ("waveforms", ["ERM", "Mixup", "CutMix"]),
    ],
)
def test_sequences(example, arms):
    said = output(example, "--epochs", 2, "--seeds", 2)
    assert f"{example}, generated data: test error, 2 seeds" in said
    row = r"│ (.+?) +│ +([\d.]+) ± [\d.]+ % │ +([\d.]+)  ([\d.]+) │"
    found = re.findall(row, said)
    assert [name for name, *_ in found] == arms
    mean, *each = np.array([errors for _, *errors in found], float).T
    np.testing.assert_allclose(mean, np.mean(each, axis=0), atol=0.01)
    assert np.all((mean > 0) & (mean < 75)), "better than a guess, and not perfect"


@pytest.mark.slow
def test_text_of_real_files(tmp_path):
    kinds = {"NUM:date": "when was it ?", "LOC:city": "where was the big city ?"}
    lines = [f"{kind} {text}\n" for kind, text in kinds.items()] * 20
    (tmp_path / "train_5500.label").write_text("".join(lines))
    (tmp_path / "TREC_10.label").write_text("".join(lines[:2]))
    said = output("text", "--epochs", 30, "--seeds", 1, "--data-dir", tmp_path)
    assert f"text, {tmp_path.name}: test error, one seed" in said
    assert re.search(r"ERM +│ +0\.00 % │", said)


@pytest.mark.parametrize(
    ("program", "words"),
    [(text, "no train_5500.label and no TREC_10.label"), (waveforms, "one zip file")],
)
def test_sequences_of_an_empty_folder(program, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        program.main(["--data-dir", str(tmp_path)])
    assert exit_.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_words_are_padded_and_rare_ones_unknown():
    train = ("who was who", "When was " + "it " * 30)
    labels = np.array([0, 1], np.int32)
    data = Questions(train, labels, ("was when ?",), labels[:1], ("a", "b"))
    count, (first, second) = text.padded(data)
    assert count == 5, "it, was, who, unknown and padding"
    np.testing.assert_array_equal(first["token"][0, :4], [4, 3, 4, 0])
    np.testing.assert_array_equal(first["token"][1], [1, 3] + [2] * 18)
    np.testing.assert_array_equal(first["mask"].sum(axis=1), [3, 20])
    np.testing.assert_array_equal(second["token"][0, :4], [3, 1, 1, 0])


@pytest.mark.parametrize("layer", [1, 2])
def test_hidden_states_are_mixed_with_their_masks_where_drawn(layer):
    mask = jnp.array([[True, False, False], [True, True, False]])
    hidden = jnp.arange(6.0).reshape(2, 3, 1) + 1
    manifold = mx.manifold(jax.random.key(0), (mask, None), layers=(layer,))
    mix, lam = manifold[1], np.asarray(manifold[1].lam)[:, None, None]
    shown, whose = text.mixed(hidden, mask, mix, layer)
    held = np.where(mask[..., None], hidden, 0)
    np.testing.assert_allclose(shown, lam * held + (1 - lam) * held[::-1], rtol=1e-6)
    np.testing.assert_array_equal(whose, [[True, True, False]] * 2)
    _, whose = text.mixed(hidden, mask, mix, 3 - layer)
    np.testing.assert_array_equal(whose, mask)


@pytest.mark.slow
def test_neither_what_stands_at_padding_nor_how_much_of_it_matters():
    model: Any = waveforms.Classifier(3)
    mask = jnp.asarray(np.arange(800) < np.array([[350], [800]]))
    wave = jax.random.normal(jax.random.key(0), mask.shape)
    params = model.init(jax.random.key(1), wave, mask)
    quiet = jnp.where(mask, wave, 0)
    # A frame covers two hops of 100 samples: the last valid one ends at sample 400.
    loud = jnp.where(np.arange(800)[None] < 400, quiet, 9)
    apart = model.apply(params, loud, mask) - model.apply(params, quiet, mask)
    assert float(jnp.abs(apart[0]).max()) < 1e-5 < float(jnp.abs(apart[1]).max())
    longer = (jnp.pad(x, ((0, 0), (0, 500))) for x in (quiet, mask))
    logits = model.apply(params, quiet, mask)
    np.testing.assert_allclose(model.apply(params, *longer), logits, atol=1e-5)


def test_the_label_counts_the_samples_that_are_heard():
    mask = np.arange(40) < np.array([[7], [19], [40], [25]])
    whose = np.arange(1.0, 5)[:, None]  # each sample identifies its example
    batch = {"wave": np.where(mask, whose, 0), "mask": mask, "label": np.arange(4)}
    batch = jax.tree.map(jnp.asarray, batch)
    mixed, mix = waveforms.MIXERS["CutMix"](jax.random.key(3), batch)
    heard = np.asarray(mixed["wave"])
    np.testing.assert_array_equal(mixed["mask"], heard > 0)
    own = np.sum(heard == whose, axis=1)
    total = np.sum(heard > 0, axis=1)
    assert np.any(own < total)
    np.testing.assert_allclose(mix.lam, own / total, rtol=1e-6)


# The same program under two drivers.


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("example", ["pmap_linen", "mesh_nnx"])
def test_training_on_any_number_of_devices(example, devices):
    said = output(example, "--devices", devices, "--epochs", 2)
    assert f"digits on {devices} devices" in said
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", said)]
    errors = [float(error) for error in re.findall(r"error ([\d.]+)%", said)]
    assert losses[1] < losses[0]
    assert errors[1] < 40


def test_the_two_programs_differ_in_marked_lines_alone():
    programs = [
        (ROOT / "examples" / f"{name}.py").read_text().splitlines()
        for name in ("pmap_linen", "mesh_nnx")
    ]
    common = [without_marked_lines(lines) for lines in programs]
    assert common[0] == common[1]
    # The marked part is small, and contains the drivers.
    assert len(common[0]) > len(programs[0]) / 2
    assert all(not re.search("pmap|mesh|nnx|linen", line) for line in common[0])


def without_marked_lines(lines: list[str]) -> list[str]:
    start = lines.index("import jax")  # after the docstring
    kept, marked = [], False
    for line in lines[start:]:
        if line.startswith("# --- end of"):
            marked = False
        elif line.startswith("# --- "):
            marked = True
        elif not marked and not line.endswith(("  # model", "  # drivers")):
            kept.append(line)
    return kept


# Sharded states.


@pytest.mark.slow
def test_fsdp():
    said = output("fsdp", "--devices", 4)
    rows = re.findall(r"^ +(\d) +([\d,]+) .* yes +within (\S+)$", said, re.MULTILINE)
    assert [int(shards) for shards, *_ in rows] == [1, 2, 4]
    whole, *shares = (int(held.replace(",", "")) for _, held, _ in rows)
    np.testing.assert_allclose(shares, [whole / 2, whole / 4], rtol=2e-3)
    assert all(float(far) < 1e-5 for *_, far in rows)


def test_the_largest_axis_that_the_shards_divide_is_divided():
    mesh = jax.make_mesh((2, 4), fsdp.AXES, (jax.sharding.AxisType.Auto,) * 2)
    shapes = {"w": (8, 16), "tall": (12, 10), "b": (10,), "count": ()}
    tree = {name: jnp.zeros(shape) for name, shape in shapes.items()}
    found = fsdp.over_shards(mesh, tree)
    specs = {name: tuple(sharding.spec) for name, sharding in found.items()}
    assert specs == {
        "w": (None, "fsdp"),
        "tall": ("fsdp", None),
        "b": (None,),
        "count": (),
    }
    placed = jax.device_put(tree, found)
    assert fsdp.bytes_on_a_device(placed) == 4 * (128 / 4 + 120 / 4 + 10 + 1)


# BatchNorm and Dropout; the values are checked in test_batch_norm.py.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("example", "driver"),
    [("batch_norm_nnx", "explicit"), ("batch_norm_linen", "pmap")],
)
def test_batch_norm(example, driver):
    said = output(example, "--devices", 4, "--driver", driver, "--epochs", 2)
    assert f"digits on 4 devices, {driver}" in said
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", said)]
    accuracies = [float(share) for share in re.findall(r"accuracy ([\d.]+)%", said)]
    assert losses[1] < losses[0]
    assert accuracies[1] > 80


def test_the_two_with_batch_norm_differ_in_marked_lines_alone():
    names = "batch_norm_nnx", "batch_norm_linen"
    programs = [(ROOT / "examples" / f"{n}.py").read_text().splitlines() for n in names]
    nnx, linen = (without_marked_lines(lines) for lines in programs)
    assert nnx == linen
    assert len(nnx) > 0.4 * len(programs[0])
    assert all(not re.search("nnx|linen|[a-z]mesh|pmapped", line) for line in nnx)


def test_linen_says_why_it_has_no_explicit_driver(capsys):
    assert [*batch_norm_nnx.DRIVERS] == [*batch_norm_linen.DRIVERS, "explicit"]
    with pytest.raises(SystemExit) as exit_:
        batch_norm_linen.main(["--driver", "explicit"])
    assert exit_.value.code == 2
    assert "Linen's Dropout does not shard its masks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--driver", "tpu"], "invalid choice: 'tpu'"),
        (
            ["--batch-size", "12"],
            "a multiple of 8, the number of devices, and at most 1437, the number",
        ),
        (["--batch-size", "1440"], "most 1437, the number of training exa"),
    ],
)
def test_batch_norm_with_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        batch_norm_nnx.main(arguments)
    assert message in f"{exit_.value} {capsys.readouterr().err}"


# The figure, and two processes.


@pytest.mark.slow
def test_decision_boundary(tmp_path):
    said = output("decision_boundary", "--steps", 500, "--out", tmp_path)
    between = [int(share) for share in re.findall(r"on (\d+)% of the plane", said)]
    assert between[0] < between[1], "Mixup is unsure of more of the plane"
    assert (tmp_path / "decision_boundary.png").read_bytes().startswith(PNG)


@pytest.mark.slow
def test_two_processes_train_as_one():
    said = output("two_processes", "--steps", 3)
    rows = re.findall(r"^ +\d+ +([\d.]+) +([\d.]+)$", said, re.MULTILINE)
    two, one = np.array(rows, np.float64).T
    assert len(two) == 3
    np.testing.assert_allclose(two, one, rtol=1e-5)
    assert said.endswith("The losses are equal to float32 tolerance.\n")


def test_two_processes_that_hang_are_ended():
    done = run("two_processes", "--timeout", 0.5)
    assert done.returncode == 1
    assert done.stderr.endswith("two_processes: timed out after 0.5 seconds\n")


def test_two_processes_that_differ_are_told(monkeypatch, capsys):
    losses = {2: [2.0, 1.0], 1: [2.0, 1.1]}
    monkeypatch.setattr(two_processes, "run", lambda processes, _: losses[processes])
    with pytest.raises(SystemExit, match=r"The losses differ\."):
        two_processes.main([])
    assert "1.000000     1.100000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--devices", "3"], "--devices: expected an even number; got 3"),
        (["--batch-size", "6"], "a multiple of 4, the number of devices"),
        (["--batch-size", "1440"], "most 1437, the number of training exa"),
        (["--process", "1"], "are for internal use"),
    ],
)
def test_two_processes_with_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        two_processes.main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
