"""Parts of a batch that follow a mix by rules of their own."""

import dataclasses
import pickle
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mixup_jax as mx
from tests import oracle

KEY = jax.random.key(3)
SIZE, SIDES, TIME, CLASSES = 8, (6, 5), 9, 4
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(SIZE, *SIDES, 3)).astype(np.float32)
IDS = RNG.integers(0, CLASSES, (SIZE, *SIDES)).astype(np.int32)
HOT = np.eye(CLASSES, dtype=np.float32)[IDS]
WAVES = RNG.normal(size=(SIZE, TIME, 2)).astype(np.float32)
LENGTHS = np.array([9, 3, 1, 5, 0, 7, 4, 4], np.int32)
VALID = np.arange(TIME) < LENGTHS[:, None]

MIXERS = {
    "paste": mx.cutmix,
    "blend": mx.mixup,
    "window": mx.resizemix,
    "bell": mx.smoothmix,
    "hidden": partial(mx.manifold, layers=(1, 2)),
    "several": mx.dirichlet,
    "choice": mx.choose([mx.mixup, mx.cutmix, mx.resizemix], [0.3, 0.4, 0.3]),
    "choice of hidden": mx.choose(
        [partial(mx.manifold, layers=(0, 1)), mx.cutmix], [0.5, 0.5]
    ),
    "labels stay": mx.choose([partial(mx.extrapolate, by=0.5), mx.mixup], [0.5, 0.5]),
}
PASTING = {
    "paste": mx.cutmix,
    "blob": mx.fmix,
    "window": mx.resizemix,
    "choice": mx.choose([mx.cutmix, mx.resizemix], [0.5, 0.5]),
}


def drawn(mixer: Any, x: Any = IMAGES) -> mx.Mix:
    """Return a mix of the batch, with two alternating classes as targets."""
    return mixer(KEY, (x, np.eye(2, dtype=np.float32)[np.arange(SIZE) % 2]))[1]


def same(got: Any, want: Any) -> None:
    oracle.assert_equal(jax.tree.map(np.asarray, got), jax.tree.map(np.asarray, want))


# maps


@pytest.mark.parametrize("name", PASTING)
def test_ids_pasted_are_the_one_hot_maps_pasted(name):
    ids, hot = mx.follow.maps(IDS), mx.follow.maps({"hot": HOT, "byte": IDS > 1})
    (x, (ids, hot)), mix = jax.jit(PASTING[name])(KEY, (IMAGES, (ids, hot)))
    assert (np.asarray(mix.lam) < 1).any()
    assert ids.tree.dtype == IDS.dtype
    same(np.eye(CLASSES, dtype=np.float32)[ids.tree], hot.tree["hot"])
    same(np.asarray(ids.tree) > 1, hot.tree["byte"])
    # The reference: an image of the ids, pasted as inputs are.
    same(ids.tree, mix.inputs(IDS[..., None])[..., 0])
    same(x, mix.inputs(IMAGES))


@pytest.mark.parametrize("channels", [(), (1,), (7,)])
def test_maps_have_channels_of_their_own_or_none(channels):
    x = RNG.integers(0, 255, (SIZE, *SIDES, *channels)).astype(np.uint8)
    for images, spatial in (
        (IMAGES, None),
        (IMAGES[..., 0], (1, 2)),
        (np.moveaxis(IMAGES, -1, 1), (2, 3)),
    ):
        mixer = partial(mx.cutmix, spatial=spatial)
        (_, maps), mix = mixer(KEY, (images, mx.follow.maps(x)))
        region: Any = mix.region
        start, stop = np.asarray(region.start), np.asarray(region.stop)
        want = x.copy()
        for i, (a, b) in enumerate(zip(start, stop)):
            box = (slice(a[0], b[0]), slice(a[1], b[1]))
            want[i][box] = x[mix.partner[i]][box]
        same(maps.tree, want)


def test_maps_of_a_video_have_its_frames():
    video = np.zeros((SIZE, 4, *SIDES, 3), np.float32)
    frames = RNG.integers(0, 9, (SIZE, 4, *SIDES)).astype(np.int16)
    still = frames[:, 0]
    batch = (video, {"frames": mx.follow.maps(frames), "still": mx.follow.maps(still)})
    (_, maps), mix = mx.cutmix(KEY, batch, spatial=(2, 3))
    same(maps["frames"].tree[:, 0], maps["still"].tree)
    same(maps["frames"].tree, mix.inputs(frames[..., None])[..., 0])


def test_maps_in_the_inputs_are_where_the_inputs_are():
    inputs = {"x": IMAGES, "depth": mx.follow.maps(IMAGES[..., 0])}
    hidden = partial(mx.manifold, layers=(1,))
    for mixer in (mx.cutmix, mx.mixup, mx.smoothmix, hidden):
        (mixed, _), _ = mixer(KEY, (inputs, None))
        same(mixed["depth"].tree, mixed["x"][..., 0])
    # As labels they are mixed no matter which layer was drawn.
    (_, maps), mix = hidden(KEY, (IMAGES, mx.follow.maps(HOT)))
    same(maps.tree, mix.targets(HOT.reshape(SIZE, -1)).reshape(HOT.shape))


def test_ids_are_not_blended():
    for mixer in (mx.mixup, mx.smoothmix, MIXERS["choice"]):
        with pytest.raises(TypeError, match=r"maps: expected a floating.*termwise"):
            mixer(KEY, (IMAGES, mx.follow.maps(IDS)))


UNDECLARED = {
    "ids": IDS,
    "one-hot maps": HOT,
    "bool": IDS > 1,
    "channels first": np.moveaxis(HOT, -1, 1),
    "many channels": HOT[..., None],
    "half": HOT.astype(np.float16),
}


@pytest.mark.parametrize("kind", UNDECLARED)
def test_maps_that_are_not_declared_are_refused(kind):
    y = UNDECLARED[kind]
    batches = [(IMAGES, (None, {"y": y}), None)]
    if kind == "channels first":
        batches = [(np.moveaxis(IMAGES, -1, 1), y, (2, 3))]
    said = r"expected labels of whole examples.*follow\.maps.*on_keys.*maps="
    for x, targets, spatial in batches:
        for mixer in (mx.cutmix, mx.fmix, mx.smoothmix, mx.resizemix):
            with pytest.raises(ValueError, match=said):
                jax.eval_shape(partial(mixer, spatial=spatial), KEY, (x, targets))
        both = mx.choose([mx.mixup, partial(mx.cutmix, spatial=spatial)], [0.5, 0.5])
        with pytest.raises(ValueError, match=said):
            both(KEY, (x, targets))
        _, mix = mx.cutmix(KEY, (x, None), spatial=spatial)
        with pytest.raises(ValueError, match=said):
            mix.terms(targets)


def test_losses_refuse_maps_that_are_not_declared():
    logits = jnp.zeros((*IDS.shape, CLASSES))
    mix = drawn(mx.cutmix)
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels
    for loss in (mx.losses.termwise(entropy), mx.losses.termwise_mean(entropy)):
        with pytest.raises(ValueError, match=r"follow\.maps"):
            loss(logits, IDS, mix)
        assert np.isfinite(loss(logits, IDS)).all()
    with pytest.raises(ValueError, match=r"follow\.maps"):
        mx.metrics.accuracy(logits, IDS, mix=mix)


def test_what_only_looks_like_maps_is_mixed_by_lam():
    waves = np.zeros((SIZE, CLASSES, 3), np.float32)  # as many time steps as classes
    soft = np.eye(CLASSES, dtype=np.float32)[IDS[:, 0, 0]]
    (_, mixed), mix = mx.cutmix(KEY, (waves, soft))
    oracle.assert_mixed(mixed, oracle.column(mix.lam, soft), soft, mix.partner)
    # One weight for all positions, whether they are maps or not.
    (_, mixed), mix = mx.mixup(KEY, (IMAGES, HOT))
    oracle.assert_mixed(mixed, oracle.column(mix.lam, HOT), HOT, mix.partner)
    # Nothing is mixed.
    (_, mixed), _ = mx.erm(KEY, (IMAGES, IDS))
    assert mixed is IDS


# losses and metrics


@pytest.mark.parametrize("name", MIXERS)
def test_losses_of_ids_are_those_of_one_hot_maps(name):
    mix = drawn(MIXERS[name])
    assert (np.asarray(mix.lam) < 1).any()
    dense = oracle.double(mix.targets(mx.follow.maps(HOT)).tree)
    logits = jnp.asarray(RNG.normal(size=HOT.shape), jnp.float32)
    log_p = oracle.double(jax.nn.log_softmax(logits))
    labels = mx.follow.maps(IDS)
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels
    each = jax.jit(mx.losses.termwise(entropy))(logits, labels, mix)
    np.testing.assert_allclose(each, -(dense * log_p).sum(-1), rtol=1e-5, atol=1e-6)
    mean = mx.losses.termwise_mean(entropy)(logits, labels, mix)
    np.testing.assert_allclose(mean, each.mean(), rtol=1e-5)
    hit = np.asarray(logits.argmax(-1))[..., None]
    want = np.take_along_axis(dense, hit, -1)[..., 0]
    hits = mx.metrics.accuracy(logits, labels, mix=mix)
    np.testing.assert_allclose(hits, want, rtol=1e-6, atol=1e-6)
    soft = mx.metrics.accuracy(logits, mix.targets(mx.follow.maps(HOT)))
    np.testing.assert_allclose(soft, hits, rtol=1e-6, atol=1e-6)


def test_ignored_positions_count_nothing():
    mix = drawn(MIXERS["choice"])
    ids = np.where(RNG.random(IDS.shape) < 0.3, 255, IDS)
    hot = np.eye(CLASSES)[np.where(ids == 255, 0, ids)] * (ids != 255)[..., None]
    dense = oracle.double(mix.targets(mx.follow.maps(hot.astype(np.float32))).tree)
    logits = RNG.normal(size=HOT.shape).astype(np.float32)
    losses = -(dense * oracle.double(jax.nn.log_softmax(logits))).sum(-1)
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels
    mean = mx.losses.termwise_mean(entropy, ignored=lambda y: y == 255)
    got = mean(logits, mx.follow.maps(ids), mix)
    np.testing.assert_allclose(got, losses.sum() / dense.sum(), rtol=1e-5)


def test_targets_of_maps_are_maps():
    hot = mx.losses.one_hot(mx.follow.maps(IDS), CLASSES, smoothing=0.1)
    assert isinstance(hot, mx.follow.Maps)
    same(hot.tree, mx.losses.one_hot(IDS, CLASSES, smoothing=0.1))
    same(mx.losses.binary_targets(hot, smoothing=0.1).tree, HOT)


def test_labels_that_were_mixed_take_no_mix():
    (_, labels), mix = mx.cutmix(KEY, (IMAGES, mx.follow.maps(IDS)))
    loss = mx.losses.termwise(optax.losses.softmax_cross_entropy_with_integer_labels)
    logits = jnp.zeros((*IDS.shape, CLASSES))
    with pytest.raises(ValueError, match="Leave out the mix"):
        loss(logits, labels, mix)
    np.testing.assert_allclose(loss(logits, labels), np.log(CLASSES), rtol=1e-6)


def test_each_container_has_terms_of_its_own():
    mix = drawn(mx.cutmix)
    maps = mx.follow.maps(IDS)
    same(mix.terms(maps)[0][0], mix.terms(IDS, like=IDS)[0][0])
    with pytest.raises(ValueError, match="Maps on its own; got it within a dict"):
        mix.terms({"a": maps, "b": np.arange(SIZE)})
    with pytest.raises(ValueError, match="one array; got Maps of 2"):
        mix.terms(mx.follow.maps((IDS, IDS)))
    assert mix.terms(mx.follow.lengths(LENGTHS))[0][0].shape == (SIZE,)


# masks and lengths


@pytest.mark.parametrize("dtype", [bool, np.int32, np.uint8, np.float32, jnp.bfloat16])
def test_masks_hold_what_is_seen(dtype):
    mask = VALID.astype(dtype)
    for mixer in (mx.mixup, mx.cutmix, mx.smoothmix, mx.dirichlet, mx.extrapolate):
        targets = np.eye(2, dtype=np.float32)[np.arange(SIZE) % 2]
        inputs = {"x": WAVES, "mask": mx.follow.masks(mask)}
        (mixed, _), mix = mixer(KEY, (inputs, targets))
        assert mixed["mask"].tree.dtype == dtype
        same(mixed["mask"].tree.astype(bool), mix.union(VALID))


def test_masks_that_are_added_follow_too():
    added = np.where(VALID, 0, -np.inf).astype(np.float32)
    mix = drawn(mx.mixup, WAVES)
    same(mix.inputs(mx.follow.masks(added)).tree == 0, mix.union(VALID))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2fnuz", "float8_e5m2"])
def test_masks_of_floats_without_infinities(name):
    added = np.where(VALID, 0, -8).astype(jnp.dtype(name))
    mix = drawn(mx.cutmix, WAVES)
    got = mix.inputs(mx.follow.masks(added)).tree
    assert got.dtype == added.dtype
    same(np.asarray(got, int), np.where(mix.union(VALID), 0, -8))


def test_masks_of_what_is_no_number_are_refused():
    mix = drawn(mx.mixup, WAVES)
    with pytest.raises(TypeError, match=r"masks: expected a real number"):
        mix.inputs(mx.follow.masks(VALID.astype(np.complex64)))


def test_layers_leave_masks_to_the_model():
    mixer = partial(mx.manifold, layers=(1, 2))
    inputs = {"x": WAVES, "mask": mx.follow.masks(VALID)}
    (mixed, _), mix = mixer(KEY, (inputs, None))
    same(mixed["mask"].tree, VALID)
    region: Any = mix.region
    layer = int(region.drawn[0])
    theirs = VALID[np.asarray(mix.partner)] & (np.asarray(mix.lam) < 1)[:, None]
    same(mix.at(layer).union(VALID), VALID | theirs)
    same(mix.at(3 - layer).union(VALID), VALID)


def test_a_mixture_is_as_long_as_what_is_seen_last():
    lam = np.array([0.5, 1, 0, 0.25, 1, 0.5, 0.5, 0.9], np.float32)
    ratio = mx.ratios.constant(lam)
    longest = np.array([9, 3, 5, 5, 0, 7, 4, 4], np.int32)
    inputs = (WAVES, mx.follow.lengths(LENGTHS))
    (mixed, _), _ = mx.mixup(KEY, (inputs, None), ratio=ratio)
    assert mixed[1].tree.dtype == np.int32
    same(mixed[1].tree, longest)
    # With a field: the last position of the union.
    (mixed, _), mix = mx.smoothmix(KEY, (inputs, None))
    union = np.asarray(mix.union(VALID))
    same(mixed[1].tree, (union * (1 + np.arange(TIME))).max(axis=1).astype(np.int32))


def test_lengths_that_a_field_shows_in_part():
    # From position 4 on the partner is visible; before it, only own content.
    own = jnp.asarray(np.where(np.arange(TIME) < 4, 1, 0.5) * np.ones((SIZE, 1)))
    grid = mx.regions.grid(WAVES, spatial=(1,))
    field = mx.regions.Field(own.astype(jnp.float32), grid)
    mix = mx.Mix.from_pairs(0.7, np.arange(SIZE) ^ 1, region=field)
    same(
        mix.inputs(mx.follow.lengths(LENGTHS)).tree,
        np.array([9, 9, 5, 5, 7, 7, 4, 4], np.int32),
    )
    short = mx.Mix.from_pairs(0.7, np.full(SIZE, 1), region=field)  # of length 3
    same(short.inputs(mx.follow.lengths(LENGTHS)).tree, LENGTHS)


def test_lengths_after_a_paste_are_refused_and_masks_are_named():
    inputs = {"x": WAVES, "n": mx.follow.lengths(LENGTHS)}
    both = mx.choose([mx.mixup, mx.cutmix], [0.5, 0.5])
    for mixer in (mx.cutmix, mx.fmix, mx.resizemix, both):
        with pytest.raises(ValueError, match=r"lengths: .*follow\.masks"):
            jax.eval_shape(mixer, KEY, (inputs, None))
    hidden = partial(mx.manifold, layers=(0, 1))
    (mixed, _), _ = mx.choose([hidden, mx.mixup], [0.5, 0.5])(KEY, (inputs, None))
    assert (np.asarray(mixed["n"].tree) >= LENGTHS).all()
    with pytest.raises(TypeError, match="lengths: expected integer numbers"):
        mx.mixup(KEY, ((WAVES, mx.follow.lengths(LENGTHS / 9)), None))
    with pytest.raises(ValueError, match="lengths: expected shape"):
        mx.mixup(KEY, ((WAVES, mx.follow.lengths(IDS)), None))


@pytest.mark.parametrize("leaf", [VALID, VALID.astype(np.int32), np.uint8(VALID)])
def test_masks_that_would_be_blended_are_refused(leaf):
    blending = mx.choose([mx.cutmix, mx.mixup], [0.5, 0.5])
    for mixer in (mx.mixup, mx.smoothmix, mx.dirichlet, blending):
        with pytest.raises(TypeError, match=r"follow\.masks.*masks=\.\.\."):
            jax.jit(mixer)(KEY, ({"x": WAVES, "mask": leaf}, None))
    with pytest.raises(TypeError, match=r"follow\.lengths"):
        mx.mixup(KEY, ((WAVES, LENGTHS), None))


# ``valid=`` on region draws

REGIONS = {
    "box": mx.regions.box,
    "blob": mx.regions.blob,
    "bell": mx.regions.bell,
    "resized": mx.regions.resized,
}


@pytest.mark.parametrize("name", REGIONS)
def test_lam_counts_valid_positions_alone(name):
    region = partial(REGIONS[name], valid=VALID)
    mixer = jax.jit(partial(mx.cutmix, region=region))
    place = np.broadcast_to(np.arange(TIME, dtype=np.float32)[:, None], WAVES.shape)
    for seed in range(3):
        key = jax.random.key(seed)
        _, mix = mixer(key, (WAVES, None))
        w = oracle.double(mix.coverage((TIME,)))
        # The position that each value comes from, through any window.
        partner = mx.Mix(
            jnp.zeros(SIZE),
            (dataclasses.replace(mix.sources[0], lam=jnp.zeros(SIZE)),),
        )
        from_ = place if name == "bell" else np.asarray(partner.inputs(place))
        theirs = np.take_along_axis(
            VALID[np.asarray(mix.partner)], from_[..., 0].astype(int), 1
        )
        kept, shown = (w * VALID).sum(1), ((1 - w) * theirs).sum(1)
        total = kept + shown
        want = np.where(total > 0, kept / np.where(total > 0, total, 1), 1)
        alone = np.asarray(mix.lam) == 1
        np.testing.assert_allclose(mix.lam, want, rtol=1e-5, atol=1e-6)
        # Without valid content nothing is mixed, and unmixed examples have lam 1.
        assert (w[alone] == 1).all()


def test_two_axes_of_which_one_is_padded():
    x = np.zeros((SIZE, TIME, 4, 1), np.float32)
    narrow, wide = VALID[:, :, None], np.repeat(VALID[:, :, None], 4, axis=2)
    (_, one), (_, full) = (
        mx.cutmix(KEY, (x, None), region=partial(mx.regions.box, valid=valid))
        for valid in (narrow, wide)
    )
    same(one.lam, full.lam)
    as_drawn = partial(mx.regions.box, valid=wide, share=mx.regions.as_drawn)
    _, drawn = mx.cutmix(KEY, (x, None), region=as_drawn)
    _, plain = mx.cutmix(
        KEY, (x, None), region=partial(mx.regions.box, share=mx.regions.as_drawn)
    )
    same(drawn.lam, plain.lam)


def test_valid_that_does_not_fit_is_refused():
    def mixed(valid):
        region = partial(mx.regions.box, valid=valid)
        return mx.cutmix(KEY, (WAVES, None), region=region)

    with pytest.raises(TypeError, match="valid: expected bools"):
        mixed(VALID.astype(np.float32))
    for wrong in (VALID[:, :4], VALID[:4], VALID[..., None], LENGTHS > 3):
        with pytest.raises(ValueError, match="valid: expected shape"):
            mixed(wrong)


def test_valid_may_be_a_mask_that_follows():
    def shares(valid):
        region = partial(mx.regions.box, valid=valid)
        return mx.cutmix(KEY, (WAVES, None), region=region)[1].lam

    same(shares(mx.follow.masks(VALID)), shares(VALID))


@pytest.mark.slow
def test_what_is_valid_travels_in_the_batch():
    def of_valid(mask):
        region = partial(mx.regions.box, valid=mask)
        mixer = partial(mx.cutmix, region=region)
        return mx.on_keys(mixer, inputs="x", masks="mask")

    mixer, batch = mx.using("mask", of_valid), {"x": WAVES, "mask": VALID}
    mixed, mix = mixer(KEY, batch)
    same(mixed["mask"], mix.union(VALID))
    on_shares = jax.vmap(
        mx.whole_batch(mixer, "data"), in_axes=(None, 0), axis_name="data"
    )
    shares = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), batch)
    again, shared = on_shares(KEY, shares)
    same(jax.tree.map(lambda x: x.reshape(SIZE, *x.shape[2:]), again), mixed)
    same(shared.lam.reshape(SIZE), mix.lam)
    with pytest.raises(TypeError, match=r"once_per_batch: .*drawn from"):
        mx.once_per_batch(of_valid(VALID))(KEY, batch)


# everything that applies a mix


def batch_of_all() -> dict[str, Any]:
    names = ("image", "label", "map", "mask", "length")
    labels = np.eye(CLASSES, dtype=np.float32)[IDS[:, 0, 0]]
    mask = RNG.random(IDS.shape) < 0.5
    lengths = np.minimum(LENGTHS, SIDES[0])
    return dict(zip(names, (IMAGES, labels, HOT, mask, lengths))) | {"id": IDS}


NAMED: dict[str, Any] = {
    "inputs": "image",
    "targets": "label",
    "maps": "map",
    "masks": "mask",
    "lengths": ["length"],
}
ALL = [mx.mixup, mx.smoothmix, partial(mx.manifold, layers=(0, 1))]


@pytest.mark.parametrize("mixer", ALL)
def test_on_keys_wraps_and_unwraps(mixer):
    batch = batch_of_all()
    mixed, mix = mx.on_keys(mixer, **NAMED)(KEY, batch)
    assert list(mixed) == list(batch)
    assert mixed["id"] is IDS
    same(mixed["image"], mix.inputs(batch["image"]))
    same(mixed["label"], mix.targets(batch["label"]))
    for half, name, rule in (
        (mix.targets, "map", mx.follow.maps),
        (mix.inputs, "mask", mx.follow.masks),
        (mix.inputs, "length", mx.follow.lengths),
    ):
        same(mixed[name], half(rule(batch[name])).tree)
    again = mx.on_keys(mixer, **NAMED)
    assert again == pickle.loads(pickle.dumps(again))
    scope = {"mixup_jax": mx, "functools": __import__("functools")}
    assert eval(repr(again), scope) == again


def test_on_keys_hands_on_what_stands_alone():
    batch = {"x": IMAGES, "y": IDS}
    mixed, mix = mx.on_keys(mx.cutmix, inputs="x", maps="y")(KEY, batch)
    same(mixed["y"], mix.inputs(IDS))
    alone, _ = mx.on_keys(mx.cutmix, inputs="x")(KEY, batch)
    same(alone["x"], mixed["x"])
    with pytest.raises(ValueError, match=r"each once; got .*maps='x'"):
        mx.on_keys(mx.cutmix, inputs="x", maps="x")
    with pytest.raises(ValueError, match=r"without \['mask'\]"):
        mx.on_keys(mx.cutmix, inputs="x", masks="mask")(KEY, batch)


def test_pairings_see_the_labels_past_what_follows():
    labels = np.arange(SIZE, dtype=np.int32) % 3
    hot = np.eye(3, dtype=np.float32)[labels]
    mixer = partial(mx.mixup, pairing=mx.pairings.same_class)
    batch = {"x": IMAGES, "y": hot, "map": HOT}
    _, mix = mx.on_keys(mixer, inputs="x", targets="y", maps="map")(KEY, batch)
    same(labels[np.asarray(mix.partner)], labels)


@pytest.mark.parametrize("mixer", [mx.smoothmix, mx.mixup])
def test_shares_of_devices_follow_as_the_whole(mixer):
    batch = batch_of_all()
    named = mx.on_keys(mixer, **NAMED)
    whole, _ = named(KEY, batch)
    shares = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), batch)
    on_shares = jax.vmap(
        mx.whole_batch(named, "data"), in_axes=(None, 0), axis_name="data"
    )
    got = jax.tree.map(
        lambda x: x.reshape(SIZE, *x.shape[2:]), on_shares(KEY, shares)[0]
    )
    oracle.assert_close(got, whole)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    laid = jax.device_put(batch, jax.NamedSharding(mesh, jax.P("data")))
    on_mesh = jax.jit(lambda key, batch: named(key, batch)[0])(KEY, laid)
    assert on_mesh["mask"].sharding.spec[0] == "data"
    oracle.assert_close(jax.tree.map(np.asarray, on_mesh), whole)


def test_a_loss_of_maps_on_an_explicit_mesh():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels
    loss = mx.losses.termwise_mean(entropy)

    @jax.jit
    def value(key, images, ids):
        (images, _), mix = MIXERS["choice"](key, (images, None))
        logits = jnp.concatenate([images, -images[..., :1]], axis=-1)
        return loss(logits, mx.follow.maps(ids), mix)

    laid = jax.device_put((IMAGES, IDS), jax.NamedSharding(mesh, jax.P("data")))
    np.testing.assert_allclose(value(KEY, *laid), value(KEY, IMAGES, IDS), rtol=1e-5)


def test_parts_of_a_batch_follow_one_after_another():
    batch = batch_of_all()
    del batch["id"]
    seen = []

    def loss(params, batch, mix):
        seen.append(jax.tree.map(jnp.shape, batch))
        value = jnp.mean(batch["image"] * params) + 0 * jnp.sum(batch["map"])
        return value, {name: jnp.sum(batch[name]) for name in ("map", "length")}

    mixer = mx.on_keys(partial(mx.mixup, ratio=mx.ratios.constant(0.5)), **NAMED)
    step = mx.training.train_step(loss, mixer, micro_batches=2)
    state = mx.training.TrainState.create(jnp.ones(()), optax.sgd(0.1))
    _, metrics = jax.jit(step)(state, KEY, batch)
    assert seen[0]["map"] == (SIZE // 2, *HOT.shape[1:])
    # Each micro-batch takes every second example, and mixes neighbors.
    lengths = batch["length"]
    longest = [2 * max(lengths[i], lengths[i + 2]) for i in (0, 1, 4, 5)]
    np.testing.assert_allclose(metrics["length"], sum(longest) / 2)
    np.testing.assert_allclose(metrics["map"], HOT.sum() / 2, rtol=1e-6)


def noisy(key, batch):
    """Mix as a single function, without halves."""
    (x, y), mix = mx.mixup(key, batch)
    return (jax.tree.map(lambda x: x, x), y), mix


def test_mixers_of_one_function_leave_what_follows_to_the_mix():
    inputs = {"x": WAVES, "mask": mx.follow.masks(VALID)}
    (mixed, _), mix = mx.gaussian(KEY, (inputs, None), sigma=0.1)
    same(mixed["mask"].tree, VALID)
    assert (np.asarray(mixed["x"]) != WAVES).all()
    both = mx.choose([noisy, mx.cutmix], [0.5, 0.5])
    (mixed, _), mix = both(KEY, (inputs, None))
    same(mixed["mask"].tree, mix.union(VALID))


def test_a_rule_within_a_rule_is_refused():
    mask = mx.follow.masks(IDS > 1)
    for outer in (mx.follow.maps({"d": HOT, "m": mask}), mx.follow.masks(mask)):
        with pytest.raises(ValueError, match="got Masks within a container"):
            mx.cutmix(KEY, (IMAGES, outer))


def test_a_container_is_not_taken_for_what_it_holds():
    for held in (mx.follow.maps(IDS), mx.follow.masks(VALID)):
        with pytest.raises(TypeError, match=r"Compare its \.tree"):
            jnp.mean(held == IDS)
        assert len({held, held}) == 1


def test_errors_say_which_part_did_not_follow():
    targets = {"a": mx.follow.maps(IDS), "half": mx.follow.maps(IDS[:, ::2])}
    with pytest.raises(ValueError, match="spatial sizes") as error:
        mx.cutmix(KEY, (IMAGES, targets))
    assert error.value.__notes__ == ["This concerns targets['half'], a Maps."]


def test_containers_pass_through_transformations():
    maps = mx.follow.maps({"a": IDS, "b": HOT})
    held = jax.tree.map(jnp.asarray, maps)
    same(jax.jit(lambda x: x)(held).tree, maps.tree)
    mapped = jax.vmap(lambda x: x)(mx.follow.masks(VALID))
    same(mapped.tree, VALID)
    again = pickle.loads(pickle.dumps(mx.follow.lengths(LENGTHS)))
    same(again.tree, LENGTHS)
    assert repr(mx.follow.lengths(3)) == "Lengths(tree=3)"
    _, stacked = jax.lax.scan(lambda c, x: (c, x), 0, mx.follow.masks(VALID))
    assert isinstance(stacked, mx.follow.Masks)


# user-defined rules


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Boxes(mx.follow.Follower):
    """Bounding boxes of both images, each weighted by the share of its image."""

    corners: Any
    weight: Any

    def mixed(self, mix):
        (own, mine), (left, theirs) = mix.terms(self)
        weight = own[:, None] * mine.weight, left[:, None] * theirs.weight
        corners = mine.corners, theirs.corners
        return Boxes(*(jnp.concatenate(each, axis=1) for each in (corners, weight)))


def test_a_rule_of_the_users_own_is_asked_wherever_it_stands():
    corners = RNG.random((SIZE, 2, 4)).astype(np.float32)
    boxes = Boxes(corners, np.ones((SIZE, 2), np.float32))
    for mixer in (mx.mixup, mx.cutmix, mx.choose([mx.mixup, mx.fmix], [0.5, 0.5])):
        (_, targets), mix = mixer(KEY, (IMAGES, {"boxes": boxes}))
        found = targets["boxes"]
        assert found.corners.shape == (SIZE, 4, 4)
        same(found.corners[:, 2:], corners[np.asarray(mix.partner)])
        np.testing.assert_allclose(found.weight[:, 0], mix.lam)
    (inputs, _), _ = mx.mixup(KEY, ((IMAGES, boxes), None))
    assert inputs[1].corners.shape == (SIZE, 4, 4)


def test_a_class_that_is_no_pytree_is_refused_in_words():
    @dataclasses.dataclass(frozen=True)
    class Plain(mx.follow.Follower):
        tree: Any

        def mixed(self, mix):
            return self

    with pytest.raises(TypeError, match="register_dataclass"):
        mx.mixup(KEY, (IMAGES, Plain(IDS)))
