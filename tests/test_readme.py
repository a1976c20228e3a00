"""The code of README and of the documentation's start page runs, block by block."""

import re
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import optax
import pytest

import mixup_jax as mx

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {"README.md": 2, "docs/index.md": 2}
CALLS = re.findall(r"^\|.*\| `(.*?)` \|$", README, re.M)


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_run(page):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.S | re.M)
    assert len(blocks) == PAGES[page]
    matplotlib.use("Agg")
    names = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in blocks:
            exec(block, names)
    assert callable(names["train_step"])


@pytest.mark.parametrize("call", CALLS)
def test_the_calls_by_need_are_what_they_say(call):
    loss = optax.losses.softmax_cross_entropy_with_integer_labels
    names = {"mx": mx, "partial": partial, "mixer": mx.mixup, "loss": loss}
    made = eval(call, names)
    if "layers" in call or "termwise" in call or "per_device" in call:
        return
    images = jnp.ones((4, 6, 6, 3))
    labels = mx.losses.one_hot(jnp.arange(4), 4)
    if "on_keys" in call or "spatial" in call:
        return
    (mixed, _), _ = made(jax.random.key(0), (images, labels))
    assert mixed.shape == images.shape


def test_the_table_by_need_is_read():
    assert len(CALLS) == 12
