"""The input of ``examples.imagenet``, on small files in ImageNet's own formats."""

import io
import json
import os
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import grain
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image

from examples._imagenet import faults, index, labels, pictures, pipeline, tars, toy
from tests.imagenet_files import (
    CLASSES,
    MODES,
    class_tars,
    devkit,
    kaggle,
    picture,
    tar_of_list,
    ten_pictures,
    train_folder,
    train_tar,
    val_tar,
)


def read_training(*paths: Path, **options: Any):
    return index.training(tars.members(paths, **options))


def is_about(row: int, image: np.ndarray, mode: str = "RGB") -> bool:
    """Return whether an image is the picture of this row, give or take JPEG's loss."""
    known = Image.open(io.BytesIO(picture(row))).convert("L" if mode == "L" else "RGB")
    color = np.asarray(known.convert("RGB"))[0, 0].astype(int)
    return bool(np.all(np.abs(image.astype(int) - color) < 12))


# The index.


@pytest.mark.parametrize("write", [train_tar, train_folder])
def test_ten_pictures_in_tars(write, tmp_path):
    found, wrong = read_training(write(tmp_path))
    assert wrong == []
    assert found.classes == CLASSES
    np.testing.assert_array_equal(found.label, [0] * 4 + [1] * 3 + [2] * 3)
    source = pictures.Pictures(found)
    contents = [
        each for members in ten_pictures().values() for each in members.values()
    ]
    assert [source[row].content for row in range(len(source))] == contents
    assert source[5].where.endswith("n01443537.tar:n01443537_5.JPEG")
    for row in range(10):
        image = np.asarray(pictures.test_crop(pictures.opened(contents[row]), 32))
        assert image.shape == (32, 32, 3)
        assert is_about(row, image, MODES.get(row, "RGB")), row


def test_some_rows_of_an_index(tmp_path):
    found, _ = read_training(train_tar(tmp_path))
    source = pictures.Pictures(found)
    some = pictures.Pictures(found.rows([8, 2]))
    assert [some[row] for row in range(2)] == [source[8], source[2]]
    assert len(found.rows(slice(None, None, 3)).label) == 4


@pytest.mark.parametrize("write", [devkit, kaggle])
def test_validation_set(write, tmp_path):
    there = tars.members([val_tar(tmp_path)])
    found, wrong = index.validation(there, labels.read(write(tmp_path)), CLASSES)
    assert wrong == []
    np.testing.assert_array_equal(found.label, [0, 1, 2, 2, 1])
    for row in range(5):
        content = pictures.Pictures(found)[row].content
        assert isinstance(content, bytes)
        assert is_about(row, np.asarray(pictures.opened(content)))


def test_the_index_is_kept_until_a_tar_changes(tmp_path, monkeypatch):
    file, cache = train_tar(tmp_path), tmp_path / "results" / "index.npz"
    first = tars.members([file], cache=cache)
    scans, scanned = [], tars._scanned
    monkeypatch.setattr(tars, "_scanned", lambda f: scans.append(f) or scanned(f))
    for one, other in zip(first, tars.members([file], cache=cache), strict=True):
        np.testing.assert_array_equal(one, other)
    assert scans == []
    os.utime(file, ns=(1, 1))
    tars.members([file], cache=cache)
    assert len(scans) == 1
    file.write_bytes(file.read_bytes() + bytes(512))
    os.utime(file, ns=(1, 1))
    assert len(tars.members([file], cache=cache).name) == 10
    assert len(scans) == 2


def test_a_cache_is_found_from_another_folder(tmp_path, monkeypatch):
    train_tar(tmp_path)
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path)
    read_training(Path("ILSVRC2012_img_train.tar"), cache=tmp_path / "index.npz")
    monkeypatch.chdir(tmp_path / "inner")
    monkeypatch.setattr(tars, "_scanned", lambda files: pytest.fail("read again"))
    found, _ = read_training(
        tmp_path / "ILSVRC2012_img_train.tar", cache=tmp_path / "index.npz"
    )
    assert isinstance(pictures.Pictures(found)[0].content, bytes)


def test_a_damaged_cache_is_made_again(tmp_path):
    file, cache = train_tar(tmp_path), tmp_path / "index.npz"
    tars.members([file], cache=cache)
    cache.write_bytes(cache.read_bytes()[:-100])
    assert len(tars.members([file], cache=cache).name) == 10


# Faults of tars and classes.


def cut(size: int) -> dict[str, bytes]:
    """Return class tars of which the second is cut off after so many bytes."""
    found = class_tars(ten_pictures())
    return found | {"n01443537.tar": found["n01443537.tar"][:size]}


def with_members(*more: tuple[str, bytes]) -> dict[str, bytes]:
    """Return class tars of which the first has further members."""
    found = ten_pictures()
    first = [*found[CLASSES[0]].items(), *more]
    return class_tars(found) | {f"{CLASSES[0]}.tar": tar_of_list(first)}


def after(pictures_before: int) -> int:
    """Return how long the second class tar is up to the end of a picture."""
    members = [*ten_pictures()[CLASSES[1]].values()][:pictures_before]
    return sum(512 + -(-len(each) // 512) * 512 for each in members)


BAD_TARS = {
    # name: (the class tars, the fault, where it is, pictures that are left)
    "cut off in a picture": (
        cut(after(1) + 700),
        "a tar that is cut off or damaged",
        "n01443537.tar",
        8,
    ),
    "cut off in a header": (
        cut(after(2) + 100),
        "a tar that is cut off or damaged",
        "n01443537.tar",
        9,
    ),
    "cut off between pictures": (
        cut(after(2)),
        "a tar that is cut off or damaged",
        "n01443537.tar",
        9,
    ),
    "not a tar": (
        class_tars(ten_pictures()) | {"n01443537.tar": b"<html>" * 200},
        "not an uncompressed tar",
        "n01443537.tar",
        7,
    ),
    "an empty tar file": (
        class_tars(ten_pictures()) | {"n01443537.tar": b""},
        "not an uncompressed tar",
        "n01443537.tar",
        7,
    ),
    "an empty class": (
        class_tars({**ten_pictures(), "n01443537": {}}),
        "a tar without pictures",
        "n01443537.tar",
        7,
    ),
    "an empty picture": (
        with_members(("n01440764_77.JPEG", b"")),
        "an empty file",
        "n01440764.tar:n01440764_77.JPEG",
        10,
    ),
    "a picture twice": (
        with_members(("n01440764_2.JPEG", picture(2))),
        "a picture that was there before",
        "n01440764.tar:n01440764_2.JPEG",
        10,
    ),
    "no WordNet id": (
        class_tars({**ten_pictures(), "goldfish": {"goldfish_1.JPEG": picture(1)}}),
        "a class without a WordNet id",
        "goldfish.tar",
        10,
    ),
    "not a picture": (
        with_members(("README.txt", b"hello")),
        "a member that is not a picture",
        "n01440764.tar:README.txt",
        10,
    ),
    "a file of macOS": (
        with_members(("._n01440764_2.JPEG", b"hello")),
        "a member that is not a picture",
        "n01440764.tar:._n01440764_2.JPEG",
        10,
    ),
}


@pytest.mark.parametrize("write", [train_tar, train_folder])
@pytest.mark.parametrize("name", BAD_TARS)
def test_a_bad_tar_by_both_policies(name, write, tmp_path):
    members, what, where, left = BAD_TARS[name]
    found, wrong = read_training(write(tmp_path, members))
    with pytest.raises(faults.Refused) as refused:
        faults.report(wrong, faults.refuse)
    said = str(refused.value)
    assert "\n" not in said
    for part in (str(tmp_path), where, what, "--skip-faults"):
        assert part in said
    log = tmp_path / "skipped.jsonl"
    faults.report(wrong, faults.skip(log))
    assert faults.counted(log) == {what: 1}
    assert len(found.label) == left
    # The labels of the other pictures stay as they were.
    assert [found.classes[label] for label in found.label] == [
        os.fsdecode(each).split("_")[0] for each in found.name
    ]
    assert found.classes == CLASSES


def test_an_outer_tar_that_is_cut_off(tmp_path):
    file = train_tar(tmp_path)
    last = len(class_tars(ten_pictures())["n02105855.tar"])
    size = 512 + last + 10240  # of the last class, and the end of the outer tar
    file.write_bytes(file.read_bytes()[:-size])
    found, wrong = read_training(file)
    assert len(found.label) == 7
    assert {each.what for each in wrong} == {"a tar that is cut off or damaged"}
    assert str(wrong[0]).startswith(f"{file}: ")


def test_an_inner_tar_that_is_cut_off_by_the_outer_one(tmp_path):
    file = train_tar(tmp_path)
    last = class_tars(ten_pictures())["n02105855.tar"]
    whole = file.read_bytes()
    start = whole.index(last)
    first = 512 + -(-len(ten_pictures()[CLASSES[2]]["n02105855_7.JPEG"]) // 512) * 512
    file.write_bytes(whole[: start + first + 600])
    found, wrong = read_training(file)
    assert len(found.label) == 8
    assert [each.where for each in wrong] == [str(file), f"{file}:n02105855.tar"]
    assert {each.what for each in wrong} == {"a tar that is cut off or damaged"}


def test_a_link_is_not_a_picture(tmp_path):
    file = tmp_path / "n01440764.tar"
    with tarfile.open(file, "w") as tar:
        link = tarfile.TarInfo("n01440764_1.JPEG")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    found, wrong = read_training(file)
    assert [each.what for each in wrong] == ["a member that is not a picture"]
    assert len(found.label) == 0


def test_the_same_class_twice(tmp_path):
    train_folder(tmp_path)
    found, wrong = read_training(train_tar(tmp_path), tmp_path / "n01443537.tar")
    assert len(found.label) == 10
    assert [each.what for each in wrong] == ["a picture that was there before"] * 3


def test_missing_classes(tmp_path):
    members = class_tars(ten_pictures())
    del members["n01443537.tar"]
    found, _ = read_training(train_tar(tmp_path, members))
    assert index.check_classes(found, 2) == []
    [wrong] = index.check_classes(found, 3, known=CLASSES)
    assert wrong.what == "wrong number of classes"
    assert wrong.detail == "expected 3, got 2, without n01443537"
    [wrong] = index.check_classes(found, 1000)
    assert wrong.detail == "expected 1000, got 2"


def test_validation_pictures_without_a_label_or_class(tmp_path):
    there = tars.members([val_tar(tmp_path, count=6)])
    known = labels.read(devkit(tmp_path)) | {"ILSVRC2012_val_00000009.JPEG": "n1"}
    found, wrong = index.validation(there, known, CLASSES[:2])
    np.testing.assert_array_equal(found.label, [0, 1, 1])
    log = tmp_path / "skipped.jsonl"
    faults.report(wrong, faults.skip(log))
    assert faults.counted(log) == {
        "a validation picture without a label": 1,
        "a picture of a class not in training": 2,
        "labeled pictures are missing": 1,
    }
    for each in wrong:
        with pytest.raises(faults.Refused, match=each.what):
            faults.refuse(each)
    assert wrong[-1].detail == "1 of 6, from ILSVRC2012_val_00000009.JPEG on"


@pytest.mark.parametrize(
    ("name", "content", "got"),
    [
        ("a.csv", b"ImageId,PredictionString\nx,cat 1 2 3 4\n", "'cat' in place of"),
        ("a.csv", b"id,label\nx,y\n", "cannot be read"),
        ("a.csv", b"", "got none"),
        ("a.tar.gz", b"<html>", "cannot be read"),
    ],
)
def test_bad_labels(name, content, got, tmp_path):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(ValueError, match=got) as error:
        labels.read(file)
    assert str(error.value).startswith(f"{file}: expected WordNet ids")
    assert "\n" not in str(error.value)


def test_a_devkit_with_an_id_of_no_class(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        labels.read(devkit(tmp_path, (1, 2, 7)))


def test_paths_without_tars(tmp_path):
    with pytest.raises(FileNotFoundError, match="a folder without any"):
        tars.members([tmp_path])
    with pytest.raises(FileNotFoundError, match="no such path"):
        tars.members([tmp_path / "train.tar"])


# Faults of pictures.


def large(content: bytes) -> bytes:
    """Return a JPEG file that claims to have 65500 x 65500 pixels."""
    start = content.index(b"\xff\xc0") + 5
    return content[:start] + b"\xff\xdc\xff\xdc" + content[start + 4 :]


def noise() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG")
    return content.getvalue()


BAD_PICTURES = {
    "a truncated picture": noise()[:-700],
    "not a picture": b"<html>not found</html>",
    "a picture with too many pixels": large(picture(0)),
    "a damaged picture": picture(0, file_format="PNG")[:60] + b"?" * 40,
}


def with_bad_picture(content: bytes) -> dict[str, bytes]:
    return with_members(("n01440764_99.JPEG", content))


def arguments(**changes: Any) -> dict[str, Any]:
    usual = {"size": 16, "batch_size": 3, "threads": 2, "share": pipeline.Share(0, 1)}
    return usual | changes


@pytest.mark.parametrize("what", BAD_PICTURES)
def test_a_bad_picture_by_both_policies(what, tmp_path):
    members = with_bad_picture(BAD_PICTURES[what])
    found, wrong = read_training(train_tar(tmp_path, members))
    assert wrong == []
    assert len(found.label) == 11
    source = pictures.Pictures(found)
    train = partial(pipeline.batches, source, seed=0, epochs=4)
    for start in (train, partial(pipeline.evaluation_batches, source)):
        with pytest.raises(faults.Refused) as refused:
            list(start(**arguments()))
        said = str(refused.value)
        assert "\n" not in said
        for part in (str(tmp_path), "n01440764.tar:n01440764_99.JPEG", what, "--skip"):
            assert part in said

    if what == "not a picture":
        assert "it starts with b'<html>no')" in said

    log = tmp_path / "skipped.jsonl"
    got = list(train(**arguments(on_fault=faults.skip(log))))
    assert len(got) == 4 * 11 // 3
    assert {each["image"].shape for each in got} == {(3, 16, 16, 3)}
    assert faults.counted(log) == {what: 1}
    assert len(log.read_text().splitlines()) >= 4, "in each epoch"

    weights = [
        each["weight"]
        for each in pipeline.evaluation_batches(
            source, **arguments(on_fault=faults.skip(log))
        )
    ]
    assert [len(each) for each in weights] == [3] * 4
    assert np.concatenate(weights).sum() == 10
    assert faults.counted(log) == {what: 1}


def test_a_refusal_is_found_in_the_error_that_wraps_it():
    refused = faults.Refused("x.tar:1.JPEG: a bad picture. Replace it.")
    assert faults.refusal(refused) == str(refused)
    text = f"raise Refused(\nexamples._imagenet.faults.Refused: {refused}\n\nAbove."
    assert faults.refusal(RuntimeError(text)) == str(refused)
    assert faults.refusal(RuntimeError("Refused by the server")) is None


def test_a_tar_that_is_gone(tmp_path):
    file = train_tar(tmp_path)
    found, _ = read_training(file)
    file.unlink()
    example = pictures.Pictures(found)[0]
    assert isinstance(example.content, faults.Fault)
    assert example.content.what == "a picture that cannot be read"


def test_data_that_are_nearly_all_bad_end_the_run(tmp_path):
    class Junk(toy.Arrays):
        def __getitem__(self, index: int) -> pictures.Example:
            return pictures.Example(b"junk", np.int32(0), f"junk:{index}")

    # Grain shuffles a few examples so slowly that it takes more of them.
    nothing = np.zeros((2000, 2, 2, 3), np.uint8)
    source = Junk(nothing, np.zeros(2000, np.int32), "junk")
    log = faults.skip(tmp_path / "skipped.jsonl")
    usual = arguments(on_fault=log, threads=0)
    run = pipeline.batches(source, seed=0, epochs=1, **usual)
    with pytest.raises(ValueError, match="skipped 100"):
        next(run)


# Batches.


def numbered(count: int) -> toy.Arrays:
    """Return pictures whose pixels, whatever the crop, are the number of the row."""
    rows = np.arange(count, dtype=np.int32)
    images = np.broadcast_to(rows[:, None, None, None], (count, 9, 8, 3))
    return toy.Arrays(images.astype(np.uint8), rows, "numbered")


def rows_of(run: Any) -> list[int]:
    """Return the rows in the order of the batches, and check the labels."""
    rows = []
    for batch in run:
        assert (batch["image"].dtype, batch["label"].dtype) == (np.uint8, np.int32)
        np.testing.assert_array_equal(
            batch["image"].min(axis=(1, 2, 3)), batch["label"]
        )
        np.testing.assert_array_equal(
            batch["image"].max(axis=(1, 2, 3)), batch["label"]
        )
        rows += batch["label"].tolist()
    return rows


def test_each_epoch_has_every_picture_in_another_order():
    run = pipeline.batches(numbered(24), seed=3, epochs=3, **arguments())
    epochs = np.reshape(rows_of(run), (3, 24))
    for epoch in epochs:
        assert sorted(epoch) == [*range(24)]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    again = pipeline.batches(numbered(24), seed=3, epochs=3, **arguments())
    np.testing.assert_array_equal(rows_of(again), epochs.ravel())
    other = pipeline.batches(numbered(24), seed=4, epochs=3, **arguments())
    assert rows_of(other) != epochs.ravel().tolist()


@pytest.mark.parametrize("count", [24, 25])
def test_two_shares_are_disjoint_and_equally_long(count):
    shares = [
        rows_of(
            pipeline.batches(
                numbered(count),
                seed=0,
                epochs=2,
                **arguments(share=pipeline.Share(process, 2)),
            )
        )
        for process in range(2)
    ]
    assert len(shares[0]) == len(shares[1]) == 2 * count // 6 * 3
    both = np.ravel(np.transpose(shares))  # in the order of the whole
    for epoch in (both[:count], both[count:]):
        assert len(set(epoch)) == len(epoch)
    assert set(both[:count]) == {*range(count)}
    if count == 24:
        assert both[:24].tolist() != both[24:].tolist()


def test_shares_stay_equally_long_if_pictures_are_skipped(tmp_path):
    class Bad(toy.Arrays):
        def __getitem__(self, index: int) -> pictures.Example:
            example = super().__getitem__(index)
            return example._replace(content=b"junk") if index < 8 else example

    good = numbered(24)
    source = Bad(good.images, good.labels, "bad")
    assert pipeline.steps(source, batch_size=3, epochs=2) == 16
    log = tmp_path / "skipped.jsonl"
    usual = arguments(on_fault=faults.skip(log))
    for process in range(2):
        usual["share"] = pipeline.Share(process, 2)
        rows = rows_of(pipeline.batches(source, seed=0, epochs=2, **usual))
        assert len(rows) == 24
        assert min(rows) >= 8
        run = list(pipeline.evaluation_batches(source, **usual))
        assert [each["image"].shape[0] for each in run] == [3] * 4
    assert faults.counted(log) == {"not a picture": 8}


@pytest.mark.parametrize(("count", "processes"), [(10, 1), (10, 2), (12, 2), (1, 2)])
def test_evaluation_has_each_picture_once(count, processes):
    seen, lengths = [], set()
    for process in range(processes):
        share = pipeline.Share(process, processes)
        run = list(
            pipeline.evaluation_batches(numbered(count), **arguments(share=share))
        )
        lengths.add(len(run))
        for batch in run:
            assert batch["image"].shape == (3, 16, 16, 3)
            assert batch["weight"].dtype == np.float32
            assert not np.any(batch["image"][batch["weight"] == 0])
        rows = rows_of(run)
        weights = np.concatenate([batch["weight"] for batch in run])
        seen += [row for row, weight in zip(rows, weights) if weight]
    assert sorted(seen) == [*range(count)]
    assert lengths == {-(-count // (3 * processes))}


def test_too_large_a_batch():
    with pytest.raises(ValueError, match="--batch-size: expected at most 20") as error:
        pipeline.batches(numbered(10), seed=0, epochs=2, **arguments(batch_size=21))
    assert "\n" not in str(error.value)


def stripes_of(seed: int, **changes: Any) -> Any:
    source = toy.stripes(20, 1, size=24).train
    usual = arguments(share=None) | changes
    return pipeline.batches(source, seed=seed, epochs=2, **usual)


def test_an_orbax_checkpoint_goes_on_where_it_was(tmp_path):
    run = stripes_of(0)
    for _ in range(5):
        next(run)
    with ocp.CheckpointManager(tmp_path / "checkpoints") as manager:
        manager.save(
            5, args=ocp.args.Composite(input=grain.checkpoint.CheckpointSave(run))
        )
        manager.wait_until_finished()
        rest, resumed = list(run), stripes_of(0)
        args = ocp.args.Composite(input=grain.checkpoint.CheckpointRestore(resumed))
        manager.restore(5, args=args)
    again = list(resumed)
    assert len(rest) == len(again) == 2 * 20 // 3 - 5
    for one, other in zip(rest, again, strict=True):
        for name in ("image", "label"):
            np.testing.assert_array_equal(one[name], other[name])


def test_crops_differ_between_epochs_and_processes():
    def crops(**changes: Any) -> set[bytes]:
        same = np.arange(30 * 30 * 3).reshape(1, 30, 30, 3) % 251
        images = np.repeat(same, 6, axis=0).astype(np.uint8)
        source = toy.Arrays(images, np.zeros(6, np.int32), "same")
        run = pipeline.batches(source, seed=0, epochs=4, **arguments(**changes))
        return {each.tobytes() for batch in run for each in batch["image"]}

    assert len(crops()) == 24
    halves = [crops(share=pipeline.Share(process, 2)) for process in range(2)]
    assert len(halves[0] | halves[1]) == 24


def inverted(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    assert isinstance(rng, np.random.Generator)
    assert (picture.size, picture.mode) == ((16, 16), "RGB")
    return picture.point(lambda value: 255 - value)


def test_the_hook_augments_the_crop():
    for plain, other in zip(stripes_of(0), stripes_of(0, augment=inverted)):
        np.testing.assert_array_equal(255 - plain["image"], other["image"])


def end(run: Any) -> None:
    getattr(run, "close", lambda: None)()  # Grain 0.2.15


@pytest.mark.slow
def test_worker_processes(tmp_path):
    members = with_bad_picture(BAD_PICTURES["a truncated picture"])
    found, _ = read_training(train_tar(tmp_path, members))
    source, log = pictures.Pictures(found), tmp_path / "skipped.jsonl"
    usual = arguments(seed=0, epochs=4, batch_size=2, workers=2)
    with pytest.raises(Exception, match="a truncated picture") as refused:
        list(pipeline.batches(source, **usual))
    said = faults.refusal(refused.value)
    assert said is not None
    assert said.startswith(str(tmp_path))
    assert said.endswith("to leave out everything like it and count it.")
    assert "\n" not in said

    run = pipeline.batches(source, **usual, on_fault=faults.skip(log))
    first = [next(run)["image"].copy() for _ in range(7)]
    state = json.loads(json.dumps(run.get_state()))
    rest = [batch["image"].copy() for batch in run]
    end(run)
    assert len(first + rest) == 22
    assert faults.counted(log) == {"a truncated picture": 1}
    run = pipeline.batches(source, **usual, on_fault=faults.skip(log))
    run.set_state(state)
    np.testing.assert_array_equal([batch["image"].copy() for batch in run], rest)
    end(run)

    del usual["seed"], usual["epochs"]
    run = pipeline.evaluation_batches(source, **usual, on_fault=faults.skip(log))
    weights = [batch["weight"].copy() for batch in run]
    end(run)
    assert [len(each) for each in weights] == [2] * 6
    assert np.sum(weights) == 10


# Crops.


def test_random_boxes_have_the_moments_of_their_distribution():
    rng, side, count = np.random.default_rng(0), 1000, 20_000
    boxes = [pictures.random_box(rng, side, side) for _ in range(count)]
    left, top, right, bottom = np.array(boxes).T
    across, down = right - left, bottom - top
    area, aspect = across * down / side**2, across / down
    assert 0.0795 < area.min() < 0.085
    assert 0.99 < area.max() <= 1
    assert 0.74 < aspect.min() < 0.752
    assert 1.331 < aspect.max() < 1.34
    assert left.min() == top.min() == 0
    assert right.max() == bottom.max() == side

    # Area and log aspect are uniform, given that the box fits into the square.
    most = np.log(4 / 3)
    areas, logs = np.meshgrid(np.linspace(0.08, 1, 801), np.linspace(-most, most, 801))
    fits = areas <= np.exp(-np.abs(logs))
    for found, known in ((area, areas[fits]), (np.log(aspect), logs[fits])):
        assert abs(found.mean() - known.mean()) < 5 * known.std() / count**0.5
        assert abs(found.std() / known.std() - 1) < 0.03
    for start, length in ((left, across), (top, down)):
        place = (start + 0.5) / (side - length + 1)  # uniform in 0..1
        assert abs(place.mean() - 1 / 2) < 5 * 12**-0.5 / count**0.5
        assert abs(place.std() * 12**0.5 - 1) < 0.03


def test_a_panorama_has_its_center():
    rng = np.random.default_rng(0)
    assert pictures.random_box(rng, 4000, 99) == (1934, 0, 2066, 99)
    assert pictures.random_box(rng, 99, 4000) == (0, 1934, 99, 2066)
    assert pictures.random_box(rng, 1, 1) == (0, 0, 1, 1)


def smooth(width: int, height: int) -> Image.Image:
    coarse = np.random.default_rng(1).integers(0, 256, (9, 12, 3), np.uint8)
    bicubic = Image.Resampling.BICUBIC
    return Image.fromarray(coarse).resize((width, height), bicubic)


def test_half_of_the_crops_are_flipped():
    rng, ramp = np.random.default_rng(0), np.zeros((8, 8, 3), np.uint8)
    ramp += np.arange(0, 240, 30, dtype=np.uint8)[:, None]
    flipped = [
        image[0, 0, 0] > image[0, -1, 0]
        for image in (
            np.asarray(pictures.train_crop(rng, Image.fromarray(ramp), 8))
            for _ in range(1000)
        )
    ]
    assert abs(np.mean(flipped) - 1 / 2) < 5 * 0.5 / 1000**0.5


@pytest.mark.parametrize(
    ("width", "height"), [(500, 375), (375, 500), (256, 256), (90, 60), (1000, 64)]
)
def test_the_center_is_that_of_the_whole_picture_resized(width, height):
    whole, size = smooth(width, height), 224
    shorter, longer = 256, int(256 * max(width, height) / min(width, height))
    across, down = (longer, shorter) if width > height else (shorter, longer)
    resized = whole.resize((across, down), Image.Resampling.BICUBIC)
    left, top = round((across - size) / 2), round((down - size) / 2)
    known = np.asarray(resized.crop((left, top, left + size, top + size)))
    found = np.asarray(pictures.test_crop(whole, size))
    # The two round intermediate results of the filter differently.
    assert np.abs(found.astype(int) - known).max() <= 1


def test_a_large_jpeg_decoded_at_half_its_size_looks_the_same(monkeypatch):
    content = io.BytesIO()
    smooth(1600, 1200).save(content, "JPEG", quality=95)

    def crops() -> list[np.ndarray]:
        rng = np.random.default_rng(2)
        found = [
            pictures.train_crop(rng, pictures.opened(content.getvalue()), 64)
            for _ in range(5)
        ]
        center = pictures.test_crop(pictures.opened(content.getvalue()), 64)
        return [np.asarray(each).astype(int) for each in (*found, center)]

    sizes, fast = [], crops()
    kind = type(pictures.opened(content.getvalue()))
    monkeypatch.setattr(kind, "draft", lambda picture, *_: sizes.append(picture.size))
    for one, other in zip(fast, crops(), strict=True):
        assert np.abs(one - other).max() <= 4
        assert np.abs(one - other).mean() < 1
    assert len(sizes) >= 4


# Toys.


def test_stripes_have_ten_classes_that_color_and_direction_tell():
    data = toy.stripes()
    assert len(data.classes) == 10
    assert (len(data.train), len(data.test)) == (400, 200)
    np.testing.assert_array_equal(np.bincount(data.train.labels), [40] * 10)

    def features(part: toy.Arrays) -> np.ndarray:
        # The classes must be told apart after crops and flips as well.
        rng = np.random.default_rng(0)
        rows = []
        for image in part.images:
            crop = pictures.train_crop(rng, Image.fromarray(image), 32)
            pixels = np.asarray(crop) / 255
            steps = [np.abs(np.diff(pixels, axis=axis)).mean() for axis in (0, 1)]
            rows.append([*pixels.mean(axis=(0, 1)), 4 * (steps[0] - steps[1])])
        return np.array(rows)

    train, test = features(data.train), features(data.test)
    distances = np.abs(test[:, None] - train).sum(axis=-1)
    nearest = data.train.labels[distances.argmin(axis=1)]
    assert np.mean(nearest == data.test.labels) > 0.7


def test_cifar10_has_the_same_interface(monkeypatch):
    images = np.arange(2 * 32 * 32 * 3).reshape(2, 32, 32, 3).astype(np.uint8)
    labels_ = np.array([4, 2], np.int32)
    data = toy.Images(images, labels_, images[:1], labels_[:1], tuple("0123456789"))
    monkeypatch.setattr(toy, "read_cifar10", lambda data_dir: data)
    found = toy.cifar10()
    assert (len(found.train), len(found.test)) == (2, 1)
    [batch] = pipeline.batches(
        found.train, seed=0, epochs=1, **arguments(batch_size=2, size=32)
    )
    assert batch["image"].shape == (2, 32, 32, 3)
    assert sorted(batch["label"]) == [2, 4]
