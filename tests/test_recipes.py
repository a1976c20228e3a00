"""Each recipe is short, has a page that includes it, and prints what that shows."""

import numpy as np
import pytest

from examples import _digits
from examples.datasets import images
from tests import recipes

TEXT = (
    "CNN, 1,300 steps\nERM    3.42 ± 0.21\nfar    1.2e-07\nlost   0.00\nloss   1.50\n"
)


def here(path):
    assert path.exists(), f"expected {path.relative_to(recipes.ROOT)}; got none"
    return path.read_text()


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_recipe_is_short(name):
    lines = here(recipes.ROOT / "examples" / f"{name}.py").splitlines()
    assert len(lines) < 120
    assert any(f"python -m examples.{name}" in line for line in lines[:6])


@pytest.mark.parametrize("name", recipes.ALL)
def test_a_page_includes_the_recipe_and_its_output(name):
    page = here(recipes.PAGES / f"{name}.md")
    assert page.startswith("# ")
    if name in recipes.RECIPES:
        assert f":::{{literalinclude}} ../../examples/{name}.py\n" in page
    assert f":::{{literalinclude}} output/{name}.txt\n" in page
    assert here(recipes.PLACE / f"{name}.txt").strip()


def test_each_recorded_output_is_of_a_recipe():
    recorded = {path.stem for path in recipes.PLACE.glob("*")}
    assert recorded <= set(recipes.ALL)
    assert set(recipes.NEEDS) <= set(recipes.RECIPES)


@pytest.mark.slow
@pytest.mark.parametrize("name", recipes.ALL)
def test_a_recipe_prints_what_its_page_shows(name):
    if modules := recipes.missing(name):
        pytest.skip(f"needs {', '.join(modules)}")
    recorded = here(recipes.PLACE / f"{name}.txt")
    assert not list(recipes.differences(recipes.output(name), recorded))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("3.42 ± 0.21", "3.60 ± 0.25"),  # within one standard error
        ("1.2e-07", "4.5e-07"),
        ("loss   1.50", "loss 1.55"),
    ],
)
def test_another_cpu_may_round_otherwise(old, new):
    assert old in TEXT
    assert not list(recipes.differences(TEXT.replace(old, new), TEXT))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ERM ", "erm "),
        ("CNN", "CNN2"),
        ("1,300", "1,301"),
        ("3.42 ±", "3.64 ±"),
        ("± 0.21", "± 0.43"),
        ("1.2e-07", "1.3e-06"),
        ("1.2e-07", "-1.2e-07"),
        ("1.2e-07", "nan"),
        ("lost   0.00", "lost   0.01"),
        ("1.50", "1.58"),
        ("loss   1.50\n", ""),
        ("loss   1.50\n", "loss   1.50\nend\n"),
    ],
)
def test_the_comparison_finds_a_change(old, new):
    assert old in TEXT
    found = list(recipes.differences(TEXT.replace(old, new), TEXT))
    assert len(found) == 1


def test_the_flags_are_those_of_the_page():
    assert recipes.flags("ema") == []
    found = recipes.flags("imagenet")
    assert found[:4] == ["--data", "made", "--devices", "8"]
    assert found[-2:] == ["--eval-every", "5"]


def test_a_recipe_that_fails_says_why():
    with pytest.raises(RuntimeError, match=r"No module named examples\.nothing"):
        recipes.output("nothing")


def test_a_name_that_is_no_recipe(capsys):
    with pytest.raises(SystemExit) as exit_:
        recipes.main(["nothing"])
    assert exit_.value.code == 2
    assert "expected one of with_equinox" in " ".join(capsys.readouterr().err.split())


# What recipes share.


def test_a_fifth_of_the_labels_to_train_on_are_wrong():
    whole = images.digits()
    pictures = np.concatenate([whole.train_images, whole.test_images])
    labels = np.concatenate([whole.train_labels, whole.test_labels])
    truth = {x.tobytes(): label for x, label in zip(pictures, labels)}
    data = _digits.mislabeled(seed=1)
    wrong = [
        np.mean([truth[x.tobytes()] != label for x, label in zip(*part)])
        for part in (data[:2], data[2:])
    ]
    assert wrong[1] == 0
    assert abs(wrong[0] - 0.2) < 3 * (0.2 * 0.8 / 300) ** 0.5
    both = np.concatenate([data.train_images, data.test_images])
    assert sorted(x.tobytes() for x in both) == sorted(x.tobytes() for x in pictures)
    assert (_digits.mislabeled(seed=2).train_labels != data.train_labels).any()


def test_errors_and_what_is_saved(capsys):
    _digits.print_errors({"ERM": [3.0, 5.0, 7.0], "Mixup": [2.0, 4.0, 3.0]})
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [" ".join(row.split()) for row in rows] == [
        "ERM 5.00 ± 1.15",
        "Mixup 3.00 ± 0.58",
        "Mixup saves 2.00 ± 1.00",
    ]


def test_examples_that_are_seen_twice_are_told(capsys):
    # Two epochs of two steps. The first shows example 0 twice and example 1 never.
    own = np.tile(np.arange(300).reshape(2, 150), (2, 1))
    partner = own.copy()
    own[0, 1] = 0
    partner[2] = np.roll(partner[2], 1)
    _digits.print_seen(list(zip(own, partner)), epochs=2)
    times, met = capsys.readouterr().out.splitlines()
    assert times == "least and most times in an epoch: 0, 2"
    # Half of the examples have two partners; 0 has three, and 1 one.
    assert met == "partners that an example meets in 2 epochs: 1.5"
