"""The benchmarks measure what they claim, and write every result that they find."""

import functools
import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import (
    _cases,
    _measure,
    _scripts,
    against,
    growth,
    imagenet,
    peers,
    train_step,
    transform,
    weak_scaling,
)
from benchmarks._cases import Case
from benchmarks.models import MLP, Model

TINY = (8, 8, 8, 3)
SHORT = {"rounds": 6, "seconds": 0.0, "sample": 1e-4}


@pytest.fixture(autouse=True)
def lenient():
    """Let third-party code promote dtypes and ranks as it expects to."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def sleeper(seconds):
    return _measure.Contender(lambda: time.sleep(seconds), wait=lambda handle: None)


def test_a_contender_that_takes_three_times_as_long_is_said_to():
    contenders = {"slow": sleeper(0.006), "quick": sleeper(0.002)}
    times = _measure.interleaved(contenders, rounds=9, sample=0.02)
    assert {name: len(found) for name, found in times.items()} == {
        "slow": 9,
        "quick": 9,
    }
    found = _measure.ratio(times["slow"], times["quick"])
    # A sleep is never shorter than requested, and longer on a busy machine.
    assert 1.2 < found.median < 3.4
    assert found.low <= found.median <= found.high
    assert times["quick"].min() >= 0.002


def test_contenders_take_turns_and_each_starts_a_round_in_turn():
    calls = []
    contenders = {
        name: _measure.Contender(functools.partial(calls.append, name))
        for name in ("a", "b")
    }
    _measure.interleaved(contenders, rounds=6, sample=0.0)
    rounds = "".join(calls)[4:]  # each starts with two calls: compile, estimate
    assert rounds == "aabb" + "bbaa" + "aabb" + "bbaa" + "aabb" + "bbaa"


def test_no_round_begins_after_the_time_is_up_but_there_are_enough():
    times = _measure.interleaved({"a": sleeper(0.001)}, rounds=1000, seconds=0.05)
    assert _measure.FEWEST_ROUNDS <= len(times["a"]) < 1000


def test_the_wait_is_part_of_what_is_timed():
    contender = _measure.Contender(lambda: None, wait=lambda handle: time.sleep(0.003))
    times = _measure.interleaved({"a": contender}, rounds=6, sample=0.0)
    assert times["a"].min() >= 0.003


def test_the_interval_covers_the_median_as_often_as_it_says():
    draws = np.random.default_rng(0).exponential(size=(4000, 15))
    found = [_measure.median(draw) for draw in draws]
    covered = np.mean([r.low <= np.log(2) <= r.high for r in found])
    assert 0.95 <= covered <= 0.98  # exactly 0.965 for 15 values
    assert _measure.median(np.arange(6.0)) == (2.5, 0.0, 5.0)


def test_fewer_values_than_an_interval_needs_are_refused():
    with pytest.raises(ValueError, match="at least 6 rounds; got 5"):
        _measure.median(np.arange(5.0))


@pytest.mark.slow
def test_compilation_is_timed_from_nothing_every_time():
    traced = []

    def function(x):
        traced.append(x)
        return x + 1

    jitted = jax.jit(function)
    times = _measure.compile_seconds(
        {"a": lambda: jitted.lower(jnp.ones(3)).compile()}, rounds=6
    )
    assert len(traced) == len(times["a"]) == 6


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_copy_moves_every_byte_twice_and_naive_mixing_more(dtype):
    case = Case("mixup", "batch", dtype, TINY)
    rows = measured(case, {"copy": transform.copy})
    assert rows["copy"]["bytes moved a byte"] == pytest.approx(2, rel=1e-3)
    assert rows["ours"]["bytes moved a byte"] > 2


def measured(case, contenders):
    rows = transform.measure(case, "tiny", contenders, **SHORT)
    return {row["who"]: row for row in rows}


@pytest.mark.parametrize("per", ["batch", "example"])
@pytest.mark.parametrize("method", ["mixup", "cutmix"])
def test_every_transform_is_measured_and_judged(method, per):
    contenders = {
        "copy": transform.copy,
        "naive JAX": peers.naive,
        "big_vision": peers.big_vision,
    }
    rows = measured(Case(method, per, "float32", TINY), contenders)
    assert set(rows) == {"ours", "our pass", *contenders}
    assert rows["ours"]["x ours"] == (1, 1, 1)
    (verdict,) = transform.verdicts(list(rows.values()))
    assert verdict["x copy"] == rows["ours"]["x copy"]
    has_big_vision = (method, per) == ("mixup", "batch")
    assert ("ms" in rows["big_vision"]) == has_big_vision


def test_bytes_are_scaled_before_they_are_mixed():
    case = Case("mixup", "batch", "uint8", TINY)
    _, x, _ = _cases.arrays(case)
    contender = transform.ours(case)
    mixed, _ = contender.run()
    assert (x.dtype, mixed.dtype) == ("uint8", "bfloat16")
    assert 0.5 < float(mixed.max()) <= 1


@pytest.mark.parametrize("name", [*peers.SHIPPED, *peers.COMPILED])
def test_a_peer_that_is_not_installed_is_named_with_what_to_install(name, monkeypatch):
    def absent(module):
        raise ModuleNotFoundError(f"No module named {module!r}")

    monkeypatch.setattr(_cases.importlib, "import_module", absent)
    build = {**peers.SHIPPED, **peers.COMPILED}[name]
    who = {"copy": transform.copy, name: build}
    case = Case("mixup", "example" if "Keras" in name else "batch", "float32", TINY)
    row = measured(case, who)[name]
    if name in ("naive JAX", "big_vision"):
        assert "ms" in row
    else:
        assert "not installed" in row["not measured"]
        assert "pip install" in row["not measured"]


@pytest.mark.filterwarnings("ignore")  # raised by third-party code
@pytest.mark.parametrize("name", list(peers.LIBRARIES))
def test_installed_peers_mix(name):
    module = "keras" if name == "Keras 3" else str(name)
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed (the extra 'benchmarks')")
    case = Case(
        "mixup", "example" if module != "torchvision" else "batch", "float32", TINY
    )
    contender = peers.SHIPPED[name](case)
    contender.wait(contender.run())


@pytest.mark.slow
def test_naive_mixing_mixes():
    key, x, y = _cases.arrays(Case("cutmix", "example", "float32", TINY))
    for mix in (peers.naive_mixup, peers.naive_cutmix):
        mixed, targets = mix(key, x, y, (8,))
        assert mixed.shape == x.shape
        np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-5)
        assert float(jnp.abs(mixed - x).max()) > 0


def test_steps_are_timed_and_compiled_with_and_without_mixing():
    steps = train_step.Steps(Model(MLP, (4, 4, 1), 3, 8), 8)
    names = ("none", "mixup", "none, integers", "mixup, two_term")
    contenders = {name: steps.contender(name) for name in names}
    times = _measure.interleaved(contenders, **SHORT)
    rows = train_step.overheads(times, "mlp", 8)
    assert [row["mixing"] for row in rows] == list(names)
    assert ["adds %" in row for row in rows] == [False, True, False, True]
    assert rows[1]["adds %"].median > -100


def test_what_mixing_adds_to_compilation_is_a_difference_within_rounds():
    noise = np.array([0.0, 3.0, 1.0, 0.0, 5.0, 2.0])
    times = {"none": 1 + noise, "mixup": 1.25 + noise, "naive mixup": 3 + noise}
    rows = {row["mixing"]: row for row in train_step.compile_rows(times, "mlp")}
    assert rows["mixup"]["adds s"] == (0.25, 0.25, 0.25)
    assert rows["mixup"]["of naive"] == (0.125, 0.125, 0.125)
    assert rows["mixup"]["met"]


@pytest.mark.parametrize("what", growth.GROWTH)
def test_bytes_grow_with_what_grows(what, monkeypatch):
    for name, size in (("BATCH", 8), ("SIDE", 8)):
        monkeypatch.setattr(growth, name, size)
    found, count = growth.contenders(what, 4)
    more, larger = growth.contenders(what, 8)
    assert set(found) == set(more)
    assert larger == count if what == "methods" else larger > count


def test_collectives_and_their_bytes_are_counted():
    mesh = jax.make_mesh((4,), ("data",))
    summed = jax.shard_map(
        lambda x: jax.lax.psum(x, "data"),
        mesh=mesh,
        in_specs=jax.P("data"),
        out_specs=jax.P(),
    )
    x = jax.device_put(jnp.ones((8, 5)), jax.NamedSharding(mesh, jax.P("data")))
    program = jax.jit(summed).lower(x).compile()
    assert weak_scaling.communicated(program) == 2 * 5 * 4


def test_a_script_writes_json_and_a_picture(tmp_path, monkeypatch, capsys):
    for constant, size in (("BATCH", 8), ("SIDE", 8)):
        monkeypatch.setattr(growth, constant, size)
    monkeypatch.setattr(growth, "QUICK", {"classes": (2, 4)})
    out = tmp_path / "new" / "folder"
    growth.main(["--quick", "--out", str(out)])
    record = json.loads((out / "growth.json").read_text())
    assert record["question"] == str(growth.__doc__).splitlines()[0]
    assert record["device"]["platform"] == "cpu"
    assert record["device"]["kind"]
    assert record["date"]
    assert (record["interrupted"], record["missing"]) == (False, [])
    assert len(record["rows"]) == 2 * 3
    assert (out / "growth.png").stat().st_size > 1000
    assert "ps a byte" in capsys.readouterr().out
    args = _scripts.arguments("growth", "").parse_args(["--out", str(out)])
    known = _scripts.known("growth", args)["rows"]
    assert known[0]["ps a byte"] == _measure.Ratio(*record["rows"][0]["ps a byte"])
    assert _scripts.known("transform", args) == {}


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    parser = _scripts.arguments("growth", "?")
    args = parser.parse_args(["--out", str(file / "below")])
    with pytest.raises(SystemExit, match=r"--out: could not write into .*below"):
        _scripts.write("growth", "?", args, {}, None)


def test_what_was_written_before_has_to_be_readable(tmp_path, capsys):
    (tmp_path / "train_step.json").write_text('{"rows": [{"ms": [1, 2]}]}')
    with pytest.raises(SystemExit) as exit_:
        train_step.main(["--only", "mlp", "--out", str(tmp_path)])
    assert exit_.value.code == 2
    assert "train_step.json: expected what this benchmark" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        (train_step, ["--quick", "--only", "vit_s16"], "some of mlp, cnn with --quick"),
        (transform, ["--only", "mixup", "cutmix"], "--only: no case matches"),
        (transform, ["--only", "nobody"], "--only: no case matches"),
    ],
)
def test_cases_that_are_not_there(script, arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        script.main([*arguments, "--out", str(tmp_path)])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_peer_alone_is_measured_without_a_verdict():
    case = Case("mixup", "batch", "float32", TINY)
    rows = measured(case, {"naive JAX": peers.naive})
    assert set(rows) == {"naive JAX"}
    assert list(transform.verdicts(list(rows.values()))) == []


class Fixed:
    """A version that gives one fixed answer to each question."""

    def __init__(self, **answers):
        self.answers = answers

    def ask(self, what, model, mixing):
        return self.answers.get(mixing, self.answers["rest"])


def test_what_another_version_adds_is_compared_and_not_what_it_takes():
    here, there = Fixed(none=2.0, rest=2.5), Fixed(none=3.0, rest=5.0)
    versions: Any = {"here": here, "there": there}
    added, drawn = (
        against.compared((what, "mlp"), versions=versions, rounds=6)
        for what in ("compile", "draw")
    )
    assert [row["mixing"] for row in added] == list(against.COMPILED)
    assert [row["mixing"] for row in drawn] == list(against.DRAWN)
    assert {row["of there"].median for row in added} == {0.25}
    assert {row["of there"].median for row in drawn} == {0.5}


def test_another_version_has_to_be_there(tmp_path, capsys):
    for arguments in ([], [str(tmp_path)]):
        with pytest.raises(SystemExit):
            against.main([*arguments, "--out", str(tmp_path)])
        assert "git worktree add" in capsys.readouterr().err


@pytest.mark.slow
def test_versions_answer_what_they_are_asked():
    with against.Version(Path(against.__file__).parents[1]) as version:
        assert version.ask("draw", "", "mixup") > version.ask("draw", "", "none") > 0
        assert version.ask("compile", "mlp", "choose") > 0


def imagenet_row(model, hours, batch=4096):
    parts = {"state and batch, GB": 1.0, "temporary, GB": 2.0}
    cases = {"topology": "v5e:16x16", "model": model, "batch": batch, "fsdp": 1}
    return cases | parts | {"chips": 256, "device hours per epoch": hours}


def test_the_cost_of_the_articles_claim_is_two_runs_of_200_epochs():
    rows = [imagenet_row("vit_s16", 1.0), imagenet_row("resnet50", 2.5)]
    dear = imagenet_row("resnet50", 3.5, batch=1024)
    said = imagenet.cost([*rows, dear])
    assert "about 1000 hours" in said
    assert "a step of 4096 images on 256 chips" in said
    assert imagenet.cost(rows[:1]) == ""


def test_the_picture_of_the_imagenet_step_has_a_bar_for_each_case():
    rows = [imagenet_row("vit_s16", 1.0), imagenet_row("resnet50", 2.5)]
    [ax] = imagenet.picture(rows).axes
    assert [bar.get_width() for bar in ax.patches] == [1, 1, 2, 2]
    assert ax.get_xlim()[0] == 0


def test_a_compiler_that_fails_is_named(monkeypatch):
    monkeypatch.setattr(imagenet, "ABSENT", {})
    with pytest.raises(SystemExit, match="the compiler exited"):
        imagenet._worker(("v5e:2x2", "no such model", 64, 1))
