"""Outside jit, on an Explicit mesh that is not the one in the context."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mixup_jax as mx

X = np.random.default_rng(0).random((8, 3), np.float32)
LABELS = np.array([0, 1, 0, 2, 1, 1, 2, 0], np.int32)


def paired(pairing, key, x, labels):
    batch, mix = mx.mixup(key, (x, None), pairing=partial(pairing, labels=labels))
    return batch, mix.partner


def attacked(key, x, labels):
    def loss(x):
        return jnp.sum((x - 0.5) ** 2, axis=1)

    return mx.attacks.fgsm(loss, x, epsilon=0.1)


def stepped(key, x, labels):
    def loss(params, batch, mix):
        return jnp.mean((batch[0] * params) ** 2), {}

    state = mx.training.TrainState.create(jnp.ones(()), optax.sgd(0.1))
    state, metrics = mx.training.train_step(loss, mx.mixup)(state, key, (x, None))
    return state.params, metrics


CALLS = {
    "same_class": partial(paired, mx.pairings.same_class),
    "other_class": partial(paired, mx.pairings.other_class),
    "fgsm": attacked,
    "train_step": stepped,
}


def divided():
    explicit = jax.sharding.AxisType.Explicit
    mesh = jax.make_mesh((4,), ("data",), (explicit,), devices=jax.devices()[:4])
    return jax.NamedSharding(mesh, jax.P("data"))


def test_a_mix_on_a_mesh_takes_arrays_that_are_on_none():
    lam, partner = np.linspace(0, 1, 8, dtype=np.float32), np.roll(np.arange(8), 3)
    expected = mx.Mix.from_pairs(lam, partner)
    mix = mx.Mix.from_pairs(*jax.device_put((lam, partner), divided()))
    assert not mix.lam.sharding.is_fully_replicated
    for follower in (X, mx.follow.masks(X > 0.5)):
        found, want = mix.inputs(follower), expected.inputs(follower)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), found, want)
        (leaf,) = jax.tree.leaves(found)
        assert leaf.sharding.is_equivalent_to(divided(), 2)
    np.testing.assert_array_equal(mix.partners(LABELS), LABELS[partner])


@pytest.mark.parametrize("pairing", [mx.pairings.roll, mx.pairings.permutation])
def test_rows_that_are_empty_need_no_move(pairing):
    x, empty = jax.device_put((X, np.zeros((8, 2, 0), np.float32)), divided())
    batch = {"x": x, "empty": empty + 0}, None  # JAX cannot read empty results
    mixed, _ = mx.mixup(jax.random.key(0), batch, pairing=pairing)
    assert mixed[0]["empty"].shape == (8, 2, 0)


@pytest.mark.parametrize("name", CALLS)
def test_the_mesh_need_not_be_in_the_context(name):
    assert jax.sharding.get_abstract_mesh().empty
    key = jax.random.key(0)
    x, labels = jax.device_put((X, LABELS), divided())
    found = CALLS[name](key, x, labels)
    expected = CALLS[name](key, jnp.asarray(X), jnp.asarray(LABELS))
    assert jax.sharding.get_abstract_mesh().empty
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), found, expected)
