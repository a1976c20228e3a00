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


@pytest.mark.parametrize("name", CALLS)
def test_nobody_need_say_which_mesh_is_meant(name):
    explicit = jax.sharding.AxisType.Explicit
    mesh = jax.make_mesh((4,), ("data",), (explicit,), devices=jax.devices()[:4])
    assert jax.sharding.get_abstract_mesh().empty
    divided = jax.NamedSharding(mesh, jax.P("data"))
    key = jax.random.key(0)
    x, labels = (jax.device_put(v, divided) for v in (X, LABELS))
    found = CALLS[name](key, x, labels)
    expected = CALLS[name](key, jnp.asarray(X), jnp.asarray(LABELS))
    assert jax.sharding.get_abstract_mesh().empty
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), found, expected)
