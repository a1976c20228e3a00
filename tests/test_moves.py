"""Moves of leaves without further axes, on meshes of any shape."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding

import mixup_jax as mx

SIZE = 24
PAIRINGS = {
    "neighbour": mx.pairings.neighbour,
    "reverse-4": partial(mx.pairings.reverse, block=4),
    "roll": mx.pairings.roll,
    "roll-back": partial(mx.pairings.roll, shift=-1),
    "permutation": mx.pairings.permutation,
}


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("shape", [(1,), (2,), (1, 1), (1, 2), (2, 1), (2, 2)])
@pytest.mark.parametrize("pairing", PAIRINGS)
def test_numbers_alone_are_mixed_on_any_mesh(pairing, shape, kind):
    mixer = partial(mx.mixup, ratio=mx.ratios.beta(0.5), pairing=PAIRINGS[pairing])
    x, ids = jnp.arange(1.0, SIZE + 1), jnp.arange(SIZE)

    @jax.jit
    def mixed(x, ids):
        (x, _), mix = mixer(jax.random.key(0), (x, None))
        return x, mix.partners(ids)

    names = ("data", "model")[: len(shape)]
    mesh = jax.make_mesh(shape, names, (kind,) * len(shape))
    spread = jax.device_put((x, ids), NamedSharding(mesh, jax.P("data")))
    with jax.set_mesh(mesh):
        got = mixed(*spread)
    for one, other in zip(got, mixed(x, ids)):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("pairing", ["reverse-4", "roll", "roll-back"])
def test_a_part_of_a_block_is_refused(pairing):
    draw = mx.draw_of(partial(mx.mixup, pairing=PAIRINGS[pairing]))
    mix = draw(jax.random.key(0), (np.zeros((SIZE, 1)), None))
    share = jax.tree.map(lambda leaf: leaf[:6], mix)
    with pytest.raises(
        ValueError, match=r"blocks of \d+, .*got 6. Apply a mix to the whole"
    ):
        share.partners(np.arange(6))
