"""Rules for the command lines of every example and every benchmark."""

import argparse
import contextlib
import importlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import command_line
from examples import (
    decision_boundary,
    gallery,
    mesh_nnx,
    pmap_linen,
    train,
    two_processes,
)
from examples._imagenet import options
from examples.datasets import Images
from tests import recipes

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted(
    str(file.relative_to(ROOT).with_suffix("")).replace(os.sep, ".")
    for room in ("examples", "benchmarks")
    for file in (ROOT / room).rglob("*.py")
    if '__name__ == "__main__"' in file.read_text()
)
EACH = [
    pytest.param(
        program,
        marks=pytest.mark.skipif(
            bool(modules := recipes.missing(program.removeprefix("examples."))),
            reason=f"needs {', '.join(modules)}",
        ),
    )
    for program in PROGRAMS
]
REQUIRED = {"benchmarks.claims.__main__": ["uci"]}


def exit_code(main, *arguments: object) -> object:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return exit_.value.code


# Every program.


def test_programs_are_found():
    assert len(PROGRAMS) >= 13
    assert {"examples.quickstart", "benchmarks.claims.__main__"} <= {*PROGRAMS}


@pytest.mark.parametrize("program", EACH)
def test_every_program_explains_itself_and_refuses_what_it_does_not_know(
    program, capsys
):
    main = importlib.import_module(program).main
    assert exit_code(main, "--help") == 0
    assert capsys.readouterr().out.startswith("usage: ")
    assert exit_code(main, *REQUIRED.get(program, []), "--no-such-option") == 2
    assert "error: unrecognized arguments: --no-such-option" in capsys.readouterr().err


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_is_started_so_that_sigint_is_no_traceback(program):
    source = (ROOT / program.replace(".", os.sep)).with_suffix(".py").read_text()
    assert source.endswith("    command_line.start(main)\n")


def parser_of(program: str, monkeypatch) -> argparse.ArgumentParser:
    class Caught(Exception):
        pass

    def catch(parser, argv):
        raise Caught(parser)

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", catch)
        with pytest.raises(Caught) as caught:
            importlib.import_module(program).main([])
    return caught.value.args[0]


@pytest.mark.parametrize("program", EACH)
def test_numbers_that_are_none_are_refused_by_every_option(
    program, monkeypatch, capsys
):
    parser = parser_of(program, monkeypatch)
    for action in parser._actions:
        assert action.type not in (int, float), "knows no bounds: see command_line"
        names = (command_line.file, command_line.folder, Path, options.function, None)
        if action.type in names:
            continue
        option = action.option_strings[0]
        for bad in ("-1", "nan", "inf", "-inf", "many", "", "1e999", "9" * 5000):
            words = [*REQUIRED.get(program, []), f"{option}={bad}"]
            assert exit_code(parser.parse_args, *words) == 2, (option, bad)
            (line,) = [x for x in capsys.readouterr().err.splitlines() if "error:" in x]
            assert re.search(rf"argument {option}: expected a .*number, .*; got", line)
            assert len(line) < 200


# Types.


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (command_line.positive_int, {"1": 1, "2147483647": 2**31 - 1}, "0 2147483648"),
        (command_line.devices, {"1": 1, "256": 256}, "0 257 100000"),
        (command_line.seed, {"0": 0, str(2**70): 2**70}, "-1 0.5 -0x1"),
        (command_line.positive_float, {"1e-3": 1e-3, "3": 3.0}, "0 -1 1e39 -0.0"),
        (command_line.nonnegative_float, {"0": 0.0, "0.2": 0.2}, "-1e-9 1e39"),
    ],
)
def test_numbers_come_through_or_are_refused(kind, good, bad):
    assert {text: kind(text) for text in good} == good
    for text in bad.split():
        with pytest.raises(argparse.ArgumentTypeError, match=f"got {text}$"):
            kind(text)


def test_a_seed_of_any_size_has_a_key_of_its_own():
    seeds = [0, 1, 500, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**40, 2**63, 2**64, 2**70]
    data = [np.asarray(jax.random.key_data(command_line.key(s))) for s in seeds]
    assert len({tuple(each.tolist()) for each in data}) == len(seeds)
    for seed, each in list(zip(seeds, data))[:5]:
        np.testing.assert_array_equal(each, jax.random.key_data(jax.random.key(seed)))


def test_a_place_is_tried_and_left_as_it_was(tmp_path, capsys):
    kept = tmp_path / "kept.json"
    kept.write_text("before")
    parser = argparse.ArgumentParser()
    new = tmp_path / "new" / "file.png"
    command_line.check_writable(parser, kept, new)
    assert kept.read_text() == "before"
    assert not new.exists()
    for bad in (kept / "below.json", tmp_path, Path("/proc/mixup_jax/file")):
        assert (
            exit_code(lambda _, bad=bad: command_line.check_writable(parser, bad)) == 2
        )
        assert f"--out: could not write {bad}" in capsys.readouterr().err


# Folders, files and sizes.


@pytest.mark.parametrize("program", [train, pmap_linen, mesh_nnx, gallery])
@pytest.mark.parametrize("data", ["digits", "fashion_mnist", "cifar10"])
def test_data_that_are_not_there(program, data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut").mkdir()
    for name in (
        "train-images-idx3",
        "train-labels-idx1",
        "t10k-images-idx3",
        "t10k-labels-idx1",
    ):
        (tmp_path / "cut" / f"{name}-ubyte.gz").write_bytes(b"\x1f\x8b\x08\0")
    (tmp_path / "cut" / "cifar-10-binary.tar.gz").write_bytes(b"\x1f\x8b\x08\0")
    # Digits come with scikit-learn: they are never read from the folder.
    folders = {"nowhere": "a path that does not exist", "a_file": "got a file"}
    if data != "digits":
        folders |= {"empty": "empty: expected a folder with", "cut": "expected a whole"}
    for folder, message in folders.items():
        assert exit_code(program.main, "--data", data, "--data-dir", folder) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("program", [pmap_linen, mesh_nnx])
@pytest.mark.parametrize("size", [3, 12, 1440])  # there are eight devices
def test_a_batch_that_cannot_be_divided_or_is_more_than_there_is(program, size, capsys):
    assert exit_code(program.main, "--batch-size", size) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "a multiple of 8, the number of devices, and at most 1437," in said
    assert said.endswith(f"got {size}.")


@pytest.mark.parametrize("program", [train, decision_boundary, gallery])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    program, tmp_path, capsys
):
    (tmp_path / "file").touch()
    assert exit_code(program.main, "--out", tmp_path / "file" / "below.png") == 2
    assert "--out: could not write" in capsys.readouterr().err.splitlines()[-1]


# The gallery.


def images(*labels: int) -> Images:
    pictures = np.zeros((len(labels), 8, 8, 1), np.uint8)
    ids = np.array(labels, np.int32)
    return Images(pictures, ids, pictures, ids, tuple("abc"))


def test_examples_are_chosen_class_by_class_from_the_seed_on():
    data = images(0, 0, 2, 2, 2, 1, 1)
    assert gallery.choose(data, 6, seed=0) == [0, 5, 2, 1, 6, 3]
    assert gallery.choose(data, 3, seed=1) == [1, 6, 3]
    assert gallery.choose(data, 3, seed=500) == [0, 5, 4]
    assert gallery.choose(images(2, 0, 2, 0), 4, seed=3) == [3, 2, 1, 0]


@pytest.mark.parametrize(("labels", "most"), [([0, 0, 2, 2, 2, 1, 1], 3), ([1, 1], 0)])
def test_more_pairs_than_there_are_examples(
    labels, most, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(gallery, "DATASETS", {"digits": lambda _: images(*labels)})
    out = tmp_path / "gallery.png"
    assert exit_code(gallery.main, "--pairs", most + 1, "--out", out) == 2
    assert f"--pairs: expected at most {most}," in capsys.readouterr().err
    assert exit_code(gallery.main, "--pairs", 101) == 2
    assert exit_code(gallery.main, "--out", tmp_path / "gallery.xyz") == 2
    assert "ends in one of .png" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("--seed", 2**70, "--pairs", 1)])
def test_gallery(arguments, monkeypatch, tmp_path):
    out = tmp_path / "new" / "gallery.png"
    monkeypatch.setattr(gallery, "MIXERS", {"mixup": gallery.MIXERS["mixup"]})
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        gallery.main([*map(str, arguments), "--out", str(out)])
    assert out.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


# SIGINT.


def test_sigint_ends_the_work_at_any_point_and_waits_for_what_follows(capsys):
    kept, unwound = [], []

    def work():
        try:
            yield 1
            yield 2
            os.kill(os.getpid(), signal.SIGINT)
            yield 3
        finally:
            unwound.append(True)

    before = signal.getsignal(signal.SIGINT)

    def main(_):
        with command_line.Interruption() as interruption:
            kept.extend(interruption.until(work()))
            assert unwound
            os.kill(os.getpid(), signal.SIGINT)  # again, while the first is handled
            kept.append("written")

    assert exit_code(main) == 130
    assert kept == [1, 2, "written"]
    assert capsys.readouterr().err == "interrupted; completed results are kept\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_sigint_between_two_pieces_loses_neither():
    def main(_):
        with command_line.Interruption() as interruption:
            for piece in interruption.until(range(5)):
                if piece == 1:
                    os.kill(os.getpid(), signal.SIGINT)
                kept.append(piece)

    kept = []
    assert exit_code(main) == 130
    assert kept == [0, 1]


def test_without_sigint_nothing_ends_early():
    with command_line.Interruption() as interruption:
        assert list(interruption.until(range(3))) == [0, 1, 2]
    with pytest.raises(ValueError, match="work"), command_line.Interruption() as wrong:
        for _ in wrong.until(int(word) for word in ["1", "work"]):
            pass


def test_workers_do_not_outlive_an_interrupted_parent(monkeypatch):
    started = []

    def sleeper(command, **options):
        worker = popen([sys.executable, "-c", "import time; time.sleep(60)"], **options)
        started.append((worker, os.getsid(worker.pid)))
        return worker

    popen = subprocess.Popen
    monkeypatch.setattr(two_processes.subprocess, "Popen", sleeper)
    monkeypatch.setattr(
        two_processes.time, "sleep", lambda _: os.kill(os.getpid(), signal.SIGINT)
    )
    args = two_processes.parse([])
    # SIGINT may be ignored in processes started in the background.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            two_processes.run(2, args)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert [worker.returncode for worker, _ in started] == [-signal.SIGKILL] * 2
    assert os.getsid(0) not in {session for _, session in started}


def interrupted(program: str, *arguments: object, when: str) -> tuple[int, str, str]:
    """Send a real SIGINT once stderr shows ``when``; return code, stdout and stderr."""
    ours, theirs = pty.openpty()  # progress bars move only on a terminal
    words = [sys.executable, "-W", "error", "-m", program, *map(str, arguments)]
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "120", "TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    said, deadline, is_sent = "", time.monotonic() + 240, False
    with contextlib.suppress(OSError):  # end of the terminal
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                block = os.read(ours, 4096)
                said += block.decode(errors="replace")
                if not block:
                    break
            if not is_sent and re.search(when, said):
                process.send_signal(signal.SIGINT)
                is_sent = True
    try:
        assert is_sent, said
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        os.close(ours)
    return process.returncode, printed, said


def test_an_interrupted_training_keeps_the_epochs_that_are_done(tmp_path):
    code, printed, said = interrupted(
        "examples.train",
        *("--epochs", 100_000, "--seeds", 2, "--limit", 64, "--out", tmp_path),
        *("--methods", "erm", "mixup"),
        when=r"epoch [1-9]\d*/100000",
    )
    assert code == 130
    assert "interrupted; completed results are kept" in said
    assert "Traceback" not in said
    results = json.loads((tmp_path / "train_digits.json").read_text())
    errors = np.array(results["test_error"]["erm"])
    done = errors.shape[1]
    assert errors.shape[0] == 2
    assert results["interrupted"]
    assert results["epochs_missing"] == {"erm": 100_000 - done, "mixup": 100_000}
    assert f"{done} of 100000" in printed
    assert (tmp_path / "train_digits.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_an_interrupted_benchmark_keeps_the_cases_that_are_done(tmp_path):
    code, printed, said = interrupted(
        *("benchmarks.growth", "--quick", "--out", tmp_path), when="growth batch 512"
    )
    assert code == 130
    assert "Traceback" not in said
    record = json.loads((tmp_path / "growth.json").read_text())
    assert {(row["grows"], row["to"]) for row in record["rows"]} == {("batch", 128)}
    assert record["interrupted"]
    assert record["missing"][0] == "batch 512"
    assert len(record["missing"]) == 7
    assert "Time per byte" in printed
    assert (tmp_path / "growth.png").stat().st_size > 1000
