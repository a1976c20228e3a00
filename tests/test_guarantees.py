"""Each promise on the page of guarantees names existing tests that hold it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/guarantees.md").read_text()
PROMISED, _, _ = PAGE.partition("## What is not promised")
ROWS = [
    line.strip("| ").split(" | ")
    for line in PROMISED.splitlines()
    if line.startswith("| ") and not line.startswith(("| promise", "| ---"))
]
NAMED = r"`(test_\w+\.py(?:::\w+)?)`"
PAGES = [PAGE, *(path.read_text() for path in ROOT.glob("docs/methods/*.md"))]
TESTS = sorted({name for page in PAGES for name in re.findall(NAMED, page)})


def functions(path):
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }


@pytest.mark.parametrize("name", TESTS)
def test_what_is_named_is_a_test(name):
    file, _, function = name.partition("::")
    assert (ROOT / "tests" / file).is_file()
    assert not function or function in functions(ROOT / "tests" / file)


def test_each_promise_names_its_test():
    assert len(ROWS) > 20
    assert [
        promise for promise, test in ROWS if not re.fullmatch(r"(`[^`]+`(, )?)+", test)
    ] == []
    assert {name for _, test in ROWS for name in re.findall("`(.*?)`", test)} <= set(
        TESTS
    )


def test_links_lead_somewhere():
    for link in re.findall(r"\]\((?!http)(.*?)\)", PAGE):
        assert (ROOT / "docs" / link).exists()
