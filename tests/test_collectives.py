"""What a sharded batch costs: the collectives that are compiled, and what they send."""

import collections
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType

import mixup_jax as mx
from benchmarks._programs import sent

KINDS = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}
SIZE, CLASSES = 16, 8
X = jnp.ones((SIZE, 6, 4, 2))
Y = jax.nn.one_hot(jnp.arange(SIZE) % CLASSES, CLASSES)


def compiled(mixer: mx.Mixer, kind: str, spec: jax.P) -> Any:
    """Compile ``mixer`` for images laid out by ``spec``, with no mesh in the context.

    The axis `model` divides nothing of the labels, and the classes are told by them.
    """
    mesh = jax.make_mesh((4, 2), ("data", "model"), (KINDS[kind],) * 2)
    labels = jax.NamedSharding(mesh, jax.P("data"))
    batch = jax.device_put((X, Y), (jax.NamedSharding(mesh, spec), labels))
    key = jax.device_put(jax.random.key(0), jax.NamedSharding(mesh, jax.P()))
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
