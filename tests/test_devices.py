"""Mixing on the devices of a mesh: the returned mix describes each device's shard."""

import functools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mixup_jax as mx
from benchmarks._programs import facts
from tests import oracle

KEY = jax.random.key(0)
DEVICES, SHARE = 4, 4
X = np.random.default_rng(0).normal(size=(DEVICES * SHARE, 3)).astype(np.float32)
LABELS = np.arange(DEVICES * SHARE, dtype=np.int32) % 3
SOFT = np.eye(3, dtype=np.float32)[LABELS]
PER_PAIR = mx.ratios.per_pair(mx.ratios.uniform())
MOVED = {
    "neighbour": mx.mixup,
    "roll": partial(mx.mixup, pairing=mx.pairings.roll),
    "permutation": partial(mx.mixup, pairing=mx.pairings.permutation),
}
away = partial(mx.extrapolate, pairing=mx.pairings.neighbour)


def after(key, batch):
    """Mix, then change the inputs in a way that the mix does not describe."""
    (x, y), mix = mx.mixup(key, batch)
    return (x * x, y), mix


def before(key, batch):
    """Change the inputs, then mix."""
    x, y = batch
    return mx.mixup(key, (x * x, y))


def turned(key, batch):
    """Return inputs and targets swapped."""
    (x, y), mix = mx.mixup(key, batch)
    return (y, x), mix


def two_mixes(key, batch):
    """Return a different mix from the one that was applied."""
    mixed, _ = mx.mixup(key, batch)
    return mixed, mx.mixup(jax.random.clone(key), batch, alpha=0.2)[1]


CHOICES = {
    "two pairings": mx.choose(
        [mx.mixup, partial(mx.mixup, pairing=mx.pairings.permutation)], [0.5, 0.5]
    ),
    "one pairing": mx.choose([mx.mixup, partial(mx.mixup, alpha=0.2)], [0.5, 0.5]),
    "one function": mx.choose([after, mx.mixup, mx.erm], [0.4, 0.4, 0.2]),
    "labels": mx.choose(
        [partial(mx.mixup, pairing=mx.pairings.same_class), mx.mixup], [0.5, 0.5]
    ),
}
NAMES = {"inputs": "x", "targets": "y"}
NAMED = {"x": X, "y": SOFT, "id": LABELS}

ANY = {
    "erm": (mx.erm, (X, LABELS)),
    "extrapolate": (away, (X, LABELS)),
    "extrapolate-some": (mx.with_probability(0.5, away), (X, LABELS)),
    "gaussian": (partial(mx.gaussian, sigma=1.0), (X, LABELS)),
    "after": (after, (X, SOFT)),
    "before": (before, (X, SOFT)),
    "turned": (turned, (X, SOFT)),
    "two mixes": (two_mixes, (X, SOFT)),
    "jitted": (jax.jit(mx.mixup), (X, SOFT)),
    "by name": (mx.on_keys(mx.mixup, **NAMES), NAMED),
    "noise by name": (
        mx.on_keys(partial(mx.gaussian, sigma=1.0), inputs="x", targets="id"),
        NAMED,
    ),
}
ANY |= {name: (choice, (X, SOFT)) for name, choice in CHOICES.items()}


def divided(batch: Any) -> Any:
    return jax.tree.map(lambda x: x.reshape(DEVICES, -1, *x.shape[1:]), batch)


def together(shares: Any) -> Any:
    return jax.tree.map(lambda x: np.reshape(x, (-1, *x.shape[2:])), shares)


def on_shares(mixer: mx.Mixer, batch: Any) -> Any:
    run = jax.vmap(mixer, in_axes=(None, 0), axis_name="data")
    mixed, mix = jax.jit(run)(KEY, divided(batch))
    return together((mixed, mix))


@pytest.mark.parametrize("name", ANY)
def test_each_device_has_what_the_mixer_returned_for_the_whole_batch(name):
    mixer, batch = ANY[name]
    mixed, mix = on_shares(mx.whole_batch(mixer, "data"), batch)
    want, drawn = mixer(KEY, batch)
    oracle.assert_close(mixed, jax.tree.map(np.asarray, want))
    oracle.assert_close((mix.lam, mix.partner), (drawn.lam, drawn.partner))


@pytest.mark.parametrize(
    ("name", "gathers"),
    [("by name", False), ("extrapolate", False), ("gaussian", True), ("after", True)],
)
def test_only_what_is_not_the_mix_applied_is_gathered(name, gathers):
    mixer, batch = ANY[name]
    mesh = jax.make_mesh((DEVICES,), ("data",), devices=jax.devices()[:DEVICES])
    run = jax.jit(
        jax.shard_map(
            mx.whole_batch(mixer, "data"),
            mesh=mesh,
            in_specs=(jax.P(), jax.P("data")),
            out_specs=jax.P("data"),
        )
    )
    spread = jax.device_put(batch, jax.NamedSharding(mesh, jax.P("data")))
    text = run.lower(KEY, spread).compile().as_text() or ""
    # ``gaussian`` keeps labels; its inputs, with noise, equal the whole batch's.
    assert ("all-gather" in text) == gathers
    mixed, _ = run(KEY, spread)
    want, _ = mixer(KEY, batch)
    oracle.assert_close(*jax.tree.map(np.asarray, (mixed, want)))


@pytest.mark.parametrize("mixer", [mx.mixup, mx.cutmix], ids=lambda m: m.__name__)
def test_the_whole_batch_of_neighbours_on_even_shares_gathers_nothing(mixer):
    mesh = jax.make_mesh((DEVICES,), ("data",), devices=jax.devices()[:DEVICES])
    run = jax.shard_map(
        mx.whole_batch(mixer, "data"),
        mesh=mesh,
        in_specs=(jax.P(), jax.P("data")),
        out_specs=jax.P("data"),
    )
    found = []
    for share in (4, 3):
        sharding = jax.NamedSharding(mesh, jax.P("data"))
        batch = jax.device_put(oracle.images(DEVICES * share), sharding)
        program = jax.jit(run).lower(KEY, batch).compile()
        found.append(facts(program).collectives)
    even, odd = found
    assert even == {}
    assert "all-gather" in odd


@pytest.mark.parametrize("name", CHOICES)
def test_names_and_devices_go_around_each_other(name):
    (want, labels), drawn = CHOICES[name](KEY, (X, SOFT))
    for mixer in (
        mx.on_keys(mx.whole_batch(CHOICES[name], "data"), **NAMES),
        mx.whole_batch(mx.on_keys(CHOICES[name], **NAMES), "data"),
    ):
        mixed, mix = on_shares(mixer, NAMED)
        assert {*mixed} == {*NAMED}
        np.testing.assert_array_equal(mixed["id"], LABELS)
        oracle.assert_close(mixed["x"], np.asarray(want))
        oracle.assert_close(mixed["y"], np.asarray(labels))
        oracle.assert_close((mix.lam, mix.partner), (drawn.lam, drawn.partner))


def test_a_share_is_mixed_in_one_way():
    for mixer, name in (
        (lambda: mx.per_device(mx.whole_batch(mx.mixup, "data"), "data"), "per_device"),
        (
            lambda: mx.whole_batch(mx.per_device(mx.mixup, "data"), "data"),
            "whole_batch",
        ),
        (
            lambda: mx.whole_batch(
                mx.on_keys(mx.per_device(mx.mixup, "data"), inputs="x"), "data"
            ),
            "whole_batch",
        ),
    ):
        with pytest.raises(ValueError, match=rf"{name}: expected a mixer without"):
            mixer()


class Hiding:
    """A mixer that calls another one, visible only when it is called."""

    def __init__(self, mixer):
        self.mixer = mixer

    def __call__(self, key, batch):
        return self.mixer(key, batch)


def anew(mixer):
    """Return a mixer that draws with another mixer."""

    @mx.mixer
    def mixing(key, batch):
        return mx.draw_of(mixer)(key, batch)

    return mixing


@pytest.mark.parametrize("inner", [mx.per_device, mx.whole_batch])
@pytest.mark.parametrize("outer", [mx.per_device, mx.whole_batch])
def test_nor_in_two_by_what_it_calls(outer, inner):
    words = rf"{outer.__name__}: expected a mixer without {inner.__name__} in it"
    with pytest.raises(ValueError, match=words):
        outer(inner(mx.mixup, "rows"), "data")
    hidden = outer(Hiding(inner(mx.mixup, "data")), "data")
    with pytest.raises(ValueError, match=words + r"; got one that calls it on 'data'"):
        on_shares(hidden, (X, SOFT))


@pytest.mark.parametrize("place", [mx.per_device, mx.whole_batch])
@pytest.mark.parametrize("hidden", [Hiding, anew])
def test_a_choice_for_each_device_alike_is_refused_when_it_is_called(place, hidden):
    mixer = hidden(place(mx.mixup, "data"))
    for choice in (
        mx.with_probability(0.5, mixer),
        mx.choose([mx.with_probability(0.5, mixer), mx.erm], [0.5, 0.5]),
        mx.per_device(mx.choose([mx.erm, mixer], [0.5, 0.5]), "data"),
        mx.until(9, mx.with_probability(0.5, mixer))(jnp.int32(3)),
    ):
        words = rf"outermost: {place.__name__}\(choose\(mixers, probs\), 'data'\)"
        with pytest.raises(ValueError, match=words):
            on_shares(choice, (X, SOFT))


@pytest.mark.parametrize("place", [mx.per_device, mx.whole_batch])
def test_a_mixer_that_is_jitted_is_refused_each_time(place):
    jitted = jax.jit(lambda key, batch: place(mx.mixup, "data")(key, batch))
    mesh = jax.make_mesh((DEVICES,), ("data",), devices=jax.devices()[:DEVICES])
    specs = {"in_specs": (jax.P(), jax.P("data")), "out_specs": jax.P("data")}
    spread = jax.NamedSharding(mesh, jax.P("data"))
    batch = jax.device_put((X, SOFT), spread)
    for _ in range(2):  # the second time JAX could reuse the trace
        run = jax.shard_map(mx.with_probability(0.5, jitted), mesh=mesh, **specs)
        with pytest.raises(ValueError, match="expected mixers that see the batch"):
            jax.jit(run)(KEY, batch)


def test_a_mixer_may_divide_the_batch_that_is_chosen_for():
    kinds, devices = (jax.sharding.AxisType.Auto,), jax.devices()[:DEVICES]
    mesh = jax.make_mesh((DEVICES,), ("data",), kinds, devices=devices)
    divided_mixup = jax.shard_map(
        mx.per_device(mx.mixup, "data"),
        mesh=mesh,
        in_specs=(jax.P(), jax.P("data")),
        out_specs=jax.P("data"),
    )
    choice = mx.choose([Hiding(divided_mixup), mx.erm], [0.5, 0.5])
    _, mix = jax.jit(choice)(KEY, (X, SOFT))
    assert 0 < np.mean(mix.lam < 1) < 1


def test_one_axis_for_the_whole_batch():
    mixers = [mx.whole_batch(mx.mixup, axis) for axis in ("data", "rows")]
    with pytest.raises(ValueError, match="whole_batch over one axis; got several"):
        mx.choose(mixers, [0.5, 0.5])


def test_the_train_step_sees_the_noise_of_the_whole_batch():
    def loss(params, batch, mix):
        return params * jnp.mean(batch[0] ** 2), {}

    state = mx.training.TrainState.create(jnp.ones(()), optax.sgd(0.0))
    noise = partial(mx.gaussian, sigma=2.0)
    step = mx.training.train_step(loss, noise)
    run = mx.training.pmapped(step, mixing=mx.whole_batch)
    batch = (np.zeros((16, 500), np.float32), np.arange(16))
    _, metrics = run(state, KEY, batch)
    assert abs(float(metrics["loss"]) - 4) < 0.4


AROUND = {
    "some": lambda m: mx.with_probability(0.5, m),
    "one of two": lambda m: mx.choose([m, MOVED["roll"]], [0.5, 0.5]),
}
WHOLE = {
    "some": lambda m: mx.with_probability(0.5, mx.whole_batch(m, "data")),
    "one of two": lambda m: mx.choose(
        [mx.whole_batch(m, "data"), mx.whole_batch(MOVED["roll"], "data")], [0.5, 0.5]
    ),
    "nested": lambda m: mx.choose(
        [mx.with_probability(0.5, mx.whole_batch(m, "data")), MOVED["roll"]], [0.5, 0.5]
    ),
}


@pytest.mark.parametrize("around", WHOLE)
@pytest.mark.parametrize("moved", MOVED)
def test_a_choice_of_the_whole_batch_is_that_of_one_device(moved, around):
    (x, y), mix = on_shares(WHOLE[around](MOVED[moved]), (X, SOFT))
    assert 0 < np.mean(mix.lam < 1) <= 1
    for got, given in ((x, X), (y, SOFT)):
        oracle.assert_mixed(got, oracle.column(mix.lam, given), given, mix.partner)
    alone = AROUND.get(around, lambda m: AROUND["one of two"](AROUND["some"](m)))
    mixed, drawn = alone(MOVED[moved])(KEY, (X, SOFT))
    oracle.assert_close((x, y), jax.tree.map(np.asarray, mixed))
    oracle.assert_close((mix.lam, mix.partner), (drawn.lam, drawn.partner))


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("hidden", [lambda m: m, partial, mx.once_per_batch, jax.jit])
def test_a_choice_for_each_device_alike_is_refused(hidden, around):
    mixer = hidden(mx.per_device(mx.mixup, "data"))
    with pytest.raises(ValueError, match=r"Put it outermost: per_device\(choose"):
        AROUND[around](mixer)


def around(mixer):
    """Return the mixer wrapped in a function with its name."""

    @functools.wraps(mixer)
    def mixing(key, batch):
        return mixer(key, batch)

    return mixing


@pytest.mark.parametrize(
    "hidden", [jax.jit, around, partial(mx.on_keys, inputs="x")], ids=[0, 1, 2]
)
def test_a_choice_for_the_whole_batch_is_not_hidden(hidden):
    mixer = hidden(mx.whole_batch(mx.mixup, "data"))
    with pytest.raises(ValueError, match=r"which contains it.*outermost: whole_b"):
        mx.with_probability(0.5, mixer)


def fewer(key, batch):
    """Return all examples but one."""
    x, y = batch
    return (x[1:], y[1:]), mx.erm(key, (x[1:], y[1:]))[1]


def fewer_drawn(key, batch):
    x, y = batch
    return batch, mx.erm(key, (x[1:], y[1:]))[1]


@pytest.mark.parametrize("place", [mx.per_device, mx.whole_batch])
@pytest.mark.parametrize("mixer", [fewer, fewer_drawn])
def test_as_many_examples_come_back_as_were_given(mixer, place):
    with pytest.raises(ValueError, match=r"mixer: (batch|mix.lam).*: expected"):
        on_shares(place(mixer, "data"), (X, SOFT))


CHOICE = mx.choose(
    [partial(mx.mixup, ratio=mx.ratios.constant(lam)) for lam in (0.25, 0.75)],
    [0.5, 0.5],
    by=PER_PAIR,
)


@pytest.mark.parametrize("place", [mx.per_device, mx.whole_batch])
def test_one_choice_for_each_pair_on_every_device(place):
    shares = (np.zeros((DEVICES * 64, 1), np.float32), None)
    _, mix = on_shares(place(CHOICE, "data"), shares)
    np.testing.assert_array_equal(mix.lam[::2], mix.lam[1::2])
    assert set(np.unique(mix.lam)) == {0.25, 0.75}
    first, second, *_ = np.asarray(mix.lam).reshape(DEVICES, 64)
    assert not np.array_equal(first, second)
