"""A user-defined move and region, in a module that both processes import."""

import dataclasses

import jax
import jax.numpy as jnp

import mixup_jax as mx


@dataclasses.dataclass(frozen=True)
class Turned(mx.Move):
    """Pair each example with the one ``by`` places on, or as ``ways`` specifies."""

    by: int
    ways: tuple[tuple[float, ...], str | None, bool]

    def map(self, function, x, partner, w):
        return function(w, x, jnp.roll(x, -self.by, axis=0))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Half(mx.Region):
    """Keep the example's own content in the upper half."""

    def weights(self, lam, x):
        lower = jnp.arange(x.shape[1])[:, None, None] * 2 >= x.shape[1]
        return jnp.where(lower, lam.reshape(-1, 1, 1, 1), 1.0)


jax.export.register_pytree_node_serialization(
    Half,
    serialized_name="tests.Half",
    serialize_auxdata=lambda static: b"",
    deserialize_auxdata=lambda data: (),
)


@mx.mixer
def own(key, batch):
    """Mix the lower half with that of the example two places on."""
    lam = jax.random.uniform(key, (4,), jnp.float32)
    move = Turned(2, ((0.5, float("inf")), None, True))
    partner = (jnp.arange(4, dtype=jnp.int32) + 2) % 4
    return mx.Mix(lam, (mx.Source(partner, lam, Half(), move),))
