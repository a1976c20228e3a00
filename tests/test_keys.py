"""Keys derived by the step and its drivers: all distinct, for every kind of key."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mixup_jax as mx

DEVICES, STEPS, PARTS = 8, 6, 2
KINDS = ["threefry2x32", "rbg", "unsafe_rbg"]
PLACES = {"pmap": DEVICES, "mesh": 1}  # the number of programs that draw independently


def driver(name: str, step):
    if name == "pmap":
        return mx.training.pmapped(step)
    return mx.training.sharded(step, jax.make_mesh((DEVICES,), ("data",)))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_steps_devices_and_micro_batches_have_keys_of_their_own(kind, place):
    seen = []

    def note(key):
        data = jax.random.key_data(key)
        jax.debug.callback(lambda words: seen.append(tuple(words.tolist())), data)

    def mixer(key, batch):
        note(key)
        return mx.erm(key, batch)

    @mx.training.stateful
    def loss(params, batch, mix, state, key):
        note(key)
        return jnp.mean(batch[0] @ params), ({}, {})

    run = driver(place, mx.training.train_step(loss, mixer, micro_batches=PARTS))
    state = mx.training.TrainState.create(jnp.zeros(3), optax.sgd(0.1))
    batch = (np.ones((2 * DEVICES * PARTS, 3), np.float32), None)
    for _ in range(STEPS):
        state, _ = run(state, jax.random.key(7, impl=kind), batch)
    jax.effects_barrier()
    assert len(seen) == 2 * STEPS * PARTS * PLACES[place]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_the_user_folds_in_is_no_device(kind):
    # For ``unsafe_rbg``, folding in is an XOR: (1, 2) and (2, 1) would give one key.
    def data(step, device):
        key = jax.random.fold_in(jax.random.key(0, impl=kind), step)
        own = jax.vmap(
            lambda _: jax.random.key_data(mx.own_key(key, "data")), axis_name="data"
        )
        return tuple(np.asarray(own(jnp.arange(DEVICES)))[device].tolist())

    keys = {data(step, device) for step in range(DEVICES) for device in range(DEVICES)}
    assert len(keys) == DEVICES**2
