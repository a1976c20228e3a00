"""The tables of CONTRIBUTING name every module, and only files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mixup_jax"
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
TABLES = TEXT[TEXT.index("## Modules") : TEXT.index("## What gets in")]
NAMED = set(re.findall(r"`([a-z_/]+(?:/|\.py))`", TABLES))
FOLDERS = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
FILES = {path.name for path in PACKAGE.glob("*.py")}
CORE = {f"_core/{path.name}" for path in PACKAGE.glob("_core/[a-z]*.py")}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_what_is_named_is_there(name):
    assert (PACKAGE / name).exists() or (ROOT / name).exists()


@pytest.mark.parametrize("name", sorted(FOLDERS | FILES | CORE))
def test_where_everything_is_can_be_found(name):
    assert name in NAMED
