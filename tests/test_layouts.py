"""Draws from the batch and draws from a key merge, in any layout of the batch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

import mixup_jax as mx
from tests import oracle

KEY = jax.random.key(7)
SIZE, DEVICES = 16, 4
BATCH = oracle.images(SIZE)
KINDS = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}


def of_content(batch):
    """Return a share for each example, sharded as the batch is."""
    return jax.nn.sigmoid(jnp.asarray(batch[0]).mean(axis=(1, 2, 3)))


@mx.mixer
def lam_from_content(key, batch):
    ratio = mx.ratios.constant(of_content(batch))
    return mx.draw_of(partial(mx.mixup, ratio=ratio))(key, batch)


@mx.mixer
def box_from_content(key, batch):
    ratio = mx.ratios.constant(of_content(batch))
    return mx.draw_of(partial(mx.cutmix, ratio=ratio))(key, batch)


def near_or_none(key, batch):
    """Pair neighbors whose content is above a threshold; leave the others unpaired."""
    places = jnp.arange(SIZE, dtype=jnp.int32)
    index = places ^ (of_content(batch) > 0.5).astype(jnp.int32)
    return mx.pairings.given(index)(key, batch)


by_pair = mx.ratios.per_pair(mx.ratios.uniform())
paired = partial(mx.mixup, pairing=near_or_none)
boxes = partial(mx.cutmix, pairing=near_or_none)


def louder(key, batch):
    (x, y), mix = lam_from_content(key, batch)
    return (2 * jnp.asarray(x), y), mix


def copied(key, batch):
    """Return replicated inputs."""
    (x, y), mix = mx.mixup(key, batch)
    if jax.typeof(x).sharding.mesh.explicit_axes:
        x = jax.sharding.reshard(x, jax.P())
    return (x, y), mix


MIXERS = {
    "lam": lam_from_content,
    "box": box_from_content,
    "pairs": paired,
    "lam and a key": mx.choose([lam_from_content, mx.mixup], [0.5, 0.5]),
    "a key and lam": mx.choose([mx.cutmix, lam_from_content], [0.5, 0.5]),
    "all": mx.choose([mx.fmix, box_from_content, paired, mx.erm], [0.3, 0.3, 0.2, 0.2]),
    "some": mx.with_probability(0.5, lam_from_content),
    "by pair": mx.choose([lam_from_content, mx.mixup], [0.5, 0.5], by=by_pair),
    "once": mx.once_per_batch(mx.choose([box_from_content, boxes], [0.5, 0.5])),
    "once a blob": mx.once_per_batch(partial(mx.fmix, pairing=near_or_none)),
    "same class": mx.choose(
        [partial(mx.mixup, pairing=mx.pairings.same_class), boxes], [0.5, 0.5]
    ),
    "one function": mx.choose([louder, mx.cutmix], [0.5, 0.5]),
    "copies": mx.choose([copied, mx.cutmix], [0.5, 0.5]),
    "noise": mx.choose([partial(mx.gaussian, sigma=0.1), paired], [0.5, 0.5]),
}


def placed(kind):
    mesh = jax.make_mesh(
        (DEVICES,), ("data",), (KINDS[kind],), devices=jax.devices()[:DEVICES]
    )
    return mesh, jax.device_put(BATCH, jax.NamedSharding(mesh, jax.P("data")))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MIXERS)
def test_a_mesh_changes_nothing(name, kind):
    mesh, batch = placed(kind)
    with jax.set_mesh(mesh):
        mixed, mix = jax.jit(MIXERS[name])(KEY, batch)
    want, drawn = MIXERS[name](KEY, BATCH)
    oracle.assert_close(mixed, jax.tree.map(np.asarray, want))
    oracle.assert_close((mix.lam, mix.partner), (drawn.lam, drawn.partner))
    for got, given in zip(mixed, batch):
        assert got.sharding.is_equivalent_to(given.sharding, got.ndim)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a key and lam", "once", "one function"])
def test_nor_without_jit(name):
    mesh, batch = placed("explicit")
    with jax.set_mesh(mesh):
        mixed, mix = MIXERS[name](KEY, batch)
    want, drawn = MIXERS[name](KEY, BATCH)
    oracle.assert_close(mixed, jax.tree.map(np.asarray, want))
    oracle.assert_close((mix.lam, mix.partner), (drawn.lam, drawn.partner))
