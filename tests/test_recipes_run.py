"""Each recipe is short, has a page that includes it, and prints what that shows."""

import pytest

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


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_page_includes_the_recipe_and_its_output(name):
    page = here(recipes.PAGES / f"{name}.md")
    assert page.startswith("# ")
    assert f":::{{literalinclude}} ../../examples/{name}.py\n" in page
    assert f":::{{literalinclude}} output/{name}.txt\n" in page
    assert here(recipes.PLACE / f"{name}.txt").strip()


def test_each_recorded_output_is_of_a_recipe():
    recorded = {path.stem for path in recipes.PLACE.glob("*")}
    assert recorded <= set(recipes.RECIPES)
    assert set(recipes.NEEDS) <= set(recipes.RECIPES)


@pytest.mark.slow
@pytest.mark.parametrize("name", recipes.RECIPES)
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


def test_a_recipe_that_fails_says_why():
    with pytest.raises(RuntimeError, match=r"No module named examples\.nothing"):
        recipes.output("nothing")


def test_a_name_that_is_no_recipe(capsys):
    with pytest.raises(SystemExit) as exit_:
        recipes.main(["nothing"])
    assert exit_.value.code == 2
    assert "expected one of with_equinox" in " ".join(capsys.readouterr().err.split())
