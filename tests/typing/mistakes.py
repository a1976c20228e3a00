"""User mistakes: each marked line is an error, and no other line is."""

from functools import partial

import jax
import jax.numpy as jnp

import mixup_jax as mx

KEY = jax.random.key(0)
X = jax.random.uniform(KEY, (8, 4))
MESH = jax.sharding.Mesh([], ())


# Parts with other arguments or results.
def only_a_batch(key: jax.Array, batch: mx.Batch) -> mx.Batch:
    return batch


def without_a_key(batch: mx.Batch) -> tuple[mx.Batch, mx.Mix]:
    return mx.mixup(KEY, batch)


def a_number(key: jax.Array, partners: mx.Partners) -> float:
    return 0.5


def an_index(key: jax.Array, batch: mx.Batch) -> jax.Array:
    return jnp.flip(X)


def of_three(key: jax.Array, lam: jax.Array, x: object) -> tuple[mx.Region, jax.Array]:
    return mx.regions.Everywhere(), lam


def without_lam(
    key: jax.Array, lam: jax.Array, x: object, partners: mx.Partners
) -> mx.Region:
    return mx.regions.Everywhere()


def of_two(params: jax.Array, batch: mx.Batch) -> tuple[jax.Array, dict[str, float]]:
    return params, {}


def a_value(params: jax.Array, batch: mx.Batch, mix: mx.Mix) -> jax.Array:
    return params


def a_loss(
    params: jax.Array, batch: mx.Batch, mix: mx.Mix
) -> tuple[jax.Array, dict[str, float]]:
    return params, {}


def on_one_axis(key: jax.Array, axis_name: str) -> jax.Array:
    return key


# Names that do not exist.
mx.mixp(KEY, (X, None))  # error
mx.regions.bx(KEY, X, X, None)  # error
mx.ratios.bata(0.2)  # error
mx.training.trainstep(a_loss, mx.mixup)  # error
mx.mixup(KEY, (X, None))[1].lamb  # error  # noqa: B018
partial(mx.mixup, alhpa=1)  # error
mx.fmix(KEY, (X, None), alhpa=1)  # error
mx.ratios.beta(0.2, c=1.0)  # error
mx.choose([mx.mixup], [1.0], probs_by=mx.ratios.uniform())  # error

# Mixers.
mx.choose([only_a_batch, mx.cutmix], [0.5, 0.5])  # error
mx.with_probability(0.5, only_a_batch)  # error
mx.on_keys(without_a_key, inputs="image")  # error
mx.draw_of(only_a_batch)  # error
mx.once_per_batch(only_a_batch)  # error
mx.scheduled(lambda step: only_a_batch)  # error
mx.scheduled(mx.mixup)  # error
mx.until(mx.mixup, 9)  # error
mx.until(9, only_a_batch)  # error
mx.choose([mx.until(9, mx.mixup)], [1.0])  # error
mx.using("label", mx.mixup)  # error
mx.choose([mx.mixup, mx.cutmix])  # error
mx.choose(mx.mixup, [1.0])  # error
mx.with_probability("half", mx.mixup)  # error
mx.with_probability(0.5)  # error
mx.manifold(KEY, (X, None), layers=1)  # error
mx.manifold(KEY, (X, None), layers=["first"])  # error
partial(mx.manifold, layers="12")  # error
mx.mixup(KEY, X)  # error
mx.mixup((X, None), KEY)  # error
mx.mixer(only_a_batch)  # error

# Parts.
half = mx.ratios.constant(0.5)
partial(mx.mixup, ratio=0.5)  # error
partial(mx.mixup, ratio=a_number)  # error
partial(mx.mixup, ratio=mx.ratios.beta)  # error
partial(mx.mixup, pairing=an_index)  # error
partial(mx.mixup, pairing=[1, 0])  # error
partial(mx.mixup, pairing=mx.pairings.given)  # error
partial(mx.cutmix, region=mx.regions.everywhere)  # error
partial(mx.smoothmix, region=mx.regions.Box)  # error
partial(mx.cutmix, spatial=2)  # error
mx.cutmix(KEY, (X, None), region=of_three)  # error
partial(mx.compose, region=of_three)  # error
partial(mx.compose, region=without_lam)  # error
mx.compose(KEY, (X, None), ratio=half, pairing=mx.pairings.roll)  # error
mx.pairings.given("10")  # error
mx.Mix.from_pairs(0.5, X, region=mx.regions.box)  # error

# Devices.
mx.per_device(mx.mixup, 0)  # error
mx.whole_batch(mx.mixup, ["data", 0])  # error
mx.per_device(mx.mixup, ("pod", "data"), key_of=on_one_axis)  # error
mx.own_key(KEY)  # error

# Losses and steps.
step = mx.training.train_step(a_loss, mx.mixup)
mx.training.train_step(of_two, mx.mixup)  # error
mx.training.train_step(a_value, mx.mixup)  # error
mx.training.train_step(a_loss, only_a_batch)  # error
mx.training.train_step(a_loss, mx.mixup, micro_batches="2")  # error
mx.training.stateful(a_loss)  # error
mx.training.sharded(step, "data")  # error
mx.training.sharded(step, MESH, axis_name=0)  # error
mx.training.pmapped(step, axis_name=0)  # error
mx.training.pmapped(lambda state, key, batch: (state, {}))  # error
step(X, KEY, (X, None))  # error
mx.losses.termwise(a_loss)  # error
mx.losses.termwise(mx.metrics.nll)(X, X, 0.5)  # error
mx.losses.one_hot(X, 4, ignored=-1)  # error
mx.attacks.fgsm(lambda x: x, X)  # error
