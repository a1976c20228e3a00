"""Mixing that stops at a step."""

import pickle
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

import mixup_jax
import mixup_jax as mx
from tests.methods import shifted

KEY = jax.random.key(3)
LAST = 5


def batch_of(size=4):
    # Content with a weight of 0 may be anything, and must not be multiplied.
    x = np.linspace(0, 1, size * 4 * 4 * 2, dtype=np.float32).reshape(size, 4, 4, 2)
    x[0, 0, 0], x[1, 1, 1, 0] = np.inf, np.nan
    return x, np.eye(size, dtype=np.float32)


def named(batch):
    return {"image": batch[0], "label": batch[1], "id": np.arange(4, dtype=np.int32)}


noise = partial(mx.gaussian, sigma=0.1)
either = mx.choose([mx.mixup, mx.cutmix], [0.5, 0.5])
warmed = mx.scheduled(lambda step: partial(mx.mixup, alpha=0.1 + 0.1 * step))
MIXERS: dict[str, Any] = {
    "mixup": mx.mixup,
    "resizemix": mx.resizemix,
    "dirichlet": mx.dirichlet,
    "manifold": partial(mx.manifold, layers=(0, 1)),
    "extrapolate": partial(mx.extrapolate, pairing=mx.pairings.roll),
    "choose": either,
    "choose-noise": mx.choose([noise, mx.fmix], [0.5, 0.5]),
    "scheduled": warmed,
    "until": mx.until(LAST + 1, mx.cutmix),
    "once": mx.once_per_batch(mx.cutmix),
    "gaussian": noise,
    "of-a-user": shifted,
    "jitted": jax.jit(partial(mx.cutmix, alpha=2.0)),
}
OF_NAMES = {
    "on_keys": mx.on_keys(either, inputs="image", targets=["label"]),
    "on_keys-one-function": mx.on_keys(noise, inputs="image", targets="label"),
}


def here(mixer, step):
    """Return the inner mixer at a step."""
    return mixer(step) if mixer in (MIXERS["scheduled"], MIXERS["until"]) else mixer


def same(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.parametrize("name", [*MIXERS, *OF_NAMES])
def test_before_it_is_the_mixer_and_afterwards_nothing(name):
    mixer = (MIXERS | OF_NAMES)[name]
    batch = named(batch_of()) if name in OF_NAMES else batch_of()
    stopped, traced = mx.until(LAST, mixer), []

    @jax.jit
    def at(step, batch):
        traced.append(step)
        return stopped(step)(KEY, batch)

    @jax.jit
    def without(step, batch):
        return here(mixer, step)(KEY, batch)

    (found, mix), (wanted, plain) = (f(LAST - 1, batch) for f in (at, without))
    same(mix, plain)
    # Two programs, which may fuse sums differently.
    close = partial(np.testing.assert_allclose, rtol=1e-6)
    jax.tree.map(close, found, wanted)
    for step in (LAST, LAST + 1):
        left, mix = at(step, batch)
        same(left, batch)
        assert mix.lam.dtype == jnp.float32
        for lam in (mix.lam, *(source.lam for source in mix.sources)):
            np.testing.assert_array_equal(lam, 1)
        same(mix.inputs(batch_of()[0]), batch_of()[0])
        same(mix.at(1).inputs(batch_of()[0]), batch_of()[0])
        (own, *others), _ = jax.tree.map(np.asarray, (mix.terms(batch_of()[1]), 0))
        assert (own[0] == 1).all()
        assert all((share == 0).all() for share, _ in others)
    assert len(traced) == 1


def test_no_example_is_touched_where_integers_are_pasted():
    pasted = mx.on_keys(mx.cutmix, inputs="image")
    images = np.arange(64, dtype=np.uint8).reshape(4, 4, 4)
    batch = {"image": images[..., None], "label": np.arange(4)}
    at = jax.jit(lambda step: mx.until(2, pasted)(step)(KEY, batch))
    mixed, _ = at(1)
    assert (mixed["image"] != batch["image"]).any()
    left, mix = at(2)
    same(left, {**batch})
    assert (mix.lam == 1).all()


def test_integer_targets_are_refused_afterwards_as_before():
    batch = (batch_of()[0], np.arange(4))
    for step in (0, 9):
        with pytest.raises(TypeError, match="targets: expected a floating"):
            mx.until(5, mx.cutmix)(step)(KEY, batch)
    # Where targets are not mixed, they are unchanged.
    (_, labels), _ = mx.until(5, partial(mx.extrapolate, pairing=mx.pairings.roll))(9)(
        KEY, batch
    )
    np.testing.assert_array_equal(labels, batch[1])


NUMBERS = [
    (3, 3),
    (np.int64(3), np.int32(3)),
    (jnp.int32(3), jnp.uint32(3)),
    (jnp.uint8(3), jnp.int32(3)),
]


@pytest.mark.parametrize(("step", "now"), NUMBERS)
def test_steps_are_compared_whatever_their_dtypes(step, now):
    def lam(step, now):
        return mx.until(step, mx.mixup)(now)(KEY, batch_of())[1].lam

    of_now = jax.jit(partial(lam, step))
    for run in (lam, jax.jit(lam), lambda _, now: of_now(now)):
        assert (run(step, now) == 1).all()
        assert (run(step, now - 1) < 1).all()


@pytest.mark.parametrize("step", [10**12, -1, -(10**12), 0])
def test_a_step_that_never_comes_or_has_been(step):
    _, mix = jax.jit(lambda now: mx.until(step, mx.mixup)(now)(KEY, batch_of()))(0)
    assert (mix.lam == 1).all() == (step <= 0)


def test_gradients_pass_before_and_are_those_of_the_data_afterwards():
    def value(x, step):
        (mixed, _), _ = mx.until(1, mx.mixup)(step)(KEY, (x, None))
        return jnp.sum(mixed**2)

    x = jnp.array([1.0, 2.0, 3.0, 4.0])
    slope = jax.jit(jax.grad(value))
    np.testing.assert_array_equal(slope(x, 1), 2 * x)
    assert (slope(x, 0) != 2 * x).any()


# Derived parts


def test_it_pickles_compares_and_prints():
    made = mx.until(np.int64(90_000), partial(mx.mixup, alpha=0.2))
    written = "mixup_jax.until(90000, functools.partial(mixup_jax.mixup, alpha=0.2))"
    assert repr(made) == written
    import functools

    assert eval(written, {"mixup_jax": mixup_jax, "functools": functools}) == made
    assert pickle.loads(pickle.dumps(made)) == made
    assert made != mx.until(90_001, partial(mx.mixup, alpha=0.2))
    assert len({made, mx.until(90_000, partial(mx.mixup, alpha=0.2))}) == 1
    again = pickle.loads(pickle.dumps(mx.once_per_batch(made)))
    assert again == mx.once_per_batch(made)


def test_one_draw_for_the_batch_until_then():
    for mixer in (
        mx.once_per_batch(mx.until(2, warmed)),
        mx.until(2, mx.once_per_batch(mx.mixup)),
        lambda step: mx.once_per_batch(mx.until(2, mx.mixup)(step)),
    ):
        _, mix = mixer(1)(KEY, batch_of())
        assert len(np.unique(mix.lam)) == 1
        assert mix.lam[0] < 1
        assert (mixer(2)(KEY, batch_of())[1].lam == 1).all()


def test_it_is_chosen_from_at_its_step():
    def at(step):
        before = mx.until(2, partial(mx.mixup, ratio=mx.ratios.constant(0.5)))(step)
        return mx.choose([before, mx.erm], [1.0, 0.0])

    assert mx.draw_of(at(1))(KEY, batch_of()).lam.tolist() == [0.5] * 4
    assert mx.draw_of(at(2))(KEY, batch_of()).lam.tolist() == [1.0] * 4


@pytest.mark.parametrize("mixer", [mx.cutmix, noise], ids=["two-halves", "one"])
@pytest.mark.parametrize("over", [mx.per_device, mx.whole_batch])
def test_on_devices(over, mixer):
    shares = jax.tree.map(lambda x: x.reshape(2, 2, *x.shape[1:]), batch_of())

    @jax.jit
    def at(step):
        def run(mixer):
            on_shares = jax.vmap(mixer, in_axes=(None, 0), axis_name="data")
            return on_shares(KEY, shares)

        within = run(mx.until(LAST, over(mixer, "data"))(step))
        around = run(over(mx.until(LAST, mixer)(step), "data"))
        return within, around, run(over(mixer, "data"))

    within, around, plain = at(LAST - 1)
    same((within, around), (plain, plain))
    for left, mix in at(LAST)[:2]:
        same(left, shares)
        assert (mix.lam == 1).all()


def test_devices_within_are_seen_by_what_refuses_them():
    within = mx.until(LAST, mx.per_device(mx.mixup, "data"))
    with pytest.raises(ValueError, match="per_device within them"):
        mx.choose([within(0), mx.erm], [0.5, 0.5])


# In the train step


def loss(params, batch, mix):
    moved = jnp.max(jnp.abs(batch["x"] - batch["same"]))
    return jnp.mean(batch["x"] @ params), {"moved": moved, "lam": jnp.min(mix.lam)}


def over_mesh(axis_type):
    mesh = jax.make_mesh((8,), ("data",), (axis_type,))
    return lambda mixer: mx.training.sharded(mx.training.train_step(loss, mixer), mesh)


DRIVERS = {
    "jit": lambda mixer: jax.jit(mx.training.train_step(loss, mixer)),
    "micro-batches": lambda mixer: jax.jit(
        mx.training.train_step(loss, mixer, micro_batches=2)
    ),
    "pmap": lambda mixer: mx.training.pmapped(mx.training.train_step(loss, mixer)),
    "pmap-whole": lambda mixer: mx.training.pmapped(
        mx.training.train_step(loss, mixer), mixing=mx.whole_batch
    ),
    "auto": over_mesh(AxisType.Auto),
    "explicit": over_mesh(AxisType.Explicit),
}


@pytest.mark.parametrize("mixer", [mx.mixup, noise], ids=["two-halves", "one"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_every_driver_stops_at_the_step(driver, mixer):
    x = np.linspace(0, 1, 16 * 3, dtype=np.float32).reshape(16, 3)
    state = mx.training.TrainState.create(jnp.zeros(3), optax.sgd(0.1))
    named = mx.on_keys(mixer, inputs="x")
    run, found = DRIVERS[driver](mx.until(2, named)), []
    for _ in range(4):
        state, metrics = run(state, jax.random.key(0), {"x": x, "same": x})
        found.append((float(metrics["moved"]) > 0, float(metrics["lam"]) < 1))
    mixes = mixer is mx.mixup
    assert found == [(True, mixes), (True, mixes), (False, False), (False, False)]


@jax.jit
def whole_everywhere(key, batch):
    x, y = batch
    x = jax.sharding.reshard(x, jax.P())
    return (2 * x, y), mx.erm(key, batch)[1]


def test_the_layout_is_that_of_the_batch_before_and_afterwards():
    mesh = jax.make_mesh((8,), ("data",), (AxisType.Explicit,))
    there = jax.NamedSharding(mesh, jax.P("data"))
    x = jax.device_put(np.arange(8, dtype=np.float32), there)
    with jax.set_mesh(mesh):
        stopped = mx.until(1, whole_everywhere)
        at = jax.jit(lambda step, x: stopped(step)(KEY, (x, None)))
        for step, factor in ((0, 2), (1, 1)):
            (mixed, _), _ = at(step, x)
            np.testing.assert_array_equal(mixed, factor * np.arange(8))
            assert mixed.sharding.spec == jax.P("data")


# Errors, and the callers that they name

NOT_STEPS = [
    (0.9 * 10, "integer, the index of a step; got 9.0 "),
    (True, "integer, the index of a step; got True"),
    ("9", "integer, the index of a step; got "),
    (jnp.bool_(True), r"integer, the index of a step; got array bool\[\]"),
]


@pytest.mark.parametrize(("step", "words"), NOT_STEPS)
def test_what_is_no_step(step, words):
    with pytest.raises(TypeError, match=f"until: step: expected an {words}") as error:
        mx.until(step, mx.mixup)
    assert "mixup_jax.until(90_000, mixer)" in str(error.value)
    with pytest.raises(TypeError, match=f"the current step: expected an {words}"):
        mx.until(1, mx.mixup)(step)


def test_other_things_that_are_not_what_they_should_be():
    with pytest.raises(ValueError, match="until: step: expected a scalar; got shape"):
        mx.until(np.arange(2), mx.mixup)
    with pytest.raises(TypeError, match="until: mixer: expected a function; got 5"):
        mx.until(mx.mixup, 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the current step: expected an integer"):
        mx.until(1, mx.mixup)(KEY)


def returning(change):
    def mixer(key, batch):
        (x, y), mix = mx.erm(key, batch)
        return change(x, y), mix

    return mixer


OTHERS = [
    (lambda x, y: {"x": x}, ValueError, "of the given structure"),
    (lambda x, y: (x.astype(jnp.bfloat16), y), TypeError, r"batch\[0\]: expected"),
    (
        lambda x, y: (x[:, :2], y),
        ValueError,
        r"batch\[0\]: expected .* as it was given",
    ),
]


@pytest.mark.parametrize(("change", "kind", "words"), OTHERS)
def test_one_function_that_returns_another_batch(change, kind, words):
    mixer = mx.until(1, returning(change))
    with pytest.raises(kind, match=f"until: .*{words}"):
        mixer(0)(KEY, jax.tree.map(jnp.asarray, batch_of()))


def test_a_list_is_a_pair_too():
    (x, y), _ = mx.until(1, noise)(1)(KEY, list(batch_of()))
    same((x, y), batch_of())


def plain_loss(params, batch, mix):
    return jnp.mean(batch[0] @ params), {}


def train(mixer):
    state = mx.training.TrainState.create(jnp.zeros(3), optax.sgd(0.1))
    step = mx.training.train_step(plain_loss, mixer)
    jax.jit(step)(state, KEY, (jnp.ones((4, 3)), jnp.ones((4, 2))))


blend, cond = mx.mixup, jax.lax.cond
switch = jax.lax.switch
WAYS: dict[str, Any] = {
    "if-else": lambda step: blend if step < LAST else mx.erm,
    "if-within": lambda step: lambda k, b: (blend if step < LAST else mx.erm)(k, b),
    "cond-over": lambda step: cond(step < LAST, lambda: blend, lambda: mx.erm),
    "cond-of": lambda step: cond(step < LAST, blend, mx.erm),
    "cond-within": lambda step: lambda k, b: cond(step < LAST, blend, mx.erm, k, b),
    "switch-within": lambda step: lambda k, b: switch(step, [blend, mx.erm], k, b),
    "probability": lambda step: mx.with_probability(step < LAST, blend),
    "probs": lambda step: mx.choose([blend, mx.erm], [step < LAST, step >= LAST]),
    "alpha": lambda step: partial(mx.mixup, alpha=step < LAST),
    "sigma": lambda step: partial(mx.gaussian, sigma=step < LAST),
    "constant": lambda step: partial(blend, ratio=mx.ratios.constant(step < LAST)),
    "none": lambda step: None,
    "batch-alone": lambda step: lambda k, batch: batch,
    "within": lambda step: lambda k, b: mx.until(LAST, blend)(k, b),  # type: ignore
    "chosen": lambda step: mx.choose([mx.until(LAST, blend)], [1.0]),  # type: ignore
    "by-bool": lambda step: mx.until(step < LAST, blend),
}


@pytest.mark.parametrize("name", WAYS)
def test_other_ways_lead_to_it(name):
    with pytest.raises((TypeError, ValueError)) as error:
        train(mx.scheduled(WAYS[name]))
    said = [str(error.value), *getattr(error.value, "__notes__", ())]
    assert any("mixup_jax.until(" in each for each in said), said
    assert sum("To stop mixing at a step" in each for each in said) <= 1


def test_no_mixer_leads_to_it():
    with pytest.raises(TypeError, match=r"or mixup_jax\.until\(step, mixer\), which"):
        mx.training.train_step(plain_loss, None)  # type: ignore[arg-type]


def test_errors_of_other_kinds_are_as_they_were():
    def broken(step):
        raise ValueError("other")

    with pytest.raises(ValueError, match="other") as error:
        train(mx.scheduled(broken))
    said = [str(error.value), *getattr(error.value, "__notes__", ())]
    assert not any("until" in each for each in said)
