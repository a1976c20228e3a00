"""Combinators: which mixer each example gets, and how the merged mix reports it."""

import math
import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mixup_jax as mx

KEY = jax.random.key(0)
ERRORS = 5  # standard errors within which a share must be
PER_BATCH = mx.ratios.per_batch(mx.ratios.uniform())
PER_PAIR = mx.ratios.per_pair(mx.ratios.uniform())


def fixed(lam, **options):
    """Return Mixup with a constant lam, which identifies the examples mixed by it."""
    return partial(mx.mixup, ratio=mx.ratios.constant(lam), **options)


def lam_of(mixer, size, key=KEY):
    batch = (np.zeros((size, 1), np.float32), None)
    return np.asarray(jax.jit(mixer)(key, batch)[1].lam)


def lams_of_batches(mixer, size, batches):
    """Return ``lam`` of many batches of one size, ``[batches, size]``."""
    x = jnp.zeros((size, 1))
    keys = jax.random.split(KEY, batches)
    return np.asarray(jax.jit(jax.vmap(lambda key: mixer(key, (x, None))[1].lam))(keys))


def has_share(hits, share):
    error = math.sqrt(share * (1 - share) / np.size(hits))
    return abs(np.mean(hits) - share) <= ERRORS * error


def owners(size, *sizes):
    """Return inputs whose channels identify the example that each position is from."""
    hot = np.eye(size, dtype=np.float32).reshape(size, *[1] * len(sizes), size)
    return np.broadcast_to(hot, (size, *sizes, size)).copy()


# choose


def test_examples_are_shared_out_by_the_probabilities():
    probs = {0.25: 0.5, 0.5: 0.3, 0.75: 0.2}
    lam = lam_of(mx.choose([fixed(a) for a in probs], list(probs.values())), 10_000)
    assert set(np.unique(lam)) == set(probs)
    for a, p in probs.items():
        assert has_share(lam == a, p)
    # Neighbors are assigned independently of each other.
    both = (lam[::2] == 0.25) & (lam[1::2] == 0.25)
    assert has_share(both, 0.25)


@pytest.mark.parametrize("first", [0, 1])
def test_certainty(first):
    mixer = mx.choose([fixed(0.25), fixed(0.5)], [1 - first, first])
    np.testing.assert_array_equal(lam_of(mixer, 64), np.full(64, [0.25, 0.5][first]))


def test_one_choice_for_the_batch():
    mixer = mx.choose([fixed(0.25), fixed(0.5)], [0.7, 0.3], by=PER_BATCH)
    lam = lams_of_batches(mixer, 4, 1000)
    assert np.all(lam == lam[:, :1])
    assert has_share(lam[:, 0] == 0.25, 0.7)


def test_one_choice_for_each_pair():
    mixer = mx.choose([fixed(0.25), fixed(0.5)], [0.7, 0.3], by=PER_PAIR)
    lam = lam_of(mixer, 2000)
    np.testing.assert_array_equal(lam[::2], lam[1::2])
    assert has_share(lam[::2] == 0.25, 0.7)
    both = (lam[:-2:2] == 0.25) & (lam[2::2] == 0.25)
    assert has_share(both, 0.49)


def test_no_choice_for_each_pair_where_there_are_none():
    roll = partial(mx.mixup, pairing=mx.pairings.roll)
    mixer = mx.choose([roll, roll], [0.5, 0.5], by=PER_PAIR)
    with pytest.raises(ValueError, match="per_pair: expected a pairing"):
        mixer(KEY, (np.zeros((4, 1), np.float32), None))


def test_traced_probabilities_are_as_good_as_static_ones():
    x = np.zeros((64, 1), np.float32)

    def lam(probs):
        return mx.choose([fixed(0.25), fixed(0.5)], probs)(KEY, (x, None))[1].lam

    static = jax.jit(lambda: lam([0.25, 0.75]))()
    np.testing.assert_array_equal(jax.jit(lam)(jnp.array([0.25, 0.75])), static)
    pair = jax.jit(lambda p: lam((p, 1 - p)))(0.25)
    np.testing.assert_array_equal(pair, static)


def test_each_mixer_keeps_its_pairing():
    mixers = [fixed(0.25), fixed(0.5, pairing=mx.pairings.roll)]
    _, mix = mx.choose(mixers, [0.5, 0.5])(KEY, (np.zeros((64, 1), np.float32), None))
    places = np.arange(64)
    expected = np.where(np.asarray(mix.lam) == 0.25, places ^ 1, (places - 1) % 64)
    np.testing.assert_array_equal(mix.partner, expected)
    assert len(np.unique(np.asarray(mix.lam))) == 2


CHOICES = {
    "one pairing": [mx.mixup, mx.cutmix],
    "with erm": [mx.erm, mx.mixup, mx.cutmix],
    "only pasting": [mx.cutmix, mx.fmix, mx.erm],
    "only blending": [mx.mixup, partial(mx.mixup, alpha=0.2)],
    "two pairings": [mx.mixup, partial(mx.cutmix, pairing=mx.pairings.roll)],
    "random pairings": [
        partial(mx.mixup, pairing=mx.pairings.derangement),
        partial(mx.cutmix, pairing=mx.pairings.permutation),
    ],
    "nested": [
        mx.choose([mx.mixup, mx.erm], [0.5, 0.5]),
        mx.with_probability(0.5, mx.choose([mx.cutmix, mx.mixup], [0.5, 0.5])),
    ],
    "nested, two pairings": [
        mx.choose([partial(mx.mixup, pairing=mx.pairings.reverse), mx.erm], [0.5, 0.5]),
        partial(mx.cutmix, pairing=mx.pairings.roll),
    ],
    "nothing to mix": [mx.erm, mx.erm],
}


@pytest.mark.parametrize("name", CHOICES)
def test_one_mix_says_what_was_mixed(name):
    mixers, size = CHOICES[name], 16
    mixer = mx.choose(mixers, [1 / len(mixers)] * len(mixers))
    images, targets = owners(size, 5, 4), np.eye(size, dtype=np.float32)

    @jax.jit
    def run(images, targets):
        mixed, mix = mixer(KEY, (images, targets))
        return mixed, mix.batch((images, targets)), (mix.lam, mix.partner)

    (x, y), again, (lam, partner) = jax.tree.map(np.asarray, run(images, targets))
    jax.tree.map(np.testing.assert_array_equal, (x, y), again)
    eye = np.eye(size)
    said = lam[:, None] * eye + (1 - lam[:, None]) * eye[partner]
    np.testing.assert_allclose(x.mean(axis=(1, 2)), said, atol=1e-6)
    np.testing.assert_allclose(y, said, atol=1e-6)
    mixes_some = name != "nothing to mix"
    assert np.any(lam < 1) == mixes_some
    # Some examples were blended and some pasted, as the mixers do.
    blends = np.any((x > 0) & (x < 1))
    assert blends == (mixes_some and name != "only pasting")


@pytest.mark.parametrize(
    "mixer",
    [
        mx.with_probability(0.5, mx.cutmix),
        mx.choose([mx.cutmix, mx.fmix, mx.erm], [0.4, 0.4, 0.2]),
        mx.choose([mx.erm, mx.erm], [0.5, 0.5]),
    ],
)
def test_methods_that_paste_keep_integers_when_chosen(mixer):
    images = np.arange(16 * 4 * 4, dtype=np.uint8).reshape(16, 4, 4, 1)
    (mixed, _), mix = jax.jit(mixer)(KEY, (images, None))
    partners = images[np.asarray(mix.partner)]
    assert mixed.dtype == jnp.uint8
    assert np.all((mixed == images) | (mixed == partners))
    own = np.asarray(mix.lam) == 1
    np.testing.assert_array_equal(np.asarray(mixed)[own], images[own])
    assert np.any(own)


def batch_sized(mixer, shape, operations):
    """Return how many of these operations act on a whole batch once compiled."""

    def inputs(key, x):
        return mixer(key, (x, None))[0][0]

    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    compiled = jax.jit(inputs).lower(KEY, x).compile()
    found = re.findall(r"= f32\[([\d,]+)\]\S* (\w+)\(", compiled.as_text() or "")
    size = math.prod(shape)
    count = sum(
        operation in operations and math.prod(map(int, sizes.split(","))) == size
        for sizes, operation in found
    )
    cost: Any = compiled.cost_analysis()
    return count, cost["bytes accessed"] / (4 * size)


def test_all_mixers_share_one_fused_pass():
    mixers = [
        partial(mx.mixup, alpha=0.2),
        mx.cutmix,
        partial(mx.mixup, alpha=2.0),
        partial(mx.cutmix, region=partial(mx.regions.box, min_size=0.2)),
    ]

    def one_after_another(key, batch):
        mix = None
        for own, mixer in zip(jax.random.split(key, 4), mixers):
            batch, mix = mx.with_probability(0.5, mixer)(own, batch)
        return batch, mix

    measure = partial(
        batch_sized, shape=(16, 32, 32, 3), operations=("multiply", "reverse", "gather")
    )
    two = measure(mx.choose(mixers[:2], [0.5, 0.5]))
    four = measure(mx.choose(mixers, [0.25] * 4))
    assert four[0] == two[0] > 0
    # Read once and written once, plus a little for the draws.
    assert four[1] < 2.3
    assert measure(one_after_another)[0] > four[0]


# with_probability


@pytest.mark.parametrize("p", [0, 0.0, 1, 1.0])
def test_never_and_always(p):
    x = np.arange(8, dtype=np.float32)[:, None]
    (mixed, _), mix = jax.jit(mx.with_probability(p, fixed(0.25)))(KEY, (x, None))
    np.testing.assert_array_equal(mix.lam, np.full(8, 0.25 if p else 1.0))
    assert np.array_equal(mixed, x) == (p == 0)


def test_each_example_with_its_probability():
    lam = lam_of(mx.with_probability(0.3, fixed(0.25)), 10_000)
    assert has_share(lam == 0.25, 0.3)
    assert has_share(lam == 1, 0.7)


def test_probabilities_multiply_where_they_are_nested():
    inner = mx.with_probability(0.5, fixed(0.25))
    lam = lam_of(mx.with_probability(0.6, inner), 10_000)
    assert has_share(lam == 0.25, 0.3)


def test_one_probability_for_the_batch():
    mixer = mx.with_probability(0.3, fixed(0.25), by=PER_BATCH)
    lam = lams_of_batches(mixer, 4, 1000)
    assert np.all(lam == lam[:, :1])
    assert has_share(lam[:, 0] == 0.25, 0.3)


# scheduled


def test_a_schedule_warms_up_and_switches_off():
    alpha = optax.join_schedules(
        [optax.linear_schedule(0.0, 1.0, 10), optax.constant_schedule(0.0)], [20]
    )
    mixer = mx.scheduled(lambda step: partial(mx.mixup, alpha=alpha(step)))
    x = np.zeros((256, 1), np.float32)
    traces = []

    @jax.jit
    def lam(step):
        traces.append(step)
        return mixer(step)(KEY, (x, None))[1].lam

    shares = [float(np.mean(1 - lam(jnp.int32(step)))) for step in (0, 1, 10, 20)]
    assert shares[0] == shares[3] == 0
    assert 0.3 < shares[1] < 0.7
    assert 0.4 < shares[2] < 0.6
    # At step 1 alpha is 0.1: all or nothing. At step 10 it is 1: uniform.
    early, late = (np.asarray(lam(jnp.int32(step))) for step in (1, 10))
    assert np.var(early) > 0.15 > 0.11 > np.var(late)
    assert len(traces) == 1


def test_a_schedule_of_probabilities():
    def at(step):
        return mx.with_probability(jnp.where(step < 5, 1.0, 0.0), fixed(0.25))

    mixer = mx.scheduled(at)
    step_lam = jax.jit(lambda step: mixer(step)(KEY, (jnp.zeros((4, 1)), None))[1].lam)
    np.testing.assert_array_equal(step_lam(jnp.int32(4)), np.full(4, 0.25))
    np.testing.assert_array_equal(step_lam(jnp.int32(5)), np.ones(4))


def test_a_schedule_of_dict_mixers():
    mixer = mx.scheduled(
        lambda step: mx.on_keys(
            partial(mx.mixup, alpha=jnp.asarray(step, jnp.float32)), inputs="x"
        )
    )
    batch = {"x": jnp.arange(4.0), "id": jnp.arange(4)}
    mixed, mix = jax.jit(lambda step: mixer(step)(KEY, batch))(jnp.int32(0))
    np.testing.assert_array_equal(mixed["x"], batch["x"])
    np.testing.assert_array_equal(mix.lam, np.ones(4))


def test_a_mix_has_one_structure_whatever_was_drawn():
    mixer = mx.with_probability(0.5, mx.choose([mx.mixup, mx.cutmix], [0.5, 0.5]))
    x = jnp.zeros((8, 4, 4, 1))

    def body(mix, key):
        return mixer(key, (x, None))[1], mix.lam

    @jax.jit
    def scanned(keys):
        _, first = mixer(keys[0], (x, None))
        return jax.lax.scan(body, first, keys)

    # The carry of a scan must have the same structure in every iteration.
    last, lams = scanned(jax.random.split(KEY, 3))
    assert lams.shape == (3, 8)
    np.testing.assert_array_equal(lams[0], lams[1])
    assert not np.array_equal(lams[1], lams[2])
    assert last.lam.shape == (8,)


# on_keys

IMAGE = np.arange(8, dtype=np.float32).reshape(4, 2)
SOFT = np.eye(4, dtype=np.float32)


def dict_batch():
    return {
        "id": ["a", "b", "c", "d"],
        "image": IMAGE,
        "label": np.arange(4),
        "soft": SOFT,
        "text": {"tokens": np.arange(4), "mask": None},
    }


def test_one_name():
    batch = dict_batch()
    mixed, mix = mx.on_keys(fixed(0.25), inputs="image")(KEY, batch)
    assert list(mixed) == list(batch)
    for name in ("id", "label", "soft", "text"):
        assert mixed[name] is batch[name]
    np.testing.assert_array_equal(mixed["image"], mix.inputs(IMAGE))
    assert not np.array_equal(mixed["image"], IMAGE)


def test_inputs_and_targets():
    batch = dict_batch()
    mixer = mx.on_keys(mx.cutmix, inputs="image", targets="soft")
    batch["image"] = owners(4, 3, 3)
    mixed, mix = mixer(KEY, batch)
    np.testing.assert_array_equal(mixed["soft"], mix.targets(SOFT))
    assert mixed["label"] is batch["label"]
    # The label reports what was pasted, as it does for a pair.
    np.testing.assert_allclose(
        np.mean(mixed["image"], axis=(1, 2)), mixed["soft"], atol=1e-6
    )


@pytest.mark.parametrize("names", [("image", "soft"), ["soft", "image"]])
def test_several_names_share_one_mix(names):
    batch = dict_batch()
    mixed, mix = mx.on_keys(fixed(0.25), inputs=names)(KEY, batch)
    for name in names:
        np.testing.assert_array_equal(mixed[name], mix.inputs(batch[name]))
        assert not np.array_equal(mixed[name], batch[name])
    assert mixed["id"] is batch["id"]


def test_several_targets():
    batch = {**dict_batch(), "box": IMAGE + 1}
    mixer = mx.on_keys(fixed(0.25), inputs=["image"], targets=["soft", "box"])
    mixed, mix = mixer(KEY, batch)
    np.testing.assert_array_equal(mixed["image"], mix.inputs(IMAGE))
    for name in ("soft", "box"):
        np.testing.assert_array_equal(mixed[name], mix.targets(batch[name]))


def test_targets_alone():
    mixed, mix = mx.on_keys(fixed(0.25), targets="soft")(KEY, dict_batch())
    np.testing.assert_array_equal(mixed["soft"], mix.targets(SOFT))
    np.testing.assert_array_equal(mixed["image"], IMAGE)


def test_a_tree_under_one_name():
    batch = {"views": (IMAGE, {"other": SOFT}), "label": np.arange(4)}
    mixed, mix = mx.on_keys(fixed(0.25), inputs="views")(KEY, batch)
    np.testing.assert_array_equal(mixed["views"][0], mix.inputs(IMAGE))
    np.testing.assert_array_equal(mixed["views"][1]["other"], mix.inputs(SOFT))


def test_combinators_within_and_compiled():
    mixer = mx.on_keys(
        mx.with_probability(0.5, mx.choose([fixed(0.25), fixed(0.5)], [0.5, 0.5])),
        inputs="x",
    )
    batch = {"x": jnp.arange(64.0), "label": jnp.arange(64)}
    mixed, mix = jax.jit(mixer)(KEY, batch)
    assert set(np.unique(mix.lam)) == {0.25, 0.5, 1.0}
    np.testing.assert_array_equal(mixed["label"], batch["label"])
    np.testing.assert_allclose(mixed["x"], mix.inputs(batch["x"]), rtol=1e-6)


@pytest.mark.slow
def test_a_mix_of_wider_dtypes_is_chosen():
    def swapped(key, batch):
        mix = mx.Mix.from_pairs(np.full(4, 0.25), np.array([1, 0, 3, 2]))  # type: ignore
        return mix.batch(batch), mix

    with jax.enable_x64(True):
        mixer = mx.choose([swapped, mx.mixup, mx.erm], [0.6, 0.2, 0.2])
        (x, _), mix = mixer(KEY, (IMAGE, SOFT))
        (alone, _), _ = swapped(KEY, (IMAGE, SOFT))
    assert (mix.lam.dtype, mix.partner.dtype) == (jnp.float32, jnp.int32)
    chosen = np.asarray(mix.lam) == 0.25
    assert chosen.any()
    np.testing.assert_array_equal(x[chosen], alone[chosen])


def test_names_go_outermost():
    mixer = mx.choose([mx.on_keys(mx.mixup, inputs="image")], [1.0])
    with pytest.raises(
        ValueError, match=r"Wrap the mixer, outside of choose.*: mixup_jax\.on_keys"
    ):
        mixer(KEY, {"image": IMAGE})
