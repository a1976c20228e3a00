"""The readers of tables, speech and questions, on synthetic files and the real data."""

import io
import re
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from examples.datasets import questions, recordings, tables

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_shared_data = pytest.mark.skipif(
    not SHARED_DATA.is_dir(), reason="the real data sets are not beside the repository"
)


def save(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


# CSV.


def test_the_last_column_is_the_label_and_classes_are_sorted(tmp_path):
    file = save(tmp_path / "set.csv", "1,2,b\n3,4,a\n5,6,b\n")
    table = tables.read_table(file)
    np.testing.assert_array_equal(table.features, [[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(table.labels, [1, 0, 1])
    assert table.features.dtype == np.float32
    assert table.labels.dtype == np.int32
    assert (table.classes, table.name) == (("a", "b"), "set")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("mark", [",", ";", "\t", " ", "   ", ", ", " \t "])
@pytest.mark.parametrize("header", [True, False])
def test_any_delimiter_header_and_line_end(header, mark, last, end, tmp_path):
    rows = [["height", "width", "kind"]] * header
    rows += [["1.5", "-2e1", "x"], ["+.5", "4.", "y"]]
    text = end.join(mark.join(row) for row in rows) + end * last
    table = tables.read_table(
        save(tmp_path / "set.data", text), delimiter=" " if mark == " \t " else None
    )
    np.testing.assert_array_equal(table.features, [[1.5, -20], [0.5, 4]])
    np.testing.assert_array_equal(table.labels, [0, 1])
    assert table.classes == ("x", "y")


@pytest.mark.parametrize("label", ["kind", 0, -3])
def test_the_label_by_name_or_index(label, tmp_path):
    file = save(tmp_path / "set.csv", "kind,a,b\nx,1,2\ny,3,4\n")
    table = tables.read_table(file, label)
    np.testing.assert_array_equal(table.features, [[1, 2], [3, 4]])
    assert table.classes == ("x", "y")


def test_a_label_by_name_says_that_there_is_a_header(tmp_path):
    file = save(tmp_path / "set.csv", "kind,colour\nx,red\ny,blue\nx,red\n")
    table = tables.read_table(file, "kind")
    np.testing.assert_array_equal(table.features, [[0, 1], [1, 0], [0, 1]])
    np.testing.assert_array_equal(table.labels, [0, 1, 0])


@pytest.mark.parametrize("label", ["none", 3, -4])
def test_a_label_that_is_not_there_is_said(label, tmp_path):
    file = save(tmp_path / "set.csv", "a,b,kind\n1,2,x\n")
    with pytest.raises(ValueError, match=r"set\.csv: .*'kind'.* below 3, got"):
        tables.read_table(file, label)


def test_numeric_classes_are_ordered_by_value_and_equal_by_value(tmp_path):
    file = save(tmp_path / "set.csv", "0,10\n0,9\n0,-1\n0,9.0\n0,0.5\n")
    table = tables.read_table(file)
    assert table.classes == ("-1", "0.5", "9", "10")
    np.testing.assert_array_equal(table.labels, [3, 2, 0, 2, 1])


def test_levels_become_one_hot_where_they_stand(tmp_path):
    file = save(tmp_path / "set.csv", "1,red,2,x\n3,blue,4,y\n5,green,6,x\n")
    table = tables.read_table(file)
    expected = [[1, 0, 0, 1, 2], [3, 1, 0, 0, 4], [5, 0, 1, 0, 6]]
    np.testing.assert_array_equal(table.features, expected)


@pytest.mark.parametrize("column", ["doors", 0])
def test_numbers_can_be_declared_levels(column, tmp_path):
    file = save(tmp_path / "set.csv", "doors,kind\n2,x\n4,y\n5more,x\n4,y\n")
    with pytest.raises(ValueError, match=r"line 4: .*'doors', got '5more'.*categor"):
        tables.read_table(file)
    table = tables.read_table(file, categorical=[column])
    np.testing.assert_array_equal(table.features, np.eye(3)[[0, 1, 2, 1]])


@pytest.mark.parametrize("missing", ["?", "", "NA", " ? ", "NaN", "nan", "null"])
def test_missing_values_become_the_mean_or_the_most_frequent_level(missing, tmp_path):
    rows = ["1,red,x", f"{missing},red,y", "4,blue,x", f"5.5,{missing},y"]
    table = tables.read_table(save(tmp_path / "set.csv", "\n".join(rows)))
    expected = [[1, 0, 1], [3.5, 0, 1], [4, 1, 0], [5.5, 0, 1]]
    np.testing.assert_array_equal(table.features, expected)


def test_of_levels_equally_frequent_the_first_fills_in(tmp_path):
    table = tables.read_table(save(tmp_path / "set.csv", "b,0\na,0\n?,1\n"))
    np.testing.assert_array_equal(table.features, [[0, 1], [1, 0], [1, 0]])


def test_quotes_hold_delimiters_and_line_ends(tmp_path):
    text = 'size,"the, kind"\n1,"x, ""y"""\n2,"two\nlines"\n3,z\noops\n'
    with pytest.raises(ValueError, match=r"line 6: expected 2 fields, got 1"):
        tables.read_table(save(tmp_path / "set.csv", text))
    table = tables.read_table(save(tmp_path / "set.csv", text[:-5]), "the, kind")
    assert table.classes == ("two\nlines", 'x, "y"', "z")


def test_blank_lines_and_a_byte_order_mark_are_passed_over(tmp_path):
    text = "\ufeff1,x\n\n2,y\n   \n\n"
    table = tables.read_table(save(tmp_path / "set.csv", text))
    np.testing.assert_array_equal(table.features, [[1], [2]])


def test_regression_targets_are_floats(tmp_path):
    file = save(tmp_path / "set.dat", "1\t2\t103.5\r\n3\t4\t99\r\n")
    table = tables.read_regression(file)
    np.testing.assert_array_equal(table.labels, [103.5, 99])
    assert table.labels.dtype == np.float32
    assert table.classes == ()


CSV_DAMAGE = {
    "empty": ("", "line 1: expected rows, got an empty file"),
    "blank": ("\n \n", "line 1: expected rows, got an empty file"),
    "one field too few": ("1,2,x\n3,y\n", "line 2: expected 3 fields, got 2"),
    "one field too many": ("1,2,x\n3,4,5,y\n", "line 2: expected 3 fields, got 4"),
    "last line cut short": ("1,2,x\n3,4,y\n\n5,", "line 4: expected 3 fields, got 2"),
    "text among numbers": ("1,x\n2,y\n3o,x\n", "line 3: .*number.*'0', got '3o'"),
    "not finite": ("1,x\n2,y\ninf,x\n", "line 3: .*finite.*got 'inf'"),
    "NUL": ("1,x\n2,y\0\n3,x\n", "line 2: .*NUL"),
    "a pointer": ("version https://git-lfs.github.com/spec/v1\n", "line 1: .*Git LFS"),
    "one class": ("1,x\n2,x\n", "line 2: expected at least two classes"),
    "a header in words": ("height,width,kind\n", "line 1: .*two classes"),
    "beyond float32": ("1,x\n1e39,y\n", "line 2: .*float32.*got '1e39'"),
    "beyond float64": ("1,x\n-1e999,y\n", "line 2: .*float32.*got '-1e999'"),
    "underscore": ("1,x\n2,y\n1_0,x\n", "line 3: .*got '1_0'"),
    "missing label": ("1,x\n2,\n", "line 2: expected a label"),
    "row of nothing": ("1,x\n,\n", "line 2: expected a label"),
    "open quote": ('1,x\n2,"y\n3,z\n', "line 3: .*malformed line"),
    "column of nothing": ("1,?,x\n2,?,y\n", "column '1', but all are missing"),
    "name twice": ("a,a,kind\n1,2,x\n", "line 1: .*'a' more than once"),
    "labels only": ("x\ny\n", "line 1: expected features beside the label"),
}


@pytest.mark.parametrize("damage", CSV_DAMAGE)
def test_a_malformed_csv_is_named_with_its_line(damage, tmp_path):
    text, words = CSV_DAMAGE[damage]
    file = save(tmp_path / "broken.csv", text)
    with pytest.raises(ValueError, match=f"{re.escape(str(file))}(, |: ).*{words}"):
        tables.read_table(file)


def test_a_header_alone_is_no_table(tmp_path):
    file = save(tmp_path / "broken.csv", "a,b\n")
    with pytest.raises(ValueError, match=r"broken\.csv: expected rows after"):
        tables.read_table(file, "b")


def test_regression_refuses_a_target_that_is_no_number(tmp_path):
    file = save(tmp_path / "set.csv", "1,2\n3,x\n5,6\n")
    with pytest.raises(ValueError, match=r"line 2: expected a finite .* got 'x'"):
        tables.read_regression(file)
    save(file, "1,2\n3,NA\n5,6\n")
    with pytest.raises(ValueError, match="line 2: expected a label"):
        tables.read_regression(file)


def test_text_in_another_encoding_is_named_with_its_line(tmp_path):
    file = tmp_path / "set.csv"
    file.write_bytes("1,a\n2,é\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"set\.csv, line 2: .*UTF-8.*0xe9"):
        tables.read_table(file)


def test_a_file_that_is_not_there():
    with pytest.raises(FileNotFoundError, match="nowhere"):
        tables.read_table("nowhere.csv")


finite = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=5),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@given(features=finite, mark=st.sampled_from([",", ";", "\t", " "]))
def test_numbers_come_back_as_written(features, mark, tmp_path_factory):
    rows = [mark.join([*map(repr, row), "class"]) for row in features.tolist()]
    rows += [mark.join([*["0"] * features.shape[1], "other"])]
    file = save(tmp_path_factory.mktemp("csv") / "set.csv", "\n".join(rows))
    np.testing.assert_array_equal(tables.read_table(file).features[:-1], features)


# ARFF.

ARFF = """% a comment
@RELATION 'toy set'

@attribute 'body height' REAL % trailing
@Attribute "col%our" {red, 'dark, \\'blue\\'', green}
@attribute n numeric
@attribute count integer [0, 9]
@attribute class{no,yes,"may be"}
@data
% another comment
1.5,red,1,2,yes

?, 'dark, \\'blue\\'' ,2,4,no % end
2.5,?,3,?,"may be"
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("label", [-1, "class"])
def test_arff(label, end, tmp_path):
    file = save(tmp_path / "toy.ARFF", ARFF.replace("\n", end))
    table = tables.read_table(file, label)
    expected = [
        [1.5, 1, 0, 0, 1, 2],
        [2.0, 0, 1, 0, 2, 4],
        [2.5, 1, 0, 0, 3, 3],
    ]
    np.testing.assert_array_equal(table.features, expected)
    np.testing.assert_array_equal(table.labels, [1, 0, 2])
    assert table.classes == ("no", "yes", "may be")


def test_arff_regression(tmp_path):
    table = tables.read_regression(save(tmp_path / "toy.arff", ARFF), "n")
    np.testing.assert_array_equal(table.labels, [1, 2, 3])


def test_a_declared_question_mark_is_no_level(tmp_path):
    text = "@attribute a {?,x,y}\n@attribute class {0,1}\n@data\nx,0\ny,1\ny,1\n?,0"
    table = tables.read_table(save(tmp_path / "set.arff", text))
    np.testing.assert_array_equal(table.features, [[1, 0], [0, 1], [0, 1], [0, 1]])


ARFF_DAMAGE = {
    "empty": ("", "line 1: expected rows, got an empty"),
    "no data": ("@relation x\n@attribute a real\n", "line 2: expected @data"),
    "no rows": ("@attribute a real\n@data\n%\n", ": expected rows after the header"),
    "no attributes": ("@data\n1,2\n", "line 2: expected 0 fields, got 2"),
    "text attribute": ("@attribute a string\n@data\nx\n", "line 1: .*NAME TYPE"),
    "no type": ("@relation r\n@attribute areal\n@data\n", "line 2: .*NAME TYPE"),
    "not a keyword": ("1,2\n@data\n", "line 1: .*NAME TYPE.*'1,2'"),
    "name twice": ("@attribute a real\n" * 2 + "@data\n", "line 3: .*'a' more than"),
    "level twice": ("@attribute a {x,y,x}\n@data\n", "line 1: .*'x' more than once"),
    "undeclared": (f"{ARFF}1,red,1,1,never\n", "line 15: .*'class', .* got 'never'"),
    "no number": (f"{ARFF}1,red,one,1,yes\n", "line 15: .*'n', got 'one'"),
    "empty field": (f"{ARFF}1,red,,1,yes\n", "line 15: .*'n', got ''"),
    "missing label": (f"{ARFF}1,red,1,1,?\n", "line 15: expected a label"),
    "too few": (f"{ARFF}1,red,1\n", "line 15: expected 5 fields, got 3"),
    "too many": (f"{ARFF}1,red,1,1,yes,\n", "line 15: expected 5 fields, got 6"),
    "sparse": (f"{ARFF}{{0 1, 4 yes}}\n", "line 15: .*sparse rows are not"),
    "open quote": (f"{ARFF}1,'red,1,1,yes\n", "line 15: .*separated by commas"),
}


@pytest.mark.parametrize("damage", ARFF_DAMAGE)
def test_a_malformed_arff_is_named_with_its_line(damage, tmp_path):
    text, words = ARFF_DAMAGE[damage]
    file = save(tmp_path / "broken.arff", text)
    with pytest.raises(ValueError, match=f"{re.escape(str(file))}.*{words}"):
        tables.read_table(file)


# The UCI data sets.

FOLDERS = {
    "abalone": "uci/abalone",
    "arcene": "uci/arcene",
    "arrhythmia": "uci/arrhythmia",
    "htru2": "uci/htru2",
    "iris": "uci/iris",
    "phishing": "uci/phishing_websites",
    "airfoil": "airfoil",
}
FEATURES = {
    "abalone": (4177, 10),
    "arcene": (200, 10_000),
    "arrhythmia": (452, 279),
    "htru2": (17_898, 8),
    "iris": (150, 4),
    "phishing": (11_055, 30),
    "airfoil": (1503, 5),
}
ABALONE_COUNTS = """
    1 1 15 57 115 259 391 568 689 634 487 267 203 126 103
    67 58 42 32 26 14 6 9 2 1 1 2 1
"""
CLASSES = {
    "abalone": dict(
        zip(
            [str(rings) for rings in range(1, 30) if rings != 28],
            map(int, ABALONE_COUNTS.split()),
            strict=True,
        )
    ),
    "arcene": {"-1": 112, "1": 88},
    "arrhythmia": dict(
        zip(
            ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "14", "15", "16"],
            [245, 44, 15, 15, 13, 25, 3, 2, 9, 50, 4, 5, 22],
            strict=True,
        )
    ),
    "htru2": {"0": 16_259, "1": 1639},
    "iris": {"Iris-setosa": 50, "Iris-versicolor": 50, "Iris-virginica": 50},
    "phishing": {"-1": 4898, "1": 6157},
}


def real(name: str) -> tables.Table:
    return tables.UCI[name](SHARED_DATA / FOLDERS[name])


def test_the_table_of_sets_is_complete():
    assert set(tables.UCI) == set(FOLDERS) == set(FEATURES)


@pytest.mark.parametrize("name", tables.UCI)
def test_a_folder_without_the_file_is_said(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{re.escape(str(tmp_path))}: .* with"):
        tables.UCI[name](tmp_path)


def test_a_file_cut_at_a_line_end_is_not_the_documented_set(tmp_path):
    save(tmp_path / "iris.data", "5.1,3.5,1.4,0.2,Iris-setosa\n" * 50)
    with pytest.raises(
        ValueError, match=r"iris\.data, line 50: expected 150 rows .* 50"
    ):
        tables.iris(tmp_path)


def test_other_values_are_not_the_documented_set(tmp_path):
    save(tmp_path / "iris.data", "5.1,3.5,1.4,0.2,Iris-setosa\n" * 150)
    with pytest.raises(
        ValueError, match=r"iris\.data, lines 1 to 150: .*values of the"
    ):
        tables.iris(tmp_path)


@needs_shared_data
@pytest.mark.parametrize("name", tables.UCI)
def test_a_real_set_without_its_last_character_is_refused(name, tmp_path):
    for file in (SHARED_DATA / FOLDERS[name]).iterdir():
        text = file.read_text(errors="replace").rstrip()
        save(tmp_path / file.name, text[:-1])
    with pytest.raises(ValueError, match="line"):
        tables.UCI[name](tmp_path)


@needs_shared_data
def test_a_real_set_in_other_words_is_the_same(tmp_path):
    text = (SHARED_DATA / FOLDERS["abalone"] / "abalone.data").read_text()
    save(
        tmp_path / "abalone.data",
        text.replace(",0.5,", ", .50 ,").replace("\n", "\r\n"),
    )
    np.testing.assert_array_equal(
        tables.abalone(tmp_path).features, real("abalone").features
    )


@needs_shared_data
@pytest.mark.parametrize("name", tables.UCI)
def test_the_real_sets_have_the_documented_counts(name):
    table = real(name)
    assert table.features.shape == FEATURES[name]
    assert table.features.dtype == np.float32
    assert np.isfinite(table.features).all()
    assert table.name == name
    assert table.classes == tuple(CLASSES.get(name, ()))
    if name in CLASSES:
        assert table.labels.dtype == np.int32
        counts = np.bincount(table.labels)
        np.testing.assert_array_equal(counts, list(CLASSES[name].values()))


@needs_shared_data
def test_the_real_abalone_has_the_documented_sexes_and_first_row():
    features = real("abalone").features
    # F, I, M.
    np.testing.assert_array_equal(features[:, :3].sum(axis=0), [1307, 1342, 1528])
    row = [0, 0, 1, 0.455, 0.365, 0.095, 0.514, 0.2245, 0.101, 0.15]
    np.testing.assert_array_equal(features[0], np.array(row, np.float32))


@needs_shared_data
def test_the_real_arcene_parts_have_the_documented_classes():
    table = real("arcene")
    for part in (table.labels[:100], table.labels[100:]):
        np.testing.assert_array_equal(np.bincount(part), [56, 44])
    assert (table.features.min(), table.features.max()) == (0, 999)
    assert 0.4 < (table.features == 0).mean() < 0.5


@needs_shared_data
def test_the_real_arrhythmia_has_its_missing_values_at_the_mean():
    features = real("arrhythmia").features
    file = SHARED_DATA / "uci" / "arrhythmia" / "arrhythmia.data"
    fields = [line.split(",") for line in file.read_text().splitlines()]
    missing = np.array(fields)[:, :-1] == "?"
    counts = {int(j): int(missing[:, j].sum()) for j in np.flatnonzero(missing.any(0))}
    assert counts == {10: 8, 11: 22, 12: 1, 13: 376, 14: 1}
    for j in counts:
        present = features[~missing[:, j], j].mean(dtype=np.float64)
        np.testing.assert_allclose(features[missing[:, j], j], present, rtol=1e-6)


@needs_shared_data
def test_the_real_phishing_features_are_the_three_numbers():
    np.testing.assert_array_equal(np.unique(real("phishing").features), [-1, 0, 1])


@needs_shared_data
def test_the_real_airfoil_targets_are_decibels():
    table = real("airfoil")
    assert table.labels.dtype == np.float32
    assert table.labels.min() == np.float32(103.38)
    assert table.labels.max() == np.float32(140.987)


@needs_shared_data
def test_the_real_iris_agrees_with_its_corrected_version():
    corrected = tables.read_table(SHARED_DATA / "uci" / "iris" / "bezdekIris.data")
    table = real("iris")
    np.testing.assert_array_equal(table.labels, corrected.labels)
    differs = (table.features != corrected.features).any(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(differs), [34, 37])


# Speech.


def wav(samples: list[int], *, channels: int = 1, width: int = 2, rate: int = 8000):
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.array(samples, f"<i{width}").tobytes())
    return stream.getvalue()


def zipped(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "speech.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return folder


RECORDINGS = {
    "recordings/": b"",
    "README.md": b"# speech",
    "recordings/7_theo_10.wav": wav([1, 2, 3]),
    "recordings/0_theo_2.wav": wav([-32768, 32767]),
    "recordings/0_anna_12.wav": wav([16384]),
    "recordings/0_theo_1.wav": wav([0, 0, 0, 0]),
}


def test_spoken_digits_are_padded_and_named(tmp_path):
    speech = recordings.spoken_digits(zipped(tmp_path, RECORDINGS))
    np.testing.assert_array_equal(speech.digits, [0, 0, 0, 7])
    np.testing.assert_array_equal(speech.speaker_ids, [0, 1, 1, 1])
    np.testing.assert_array_equal(speech.takes, [12, 1, 2, 10])
    np.testing.assert_array_equal(speech.lengths, [1, 4, 2, 3])
    assert speech.speakers == ("anna", "theo")
    assert speech.rate == 8000
    assert speech.waveforms.dtype == np.float32
    unit = 1 / 32768
    expected = [
        [0.5, 0, 0, 0],
        [0, 0, 0, 0],
        [-1, 1 - unit, 0, 0],
        [unit, 2 * unit, 3 * unit, 0],
    ]
    np.testing.assert_array_equal(speech.waveforms, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (wav([1, 2], channels=2), r"\(1, 16, 8000\), got \(2, 16, 8000\)"),
        (wav([1, 2], width=4), r"got \(1, 32, 8000\)"),
        (wav([1, 2], rate=16_000), r"got \(1, 16, 16000\)"),
        (wav([]), "expected 0 samples"),
        (wav([1, 2, 3, 4])[:-4], "expected 4 samples.*got 2"),
        (wav([1, 2])[:20], "a wav file, got a broken one"),
        (b"", "a wav file, got a broken one"),
    ],
)
def test_a_broken_recording_is_named(content, words, tmp_path):
    folder = zipped(tmp_path, RECORDINGS | {"recordings/3_theo_4.wav": content})
    with pytest.raises(ValueError, match=rf"zip:recordings/3_theo_4\.wav: .*{words}"):
        recordings.spoken_digits(folder)


def test_a_broken_zip_is_named(tmp_path):
    file = zipped(tmp_path, RECORDINGS) / "speech.zip"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"speech\.zip: expected a whole zip"):
        recordings.spoken_digits(tmp_path)
    damaged = whole.replace(wav([1, 2, 3]), wav([1, 2, 4]))
    file.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"speech\.zip: expected a whole zip.*CRC"):
        recordings.spoken_digits(tmp_path)


@pytest.mark.parametrize(("field", "value"), [(8, 1), (10, 99)])  # flags, compression
def test_a_zip_that_cannot_be_unpacked_is_named(field, value, tmp_path):
    file = zipped(tmp_path, RECORDINGS) / "speech.zip"
    content = bytearray(file.read_bytes())
    # The central directory repeats the header before each file.
    for sign, shift in ((b"PK\x03\x04", -2), (b"PK\x01\x02", 0)):
        for found in re.finditer(re.escape(sign), bytes(content)):
            content[found.start() + field + shift] = value
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"speech\.zip: expected a whole zip"):
        recordings.spoken_digits(tmp_path)


def test_a_folder_without_one_zip_of_recordings_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="one zip file of recordings, got none"):
        recordings.spoken_digits(tmp_path)
    zipped(tmp_path, {"README.md": b""})
    with pytest.raises(ValueError, match=r"DIGIT_SPEAKER_TAKE\.wav, got none"):
        recordings.spoken_digits(tmp_path)
    (tmp_path / "other.zip").touch()
    with pytest.raises(FileNotFoundError, match=r"got other\.zip, speech\.zip"):
        recordings.spoken_digits(tmp_path)


@needs_shared_data
def test_the_real_spoken_digits():
    speech = recordings.spoken_digits(SHARED_DATA / "fsdd")
    assert len(speech.waveforms) == 3000
    assert speech.waveforms.shape[1] == speech.lengths.max()
    np.testing.assert_array_equal(np.bincount(speech.digits), [300] * 10)
    np.testing.assert_array_equal(np.bincount(speech.speaker_ids), [500] * 6)
    np.testing.assert_array_equal(np.bincount(speech.takes), [60] * 50)
    assert np.abs(speech.waveforms).max() <= 1
    padding = np.arange(speech.waveforms.shape[1]) >= speech.lengths[:, np.newaxis]
    assert not speech.waveforms[padding].any()


# Questions.

TRAIN = b"""NUM:dist How far is it from Denver to Aspen ?
DESC:def What is  Nine Inch Nails  ?

LOC:city\tWhich city has a sister\xf0city ?\r
NUM:date When ?"""
TEST = b"LOC:other Where is it ?\nNUM:count How many ?  \n"


def asked(folder: Path, train: bytes = TRAIN, test: bytes = TEST) -> Path:
    (folder / "train_5500.label").write_bytes(train)
    (folder / "TREC_10.label").write_bytes(test)
    return folder


def test_questions_are_read_with_their_coarse_labels(tmp_path):
    read = questions.trec(asked(tmp_path))
    assert read.classes == ("DESC", "LOC", "NUM")
    assert read.train_texts == (
        "How far is it from Denver to Aspen ?",
        "What is  Nine Inch Nails  ?",
        "Which city has a sister\xf0city ?",
        "When ?",
    )
    assert read.test_texts == ("Where is it ?", "How many ?")
    np.testing.assert_array_equal(read.train_labels, [2, 0, 1, 2])
    np.testing.assert_array_equal(read.test_labels, [1, 2])
    assert read.train_labels.dtype == read.test_labels.dtype == np.int32


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"train": TRAIN + b"\nWho ?"}, r"5500\.label, line 6: .*got 'Who \?'"),
        ({"train": b"NUM How far ?\n"}, r"5500\.label, line 1: .*'LABEL:kind"),
        ({"test": TEST + b"NUM:date \n"}, r"TREC_10\.label, line 3: .*'NUM:date '"),
        ({"test": b"\n \n"}, r"TREC_10\.label: expected questions, got an empty file"),
        ({"train": b""}, r"5500\.label: expected questions, got an empty file"),
        (
            {"test": TEST + b"HUM:ind Who ?\nENTY:food What ?"},
            r"TREC_10\.label: expected only the labels DESC, LOC, .* got ENTY, HUM\.",
        ),
    ],
)
def test_questions_that_are_damaged_are_named(files, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        questions.trec(asked(tmp_path, **files))


def test_a_folder_without_questions_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no train_5500\.label and no TREC_10"):
        questions.trec(tmp_path)
    asked(tmp_path)
    (tmp_path / "TREC_10.label").unlink()
    with pytest.raises(FileNotFoundError, match=r"it has no TREC_10\.label\. Pass"):
        questions.trec(tmp_path)


@needs_shared_data
def test_the_real_questions():
    read = questions.trec(SHARED_DATA / "trec")
    assert read.classes == ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    counts = np.bincount(read.train_labels), np.bincount(read.test_labels)
    np.testing.assert_array_equal(counts[0], [86, 1162, 1250, 1223, 835, 896])
    np.testing.assert_array_equal(counts[1], [9, 138, 94, 65, 81, 113])
    assert len(read.train_texts) == 5452
    assert len(read.test_texts) == 500
    assert read.test_texts[-1] == "What is e-coli ?"
