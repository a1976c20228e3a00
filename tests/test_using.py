"""Entries that a method depends on are sharded and split with the batch."""

import dataclasses
import functools
from functools import partial
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

import mixup_jax as mx
from tests import oracle

KEY = jax.random.key(0)
SIZE, CLASSES, DEVICES = 32, 4, 4
IMAGE = np.random.default_rng(0).normal(size=(SIZE, 5)).astype(np.float32)
# Some examples are alone in their class within a device's shard.
LABEL = np.random.default_rng(38).choice(CLASSES, SIZE, p=[0.4, 0.3, 0.2, 0.1])
LABEL = LABEL.astype(np.int32)
SOFT = np.eye(CLASSES, dtype=np.float32)[LABEL]
BATCH = {"label": LABEL, "image": IMAGE, "soft": SOFT}


def of_labels(labels: Any) -> mx.Mixer:
    pairing = partial(mx.pairings.same_class, labels=labels)
    return mx.on_keys(partial(mx.mixup, pairing=pairing), inputs="image")


def of_both(labels: Any) -> mx.Mixer:
    pairing = partial(mx.pairings.same_class, labels=labels)
    mixer = partial(mx.cutmix, pairing=pairing, spatial=(1,))
    return mx.on_keys(mixer, inputs=["image"], targets=["soft"])


mixer = mx.using("label", of_labels)


def assert_same_class(mix: Any, labels: np.ndarray) -> None:
    """Assert that partners share a class, and that examples without one are unmixed."""
    partner = np.asarray(mix.partner)
    np.testing.assert_array_equal(labels[partner], labels)
    alone = partner == np.arange(len(labels))
    _, class_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    np.testing.assert_array_equal(alone, sizes[class_of] == 1)
    np.testing.assert_array_equal(np.asarray(mix.lam)[alone], 1)
    assert (np.asarray(mix.lam)[~alone] < 1).any()


@pytest.mark.parametrize("jitted", [False, True])
def test_partners_are_of_the_same_class(jitted):
    few = jax.tree.map(lambda leaf: leaf[:8], BATCH)
    assert 1 in np.unique(few["label"], return_counts=True)[1]
    mixed, mix = (jax.jit(mixer) if jitted else mixer)(KEY, few)
    assert_same_class(mix, few["label"])
    w = oracle.column(mix.lam, few["image"])
    oracle.assert_mixed(mixed["image"], w, few["image"], mix.partner)
    np.testing.assert_array_equal(mixed["label"], few["label"])
    np.testing.assert_array_equal(mixed["soft"], few["soft"])
    assert set(mixed) == set(few)


def test_it_is_what_is_bound_by_hand():
    by_hand = jax.jit(of_labels(LABEL))
    oracle.assert_equal(jax.jit(mixer)(KEY, BATCH), by_hand(KEY, BATCH))


def test_targets_are_mixed_beside_the_labels():
    mixed, mix = jax.jit(mx.using("label", of_both))(KEY, BATCH)
    assert_same_class(mix, LABEL)
    expected = oracle.box(mix)
    oracle.assert_terms(mixed["image"], expected.inputs(IMAGE))
    oracle.assert_terms(mixed["soft"], expected.targets(SOFT))
    np.testing.assert_array_equal(mixed["label"], LABEL)
    assert not np.array_equal(mixed["image"], IMAGE)


def test_an_entry_that_is_mixed_is_used_as_it_came():
    def of_soft(soft):
        pairing = partial(mx.pairings.same_class, labels=soft)
        ratio = mx.ratios.constant(0.25)
        inner = partial(mx.mixup, pairing=pairing, ratio=ratio)
        return mx.on_keys(inner, inputs="image", targets="soft")

    # Pair by shifted labels, which are mixed as well: pairing uses them before the mix.
    labels = np.roll(LABEL, 1)
    batch = {"image": IMAGE, "soft": np.eye(CLASSES, dtype=np.float32)[labels]}
    mixed, mix = jax.jit(mx.using("soft", of_soft))(KEY, batch)
    assert_same_class(mix, labels)
    np.testing.assert_allclose(mixed["soft"], batch["soft"], rtol=1e-6)


def of_two(labels: Any) -> mx.Mixer:
    """Pair by labels, and mix by a given share for each example."""

    def of_shares(shares):
        pairing = partial(mx.pairings.same_class, labels=labels)
        ratio = mx.ratios.constant(shares)
        inner = partial(mx.mixup, pairing=pairing, ratio=ratio)
        return mx.on_keys(inner, inputs="image")

    return mx.using("share", of_shares)


SHARE = np.linspace(0, 1, SIZE, dtype=np.float32)


def test_one_entry_within_another():
    batch = {**BATCH, "share": SHARE}
    mixed, mix = jax.jit(mx.using("label", of_two))(KEY, batch)
    partner = np.asarray(mix.partner)
    np.testing.assert_array_equal(LABEL[partner], LABEL)
    alone = partner == np.arange(SIZE)
    np.testing.assert_array_equal(mix.lam, np.where(alone, 1, SHARE))
    w = oracle.column(mix.lam, IMAGE)
    oracle.assert_mixed(mixed["image"], w, IMAGE, partner)
    np.testing.assert_array_equal(mixed["share"], SHARE)


# In the train step.


def loss(params, batch, mix):
    """Return a loss, and facts about the mix as means over the examples."""
    label, mixes = batch["label"], mix.lam < 1
    other = (mix.partners(label) != label) & mixes
    value = jnp.mean((batch["image"] @ params) ** 2)
    return value, {
        "other": jnp.mean(other.astype(jnp.float32)),
        "partner's": jnp.mean(1 - mix.lam),
        "mixed": jnp.mean(mixes.astype(jnp.float32)),
        "label": jnp.mean(label.astype(jnp.float32)),
    }


def new_state() -> Any:
    return mx.training.TrainState.create(jnp.ones(5), optax.sgd(0.1))


def divided(kind: AxisType) -> Any:
    devices = jax.devices()[:DEVICES]
    mesh = jax.make_mesh((DEVICES,), ("data",), (kind,), devices=devices)
    return lambda step: mx.training.sharded(step, mesh)


DRIVERS = {
    "jit": jax.jit,
    "auto": divided(AxisType.Auto),
    "explicit": divided(AxisType.Explicit),
    "pmap": mx.training.pmapped,
    "pmap, whole": partial(mx.training.pmapped, mixing=mx.whole_batch),
}


@functools.cache
def metrics_of(driver: str, micro_batches: int = 1, mixer: Any = mixer) -> Any:
    step = mx.training.train_step(loss, mixer, micro_batches=micro_batches)
    state, metrics = DRIVERS[driver](step)(new_state(), KEY, BATCH)
    return {"params": state.params, **metrics}


@pytest.mark.parametrize(
    ("driver", "micro_batches"),
    [("jit", 1), ("jit", 2), ("auto", 1), ("explicit", 2), ("pmap", 1), ("pmap", 2)],
)
def test_the_train_step_mixes_within_classes(driver, micro_batches):
    found = metrics_of(driver, micro_batches)
    assert found["other"] == 0
    assert found["partner's"] > 0.05
    np.testing.assert_allclose(found["label"], LABEL.mean(), rtol=1e-6)
    # The examples alone in their class, within a micro-batch of a device's shard.
    devices = jax.device_count() if driver == "pmap" else 1
    shares = LABEL.reshape(devices, -1, micro_batches).swapaxes(1, 2)
    shares = shares.reshape(devices * micro_batches, -1)
    alone = [np.sum(share[:, None] == share, axis=1) == 1 for share in shares]
    np.testing.assert_allclose(found["mixed"], 1 - np.mean(alone), rtol=1e-6)
    assert 0 < found["mixed"] <= 1


@pytest.mark.parametrize("driver", ["auto", "explicit", "pmap, whole"])
def test_every_driver_mixes_as_one_device_would(driver):
    found, alone = (metrics_of(each) for each in (driver, "jit"))
    assert found.keys() == alone.keys()
    for name in found:
        np.testing.assert_allclose(found[name], alone[name], rtol=1e-5)


def test_labels_that_are_bound_by_hand_do_not_fit_a_part():
    """The reason for ``using``: a step splits the batch, but not a bound array."""
    with pytest.raises(ValueError, match="labels"):
        metrics_of("jit", 2, of_labels(LABEL))


# On devices, without a train step.


def in_shares(batch: Any) -> Any:
    return jax.tree.map(lambda x: x.reshape(DEVICES, -1, *x.shape[1:]), batch)


def on_shares(placed: Any, batch: Any = BATCH) -> Any:
    """Return the results of four devices, as global arrays."""
    run = jax.vmap(placed, in_axes=(None, 0), axis_name="data")
    found = jax.jit(run)(KEY, in_shares(batch))
    return jax.tree.map(lambda x: np.reshape(x, (-1, *x.shape[2:])), found)


def test_each_device_pairs_by_its_labels():
    mixed, mix = on_shares(mx.per_device(mixer, "data"))
    lams = set()
    for device, label in enumerate(in_shares(LABEL)):
        own = slice(8 * device, 8 * device + 8)
        local = mx.Mix.from_pairs(mix.lam[own], mix.partner[own] - 8 * device)
        assert_same_class(local, label)
        w = oracle.column(local.lam, IMAGE[own])
        oracle.assert_mixed(mixed["image"][own], w, IMAGE[own], local.partner)
        lams.add(float(min(local.lam)))
    np.testing.assert_array_equal(mixed["label"], LABEL)
    assert len(lams) == DEVICES


def of_noise(noise: Any) -> mx.Mixer:
    """Add noise with the scale of the first example."""
    return mx.on_keys(partial(mx.gaussian, sigma=noise[0]), inputs="image")


def of_scale(scale: Any) -> mx.Mixer:
    """Scale, then mix, in a function over dicts."""

    def scaled(key, batch):
        image = batch["image"] * scale[:, None]
        (image, _), mix = mx.mixup(key, (image, None))
        return {**batch, "image": image}, mix

    return scaled


WHOLE = {
    "labels": (mixer, BATCH),
    "two entries": (mx.using("label", of_two), {**BATCH, "share": SHARE}),
    "noise": (mx.using("share", of_noise), {"image": IMAGE, "share": SHARE + 1}),
    "a function": (mx.using("share", of_scale), {"image": IMAGE, "share": SHARE}),
    "once": (mx.once_per_batch(mx.using("label", of_both)), BATCH),
}


@pytest.mark.parametrize("name", WHOLE)
def test_the_whole_batch_is_mixed_as_on_one_device(name):
    each, batch = WHOLE[name]
    mixed, mix = on_shares(mx.whole_batch(each, "data"), batch)
    want, drawn = jax.tree.map(np.asarray, jax.jit(each)(KEY, batch))
    assert not np.array_equal(mixed["image"], IMAGE)
    oracle.assert_close(mixed, want)
    np.testing.assert_array_equal(mix.partner, drawn.partner)
    np.testing.assert_allclose(mix.lam, drawn.lam, rtol=1e-6)


@pytest.mark.parametrize("name", ["noise", "a function"])
def test_a_mixer_of_one_function_is_run_on_each_device(name):
    each, batch = WHOLE[name]
    mixed, mix = on_shares(mx.per_device(each, "data"), batch)
    of_entry = {"noise": of_noise, "a function": of_scale}[name]
    by_hand = jax.jit(lambda key, share: of_entry(share["share"])(key, share))
    for device, key in enumerate(jax.random.split(KEY, DEVICES)):
        share = jax.tree.map(lambda leaf, at=device: leaf[at], in_shares(batch))
        want, drawn = by_hand(key, share)
        own = slice(8 * device, 8 * device + 8)
        np.testing.assert_allclose(mixed["image"][own], want["image"], rtol=1e-5)
        np.testing.assert_array_equal(mix.partner[own], drawn.partner + 8 * device)


@pytest.mark.parametrize("place", [mx.per_device, mx.whole_batch])
def test_under_shard_map_it_is_as_under_vmap(place):
    placed = place(mixer, "data")
    mesh = jax.make_mesh((DEVICES,), ("data",), devices=jax.devices()[:DEVICES])
    rows = jax.P("data")
    run = jax.shard_map(placed, mesh=mesh, in_specs=(jax.P(), rows), out_specs=rows)
    spread = jax.device_put(BATCH, jax.NamedSharding(mesh, rows))
    mixed, mix = jax.tree.map(np.asarray, jax.jit(run)(KEY, spread))
    on_one = jax.tree.map(np.asarray, jax.jit(mixer)(KEY, BATCH))
    want, drawn = on_shares(placed) if place is mx.per_device else on_one
    oracle.assert_close(mixed, want)
    np.testing.assert_array_equal(mix.partner, drawn.partner)
    np.testing.assert_allclose(mix.lam, drawn.lam, rtol=1e-6)


# Batches of other types.


class Named(NamedTuple):
    label: Any
    image: Any
    soft: Any


@flax.struct.dataclass
class Struct:
    label: Any
    image: Any
    soft: Any
    source: str = flax.struct.field(pytree_node=False, default="disk")


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Plain:
    label: Any
    image: Any
    soft: Any


@pytest.mark.parametrize("kind", [Named, Struct, Plain])
def test_batches_of_other_types_have_entries_too(kind):
    want, drawn = jax.jit(mixer)(KEY, BATCH)
    mixed, mix = jax.jit(mixer)(KEY, kind(**BATCH))
    assert type(mixed) is kind
    oracle.assert_equal(mix, drawn)
    for name in BATCH:
        np.testing.assert_array_equal(getattr(mixed, name), want[name])
    assert getattr(mixed, "source", "disk") == "disk"


def test_a_dataclass_is_gathered_and_comes_back_divided():
    batch = Struct(**BATCH, source="camera")
    run = jax.vmap(mx.whole_batch(mixer, "data"), (None, 0), axis_name="data")
    shares, _ = jax.jit(run)(KEY, in_shares(batch))
    assert shares.source == "camera"
    want, _ = jax.jit(mixer)(KEY, BATCH)
    image = np.reshape(shares.image, IMAGE.shape)
    np.testing.assert_allclose(image, want["image"], rtol=1e-5, atol=1e-6)


# Errors.


def test_an_entry_that_is_missing_is_named():
    said = r"using: expected a batch with the keys \['class'\]; got .*without"
    for batch in (BATCH, Named(**BATCH)):
        with pytest.raises(ValueError, match=said):
            mx.using("class", of_labels)(KEY, batch)


def test_a_pair_has_no_entries():
    with pytest.raises(ValueError, match="using: expected a dict batch; got a tuple"):
        mixer(KEY, (IMAGE, LABEL))


def test_what_makes_the_mixer_is_a_function():
    said = "using: mixer_of: expected a function; got 3"
    with pytest.raises(TypeError, match=said):
        mx.using("label", 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("place", [lambda m: m, mx.draw_of, mx.once_per_batch])
def test_what_it_returns_is_a_function(place):
    nothing: Any = lambda labels: None  # noqa: E731
    with pytest.raises(TypeError, match="expected a function; got None"):
        place(mx.using("label", nothing))(KEY, BATCH)


def test_what_it_returns_says_what_was_mixed():
    forgets: Any = lambda labels: lambda key, batch: batch  # noqa: E731
    said = r"mixer: expected \(batch, mix\) from .*; got a dict"
    with pytest.raises(TypeError, match=said):
        mx.using("label", forgets)(KEY, BATCH)


def test_one_function_has_no_draw():
    each = WHOLE["noise"]
    for of in (mx.draw_of, mx.once_per_batch):
        with pytest.raises(TypeError, match="which is a single function"):
            of(each[0])(KEY, each[1])
