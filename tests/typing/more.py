"""More user code without complaints: user-defined parts, mixers and losses.

Argument names are the user's, since protocols are called by position; options are bound
by ``partial``.
"""

from collections.abc import Mapping
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import nnx

import mixup_jax as mx

KEY = jax.random.key(0)
IMAGES = jax.random.uniform(KEY, (8, 4, 4, 1))
LABELS = jax.random.randint(KEY, (8,), 0, 4)
PAIR = (IMAGES, LABELS.astype(float))

# A ``partial`` is a mixer, and so is a function of a key and a batch.
blends: mx.Mixer = partial(mx.mixup, alpha=0.2)
blobs: mx.Mixer = partial(mx.fmix, region=partial(mx.regions.blob, decay=2.0))
waves: mx.Mixer = partial(mx.cutmix, region=mx.regions.blob, spatial=(1,))
listed: mx.Mixer = partial(mx.mixup, pairing=mx.pairings.given([1, 0]))
placed: mx.Mixer = partial(mx.mixup, pairing=mx.pairings.given(7 - LABELS))
hidden: mx.Mixer = partial(mx.manifold, layers=[0, 1], alpha=2.0)


def louder(rng: jax.Array, pair: mx.Batch) -> tuple[mx.Batch, mx.Mix]:
    (x, y), mix = mx.mixup(rng, pair, alpha=0.2)
    return (2 * x, y), mix


def first_half(key: jax.Array, batch: mx.Batch) -> tuple[mx.Batch, mx.Mix]:
    x, y = batch
    mix = mx.Mix.from_pairs(0.5, 7 - y.astype(int))
    return (mix.inputs(x), y.astype(float)), mix


@mx.mixer
def tiles(key: jax.Array, batch: mx.Batch, *, low: float = 0.0) -> mx.Mix:
    return mx.compose(
        key,
        batch,
        ratio=mx.ratios.truncated(mx.ratios.uniform(low=low), 0.1, 0.9),
        pairing=partial(mx.pairings.roll, shift=2),
        region=mx.regions.everywhere,
    )


own: mx.Mixer = louder
half: mx.Mixer = first_half
low_tiles: mx.Mixer = partial(tiles, low=0.25)
mixed, drawn = tiles(KEY, PAIR, low=0.5)
draw = mx.draw_of(partial(tiles, low=0.5))
shares = [share.mean() for share, _ in draw(KEY, PAIR).terms(LABELS)]
either = mx.choose((blends, own, low_tiles), jnp.full(3, 1 / 3), by=mx.ratios.uniform())
some = mx.with_probability(0.5, partial(mx.gaussian, sigma=0.1))
warmed = mx.scheduled(lambda step: mx.with_probability(1.0 * (step < 9), blends))
eased = mx.scheduled(lambda step: partial(mx.mixup, alpha=jnp.minimum(step, 1)))
once = mx.once_per_batch(warmed)(3)(KEY, PAIR)
stopped = mx.once_per_batch(mx.until(jnp.int32(9), blends))(3)(KEY, PAIR)


# User-defined parts, with names of the user's choice.
def halves(rng: jax.Array, who: mx.Partners) -> jax.Array:
    return jnp.full(who.index.shape, 0.5)


def crosswise(rng: jax.Array, pair: mx.Batch) -> mx.Partners:
    x, _ = pair
    return mx.pairings.given(jnp.flip(jax.lax.iota(int, len(x))))(rng, pair)


def anywhere(
    rng: jax.Array, share: jax.Array, x: object, who: mx.Partners
) -> tuple[mx.Region, jax.Array]:
    return mx.regions.everywhere(rng, share, x, who)


def strips(
    rng: jax.Array,
    share: jax.Array,
    x: object,
    who: mx.Partners,
    *,
    spatial: tuple[int, ...] | None,
) -> tuple[mx.regions.Box, jax.Array]:
    return mx.regions.box(rng, share, x, who, spatial=spatial, max_size=0.5)


parts: mx.Mixer = partial(mx.cutmix, ratio=halves, pairing=crosswise, region=strips)
composed = partial(mx.compose, ratio=halves, pairing=crosswise, region=anywhere)
ratio: mx.Ratio = mx.ratios.per_batch(mx.ratios.folded(halves))
pairing: mx.Pairing = mx.pairings.weighted(mx.pairings.nearest(2))
region: mx.RegionDraw = partial(mx.regions.salient, saliency=IMAGES[..., 0])


def of_labels(labels: jax.Array) -> mx.Mixer:
    same = partial(mx.pairings.same_class, labels=labels)
    return mx.on_keys(partial(mx.mixup, pairing=same), inputs=["image"], targets="soft")


within = mx.using("label", of_labels)


# One axis or several.
def own_key(key: jax.Array, name: str) -> jax.Array:
    return jax.random.fold_in(key, jax.lax.axis_index(name))


def pod_key(key: jax.Array, names: tuple[str, ...]) -> jax.Array:
    return mx.own_key(key, names[0])


axes: mx.AxisName = ("pod", "data")
on_one = mx.per_device(blends, "data", key_of=own_key)
on_two = mx.per_device(blends, ("pod", "data"), key_of=pod_key)
on_each = mx.per_device(blends, axes, key_of=mx.common_key)
on_all = mx.whole_batch(blends, axes)


# Losses, steps and drivers.
class Model(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(10)(nn.Dense(8)(x))


def logits_of(params: Mapping[str, object], x: jax.Array, mix: mx.Mix) -> jax.Array:
    with mx.hidden.linen(mix, after=["Dense_0"]):
        return jnp.asarray(Model().apply({"params": params}, x))


def logits_of_nnx(model: nnx.Linear, x: jax.Array, mix: mx.Mix) -> jax.Array:
    with mx.hidden.nnx(model, mix, after=[]):
        return model(x)


def loss(
    params: dict[str, object],
    batch: mx.Batch,
    mix: mx.Mix,
    state: mx.training.TrainState,
    key: jax.Array,
) -> tuple[jax.Array, tuple[dict[str, jax.Array], dict[str, jax.Array]]]:
    x, y = batch
    logits = logits_of(params, x, mix)
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels
    mean = mx.losses.termwise_mean(entropy)(logits, y, mix, weights=y)
    brier = mx.losses.termwise(mx.metrics.brier)(logits, y, mix)
    hits = mx.metrics.accuracy(logits, y, mix=mix)
    return mean + brier.mean(), ({"hits": hits.mean()}, {"model_state": state.step})


def on_pods(step: mx.training.Step, mesh: jax.sharding.Mesh) -> mx.training.Run:
    return mx.training.sharded(step, mesh, axis_name=("pod", "data"))


def kept(step: mx.training.Step, state: mx.training.TrainState) -> float:
    run: mx.training.Run = mx.training.pmapped(step, mixing=mx.whole_batch)
    after, metrics = run(state, KEY, (IMAGES, LABELS))
    alone, _ = step(after, KEY, (IMAGES, LABELS))
    return float(metrics["loss"]) + float(alone.step)


step = mx.training.train_step(mx.training.stateful(loss), hidden)
attacked = mx.attacks.fgsm(lambda x: jnp.sum(x**2), IMAGES, epsilon=0.1, bounds=(0, 1))
found = mx.metrics.ece(mx.metrics.reliability(IMAGES[:, 0, :, 0], LABELS))
soft = mx.losses.one_hot(LABELS, 4, ignored=mx.losses.negative)
attended = mx.losses.by_attention(
    drawn, IMAGES[:, 0, :, 0], (2, 2), combine=lambda area, _: area
)
