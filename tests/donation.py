"""Give donating drivers states that hold a buffer twice, or one already deleted.

Run by tests/test_states.py in a separate process, which such a state could abort:

    python -m tests.donation pmapped
"""

import functools
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mixup_jax as mx

DRIVERS = {
    "pmapped": mx.training.pmapped,
    "sharded": lambda step: mx.training.sharded(step, mesh()),
}
BATCH = (np.arange(24, dtype=np.float32).reshape(8, 3), None)
SLOPE = BATCH[0].mean(axis=0)


def mesh() -> jax.sharding.Mesh:
    return jax.make_mesh((jax.device_count(),), ("data",))


class Averaged(mx.training.TrainState):
    """A train state with an average of the parameters, initialized to them."""

    ema: Any = None

    def apply_gradients(self, *, grads):
        state = super().apply_gradients(grads=grads)
        mean = jax.tree.map(lambda a, b: (a + b) / 2, self.ema, state.params)
        return state.replace(ema=mean)


def loss(params, batch, mix):
    slopes = [jnp.mean(batch[0] @ leaf) for leaf in jax.tree.leaves(params)]
    return sum(slopes), {}


def started(params: Any, ema: Any) -> Any:
    state = Averaged.create(params, optax.sgd(1.0))
    return state.replace(ema=ema)


def aligned(values: np.ndarray) -> np.ndarray:
    """Return a copy that XLA can use without copying it again."""
    room = np.empty(values.nbytes + 64, np.uint8)
    first = -room.ctypes.data % 64
    copy = room[first : first + values.nbytes].view(values.dtype)
    copy[:] = values
    return copy


def check(state: Any, params: list[np.ndarray], ema: list[np.ndarray]) -> None:
    for found, expected in ((state.params, params), (state.ema, ema)):
        for a, b in zip(jax.tree.leaves(found), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


@functools.cache
def key() -> jax.Array:
    return jax.random.key(0)


def steps(run: Any, state: Any, count: int = 3) -> Any:
    params, ema = (
        [np.array(leaf) for leaf in jax.tree.leaves(tree)]
        for tree in (state.params, state.ema)
    )
    for _ in range(count):
        state, _ = run(state, key(), BATCH)
        params = [leaf - SLOPE for leaf in params]
        ema = [(a + b) / 2 for a, b in zip(ema, params)]
        check(state, params, ema)
    return state


def cases() -> dict[str, Any]:
    """Return functions that each make a state."""
    ones = jnp.arange(1.0, 4.0)
    laid = jax.NamedSharding(mesh(), jax.P())
    on_mesh = jax.device_put(ones, laid)
    host = aligned(np.arange(1, 4, dtype=np.float32))
    return {
        "one array twice": lambda: started(jnp.copy(ones), None).replace(ema=ones),
        "parameters as their average": lambda: started(ones, ones),
        "two arrays of one buffer": lambda: started(
            ones + 0, jax.device_put(ones, jax.devices()[0])
        ),
        "tied parameters": lambda: started([x := ones + 1, x], [ones + 2, ones + 3]),
        "views of one buffer": lambda: started(
            [x := ones + 1, x.addressable_shards[0].data], [ones + 2, ones + 3]
        ),
        "on all devices": lambda: started(on_mesh, on_mesh),
        "on all devices, and on one": lambda: started(
            on_mesh, on_mesh.addressable_shards[0].data
        ),
        "NumPy, twice": lambda: started(host, host),
        "the key": lambda: started(ones + 4, ones + 5).replace(model_state=key()),
    }


def main(driver: str) -> None:
    step = mx.training.train_step(loss, mx.erm)
    for name in cases():
        # Recomputed each time, since the arrays that a state holds are donated with it.
        steps(DRIVERS[driver](step), cases()[name]())
        print(name, flush=True)

    run = DRIVERS[driver](step)
    state = steps(run, started(jnp.ones(3), jnp.zeros(3)))
    state = steps(run, state.replace(ema=state.params))
    print("doubled later", flush=True)
    for _ in range(3):  # one array in every step, and a key that is in the state
        state, _ = run(state.replace(model_state=key()), key(), BATCH)
    print("the key, always", flush=True)

    state = state.replace(model_state=jax.random.key(1))
    for _ in range(3):  # the key is taken from the state
        state, _ = run(state, state.model_state, BATCH)
    print("the key of the state", flush=True)
    if driver == "sharded":  # laid out as a batch, so that it is not copied
        laid = jax.NamedSharding(mesh(), jax.P("data"))
        state = state.replace(model_state=jax.device_put(BATCH[0], laid))
        for _ in range(3):
            state, _ = run(state, key(), (state.model_state, None))
    print("the batch of the state", flush=True)

    after, _ = run(state, key(), BATCH)
    for used in (state, state.replace(step=after.step)):
        try:
            run(used, key(), BATCH)
        except ValueError as error:
            print(error, flush=True)
    kept = jax.tree.map(jnp.copy, after)  # as the error message advises
    steps(run, after)
    steps(run, kept)
    print("end", flush=True)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 4)
    main(sys.argv[1])
