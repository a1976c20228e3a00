"""One draw per batch, that of the first example with a partner, and its law."""

import dataclasses
import functools
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from scipy import stats

import mixup_jax as mx
from tests import oracle

KEY = jax.random.key(0)
SIZE = 8
IMAGES, TARGETS = BATCH = oracle.images(SIZE)
PLACES = np.arange(SIZE)
# Examples 0 and 2 have no partner.
PARTNER = np.array([0, 3, 2, 1, 5, 4, 7, 6])
LABELS = np.array([3, 0, 4, 0, 1, 1, 2, 2])
given = mx.pairings.given(PARTNER)
permutation = mx.pairings.permutation
same_class = partial(mx.pairings.same_class, labels=LABELS)
PER_PAIR = mx.ratios.per_pair(mx.ratios.uniform())
BATCHES = 2000
ERRORS = 5  # standard errors within which a share must be
CHANCE = 1e-3  # of failure with a correct distribution, were the keys not fixed


def fixed(lam, **options):
    """Return Mixup with a constant lam, which identifies the examples mixed by it."""
    return partial(mx.mixup, ratio=mx.ratios.constant(lam), **options)


def with_region(mix, region):
    """Return a mix of one source with another region."""
    (source,) = mix.sources
    return dataclasses.replace(
        mix, sources=(dataclasses.replace(source, region=region),)
    )


@mx.mixer
def ramp(key, batch, *, of=jnp):
    """Draw a different lam for each example, as arrays of JAX or NumPy."""
    lam = of.where(PARTNER == PLACES, 1, PLACES / 10).astype(np.float32)
    return mx.Mix.from_pairs(lam, of.asarray(PARTNER, np.uint8))


@mx.mixer
def spread(key, batch):
    """Draw a different layer for each example."""
    mix = mx.draw_of(partial(mx.mixup, pairing=given))(key, batch)
    layers = mx.regions.Layer(jnp.arange(SIZE, dtype=jnp.int32) % 3, (0, 1, 2))
    return with_region(mix, layers)


DRAWS = {
    "mixup": mx.mixup,
    "partial": partial(mx.mixup, alpha=0.4, pairing=given),
    "same class": partial(mx.mixup, pairing=same_class),
    "box": partial(mx.cutmix, pairing=given),
    "blob": partial(mx.fmix, pairing=given),
    "layer": partial(mx.manifold, layers=(1, 0), pairing=given),
    "extrapolate": partial(
        mx.extrapolate, by=np.linspace(0.1, 0.9, SIZE), pairing=given
    ),
    "a user's": ramp,
    "a user's of NumPy": partial(ramp, of=np),
    "a user's layers": spread,
}


# The expectations of these draws; the others blend.
EXPECTED = {
    "box": oracle.box,
    "blob": oracle.field,
    "layer": oracle.layer,
    # Example 1 is the first with a partner; 1 - by of it is drawn, in float32.
    "extrapolate": oracle.extrapolation(
        1 - (1 - np.linspace(0.1, 0.9, SIZE, dtype=np.float32)[1])
    ),
    "a user's layers": oracle.layer,
}


def with_partner(mix: Any) -> np.ndarray:
    partner = np.asarray(mix.partner)
    return partner != np.arange(partner.shape[-1])


def first_for_all(mix: Any) -> Any:
    """Return lam and region with the draw of the first paired example in all others."""
    has = with_partner(mix)
    first = np.flatnonzero(has)[0]

    def for_all(leaf):
        leaf = np.array(leaf)
        leaf[has] = leaf[first]
        return leaf

    return jax.tree.map(for_all, (mix.lam, mix.sources[0].lam, mix.region))


def assert_mixed(mixed: Any, mix: Any, expected: Any, batch: Any) -> None:
    """Assert that paired examples of ``mixed`` are what is expected of ``batch``.

    The others are unchanged.
    """
    (x, y), (images, targets) = mixed, batch
    oracle.assert_terms(x, expected.inputs(images))
    oracle.assert_terms(y, expected.targets(targets))
    alone = ~with_partner(mix)
    np.testing.assert_array_equal(x[alone], images[alone])
    np.testing.assert_array_equal(mix.lam[alone], 1)


def assert_one_draw(mix: Any, expected: Any, images: Any) -> None:
    """Assert that all paired examples have the same lam and the same weights."""
    has = with_partner(mix)
    w = expected.own(images.shape[:3])
    for drawn in (np.asarray(mix.lam), w):
        np.testing.assert_array_equal(drawn[has], drawn[has][:1].repeat(has.sum(), 0))


def at(k: int, tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[k], tree)


@pytest.mark.parametrize("name", DRAWS)
def test_all_with_a_partner_have_the_draw_of_the_first(name):
    mixer = DRAWS[name]

    @jax.jit
    def run(key, batch):
        each = mx.draw_of(mixer)(key, batch)
        return each, *mx.once_per_batch(mixer)(key, batch)

    each, mixed, mix = jax.tree.map(np.asarray, run(KEY, BATCH))
    drawn = jax.tree.leaves((each.lam, each.sources[0].lam, each.region))
    has = with_partner(each)
    assert any(len(np.unique(leaf[has], axis=0)) > 1 for leaf in drawn)
    found = mix.lam, mix.sources[0].lam, mix.region
    oracle.assert_close(found, first_for_all(each))
    np.testing.assert_array_equal(mix.partner, each.partner)
    expected = EXPECTED.get(name, oracle.blend)(mix)
    assert_mixed(mixed, mix, expected, BATCH)
    if name != "mixup":
        np.testing.assert_array_equal(np.flatnonzero(~has), [0, 2])


def test_there_is_one_layer_for_the_batch():
    @jax.jit
    def run(key):
        _, mix = mx.once_per_batch(spread)(key, BATCH)
        return mix, [mix.at(layer).inputs(IMAGES) for layer in range(3)]

    mix, hidden = jax.tree.map(np.asarray, run(KEY))
    alone = PARTNER == PLACES
    np.testing.assert_array_equal(mix.region.drawn, np.where(alone, PLACES % 3, 1))
    np.testing.assert_array_equal(hidden[0], IMAGES)
    oracle.assert_mixed(hidden[1], oracle.column(mix.lam, IMAGES), IMAGES, PARTNER)
    np.testing.assert_array_equal(hidden[2], IMAGES)


def test_twice_is_once():
    one = mx.once_per_batch(DRAWS["box"])
    two = mx.once_per_batch(one)
    again, want = jax.jit(lambda: [mixer(KEY, BATCH) for mixer in (two, one)])()
    oracle.assert_equal(again, want)


def test_the_gradient_by_alpha_is_that_of_the_one_draw():
    def lams(alpha):
        mixer = partial(mx.mixup, alpha=alpha, pairing=given)
        each, once = mx.draw_of(mixer), mx.draw_of(mx.once_per_batch(mixer))
        return each(KEY, BATCH).lam, once(KEY, BATCH).lam

    each, once = jax.jit(jax.jacrev(lams))(0.7)
    assert each[1] != 0
    np.testing.assert_allclose(once, np.where(PARTNER == PLACES, 0, each[1]), rtol=1e-6)


# Through combinators.


BLEND, BOX = partial(mx.mixup, pairing=given), partial(mx.cutmix, pairing=given)
ROLLED = partial(mx.mixup, pairing=mx.pairings.roll)
PERMUTED = partial(mx.cutmix, pairing=permutation)
BLOB = partial(mx.fmix, pairing=given)
# The inner mixers, each with its expectation.
COMBINED: dict[str, tuple[mx.Mixer, dict[mx.Mixer, Any]]] = {
    "blend or box": (
        mx.choose([BLEND, BOX], [0.5, 0.5]),
        {BLEND: oracle.blend, BOX: oracle.box},
    ),
    "two pairings": (
        mx.choose([ROLLED, BOX], [0.5, 0.5]),
        {ROLLED: oracle.blend, BOX: oracle.box},
    ),
    "some": (
        mx.with_probability(0.5, PERMUTED),
        {PERMUTED: oracle.box, mx.erm: oracle.untouched},
    ),
    "nested": (
        mx.choose(
            [
                mx.with_probability(0.5, BLEND),
                mx.choose([BLOB, mx.cutmix], [0.5, 0.5]),
            ],
            [0.4, 0.6],
        ),
        {
            BLEND: oracle.blend,
            mx.erm: oracle.untouched,
            BLOB: oracle.field,
            mx.cutmix: oracle.box,
        },
    ),
}


@pytest.mark.parametrize("name", COMBINED)
def test_one_choice_and_one_draw_hold_for_the_batch(name):
    mixer, inside = COMBINED[name]

    @jax.jit
    @jax.vmap
    def run(key):
        mixed, mix = mx.once_per_batch(mixer)(key, BATCH)
        # A blob draws with a split key, so combinators split the key that they pass on.
        keys = [key, jax.random.split(key)[1]]
        keys.append(jax.random.split(keys[1])[1])
        levels = (1, 1, 2, 2) if name == "nested" else (0,) * len(inside)
        draws = [mx.draw_of(mx.once_per_batch(part)) for part in inside]
        drawn = [draw(keys[n], BATCH) for draw, n in zip(draws, levels, strict=True)]
        return mixed, mix, drawn

    batches = jax.tree.map(np.asarray, run(jax.random.split(KEY, 12)))
    kinds = set()
    for k in range(12):
        mixed, mix, drawn = at(k, batches)
        expected = [of(each) for of, each in zip(inside.values(), drawn)]
        found = [n for n, each in enumerate(expected) if makes(each, mixed, mix)]
        assert found, "the batch is what one of them makes of it"
        assert_one_draw(mix, expected[found[0]], IMAGES)
        if len(found) == 1:  # an empty box equals erm
            kinds.add(found[0])
    assert len(kinds) >= 2, "both choices are made, in one batch or another"


def makes(expected: Any, mixed: Any, mix: Any) -> bool:
    """Return whether ``mixed`` is what is expected."""
    try:
        assert_mixed(mixed, mix, expected, BATCH)
    except AssertionError:
        return False
    return True


def lams_of(mixer: mx.Mixer, batch: Any = BATCH) -> tuple[np.ndarray, np.ndarray]:
    """Return ``lam`` and ``partner`` of many batches, ``[batches, size]``."""

    def drawn(key):
        mix = mx.draw_of(mixer)(key, batch)
        return mix.lam, mix.partner

    keys = jax.random.split(KEY, BATCHES)
    lam, partner = jax.jit(jax.vmap(drawn))(keys)
    return np.asarray(lam), np.asarray(partner)


def has_share(hits: Any, share: float) -> bool:
    error = math.sqrt(share * (1 - share) / np.size(hits))
    return abs(np.mean(hits) - share) <= ERRORS * error


CHOICES = {
    "choose": (
        mx.choose([fixed(0.25), fixed(0.5), mx.erm], [0.5, 0.3, 0.2]),
        {0.25: 0.5, 0.5: 0.3, 1.0: 0.2},
    ),
    "by pair": (
        partial(mx.choose([fixed(0.25), fixed(0.5)], [0.3, 0.7], by=PER_PAIR)),
        {0.25: 0.3, 0.5: 0.7},
    ),
    "some": (mx.with_probability(0.3, fixed(0.25)), {0.25: 0.3, 1.0: 0.7}),
    "nested": (
        mx.choose(
            [
                mx.with_probability(0.5, fixed(0.25)),
                mx.choose([fixed(0.5), fixed(0.75)], [0.2, 0.8]),
            ],
            [0.4, 0.6],
        ),
        {0.25: 0.2, 1.0: 0.2, 0.5: 0.12, 0.75: 0.48},
    ),
}


@pytest.mark.parametrize("name", CHOICES)
def test_batches_are_shared_out_by_the_probabilities(name):
    mixer, shares = CHOICES[name]
    lam, _ = lams_of(mx.once_per_batch(mixer))
    assert (lam == lam[:, :1]).all()
    assert set(np.unique(lam)) == set(shares)
    for value, share in shares.items():
        assert has_share(lam[:, 0] == value, share)


def test_the_partners_are_those_of_the_mixer_that_was_chosen():
    mixers = [fixed(0.25, pairing=given), fixed(0.5, pairing=mx.pairings.roll)]
    lam, partner = lams_of(mx.once_per_batch(mx.choose(mixers, [0.5, 0.5])))
    rolled = (lam == 0.5).all(axis=1)
    assert has_share(rolled, 0.5)
    expected = np.where(rolled[:, None], np.roll(PLACES, 1), PARTNER)
    np.testing.assert_array_equal(partner, expected)
    lone = np.broadcast_to(np.where(PARTNER == PLACES, 1, 0.25), lam.shape)
    np.testing.assert_array_equal(lam[~rolled], lone[~rolled])


def test_a_choice_within_on_keys_is_one_for_the_batch():
    inner = mx.choose([fixed(0.25, pairing=given), mx.erm], [0.5, 0.5])
    mixer = mx.once_per_batch(mx.on_keys(inner, inputs="image", targets="soft"))
    batch = {"soft": TARGETS, "image": IMAGES, "label": LABELS}

    @jax.jit
    def run(keys):
        return jax.vmap(lambda key: mixer(key, batch))(keys)

    mixed, mix = jax.tree.map(np.asarray, run(jax.random.split(KEY, 16)))
    wanted = np.where(PARTNER == PLACES, 1, np.where(mix.lam[:, 1:2] < 1, 0.25, 1))
    np.testing.assert_array_equal(mix.lam, wanted)
    assert 0 < (mix.lam[:, 1] < 1).sum() < 16
    for k in range(16):
        for name, given_ in (("image", IMAGES), ("soft", TARGETS)):
            w = oracle.column(mix.lam[k], given_)
            oracle.assert_mixed(mixed[name][k], w, given_, mix.partner[k])
        np.testing.assert_array_equal(mixed["label"][k], LABELS)


def test_using_an_entry_draws_once_too():
    def of_labels(labels):
        pairing = partial(mx.pairings.same_class, labels=labels)
        return mx.on_keys(partial(mx.mixup, pairing=pairing), inputs="image")

    batch = {"image": IMAGES, "label": LABELS}
    mixer = mx.using("label", of_labels)

    @jax.jit
    def run(key, batch):
        each = mx.draw_of(mixer)(key, batch)
        return each, *mx.once_per_batch(mixer)(key, batch)

    each, mixed, mix = jax.tree.map(np.asarray, run(KEY, batch))
    found = mix.lam, mix.sources[0].lam, mix.region
    oracle.assert_close(found, first_for_all(each))
    lone = mix.lam == 1
    np.testing.assert_array_equal(np.flatnonzero(lone), [0, 2])
    np.testing.assert_array_equal(mixed["image"][lone], IMAGES[lone])


ALPHA = optax.linear_schedule(1.0, 0.0, transition_steps=2)
changing = mx.scheduled(
    lambda step: partial(mx.mixup, alpha=ALPHA(step), pairing=given)
)


def test_scheduled_mixing_draws_once_at_each_step():
    mixer = jax.jit(lambda step: mx.once_per_batch(changing)(step)(KEY, BATCH)[1].lam)
    each = jax.jit(lambda step: changing(step)(KEY, BATCH)[1].lam)
    for step, mixes in ((0, True), (1, True), (2, False)):
        lam = np.asarray(mixer(step))
        np.testing.assert_allclose(lam, np.where(PARTNER == PLACES, 1, each(step)[1]))
        assert (lam[1] < 1) == mixes


def test_the_train_step_takes_a_scheduled_mixer_of_one_draw():
    def loss(params, batch, mix):
        return params * jnp.mean(batch[0]), {"lam": mix.lam}

    mixer = mx.once_per_batch(changing)
    step = jax.jit(mx.training.train_step(loss, mixer, micro_batches=1))
    state = mx.training.TrainState.create(jnp.ones(()), optax.sgd(0.1))
    seen = []
    for _ in range(3):
        state, metrics = step(state, KEY, BATCH)
        lam = np.asarray(metrics["lam"])
        np.testing.assert_array_equal(lam, np.where(PARTNER == PLACES, 1, lam[1]))
        seen.append(float(lam[1]))
    assert len(set(seen)) == 3
    assert seen[2] == 1


# On the devices of a mesh.


DEVICES = 4
WIDE = oracle.images(DEVICES * 6, seed=1)
PLACED = {
    "box": partial(mx.cutmix, pairing=permutation),
    "blob": partial(mx.fmix, pairing=mx.pairings.roll),
}


def in_shares(batch: Any) -> Any:
    return jax.tree.map(lambda x: x.reshape(DEVICES, -1, *x.shape[1:]), batch)


def on_shares(mixer: Any) -> Any:
    """Return the results of four devices, as global arrays."""
    run = jax.vmap(mixer, in_axes=(None, 0), axis_name="data")
    found = jax.jit(run)(KEY, in_shares(WIDE))
    return jax.tree.map(lambda x: np.reshape(x, (-1, *x.shape[2:])), found)


@functools.cache
def on_one_device(name: str) -> Any:
    mixer = jax.jit(mx.once_per_batch(PLACED[name]))
    return jax.tree.map(np.asarray, mixer(KEY, WIDE))


@pytest.mark.parametrize("around", [True, False])
def test_each_device_draws_once(around):
    mixer = partial(mx.mixup, pairing=permutation)
    if around:
        placed = mx.once_per_batch(mx.per_device(mixer, "data"))
    else:
        placed = mx.per_device(mx.once_per_batch(mixer), "data")
    _, mix = on_shares(placed)
    each = jax.jit(mx.draw_of(mixer))
    lams = set()
    for device, key in enumerate(jax.random.split(KEY, DEVICES)):
        own = slice(6 * device, 6 * device + 6)
        drawn = each(key, jax.tree.map(lambda leaf, own=own: leaf[own], WIDE))
        lam, *_ = first_for_all(drawn)
        np.testing.assert_allclose(mix.lam[own], lam, rtol=1e-6)
        np.testing.assert_array_equal(mix.partner[own], drawn.partner + 6 * device)
        lams.add(float(lam.min()))
    assert len(lams) == DEVICES


def test_the_whole_batch_draws_what_one_device_would():
    mixed, mix = on_shares(mx.once_per_batch(mx.whole_batch(PLACED["box"], "data")))
    want, drawn = on_one_device("box")
    oracle.assert_close(mixed, want)
    oracle.assert_close((mix.lam, mix.partner), (drawn.lam, drawn.partner))
    assert len(np.unique(mix.lam[with_partner(mix)])) == 1


def test_a_choice_among_mixers_of_the_whole_batch_is_one():
    mixers = [mx.whole_batch(fixed(lam), "data") for lam in (0.25, 0.75)]
    mixer = mx.once_per_batch(mx.choose(mixers, [0.5, 0.5]))
    run = jax.vmap(mixer, in_axes=(None, 0), axis_name="data")
    keys = jax.random.split(KEY, 8)
    _, mix = jax.jit(jax.vmap(run, (0, None)))(keys, in_shares(WIDE))
    lam = np.asarray(mix.lam).reshape(8, -1)
    assert (lam == lam[:, :1]).all()
    assert set(np.unique(lam)) == {0.25, 0.75}


def test_partners_of_any_integers_are_placed_on_their_device():
    for mixer in (DRAWS["a user's of NumPy"], mx.once_per_batch(ramp)):
        run = jax.vmap(mx.per_device(mixer, "data"), (None, 0), axis_name="data")
        _, mix = jax.jit(run)(KEY, jax.tree.map(lambda x: np.stack([x, x]), BATCH))
        np.testing.assert_array_equal(mix.partner, [PARTNER, PARTNER + SIZE])


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("name", ["box", "blob"])
def test_a_batch_on_a_mesh_is_mixed_as_on_one_device(name, kind):
    mixer = jax.jit(mx.once_per_batch(PLACED[name]))
    devices = jax.devices()[:DEVICES]
    mesh = jax.make_mesh((DEVICES,), ("data",), (kind,), devices=devices)
    rows = jax.NamedSharding(mesh, jax.P("data"))
    divided = jax.device_put(WIDE, rows)
    with jax.set_mesh(mesh):
        found = [mixer(KEY, divided)]
    if name == "blob":  # sharded as the batch is, even without a mesh in the context
        found.append(mixer(KEY, divided))
    want, drawn = on_one_device(name)
    assert_one_draw(drawn, EXPECTED[name](drawn), WIDE[0])
    for mixed, mix in found:
        assert mixed[0].sharding.is_equivalent_to(rows, 4)
        oracle.assert_close(jax.tree.map(np.asarray, mixed), want)
        oracle.assert_close(jax.tree.map(np.asarray, mix), drawn)


# The law of the one draw.


SPLIT = np.array([0, 1, 2, 1, 3])  # only class 1 has two examples
LAWS = {
    "neighbour": (mx.mixup, stats.beta(1, 1).cdf, 0),
    "permutation": (
        partial(mx.mixup, alpha=0.4, pairing=permutation),
        stats.beta(0.4, 0.4).cdf,
        1 / math.factorial(5),
    ),
    "same class": (
        partial(
            mx.mixup, alpha=2.0, pairing=partial(mx.pairings.same_class, labels=SPLIT)
        ),
        stats.beta(2, 2).cdf,
        0,
    ),
    "folded": (
        partial(
            mx.mixup,
            ratio=mx.ratios.folded(mx.ratios.beta(0.4)),
            pairing=permutation,
        ),
        lambda x: stats.beta(0.4, 0.4).cdf(x) - stats.beta(0.4, 0.4).cdf(1 - x),
        1 / math.factorial(5),
    ),
    "truncated": (
        partial(
            mx.mixup,
            ratio=mx.ratios.truncated(mx.ratios.uniform(), 0.2, 0.7),
            pairing=permutation,
        ),
        stats.uniform(0.2, 0.5).cdf,
        1 / math.factorial(5),
    ),
}


def p_value(found: Any) -> float:
    return found.pvalue


@pytest.mark.parametrize("name", LAWS)
def test_lam_is_distributed_as_that_of_an_example(name):
    mixer, cdf, unpaired = LAWS[name]
    batch = (np.zeros((5, 1), np.float32), None)
    lam, partner = lams_of(mx.once_per_batch(mixer), batch)
    has = partner != np.arange(5)
    np.testing.assert_array_equal(lam[~has], 1)
    mixed = has.any(axis=1)
    assert has_share(~mixed, unpaired) if unpaired else mixed.all()
    lam, has = lam[mixed], has[mixed]
    first = has.argmax(axis=1)
    one = lam[np.arange(len(lam)), first]
    np.testing.assert_array_equal(
        np.where(has, lam, one[:, None]), one[:, None].repeat(5, 1)
    )
    assert p_value(stats.kstest(one, cdf)) > CHANCE
    if name == "permutation":  # no matter which example the draw is from
        assert p_value(stats.kstest(one[first > 0], cdf)) > CHANCE


def test_boxes_are_distributed_as_those_of_an_example():
    mixer = partial(mx.cutmix, pairing=given)

    def drawn(mixer, place):
        def at_place(key):
            mix: Any = mx.draw_of(mixer)(key, BATCH)
            corners = jnp.concatenate([mix.region.start, mix.region.stop], axis=1)
            return mix.lam[place], corners[place].astype(jnp.float32)

        return jax.jit(jax.vmap(at_place))

    # Separate keys, so that the two samples are independent.
    one, each = jax.random.split(KEY, (2, BATCHES))
    lam, corners = drawn(mx.once_per_batch(mixer), 5)(one)
    lam_each, corners_each = drawn(mixer, 5)(each)
    assert p_value(stats.ks_2samp(lam, lam_each)) > CHANCE
    for side in range(4):
        found = stats.ks_2samp(corners[:, side], corners_each[:, side])
        assert p_value(found) > CHANCE


# No example has a partner.


LONELY = {
    "mixup": partial(mx.mixup, pairing=mx.pairings.same_class),
    "box": partial(mx.cutmix, pairing=mx.pairings.same_class),
    "some": mx.with_probability(0.5, partial(mx.mixup, pairing=mx.pairings.same_class)),
    "erm": mx.erm,
    "extrapolate": mx.extrapolate,
}


@pytest.mark.parametrize("name", LONELY)
def test_without_partners_nothing_changes(name):
    targets = np.eye(SIZE, dtype=np.float32)
    run = jax.jit(mx.once_per_batch(LONELY[name]))
    mixed, mix = run(KEY, (IMAGES, targets))
    oracle.assert_equal(mixed, (IMAGES, targets))
    np.testing.assert_array_equal(mix.lam, np.ones(SIZE, np.float32))
    np.testing.assert_array_equal(mix.partner, PLACES)


def test_one_example_is_left_as_it_is():
    batch = (IMAGES[:1], TARGETS[:1])
    mixed, mix = jax.jit(mx.once_per_batch(mx.mixup))(KEY, batch)
    oracle.assert_equal(mixed, batch)
    np.testing.assert_array_equal(mix.lam, [1])


# The same draw in other libraries.


CHANNELS_FIRST = np.moveaxis(IMAGES, 3, 1).copy()


def corners_of(mix: Any) -> tuple[int, int, int, int]:
    """Return the one box of a batch: top, bottom, left, right."""
    corners = np.concatenate([mix.region.start, mix.region.stop], axis=1)
    assert (corners == corners[:1]).all()
    top, left, bottom, right = map(int, corners[0])
    return top, bottom, left, right


def lam_of(mix: Any) -> np.float32:
    """Return the one lam of a batch in which every example has a partner."""
    lam = np.asarray(mix.lam)
    assert with_partner(mix).all()
    assert (lam == lam[0]).all()
    return lam[0]


def pasted(x: np.ndarray, other: np.ndarray, mix: Any) -> tuple[np.ndarray, float]:
    """Return NCHW images with a box pasted from others, and the remaining share."""
    top, bottom, left, right = corners_of(mix)
    x = x.copy()
    x[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
    return x, 1 - (bottom - top) * (right - left) / (x.shape[2] * x.shape[3])


def timm_targets(lam: Any, smoothing: float = 0.1) -> np.ndarray:
    """Return smoothed one-hot labels, mixed with those of the flipped batch."""
    off = smoothing / oracle.CLASSES
    own = np.where(TARGETS > 0, 1 - smoothing + off, off)
    return own * lam + own[::-1] * (1 - lam)


def timm_mixup(mix):
    lam = lam_of(mix)
    x = CHANNELS_FIRST * lam + CHANNELS_FIRST[::-1] * (1 - lam)
    return x, timm_targets(lam)


def timm_cutmix(mix):
    x, lam = pasted(CHANNELS_FIRST, CHANNELS_FIRST[::-1], mix)
    return x, timm_targets(lam)


def torchvision_mixup(mix):
    lam = lam_of(mix)
    x, y = CHANNELS_FIRST, TARGETS
    return tuple(np.roll(t, 1, axis=0) * (1 - lam) + t * lam for t in (x, y))


def torchvision_cutmix(mix):
    x, lam = pasted(CHANNELS_FIRST, np.roll(CHANNELS_FIRST, 1, axis=0), mix)
    return x, np.roll(TARGETS, 1, axis=0) * (1 - lam) + TARGETS * lam


def big_vision(mix):
    lam = lam_of(mix)
    assert lam >= 0.5
    x, y = CHANNELS_FIRST, TARGETS
    return tuple(lam * t + (1 - lam) * np.roll(t, 1, axis=0) for t in (x, y))


def scenic(mix):
    weight = lam_of(mix)
    x, y = CHANNELS_FIRST, TARGETS
    return tuple(weight * t + (1 - weight) * t[::-1] for t in (x, y))


SMOOTH = mx.losses.one_hot(TARGETS.argmax(1), oracle.CLASSES, smoothing=0.1)
reverse, roll = mx.pairings.reverse, mx.pairings.roll
PEERS = {
    "timm mixup": (timm_mixup, partial(mx.mixup, alpha=0.8, pairing=reverse)),
    "timm cutmix": (
        timm_cutmix,
        partial(mx.cutmix, pairing=reverse, spatial=(2, 3)),
    ),
    "torchvision mixup": (torchvision_mixup, partial(mx.mixup, pairing=roll)),
    "torchvision cutmix": (
        torchvision_cutmix,
        partial(mx.cutmix, pairing=roll, spatial=(2, 3)),
    ),
    "big_vision": (
        big_vision,
        partial(mx.mixup, ratio=mx.ratios.folded(mx.ratios.beta(0.2)), pairing=roll),
    ),
    "scenic": (scenic, partial(mx.mixup, pairing=reverse)),
}


@pytest.mark.parametrize("name", PEERS)
def test_other_libraries_make_the_same_of_the_draw(name):
    formula, mixer = PEERS[name]
    targets = SMOOTH if name.startswith("timm") else TARGETS
    run = jax.jit(jax.vmap(mx.once_per_batch(mixer), (0, None)))
    keys = jax.random.split(KEY, 8)
    found = jax.tree.map(np.asarray, run(keys, (CHANNELS_FIRST, targets)))
    mixes = 0
    for k in range(8):
        (x, y), mix = at(k, found)
        images, labels = formula(mix)
        if "cutmix" in name:
            np.testing.assert_array_equal(x, images)
        else:
            np.testing.assert_allclose(x, images, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(y, labels, rtol=1e-6, atol=1e-6)
        mixes += not np.array_equal(x, CHANNELS_FIRST)
    assert mixes >= 6


def test_timm_switches_between_both_for_the_batch():
    both = [partial(mx.mixup, pairing=reverse), PEERS["timm cutmix"][1]]
    run = jax.jit(jax.vmap(mx.once_per_batch(mx.choose(both, [0.5, 0.5])), (0, None)))
    keys = jax.random.split(KEY, 8)
    found = jax.tree.map(np.asarray, run(keys, (CHANNELS_FIRST, SMOOTH)))
    switched = []
    for k in range(8):
        (x, y), mix = at(k, found)
        (chosen,) = set(mix.region.index)
        box = mix.region.regions[1]
        of_box = with_region(mix, box)
        images, labels = timm_cutmix(of_box) if chosen else timm_mixup(mix)
        np.testing.assert_allclose(x, images, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(y, labels, rtol=1e-6, atol=1e-6)
        switched.append(chosen)
    assert len(set(switched)) == 2


# Refusals.


noise = partial(mx.gaussian, sigma=1.0)
REFUSED = {
    "gaussian": (noise, "gaussian"),
    "jitted": (jax.jit(mx.mixup), "mixup"),
    "a function": (lambda key, batch: mx.mixup(key, batch), "lambda"),
    "in a choice": (mx.choose([mx.mixup, noise], [0.5, 0.5]), "gaussian"),
    "in on_keys": (mx.on_keys(noise, inputs="image"), "gaussian"),
    "on a device": (mx.per_device(noise, "data"), "gaussian"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_draws_that_are_not_known_are_refused(name):
    mixer, named = REFUSED[name]
    said = (
        rf"expected one with two halves.*{named}.*which is a single function\. Decorate"
    )
    with pytest.raises(TypeError, match=said):
        mx.once_per_batch(mixer)


def test_what_a_step_or_an_entry_returns_is_refused_when_it_is_called():
    scheduled = mx.once_per_batch(mx.scheduled(lambda step: noise))
    with pytest.raises(TypeError, match="which is a single function"):
        scheduled(0)
    by_name = mx.on_keys(noise, inputs="image")
    mixer = mx.once_per_batch(mx.using("label", lambda labels: by_name))
    with pytest.raises(TypeError, match="which is a single function"):
        mixer(KEY, {"image": IMAGES, "label": LABELS})


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match=r"once_per_batch: mixer: .*; got 0\.5"):
        mx.once_per_batch(0.5)  # type: ignore[arg-type]
