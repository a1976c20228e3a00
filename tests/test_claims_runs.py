"""The claims: how runs are stored and resumed, and how the report is written."""

import dataclasses
import functools
import json
import os
import shutil
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from matplotlib.figure import Figure

import mixup_jax as mx
from benchmarks.claims import __main__ as program
from benchmarks.claims import overhead
from benchmarks.claims._data import problems, sets
from benchmarks.claims._engine import report, runner
from benchmarks.claims._engine.claim import (
    ERM,
    Claim,
    NotRun,
    Options,
    Program,
    Protocol,
    Run,
    less,
    more,
)
from benchmarks.claims._engine.runs import Runs
from benchmarks.claims._networks import training
from benchmarks.claims._networks.recipes import Recipe

RESULTS = Path(report.__file__).parents[2] / "results" / "claims"


@pytest.fixture
def runs(tmp_path):
    return lambda advance=lambda count: None: Runs(tmp_path / "runs.jsonl", advance)


def squares(calls, numbers, data):
    calls.append(1)
    return {
        "square": numbers["alpha"] ** 2 + data,
        "each": jnp.arange(2) * numbers["seed"],
    }


def programs(calls, count=5, together=1, data=0.0, of=squares):
    found = [Run("Mixup", "", {"seed": k, "alpha": 0.5 * k}) for k in range(count)]
    run = functools.partial(of, calls)
    return [Program("a", run, found, np.float32(data), together)]


@pytest.mark.parametrize("together", [1, 2, 3, 10])
def test_runs_come_back_in_order_however_many_train_together(runs, together):
    got = runs().trained(programs([], together=together))
    assert got.table["square"].tolist() == [(0.5 * k) ** 2 for k in range(5)]
    assert got.table.seed.tolist() == list(range(5))
    np.testing.assert_array_equal(got.arrays["each/Mixup/"], [[0, k] for k in range(5)])


def test_what_is_known_is_not_run_again(runs, tmp_path):
    runs().trained(programs([], 3))
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    advanced = []
    again = runs(advanced.append)
    got = again.trained(programs([], 4))
    before = sum(json.loads(line)["result"]["seconds"] for line in lines)
    np.testing.assert_allclose(again.seconds_before, before)
    assert got.table["square"].tolist() == [0, 0.25, 1, 2.25]
    assert advanced == [3, 1]
    kept = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert kept[:3] == lines
    assert len(kept) == 4


def test_other_data_and_another_program_are_run_anew(runs, tmp_path):
    def count():
        return len((tmp_path / "runs.jsonl").read_text().splitlines())

    runs().trained(programs([], 2))
    assert runs().trained(programs([], 2, data=1)).table["square"].tolist() == [1, 1.25]
    assert count() == 4

    def cubes(calls, numbers, data):
        return {"square": numbers["alpha"] ** 3 + data}

    got = runs().trained(programs([], 2, of=cubes))
    assert got.table["square"].tolist() == [0, 0.125]
    assert count() == 6
    runs().trained(programs([], 2))
    assert count() == 6


def test_a_change_that_the_program_does_not_see_keeps_the_results(runs, tmp_path):
    def renamed(calls, numbers, data):
        """Return the same numbers by other words."""
        half = numbers["alpha"]
        return {"square": half**2 + data, "each": jnp.arange(2) * numbers["seed"]}

    runs().trained(programs([], 2))
    before = (tmp_path / "runs.jsonl").read_text()
    runs().trained(programs([], 2, of=renamed))
    assert (tmp_path / "runs.jsonl").read_text() == before


def test_a_run_may_measure_several_arms(runs):
    def both(numbers, data):
        return {"ERM": {"error": numbers["seed"]}, "Mixup": {"error": 0}}

    found = [Run("", "some", {"seed": k}) for k in range(2)]
    got = runs().trained([Program("a", both, found)]).table
    assert got.arm.tolist() == ["ERM", "Mixup"] * 2
    assert got.error.tolist() == [0, 0, 1, 0]


def test_a_program_without_runs_has_no_results(runs):
    found = [*programs([], 0), *programs([], 2)]
    assert len(runs().trained(found).table) == 2


def test_an_interrupted_run_keeps_what_was_finished(runs, tmp_path):
    class Interrupted(Exception):
        pass

    seen, down = [], [True]

    def check(alpha):
        if down[0] and alpha >= 1.5:
            raise Interrupted
        seen.append(float(alpha))
        return alpha

    def breaks(calls, numbers, data):
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        alpha = jnp.asarray(numbers["alpha"], jnp.float32)
        # A callback has the address of its function in the program.
        return {"same": jax.pure_callback(check, shape, alpha)}

    with pytest.raises(Exception, match="Interrupted"):
        runs().trained(programs([], 4, of=breaks))
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert 1 <= len(lines) <= 3
    # Simulate a machine that goes down while a line is written.
    (tmp_path / "runs.jsonl").write_text("\n".join(lines)[:-20])
    down[0] = False
    got = runs().trained(programs([], 4, of=breaks))
    assert got.table["same"].tolist() == [0, 0.5, 1, 1.5]
    # Results after the broken line are on lines of their own.
    kept = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert all(json.loads(line) for line in kept[len(lines) :])


def test_training_sees_every_row_once_an_epoch_and_the_mixer_changes_no_order():
    rows = jnp.arange(3, 10)

    @dataclasses.dataclass
    class Plain:
        def tx(self, steps):
            assert steps == 2
            return optax.sgd(1.0)

    def seen(mixer_key):
        def loss(params, batch, mix):
            x, _ = batch
            return jnp.sum(params * jax.lax.stop_gradient(x).sum(axis=0)), {}

        def mixer(key, batch):
            return mx.erm(mixer_key, batch)

        params, _ = training.fit(
            jax.random.key(0),
            jnp.zeros(12),
            (jnp.eye(12), None),
            rows,
            loss=loss,
            mixer=mixer,
            recipe=Recipe(Plain(), epochs=2, batch=7),
        )
        return -params

    got = seen(jax.random.key(1))
    np.testing.assert_array_equal(got, [0] * 3 + [2] * 7 + [0] * 2)
    np.testing.assert_array_equal(got, seen(jax.random.key(2)))


def test_the_parts_of_a_split_do_not_overlap():
    parts = problems.problem(Options(), (60, 20, 30)).split(jax.random.key(0))
    assert [len(part) for part in parts] == [60, 20, 30]
    rows = np.concatenate(parts)
    assert len(set(rows.tolist())) == len(rows)
    assert rows.max() < problems.DIGITS


def test_the_error_of_a_constant_is_that_of_the_largest_class():
    got = training.constant_error(jnp.array([0, 2, 2, 1, 2]), 4)
    np.testing.assert_allclose(got, 40.0)


def made(options: Options) -> Claim:
    """Return a claim of two arms that are not trained."""

    def run(numbers, data):
        error = numbers["of"] * (1 + (numbers["seed"] % 3).astype(jnp.float32) / 10)
        return {"error": error, "train": 1.0, "constant": 90.0, "curve": jnp.ones(2)}

    arms = {ERM: {"of": 10.0}, "a & b": {"of": 8.0}}
    protocol = Protocol("some data", "a network", "a recipe", arms, seeds=3)
    return Claim(
        "It helps.",
        "A source.",
        protocol,
        lambda options: [Program("made", run, protocol.runs(options, {"": {}}))],
        [
            less("less error", "a & b", ERM, primary=True),
            more("more error", "a & b", ERM),
        ],
        {"error": "test error, %", "train": "training error, %"},
        notes=["A note."],
        picture=lambda table, arrays: picture(arrays),
    )


def picture(arrays) -> Figure:
    assert arrays["curve/ERM/"].shape == (3, 2)
    figure = Figure()
    figure.subplots().plot([0, 1])
    return figure


@pytest.fixture
def scripted(monkeypatch):
    """Replace the claims, in this order, by functions of the options."""

    def script(**claims):
        class Module:
            def __init__(self, claim):
                self.claim = claim

        modules = {name: Module(claim) for name, claim in claims.items()}
        monkeypatch.setattr(program, "_module", modules.__getitem__)
        monkeypatch.setattr(program, "CLAIMS", tuple(claims))
        names = (*claims, "all", "report")
        monkeypatch.setattr(program, "NAMES", names)

    return script


def test_a_claim_is_written_and_reported(tmp_path, scripted, capsys):
    scripted(made=made, other=made)
    program.main(["made", "report", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "made.json").read_text())
    assert record["claim"] == "It helps."
    assert [row["verdict"] for row in record["verdicts"]] == ["holds", "opposite"]
    for name in ("README.md", "report.html"):
        text = (tmp_path / name).read_text()
        for words in ("It helps.", "2.200", "holds", "A note.", "some data"):
            assert words in text, (name, words)
        assert "not run" in text  # the other claim
    markdown = (tmp_path / "README.md").read_text()
    helps, _, hurts = markdown.partition("Where it hurts")
    assert "less error: 2.200" in helps.partition("Where Mixup helps")[2]
    assert "more error: -2.200" in hurts.partition("What other seeds")[0]
    assert "a &amp; b" in (tmp_path / "report.html").read_text()
    assert "holds" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "made.csv")
    assert list(table.columns)[:4] == ["claim", "arm", "factor", "seed"]
    assert len(table) == 6


def test_every_number_comes_from_the_table_of_measures(tmp_path, scripted):
    scripted(made=made)
    program.main(["made", "report", "--out", str(tmp_path)])
    written = (tmp_path / "README.md").read_text()
    table = pd.read_csv(tmp_path / "made.csv")
    table.loc[table.arm == "a & b", "error"] += 5
    table.to_csv(tmp_path / "made.csv", index=False)
    program.main(["report", "--out", str(tmp_path)])
    changed = (tmp_path / "README.md").read_text()
    assert "less error: -2.800" in changed
    assert "less error: -2.800" not in written


def test_the_confirming_run_has_other_seeds_and_turns_a_verdict(tmp_path, scripted):
    scripted(made=made)
    program.main(["all", "--out", str(tmp_path)])
    program.main(["all", "--confirm", "--out", str(tmp_path)])
    file = tmp_path / "confirming" / "made.csv"
    table = pd.read_csv(file)
    assert set(table.seed) == {1000, 1001, 1002}
    said = (tmp_path / "README.md").read_text()
    assert "Of 2 verdicts, 0 changed, and 0 turned into the opposite." in said
    table.loc[table.arm == "a & b", "error"] += 5
    table.to_csv(file, index=False)
    program.main(["report", "--out", str(tmp_path)])
    text = (tmp_path / "README.md").read_text()
    assert "cannot tell (holds; with other seeds: opposite" in text
    assert "less error: holds; with other seeds" in text
    assert "Of 2 verdicts, 2 changed, and 2 turned into the opposite." in text


def test_a_confirming_run_of_other_arms_is_refused(tmp_path, scripted, capsys):
    scripted(made=made)
    program.main(["all", "--out", str(tmp_path)])
    program.main(["all", "--confirm", "--seeds", "2", "--out", str(tmp_path / "few")])
    (tmp_path / "confirming").mkdir()
    for ending in (".csv", ".json"):
        name = f"confirming/made{ending}"
        (tmp_path / name).write_bytes((tmp_path / "few" / name).read_bytes())
    with pytest.raises(SystemExit):
        program.main(["report", "--out", str(tmp_path)])
    assert "confirm it again" in capsys.readouterr().err


def test_a_claim_without_its_data_says_so_and_the_report_is_written(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        program.main(["speech", "report", "--out", str(tmp_path), "--quick"])
    assert exit_.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "error: speech: not run, its data are missing" in said
    assert "--data-dir DIR" in said
    assert not (tmp_path / "speech.csv").exists()
    assert "speech: not run: its data" in (tmp_path / "README.md").read_text()


def test_a_broken_file_does_not_stop_all(tmp_path, scripted, capsys):
    def broken(options):
        raise ValueError("my.csv, line 3: expected 4 fields, got [2]")

    scripted(uci=broken, gan=broken)
    with pytest.raises(SystemExit, match="broken: uci, gan"):
        program.main(["all", "--out", str(tmp_path)])
    assert capsys.readouterr().out.count("line 3: expected 4 fields, got [2]") == 2
    assert (tmp_path / "README.md").read_text().count("not run: my.csv, line 3") == 2
    with pytest.raises(SystemExit) as exit_:
        program.main(["gan", "--out", str(tmp_path)])
    assert exit_.value.code == 2
    assert "error: gan: not run, my.csv, line 3" in capsys.readouterr().err


def test_an_interrupted_all_reports_the_claims_that_ended(tmp_path, scripted, capsys):
    def interrupted(options):
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("went on after SIGINT")

    scripted(uci=made, gan=interrupted, cifar=interrupted)
    with pytest.raises(SystemExit) as exit_:
        program.main(["all", "--out", str(tmp_path)])
    assert exit_.value.code == 130
    assert "interrupted" in capsys.readouterr().err
    assert json.loads((tmp_path / "uci.json").read_text())["claim"] == "It helps."
    written = (tmp_path / "README.md").read_text()
    assert "less error: 2.200" in written
    assert written.count("not run: interrupted") == 2


def test_a_report_of_broken_files_is_one_line(tmp_path, capsys, scripted):
    scripted(uci=made)
    (tmp_path / "uci.json").write_text('{"claim": "cut o')
    (tmp_path / "uci.csv").write_text("claim,arm")
    with pytest.raises(SystemExit) as exit_:
        program.main(["report", "--out", str(tmp_path)])
    assert exit_.value.code == 2
    assert "the report needs the files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["uci", "--table", "nothing.csv"], "nothing.csv: expected a file"),
        (["gan", "--table", "{table}"], "--table: expected with the claim uci"),
        (["all", "--table", "{table}"], "--table: expected with the claim uci"),
        (["uci", "--label", "kind"], "--label: expected with --table FILE"),
        (["speech", "--data-dir", "nowhere"], "nowhere: expected a folder"),
        (["speech", "--data-dir", "{table}"], "expected a folder; got a file"),
        (["speech", "--data-dir", "{folder}"], "the folder 'fsdd' in it"),
        (["regression", "--data-dir", "{folder}"], "the folder 'airfoil' in it"),
        (["features", "--out", "{table}"], "--out: could not write"),
    ],
)
def test_a_claim_that_cannot_be_run_is_one_line(arguments, message, tmp_path, capsys):
    table, out = tmp_path / "my.csv", tmp_path / "out"
    table.write_text("a,b,c\n1,2,x\n3,4,y\n")
    words = [word.format(table=table, folder=tmp_path) for word in arguments]
    with pytest.raises(SystemExit) as exit_:
        program.main(["--out", str(out), *words])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (out / "uci.json").exists()


@pytest.mark.parametrize("seeds", ["1", "0", "-1", "many"])
def test_fewer_than_two_seeds_have_no_interval(seeds, capsys):
    with pytest.raises(SystemExit):
        program.main(["gan", "--seeds", seeds])
    assert "expected a whole number, from 2 to" in capsys.readouterr().err


@pytest.mark.parametrize("error", [FileNotFoundError, ConnectionError])
def test_images_come_from_the_folder_or_their_official_place(
    tmp_path, monkeypatch, error
):
    asked = []

    def cifar10(folder):
        asked.append(folder)
        raise error("none here")

    monkeypatch.setattr(sets.datasets, "DATASETS", {"cifar10": cifar10})
    (tmp_path / "cifar10").mkdir()
    for data_dir in (None, tmp_path):
        with pytest.raises(NotRun, match="none here"):
            sets.images(Options(data_dir), "cifar10")
    assert asked == [None, tmp_path / "cifar10"]


def test_a_folder_is_found_from_above_and_from_within(tmp_path):
    (tmp_path / "uci" / "iris").mkdir(parents=True)
    for given in (tmp_path, tmp_path / "uci"):
        assert Options(given).folder("uci") == tmp_path / "uci"
    with pytest.raises(NotRun, match="folder 'airfoil'"):
        Options(tmp_path).folder("airfoil")


@pytest.mark.parametrize("name", program.CLAIMS)
@pytest.mark.parametrize("size", [{}, {"quick": True}, {"full": True}])
def test_a_claim_is_stated_without_its_data(name, size):
    stated = program._module(name).claim(Options(**size))
    arms = {*stated.protocol.arms, *(each.name for each in stated.chosen)}
    for statement in stated.statements:
        assert {arm for arm, _ in statement.contrast} <= arms, statement.words
        assert abs(sum(statement.contrast.values())) < 1e-9, statement.words
    assert stated.title.endswith(".")


@pytest.mark.parametrize("name", program.CLAIMS)
def test_the_committed_report_agrees_with_its_files(name, tmp_path):
    if not (RESULTS / f"{name}.csv").exists():
        pytest.skip("not run yet")
    for file in RESULTS.glob(f"{name}*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / runner.CONFIRMING).mkdir()
    for file in (RESULTS / runner.CONFIRMING).glob(f"{name}.*"):
        (tmp_path / runner.CONFIRMING / file.name).write_bytes(file.read_bytes())
    ran = json.loads((RESULTS / f"{name}.json").read_text())["ran"]
    stated = program._module(name).claim(Options(**ran["options"]))
    got = json.loads(json.dumps(runner.keep(name, stated, tmp_path)))
    want = json.loads((RESULTS / f"{name}.json").read_text())
    assert got == want
    assert len(want["verdicts"]) == len(stated.statements)


def test_the_committed_report_is_written_from_the_committed_files(tmp_path):
    for file in RESULTS.glob("*"):
        if file.suffix in (".json", ".png"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    shutil.copytree(RESULTS / runner.CONFIRMING, tmp_path / runner.CONFIRMING)
    names = (*program.CLAIMS, "overhead")
    report.write(tmp_path, names)
    for file in report.FILES:
        assert (tmp_path / file).read_text() == (RESULTS / file).read_text(), file


def test_the_overhead_is_that_of_the_benchmarks():
    record = overhead.record()
    rows = {row["statement"]: row for row in record["verdicts"]}
    assert sum(row["primary"] for row in rows.values()) == 1
    for row in rows.values():
        low, high = row["gain"][1:]
        assert row["verdict"] == (
            "holds" if low > 0 else "opposite" if high < 0 else "cannot tell"
        )
