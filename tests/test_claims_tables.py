"""Tables of one's own: what is not sure to be read as it was meant is refused."""

import numpy as np
import pytest

from benchmarks.claims._data import tables

ROWS = 40


def body(last: str = "setosa", mark: str = ",") -> list[str]:
    """Return lines like those of Iris, of two numbers and a name."""
    rng = np.random.default_rng(0)
    kinds = ["setosa", "virginica"] * (ROWS // 2)
    kinds[-1] = last
    return [
        mark.join([f"{a:.1f}", f"{b:.1f}", kind])
        for (a, b), kind in zip(rng.uniform(0.1, 7.9, (ROWS, 2)), kinds)
    ]


def with_column(values, name="extra"):
    """Return lines with a header and a further column in front."""
    pairs = zip([name, *values], ["a,b,kind", *body()], strict=True)
    return [f"{value},{line}" for value, line in pairs]


def written(tmp_path, lines, name="mine.csv", end="\n"):
    file = tmp_path / name
    file.write_text("\n".join(lines) + end)
    return file


ARFF = [
    "@relation mine",
    "@attribute a numeric",
    "@attribute b numeric",
    "@attribute kind {setosa,virginica}",
    "@data",
]
AGES = [str(20 + k % 60) for k in range(ROWS)]
ORDINARY = {
    "as Iris": (body(), "mine.csv", "\n"),
    "no empty line at the end": (body(), "mine.csv", ""),
    "decimals at the end": (
        [",".join(reversed(line.split(","))) for line in body()],
        "mine.csv",
        "",
    ),
    "ARFF": (ARFF + body(), "mine.arff", "\n"),
    "ARFF, no empty line at the end": (ARFF + body(), "mine.arff", ""),
    "semicolons and names": (["a;b;kind", *body(mark=";")], "mine.csv", "\n"),
    "missing values": (with_column(["?", *AGES[1:]]), "mine.csv", "\n"),
    "numeric classes": (
        [f"{line.rpartition(',')[0]},{k % 3}" for k, line in enumerate(body())],
        "mine.csv",
        "\n",
    ),
    "years below a name": (
        with_column([str(1990 + k % 20) for k in range(ROWS)], "year"),
        "mine.csv",
        "\n",
    ),
    "-9 among negative numbers": (
        with_column([str(k % 20 - 9) for k in range(ROWS)]),
        "mine.csv",
        "\n",
    ),
    "99 among large numbers": (
        with_column([str(80 + k % 30) for k in range(ROWS)]),
        "mine.csv",
        "\n",
    ),
    "-9 that is no code": (with_column(["-9e0", *AGES[1:]]), "mine.csv", "\n"),
    "binary features": (
        with_column([str(k % 2) for k in range(ROWS)]),
        "mine.csv",
        "\n",
    ),
    "letters, without names": (
        [f"{'xyz'[k % 3]},{'pq'[k % 2]}" for k in range(ROWS)],
        "mine.csv",
        "\n",
    ),
    "levels": (with_column(["red", "green"] * (ROWS // 2)), "mine.csv", "\n"),
}


@pytest.mark.parametrize(("lines", "name", "end"), ORDINARY.values(), ids=ORDINARY)
def test_ordinary_tables_are_read(lines, name, end, tmp_path):
    label = 0 if lines[0].startswith(("setosa", "virginica")) else -1
    table = tables.read(written(tmp_path, lines, name, end), label)
    assert len(table.labels) == ROWS
    assert len(table.classes) in (2, 3)


YEARS = [f"{k % 7},{k * k % 11},{k % 2}" for k in range(ROWS)]
DISORDER = np.random.default_rng(1).permutation(ROWS).tolist()
LABELS = {
    "continuous": [f"{x:.6f}" for x in np.random.default_rng(2).normal(size=ROWS)],
    "counts": [str(k // 2 * 3) for k in range(ROWS)],
}


def labeled(labels):
    return [f"{line.rpartition(',')[0]},{label}" for line, label in zip(body(), labels)]


REFUSED = {
    "fewer fields": ([*body()[:-1], "5.1,3"], "\n", "line 40: expected 3 fields"),
    "a part of a field": ([*body()[:-1], "5.1,3.5,virgin"], "", "'virgin' at the end"),
    "no last field": (
        [f"setosa,{k % 7}.{k % 10}" for k in range(ROWS)] + ["setosa,"],
        "",
        "no value at the end",
    ),
    "a number without its decimals": (
        [*[f"{k % 2},{k % 7}.{k % 9}5" for k in range(ROWS)], "1,4.1"],
        "",
        "'4.1' at the end",
    ),
    "the beginning of another label": (
        [*labeled(["1", "12"] * (ROWS // 2))[:-1], "5.1,3.5,1"],
        "",
        "'1' at the end of the file, which may have been cut off",
    ),
    "an index from 0": (with_column(range(ROWS), ""), "\n", "counts the rows"),
    "an index from 1": (
        with_column(range(1, ROWS + 1), "Id"),
        "\n",
        "column 'Id': expected a feature; got one that counts the rows",
    ),
    "an index out of order": (with_column(DISORDER, "id"), "\n", "column 'id'"),
    "an index without a name": (
        with_column(range(ROWS))[1:],
        "\n",
        "column '0': expected a feature",
    ),
    "names of the rows": (
        with_column([f"row{k}" for k in range(ROWS)], "id"),
        "\n",
        "has another text in each row",
    ),
    "years as names": (["1990,1991,1992", *YEARS], "\n", "line 1.* may be names"),
    "years and a word as names": (["1990,2000,kind", *body()], "\n", "may be names"),
    "indices as names": (["0,1,2", *labeled(["0", "3"] * 20)], "\n", "may be names"),
    "whole numbers as names": (["4,2,kind", *body()], "\n", "may be names"),
    "-9": (with_column(["-9", *AGES[1:]], "age"), "\n", "'age'.*got -9, 1 times"),
    "-99": (with_column(["-99.0", *AGES[1:]], "age"), "\n", "'age'.*got -99.0, 1"),
    "-999": (
        with_column(["-999", "-999", *[str(k % 9 - 4) for k in range(2, ROWS)]]),
        "\n",
        "'extra'.*got -999, 2 times",
    ),
    "9999": (with_column(["9999", *AGES[1:]], "age"), "\n", "'age'.*got 9999"),
    "two codes": (with_column(["-9", "-99", *AGES[2:]]), "\n", "got -99, 1 times"),
    "a code between words": (
        with_column(["-9", *["red", "green"] * 19, "red"]),
        "\n",
        "'extra'.*got -9",
    ),
    "a code as a label": (labeled(["1", "-9"] * 20), "\n", "column '2'.*got -9"),
    "a label once": (body("versicolor"), "\n", "got one of 'versicolor'"),
    "a number once": (labeled([*["0", "1"] * 19, "0", "2"]), "\n", "got one of '2'"),
    "measurements as labels": (labeled(LABELS["continuous"]), "\n", "got 40 numbers"),
    "counts as labels": (labeled(LABELS["counts"]), "\n", "got 20 numbers in 40 rows"),
    "inf": (with_column(["inf", *AGES[1:]], "age"), "\n", "'inf' in the column 'age'"),
    "-Infinity": (with_column(["-Infinity", *AGES[1:]]), "\n", "line 2.*'-Infinity'"),
    "1e999": (with_column(["1e999", *AGES[1:]]), "\n", "'1e999' in the column"),
    "infinities only": (with_column(["inf", "Inf"] * 20), "\n", "'inf' in the column"),
    "few rows": (body()[:10], "\n", "expected at least 20 rows; got 10"),
}


@pytest.mark.parametrize(("lines", "end", "message"), REFUSED.values(), ids=REFUSED)
def test_doubtful_tables_are_refused(lines, end, message, tmp_path):
    file = written(tmp_path, lines, end=end)
    with pytest.raises(ValueError, match=message) as error:
        tables.read(file, -1)
    said = str(error.value)
    assert "\n" not in said
    assert all(word in said for word in ("expected", "got", str(file)))


def test_a_doubtful_arff_file_is_refused(tmp_path):
    head = [ARFF[0], "@attribute extra integer", *ARFF[1:]]
    counted = [*head, *(f"{k},{line}" for k, line in enumerate(body()))]
    file = written(tmp_path, counted, "counted.arff")
    with pytest.raises(ValueError, match="'extra': expected a feature"):
        tables.read(file, "kind")
    file = written(tmp_path, [*ARFF, *body()[:-1], "-999,1.0,setosa"], "code.arff")
    with pytest.raises(ValueError, match=r"expected \? for missing values; got -999"):
        tables.read(file, "kind")


def test_names_of_numbers_are_taken_for_names_if_the_label_is_named(tmp_path):
    file = written(tmp_path, ["1990,1991,kind", *body()])
    assert len(tables.read(file, "kind").labels) == ROWS
