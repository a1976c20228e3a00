"""The claims framework: how results are counted, stored, judged and reported."""

import functools
import json
import os
import signal
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import optax
import pytest
import rich.progress
from scipy import stats

import mixup_jax as mx
from benchmarks.claims import __main__ as program
from benchmarks.claims._data import sets
from benchmarks.claims._engine import report, runner
from benchmarks.claims._engine import runs as runs_module
from benchmarks.claims._engine.claim import Found, NotRun, Options, Part
from benchmarks.claims._engine.runs import Runs
from benchmarks.claims._engine.statistics import Interval, interval, paired, verdict
from benchmarks.claims._networks import training


def test_intervals_are_students():
    values = [1.0, 2.0, 4.0, 8.0]
    got = interval(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    np.testing.assert_allclose(got[:3], (np.mean(values), low, high))
    assert got.seeds == 4
    np.testing.assert_allclose(got.standard_error, stats.sem(values))


def test_one_value_says_nothing_of_its_error():
    assert interval([3.0]).low == -np.inf
    assert verdict(interval([3.0])) == "not reproduced"
    with pytest.raises(ValueError, match="at least one value"):
        interval([])


def test_differences_are_paired():
    noise = [100 * x for x in np.random.default_rng(0).normal(size=20).tolist()]
    got = paired([x + 1 for x in noise], noise)
    np.testing.assert_allclose(got[:3], (1, 1, 1), rtol=1e-9)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.1, 0.3, "reproduced"), (-0.1, 0.3, "not reproduced"), (-0.3, -0.1, "reversed")],
)
def test_the_verdict_is_what_the_interval_says(low, high, said):
    assert verdict(Interval((low + high) / 2, low, high, 5)) == said
    assert Part("", Interval((low + high) / 2, low, high, 5)).verdict == said


@pytest.mark.parametrize(
    ("mean", "half", "said"),
    [
        (-3.6802, 3.6712, "-3.68 ± 3.67"),
        (1234.5, 567.8, "1234 ± 568"),
        (0.00735, 0.00087, "0.007350 ± 0.000870"),
        (2.0, 0.0, "2"),
        (3.14159, np.inf, "3.142"),
    ],
)
def test_an_interval_shows_on_which_side_of_0_it_ends(mean, half, said):
    assert str(Interval(mean, mean - half, mean + half, 5)) == said


@pytest.fixture
def runs(tmp_path):
    source = tmp_path / "claim.py"

    def made(text="first"):
        source.write_text(text)
        script = types.ModuleType("claim")
        script.__file__ = str(source)
        bar = rich.progress.Progress(disable=True)
        return Runs(tmp_path / "runs.jsonl", script, bar)

    return made


def settings(count):
    return [{"seed": seed, "alpha": 0.5 * seed} for seed in range(count)]


def squares(calls):
    def run(setting):
        calls.append(1)
        return {
            "square": setting["alpha"] ** 2,
            "each": jnp.arange(2) * setting["seed"],
        }

    return run


@pytest.mark.parametrize("chunk", [1, 2, 3, 10])
def test_runs_come_back_in_order_whatever_the_chunk(runs, chunk):
    calls = []
    got = runs().many("a", squares(calls), settings(5), chunk=chunk)
    assert [row["square"] for row in got] == [(0.5 * k) ** 2 for k in range(5)]
    assert [row["each"] for row in got] == [[0, k] for k in range(5)]
    assert len(calls) == 1  # one program for any number of chunks


def test_what_is_known_is_not_run_again(runs):
    calls = []
    runs().many("a", squares(calls), settings(3), chunk=2)
    again = runs()
    got = again.many("a", squares(calls), settings(4), chunk=2)
    assert [row["square"] for row in got] == [0, 0.25, 1, 2.25]
    assert len(calls) == 2
    again.many("b", squares(calls), settings(4), chunk=2)  # another program
    assert len(calls) == 3
    assert again.many("a", squares(calls), settings(4), chunk=2) == got
    assert len(calls) == 3


def test_runs_on_other_data_or_of_other_sizes_are_others(runs):
    def shifted(setting, data, epochs):
        return {"sum": setting["alpha"] + epochs * jnp.sum(data["x"])}

    def sums(data, epochs):
        run = functools.partial(shifted, data=data, epochs=epochs)
        return [row["sum"] for row in runs().many("a", run, settings(2), chunk=2)]

    some, other = ({"x": np.array(x, np.float32), "of": len} for x in ([1, 2], [1, 3]))
    assert sums(some, 1) == [3, 3.5]
    assert sums(other, 1) == [4, 4.5]
    assert sums(some, 2) == [6, 6.5]
    assert sums(some, 1) == [3, 3.5]


def test_the_time_of_what_was_known_is_counted_once(runs, tmp_path):
    first = runs()
    first.many("a", squares([]), settings(3), chunk=3)
    assert first.seconds_before == 0
    again = runs()
    for _ in range(2):
        again.many("a", squares([]), settings(3), chunk=3)
    kept = map(json.loads, (tmp_path / "runs.jsonl").read_text().splitlines())
    assert again.seconds_before > 0
    assert again.seconds_before == pytest.approx(
        sum(row["result"]["seconds"] for row in kept)
    )


def test_another_version_of_the_script_runs_anew(runs):
    calls = []
    runs("first").many("a", squares(calls), settings(2), chunk=2)
    runs("second").many("a", squares(calls), settings(2), chunk=2)
    assert len(calls) == 2


CLAIMS = Path(program.__file__).parent
TRAINS = [
    *Path(mx.__file__).parent.rglob("*.py"),
    *(CLAIMS / "_data").rglob("*.py"),
    *(CLAIMS / "_networks").rglob("*.py"),
    CLAIMS.parent / "models.py",
    CLAIMS / "_engine" / "runs.py",
]


def test_another_version_of_what_trains_runs_anew(monkeypatch):
    script, read = types.ModuleType("claim"), Path.read_text
    script.__file__ = __file__

    def version(changed=None):
        def other(file):
            return read(file) + " " * (file == changed)

        monkeypatch.setattr(Path, "read_text", other)
        return runs_module.version_of(script)

    assert len({version(), *map(version, TRAINS)}) == len(TRAINS) + 1
    for file in (CLAIMS / "_engine" / "report.py", CLAIMS / "__main__.py"):
        assert version(file) == version()


def test_a_package_counts_with_its_sub_packages(tmp_path, monkeypatch):
    script = types.ModuleType("claim")
    script.__file__ = __file__
    monkeypatch.setattr(runs_module, "SHARED", (tmp_path,))
    (tmp_path / "some" / "deep").mkdir(parents=True)
    (tmp_path / "some" / "deep" / "file.py").write_text("x = 1")
    before = runs_module.version_of(script)
    (tmp_path / "some" / "deep" / "file.py").write_text("x = 2")
    assert runs_module.version_of(script) != before


def test_an_interrupted_run_keeps_what_was_finished(runs, tmp_path):
    class Interrupted(Exception):
        pass

    seen, down = [], [True]

    def check(alpha):
        if down[0] and alpha >= 1.5:
            raise Interrupted
        seen.append(float(alpha))
        return alpha

    def breaks(setting):
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        alpha = jnp.asarray(setting["alpha"], jnp.float32)
        return {
            "same": jax.pure_callback(check, shape, alpha, vmap_method="sequential")
        }

    with pytest.raises(Exception, match="Interrupted"):
        runs().many("a", breaks, settings(4), chunk=1)
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert len(lines) == 3
    # Simulate a machine that goes down while a line is written.
    (tmp_path / "runs.jsonl").write_text("\n".join(lines)[:-20])
    down[0] = False
    seen.clear()
    got = runs().many("a", breaks, settings(4), chunk=2)
    assert [row["same"] for row in got] == [0, 0.5, 1, 1.5]
    assert seen == [1, 1.5]
    # Results after the broken line are on lines of their own.
    assert runs().many("a", breaks, settings(4), chunk=2) == got
    assert seen == [1, 1.5]


def test_training_sees_every_row_once_an_epoch_and_the_mixer_changes_no_order():
    rows = jnp.arange(3, 10)

    def seen(mixer_key):
        def loss(params, batch, mix):
            x, _ = batch
            return jnp.sum(params * jax.lax.stop_gradient(x).sum(axis=0)), {}

        def mixer(key, batch):
            return mx.erm(mixer_key, batch)

        eye = jnp.eye(12)
        params, _ = training.fit(
            jax.random.key(0),
            jnp.zeros(12),
            (eye, None),
            rows,
            loss=loss,
            mixer=mixer,
            tx=optax.sgd(1.0),
            epochs=2,
            batch_size=7,
        )
        return -params

    got = seen(jax.random.key(1))
    np.testing.assert_array_equal(got, [0] * 3 + [2] * 7 + [0] * 2)
    np.testing.assert_array_equal(got, seen(jax.random.key(2)))


def test_a_split_has_every_row_once():
    train, test = sets.split(jax.random.key(0), 10, 0.7)
    assert len(train) == 7
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(10))


def found():
    figure = matplotlib.figure.Figure()
    figure.subplots().plot([0, 1])
    gain = Interval(1.0, 0.5, 1.5, 5)
    rows = [{"set": "a & b", "error": gain, "published": 2.0}]
    parts = [Part("less", gain), Part("faster", Interval(-2.0, -2.5, -1.5, 5), "s")]
    return Found(["one fact"], {"errors": rows}, parts, figure, ["note"])


def test_a_claim_is_written_and_reported(tmp_path, monkeypatch, capsys):
    script = types.ModuleType("benchmarks.claims.made")
    script.__doc__ = "It helps.\n\nA source."
    script.__file__ = __file__
    script.run = lambda options: found()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, script.__name__, script)
    monkeypatch.setattr(program, "CLAIMS", ("made", "other"))
    program.main(["made", "report", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "made.json").read_text())
    assert record["claim"] == "It helps."
    assert record["verdicts"][0]["verdict"] == "reproduced"
    assert record["tables"]["errors"][0]["error"] == [1.0, 0.5, 1.5, 5]
    for name in ("README.md", "report.html"):
        text = (tmp_path / name).read_text()
        for words in ("It helps.", "1.000 ± 0.500", "reproduced", "note", "one fact"):
            assert words in text, (name, words)
        hurts = text.partition("Reversed claims")[2].partition("Published results")[0]
        assert "faster: -2.000 ± 0.500 s" in hurts
        assert "less" not in hurts
        assert "not run" in text  # the other claim
    assert "a &amp; b" in (tmp_path / "report.html").read_text()
    assert "reproduced" in capsys.readouterr().out


def test_a_claim_without_its_data_says_so_and_the_report_is_written(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        program.main(["uci", "report", "--out", str(tmp_path), "--quick"])
    assert exit_.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "error: uci: not run, its data are missing" in said
    assert "--data-dir DIR" in said
    assert not (tmp_path / "uci.json").exists()
    assert "not run: its data" in (tmp_path / "README.md").read_text()


@pytest.fixture
def scripted(monkeypatch):
    """Replace the claims, in this order, by functions of the options."""

    def script(**claims):
        def imported(name):
            run = claims[name.rpartition(".")[2]]
            return types.SimpleNamespace(run=run, __doc__="It helps.\n\nA source.")

        monkeypatch.setattr(program.importlib, "import_module", imported)
        known = types.SimpleNamespace(seconds_before=0.0)
        monkeypatch.setattr(runner, "Runs", lambda *args: known)
        monkeypatch.setattr(program, "CLAIMS", tuple(claims))

    return script


def test_a_broken_file_does_not_stop_all(tmp_path, scripted, capsys):
    def broken(options):
        raise ValueError("my.csv, line 3: expected 4 fields, got [2]")

    scripted(uci=broken, gan=broken)
    (tmp_path / "uci.json").write_text("found before, and of no file that is there")
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

    scripted(uci=lambda options: found(), gan=interrupted, cifar=interrupted)
    with pytest.raises(SystemExit) as exit_:
        program.main(["all", "--out", str(tmp_path)])
    assert exit_.value.code == 130
    assert "interrupted" in capsys.readouterr().err
    assert json.loads((tmp_path / "uci.json").read_text())["claim"] == "It helps."
    written = (tmp_path / "README.md").read_text()
    assert "less: 1.000" not in written
    assert "faster: -2.000 ± 0.500 s" in written
    assert written.count("not run: interrupted") == 2


def test_a_report_of_broken_files_is_one_line(tmp_path, capsys):
    (tmp_path / "uci.json").write_text('{"claim": "cut o')
    with pytest.raises(SystemExit) as exit_:
        program.main(["report", "--out", str(tmp_path)])
    assert exit_.value.code == 2
    assert "the report needs the files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["uci", "--table", "nothing.csv"], "nothing.csv: expected a file"),
        (
            ["uci", "--table", "{table}", "--label", "nix"],
            "among 'a', 'b', 'c' or an i",
        ),
        (["uci", "--table", "{table}", "--label", "3"], "an index below 3, got 3"),
        (["uci", "--table", "{table}", "--label", "²"], "among 'a', 'b', 'c' or an i"),
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
    errors = capsys.readouterr().err.splitlines()
    assert message in errors[-1]
    assert not (out / "uci.json").exists()


@pytest.mark.parametrize("seeds", ["1", "0", "-1", "many"])
def test_fewer_than_two_seeds_have_no_interval(seeds, capsys):
    with pytest.raises(SystemExit):
        program.main(["gan", "--seeds", seeds])
    assert "expected a whole number, from 2 to" in capsys.readouterr().err


def test_a_table_of_ones_own_leaves_the_report_alone(tmp_path):
    (tmp_path / "mine.csv").touch()
    parser = program._arguments()
    args = parser.parse_args(["uci", "--table", str(tmp_path / "mine.csv")])
    assert program._place(args) == "tables/mine"


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
            sets.images(Options(None, data_dir), "cifar10")  # type: ignore
    assert asked == [None, tmp_path / "cifar10"]


def test_a_folder_is_found_from_above_and_from_within(tmp_path):
    (tmp_path / "uci" / "iris").mkdir(parents=True)
    for given in (tmp_path, tmp_path / "uci"):
        assert Options(None, given).folder("uci") == tmp_path / "uci"  # type: ignore
    with pytest.raises(NotRun, match="folder 'airfoil'"):
        Options(None, tmp_path).folder("airfoil")  # type: ignore[arg-type]


def test_any_table_with_a_label_column(tmp_path, capsys):
    rng = np.random.default_rng(0)
    lines = ["a,b,kind"]
    for _ in range(40):
        a, b = rng.normal(size=2)
        lines.append(f"{a:.3f},{b:.3f},{'up' if a > b else 'down'}")
    file = tmp_path / "mine.csv"
    file.write_text("\n".join(lines))
    words = ["uci", "--table", str(file), "--label", "kind"]
    # Adam in Optax multiplies integers with floats.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        program.main([*words, "--quick", "--out", str(tmp_path / "out")])
    record = json.loads((tmp_path / "out" / "uci.json").read_text())
    assert {row["set"] for row in record["tables"]["test error, %"]} == {"mine"}
    assert "--table mine.csv --label kind" in record["command"]
    assert "published ERM / Mixup" in record["tables"]["test error, %"][0]
    capsys.readouterr()


def test_the_report_needs_no_claim(tmp_path):
    markdown, page = report.write(tmp_path, ["uci"])
    assert "not run" in markdown.read_text()
    assert "not run" in page.read_text()
