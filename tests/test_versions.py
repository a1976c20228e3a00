"""Only one file depends on the version of JAX."""

import re
from pathlib import Path

import jax
import pytest

import mixup_jax
from mixup_jax._core import versions

HOME = Path(versions.__file__)
OTHERS = sorted({*Path(mixup_jax.__file__).parent.rglob("*.py")} - {HOME})
# Names that changed between versions: only that file may use the newest one.
NAMES = [name for name in vars(versions) if hasattr(jax, name) and name != "jax"]
ASKS = re.compile(
    r"\bjax(lib)?\.(__)?version|importlib\.metadata|\b(has|get)attr\(jax\b"
)


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_no_other_file_asks_for_versions(path):
    text = path.read_text(encoding="utf-8")
    assert not ASKS.search(text)
    assert not re.search(rf"\bjax\.({'|'.join(NAMES)})\b", text)


def test_the_home_is_small_and_asks():
    text = HOME.read_text(encoding="utf-8")
    assert ASKS.search(text)
    assert "set_mesh" in NAMES
    assert len(text.splitlines()) <= 35
