"""The cost of a sharded batch: compiled collectives, and the bytes they send."""

import collections
import json
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType

import mixup_jax as mx
from benchmarks import _scripts, pairings
from benchmarks._programs import sent

KINDS = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}
SIZE, CLASSES = 16, 8
X = jnp.ones((SIZE, 6, 4, 2))
Y = jax.nn.one_hot(jnp.arange(SIZE) % CLASSES, CLASSES)


def compiled(mixer: mx.Mixer, kind: str, spec: jax.P) -> Any:
    """Compile ``mixer`` for images sharded by ``spec``; ``model`` divides no labels."""
    mesh = jax.make_mesh((4, 2), ("data", "model"), (KINDS[kind],) * 2)
    labels = jax.NamedSharding(mesh, jax.P("data"))
    batch = jax.device_put((X, Y), (jax.NamedSharding(mesh, spec), labels))
    key = jax.device_put(jax.random.key(0), jax.NamedSharding(mesh, jax.P()))
    with jax.set_mesh(mesh):
        return jax.jit(lambda *given: mixer(*given)[0]).lower(key, batch).compile()


@pytest.mark.parametrize("kind", KINDS)
def test_labels_and_the_batch_are_gathered_once(kind):
    mixer = partial(mx.mixup, pairing=mx.pairings.same_class)
    found = collections.Counter(sent(compiled(mixer, kind, jax.P("data"))))
    assert found == {
        ("all-gather", "s32", (SIZE,)): 1,
        ("all-gather", "f32", X.shape): 1,
        ("all-gather", "f32", Y.shape): 1,
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pairing", ["reverse", "roll"])
def test_blocks_across_shares_are_permuted(pairing, kind):
    mixer = partial(mx.mixup, pairing=getattr(mx.pairings, pairing))
    found = sent(compiled(mixer, kind, jax.P("data", "model")))
    assert {each.kind for each in found} == {"collective-permute"}
    assert len(found) == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axis", [1, 3])
def test_a_field_is_drawn_where_its_example_is(axis, kind):
    spec = jax.P("data", *[None] * (axis - 1), "model")
    assert sent(compiled(mx.fmix, kind, spec)) == []


# The committed table of what each pairing costs

TABLE = json.loads((_scripts.RESULTS / "cpu" / "pairings.json").read_text())["rows"]
CELLS = {(row["pairing"], row["layout"]): row for row in TABLE}
OF_CLASS = "weighted, of_same_class"
NOTHING = ("neighbour", "reverse, blocks of 4", "nth, 2 of 3")
FIRST = {
    ("neighbour", "data and fsdp, Explicit"),
    ("reverse", "data, Explicit"),
    ("nth, 2 of 3", "data, 3 a device, Explicit"),
    ("same_class", "data and fsdp, Auto"),
    ("weighted, nearest", "data, height, Auto"),
    ("permutation", "whole_batch"),
}


def test_the_table_has_every_pairing_on_every_layout():
    assert {*CELLS} == {(p, q) for p in pairings.PAIRINGS for q in pairings.LAYOUTS}
    names = {name.partition(",")[0] for name in pairings.PAIRINGS}
    public = {name for name in vars(mx.pairings) if not name.startswith("_")}
    assert public - names == {"Affinity", "label_kernel", "nearest", "of_same_class"}
    assert {*CELLS} > FIRST


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(cell, marks=[] if cell in FIRST else pytest.mark.slow)
        for cell in CELLS
    ],
    ids="; ".join,
)
def test_the_table_is_what_is_compiled(cell):
    assert pairings.cost(*cell) == CELLS[cell]


def test_the_table_says_what_the_docstrings_say():
    """Pairings that send nothing, permute, or gather labels, in every layout."""
    for (pairing, layout), row in CELLS.items():
        kinds = {kind.split(" ")[1] for kind in row["collectives"].split(", ") if kind}
        images, labels, ids = row["images"], row["labels"], row["ids"]
        if "3 a device" in layout:  # blocks cross shards: two or four of eight
            part = {"neighbour": 0.25, "reverse, blocks of 4": 0.5, "nth, 2 of 3": 0.5}
            if pairing in part:
                assert kinds == {"all-gather"}
                assert images == labels == part[pairing]
        elif layout == "per_device" or pairing in NOTHING:
            assert not kinds
        elif layout == "whole_batch":
            continue  # gathers everything that crosses devices
        elif pairing in ("reverse", "roll", "roll, by 5", "nth, 8 of 15"):
            assert kinds == {"collective-permute"}
            shares = 2 if pairing == "nth, 8 of 15" else 1
            assert max(images, labels) <= shares / 4  # or fewer, of eight
        else:
            assert kinds == {"all-gather"}
            assert labels == 1
            assert ids == (pairing in ("same_class", "other_class", OF_CLASS))
            divided = "height" in layout or "channels" in layout
            own = 0.5 if divided else 1
            compared = pairing == "weighted, nearest" and divided
            assert images >= own if compared else images == own
