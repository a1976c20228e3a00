"""Facts about compiled programs are counted, compared and written."""

import json

import jax
import jax.numpy as jnp
import pytest

import mixup_jax as mx
from benchmarks import _facts, _scripts, facts

KEY = "cpu, jax 1.2.3"
COUNTS = {"bytes": 1000, "collectives": 0, "temporary": -100}
KNOWN = {KEY: {"mixup": COUNTS}, "cpu, jax 0.0.1": {"mixup": {"bytes": 7}}}


def counted(monkeypatch, tmp_path, now, *arguments, known: object = KNOWN):
    """Return the exit code and the written facts when ``now`` is measured."""
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(known))
    monkeypatch.setattr(facts, "measured", lambda targets: now)
    code = 0
    try:
        facts.main([*arguments, "--out", str(tmp_path)])
    except SystemExit as exit_:
        code = exit_.code
    return code, json.loads(file.read_text())


@pytest.mark.parametrize(
    ("fact", "value", "is_worse"),
    [
        ("bytes", 1031, True),
        ("bytes", 1030, False),
        ("collectives", 1, True),  # from 0
        ("temporary", -96, True),  # memory that mixing saves in a step
        ("temporary", -97, False),
    ],
)
def test_what_got_worse_by_more_than_three_percent_is_named(
    monkeypatch, tmp_path, capsys, fact, value, is_worse
):
    now = {KEY: {"mixup": COUNTS | {fact: value}}}
    code, after = counted(monkeypatch, tmp_path, now)
    said = capsys.readouterr().out
    assert code == is_worse
    assert ("Worse" in said) == is_worse == (f" {fact} " in said)
    assert ("nothing is worse" in said) != is_worse
    assert after == KNOWN


def test_what_got_better_is_named_and_can_be_kept(monkeypatch, tmp_path, capsys):
    now = {KEY: {"mixup": COUNTS | {"bytes": 900, "temporary": -101}}}
    assert counted(monkeypatch, tmp_path, now)[0] == 0
    said = capsys.readouterr().out
    assert " 900 " in said
    assert "Better than before" in said
    assert "--write" in said
    assert "temporary" not in said


def test_of_versions_that_are_not_written_it_says_how_to(monkeypatch, tmp_path, capsys):
    now = {"cpu, jax 9": {"mixup": COUNTS}}
    assert counted(monkeypatch, tmp_path, now) == (0, KNOWN)
    (said,) = [s for s in capsys.readouterr().out.splitlines() if "cpu, jax 9" in s]
    assert "nothing is recorded for cpu, jax 9" in said
    assert "--write" in said


def test_programs_that_have_no_other_are_named(monkeypatch, tmp_path, capsys):
    now = {KEY: {"mixup": COUNTS, "cutmix": COUNTS}}
    assert counted(monkeypatch, tmp_path, now)[0] == 0
    assert f"not compared for {KEY}: cutmix" in capsys.readouterr().out


def test_what_is_written_stands_beside_other_versions(monkeypatch, tmp_path):
    worse = {KEY: {"mixup": COUNTS | {"bytes": 2000}}}
    code, after = counted(monkeypatch, tmp_path, worse, "--write")
    assert (code, after) == (0, KNOWN | worse)


def test_a_file_that_cannot_be_read_is_named(monkeypatch, tmp_path, capsys):
    (tmp_path / "facts.json").write_text("{")
    monkeypatch.setattr(facts, "measured", lambda targets: {})
    with pytest.raises(SystemExit, match="2"):
        facts.main(["--out", str(tmp_path)])
    assert "facts.json: expected what --write wrote" in capsys.readouterr().err


def test_a_target_whose_compiler_is_away_is_left_out(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(facts, "versions", lambda target: KEY * (target == facts.CPU))
    monkeypatch.setattr(facts, "measured", lambda targets: asked.extend(targets) or {})
    facts.main(["--out", str(tmp_path)])
    assert asked == [facts.CPU]
    assert "libtpu is not installed" in capsys.readouterr().out


def test_a_compiler_that_stops_is_named_with_what_it_said(monkeypatch, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho begins\necho out of memory >&2\nexit 3\n")
    broken.chmod(0o700)
    monkeypatch.setattr(facts.sys, "executable", str(broken))
    said = r"cpu: the compiler exited \(3\) with: out of memory"
    with pytest.raises(SystemExit, match=said):
        facts.measured([facts.CPU])


def test_each_fact_is_counted_of_the_program():
    mesh = _facts._mesh(jax.devices()[:2])
    rows, key = (jax.NamedSharding(mesh, spec) for spec in (jax.P("data"), jax.P()))
    given = (
        jax.ShapeDtypeStruct((), jax.random.key(0).dtype, sharding=key),
        jax.ShapeDtypeStruct((8, 6), jnp.float32, sharding=rows),
    )

    def run(key, x):
        left, right = jax.random.split(key)
        x = x + jax.random.bits(left, (6,)).astype(jnp.float32).sum()
        (x, _), _ = mx.mixup(right, (x, None))
        return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x * 2, x)

    found = _facts.counts(jax.jit(run), given, mesh)
    assert found["hashes"] == 3  # the split, JAX's bits, those of Mixup
    assert found["collectives"] >= 1  # the sum
    assert found["loops"] >= 1
    without = _facts.counts(jax.jit(lambda key, x: x * 2), given, mesh)
    assert without["hashes"] == without["loops"] == without["collectives"] == 0
    assert without["equations"] == 1
    assert without["bytes"] == 2 * 4 * 6 * 4  # read and written, on one of two devices
    assert found["equations"] > 100


def test_what_is_written_has_all_programs():
    written = json.loads((_scripts.RESULTS / "facts.json").read_text())
    for key, found in written.items():
        target = key.split(", ")[0]
        alone = {f"{name}, {size}" for name, _, size in _facts.cases(target)}
        assert found.keys() == alone | {f"{name}, in a step" for name in _facts.STEPS}
