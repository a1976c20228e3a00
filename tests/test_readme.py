"""The code of README and of the documentation's start page runs, block by block."""

import json
import re
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import optax
import pytest

import mixup_jax as mx
from benchmarks.claims._engine.statistics import Interval

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {"README.md": 2, "docs/index.md": 2}
NEEDS = re.findall(r"^\| ([^|]+?) \| [^|]+ \| `(.*?)` \|$", README, re.M)
KEY = jax.random.key(0)
IMAGES = jnp.linspace(0, 1, 4 * 6 * 6 * 3).reshape(4, 6, 6, 3)
IDS = jnp.arange(4)
PAIR = IMAGES, mx.losses.one_hot(IDS, 4)
ENTRIES = {"image": IMAGES, "label": PAIR[1], "map": (IMAGES[..., 0] > 0.5).astype(int)}
BATCHES = {
    "segment images": ENTRIES,
    "use dict batches": ENTRIES,
    "have sound": (IMAGES.reshape(4, -1), PAIR[1]),
    "predict numbers": (IMAGES, jnp.linspace(0, 1, 4)),
    "have few labels": (IMAGES, IDS // 2),
    "have uint8 images": ((IMAGES * 255).astype(jnp.uint8), PAIR[1]),
}


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_run(page):
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.S | re.M
    )
    assert len(blocks) == PAGES[page]
    matplotlib.use("Agg")
    names = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in blocks:
            exec(block, names)
    assert callable(names["train_step"])


def test_the_measured_gains_are_those_of_the_report():
    records = [
        json.loads(file.read_text())
        for file in (ROOT / "benchmarks" / "results" / "claims").glob("*.json")
    ]
    told = {
        str(Interval(*row["gain"])).lstrip("-")
        for record in records
        for row in record["verdicts"]
        if row["verdict"] not in ("cannot tell", "not a test")
    }
    quoted = re.findall(r"\d[\d.]* ± \d[\d.]*\d", README)
    assert len(quoted) >= 5
    assert {*quoted} <= told


@pytest.mark.parametrize(("need", "call"), NEEDS, ids=[need for need, _ in NEEDS])
def test_the_call_for_each_need_runs(need, call):
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels
    names = {"mx": mx, "partial": partial, "mixer": mx.mixup, "loss": entropy}
    made = eval(call, names)
    if need == "have integer labels":
        mix = mx.Mix.from_pairs(0.5, IDS ^ 1)
        assert made(jnp.eye(4), IDS, mix).shape == (4,)
        return
    batch = BATCHES.get(need, PAIR)
    if need == "run on many devices":
        made, batch = (
            jax.vmap(made, in_axes=(None, 0), axis_name="data"),
            jax.tree.map(lambda x: x.reshape(2, 2, *x.shape[1:]), batch),
        )
    with jax.numpy_dtype_promotion("standard"):
        mixed, _ = jax.jit(made)(KEY, batch)
    assert jax.tree.map(jnp.shape, mixed) == jax.tree.map(jnp.shape, batch)
    if need != "have text":  # a hidden layer is mixed, not the inputs
        after, before = jax.tree.leaves(mixed)[0], jax.tree.leaves(batch)[0]
        assert not jnp.array_equal(after, before.astype(after.dtype))


def test_the_table_by_need_is_read():
    assert len(NEEDS) == 12
