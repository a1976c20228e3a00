"""Results of factories pickle, equal their twins, and print as they were written."""

import copy
import functools
import inspect
import multiprocessing
import pickle
import typing
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mixup_jax
import mixup_jax as mx
from mixup_jax._core import made as _made
from tests.test_api import FUNCTIONS

KEY = jax.random.key(0)
BATCH = (np.ones((4, 6, 6, 1), np.float32), np.eye(4, dtype=np.float32))
ratios, pairings, regions = mx.ratios, mx.pairings, mx.regions
soft = partial(mx.mixup, alpha=0.2)
entropy = optax.losses.softmax_cross_entropy_with_integer_labels


def loss(params, batch, mix):
    return jnp.mean(params * batch[0]), {}


def mixer_at(step):
    return mx.mixup


# Each is built twice from the same expression.
FACTORIES = {
    "beta": lambda: ratios.beta(0.2),
    "beta-ab": lambda: ratios.beta(0.2, 0.4),
    "uniform": lambda: ratios.uniform(low=0.25),
    "constant": lambda: ratios.constant([0.5, 0.25, 0.125, 1.0]),
    "truncated": lambda: ratios.truncated(ratios.beta(0.2), 0.1, 0.9),
    "folded": lambda: ratios.folded(ratios.uniform()),
    "per_pair": lambda: ratios.per_pair(ratios.beta(np.float32(0.2))),
    "per_batch": lambda: ratios.per_batch(ratios.folded(ratios.constant(0.25))),
    "given": lambda: pairings.given([1, 0, 3, 2]),
    "weighted": lambda: pairings.weighted(pairings.label_kernel(bandwidth=0.5)),
    "label_kernel": lambda: pairings.label_kernel(bandwidth=1.0),
    "nearest": lambda: pairings.nearest(2, among=pairings.of_same_class),
    "choose": lambda: mx.choose([soft, mx.cutmix], [0.5, 0.5]),
    "choose-by": lambda: mx.choose(
        [mx.mixup, mx.erm], (0.5, 0.5), by=ratios.per_pair(ratios.uniform())
    ),
    "with_probability": lambda: mx.with_probability(0.5, partial(soft)),
    "with_probability-list": lambda: mx.with_probability(
        0.5, partial(mx.manifold, layers=[0, 1])
    ),
    "with_probability-of": lambda: mx.with_probability(
        0.5, partial(mx.mixup, ratio=partial(ratios.per_batch, {"a": [1, {2}]}))
    ),
    "scheduled": lambda: mx.scheduled(mixer_at),
    "until": lambda: mx.until(90_000, mx.once_per_batch(soft)),
    "on_keys": lambda: mx.on_keys(soft, inputs=["image"], targets="label"),
    "using": lambda: mx.using("label", mixer_at),
    "cast_inputs": lambda: mx.cast_inputs(soft, jnp.float32),
    "per_device": lambda: mx.per_device(soft, "data", key_of=mx.common_key),
    "whole_batch": lambda: mx.whole_batch(mx.choose([soft], [1]), "data"),
    "once_per_batch": lambda: mx.once_per_batch(mx.choose([soft, mx.fmix], [1, 0])),
    "draw_of": lambda: mx.draw_of(soft),
    "train_step": lambda: mx.training.train_step(loss, soft, micro_batches=2),
    "stateful": lambda: mx.training.train_step(mx.training.stateful(stateful), soft),
    "pmapped": lambda: mx.training.pmapped(mx.training.train_step(loss, soft)),
    "sharded": lambda: mx.training.sharded(
        mx.training.train_step(loss, soft), jax.make_mesh((1,), ("data",))
    ),
    "termwise": lambda: mx.losses.termwise(entropy, ignored=mx.losses.negative),
    "termwise_mean": lambda: mx.losses.termwise_mean(entropy),
}
OF_USER = {
    *("scheduled", "using", "train_step", "stateful", "pmapped", "sharded"),
    *("termwise", "termwise_mean", "cast_inputs"),
}
MIXERS = {
    "choose",
    "with_probability",
    "per_device",
    "whole_batch",
    "once_per_batch",
}


def stateful(params, batch, mix, state, key):
    return jnp.mean(params * batch[0]), ({}, {})


def test_each_factory_of_the_library_is_here():
    made = {
        name.rpartition(".")[2]
        for name, function in FUNCTIONS.items()
        if function.__code__ is ratios.beta.__code__
    }
    found = {name.partition("-")[0] for name in FACTORIES} - {"region"}
    assert made <= found, made - found


@pytest.mark.parametrize("name", FACTORIES)
def test_twins_are_equal_and_have_one_hash(name):
    one, twin = FACTORIES[name](), FACTORIES[name]()
    assert one is not twin
    assert one == twin
    assert hash(one) == hash(twin)
    assert len({one: 0, twin: 1}) == 1


def test_others_are_not_equal():
    made = [FACTORIES[name]() for name in FACTORIES]
    for k, one in enumerate(made):
        assert one not in made[k + 1 :], one
    others = [
        mx.choose([soft, mx.cutmix], [0.25, 0.75]),
        mx.choose([mx.cutmix, soft], [0.5, 0.5]),
        mx.choose([partial(mx.mixup, alpha=0.3), mx.cutmix], [0.5, 0.5]),
        mx.choose([lambda key, batch: soft(key, batch), mx.cutmix], [0.5, 0.5]),
        mx.with_probability(0.5, soft),
        soft,
    ]
    for other in others:
        assert mx.choose([soft, mx.cutmix], [0.5, 0.5]) != other


def test_arrays_and_functions_are_compared_by_identity():
    lam = jnp.full(4, 0.5)
    assert ratios.constant(lam) == ratios.constant(lam)
    assert hash(ratios.constant(lam)) == hash(ratios.constant(lam))
    assert ratios.constant(lam) != ratios.constant(jnp.full(4, 0.5))
    host = np.full(4, 0.5)
    assert ratios.constant(host) == ratios.constant(host)
    assert ratios.constant(host) != ratios.constant(host.copy())

    def another(step):
        return mx.mixup

    assert mx.scheduled(another) == mx.scheduled(another)
    assert mx.scheduled(another) != mx.scheduled(mixer_at)


def test_what_is_left_to_its_default_may_be_written_out():
    assert ratios.beta(0.2) == ratios.beta(a=0.2, b=None)
    assert ratios.uniform() == ratios.uniform(low=0.0, high=1.0)
    assert mx.choose([mx.mixup], [1]) == mx.choose(probs=(1,), mixers=(mx.mixup,))


def test_lists_may_change_afterwards():
    mixers, probs = [mx.mixup, mx.cutmix], [0.5, 0.5]
    mixer = mx.choose(mixers, probs)
    mixers.clear()
    probs[0] = 2.0
    assert mixer == mx.choose([mx.mixup, mx.cutmix], [0.5, 0.5])
    assert mixer(KEY, BATCH)[1].lam.shape == (4,)


@pytest.mark.parametrize("name", sorted(set(FACTORIES) - OF_USER))
def test_its_repr_can_be_pasted(name):
    made = FACTORIES[name]()
    scope = {"mixup_jax": mixup_jax, "functools": functools}
    assert eval(repr(made), scope) == made


def test_the_words_of_a_repr():
    mixer = mx.per_device(mx.choose([soft, mx.cutmix], [0.5, 0.5]), "data")
    assert repr(mixer) == (
        "mixup_jax.per_device(mixup_jax.choose((functools.partial(mixup_jax.mixup, "
        "alpha=0.2), mixup_jax.cutmix), (0.5, 0.5)), 'data')"
    )
    assert repr(ratios.beta(0.2, 0.4)) == "mixup_jax.ratios.beta(0.2, b=0.4)"
    assert repr(FACTORIES["on_keys"]()) == (
        "mixup_jax.on_keys(functools.partial(mixup_jax.mixup, alpha=0.2), "
        "inputs=('image',), targets='label')"
    )
    assert repr(ratios.constant(jnp.ones(4))) == (
        "mixup_jax.ratios.constant(<array float32[4]>)"
    )
    assert repr(FACTORIES["train_step"]()) == (
        f"mixup_jax.training.train_step({__name__}.loss, "
        "functools.partial(mixup_jax.mixup, alpha=0.2), micro_batches=2)"
    )


# A ``jax.sharding.Mesh`` does not pickle, and neither does anything that holds one.
@pytest.mark.parametrize("name", sorted(set(FACTORIES) - {"sharded"}))
def test_it_pickles_and_copies(name):
    made = FACTORIES[name]()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(made, protocol)) == made
    assert copy.copy(made) == made
    assert copy.deepcopy(made) == made
    held = copy.deepcopy({"made": [made, partial(made)]})["made"]
    assert held[0] == held[1].func == made


def test_it_pickles_what_it_holds():
    lam = jnp.array([0.25, 0.5, 0.75, 1.0])
    mixer = partial(mx.mixup, ratio=ratios.constant(lam))
    held = pickle.loads(pickle.dumps(mx.with_probability(1.0, mixer)))
    np.testing.assert_array_equal(held(KEY, BATCH)[1].lam, lam)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(mx.scheduled(lambda step: mx.mixup))


def drawn_there(pickled, sent):
    made = pickle.loads(pickled)
    key = jax.random.key(0)
    sent.put([np.asarray(made[name](key, BATCH)[1].lam) for name in sorted(made)])


def test_it_passes_to_a_process_that_was_started_by_spawn():
    made = {name: FACTORIES[name]() for name in ("choose", "with_probability")}
    made |= {"once_per_batch": mx.once_per_batch(soft), "partial": soft}
    spawn = multiprocessing.get_context("spawn")
    received = spawn.Queue()
    process = spawn.Process(target=drawn_there, args=(pickle.dumps(made), received))
    process.start()
    there = received.get(timeout=120)
    process.join(timeout=60)
    assert process.exitcode == 0
    for name, lam in zip(sorted(made), there):
        np.testing.assert_array_equal(lam, made[name](KEY, BATCH)[1].lam)


@pytest.mark.parametrize("name", FACTORIES)
def test_it_says_how_it_is_called(name):
    made = FACTORIES[name]()
    names = list(inspect.signature(made).parameters)
    if name in MIXERS or name in ("on_keys", "using", "draw_of"):
        assert names == ["key", "batch"]
        hints = typing.get_type_hints(made)
        assert hints["key"] is jax.Array
        assert mx.Mix in (hints["return"], *typing.get_args(hints["return"]))
    assert made.__name__ in FUNCTIONS or "." + made.__name__ in str(list(FUNCTIONS))
    assert "factory" in (inspect.getdoc(made) or "")


@pytest.mark.parametrize("name", sorted(MIXERS - {"per_device", "whole_batch"}))
def test_one_program_serves_twins(name):
    traces = []

    @partial(jax.jit, static_argnums=0)
    def run(mixer, key, batch):
        traces.append(mixer)
        return mixer(key, batch)

    for _ in range(3):
        run(FACTORIES[name](), KEY, BATCH)
    assert len(traces) == 1
    first = jax.jit(FACTORIES[name]())
    again = jax.jit(FACTORIES[name]())
    np.testing.assert_array_equal(first(KEY, BATCH)[1].lam, again(KEY, BATCH)[1].lam)


def bound(held, step):
    return mx.mixup


class Odd:
    """An object that compares elementwise, as arrays do."""

    def __eq__(self, other):  # type: ignore[override]
        return np.array([True, False])

    def __hash__(self):
        return 0


def test_what_does_not_compare_is_compared_by_identity():
    odd = Odd()
    given: Any = (odd, odd, Odd())
    one, twin, other = (mx.scheduled(partial(bound, x)) for x in given)
    assert one == twin
    assert one != other


def test_python_says_what_is_missing():
    with pytest.raises(
        TypeError, match=r"choose\(\) missing 1 required positional"
    ) as raised:
        mx.choose([mx.mixup])  # type: ignore[call-arg]
    assert raised.value.__context__ is None
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'alhpa'"):
        ratios.beta(0.2, alhpa=1)  # type: ignore[call-arg]


def test_parts_are_found_however_deep():
    deep = mx.on_keys(partial(mx.with_probability(0.5, soft)), inputs="x")
    factories = {part.factory for part in _made.parts((mx.mixup, [deep], deep))}
    assert factories == {mx.on_keys, mx.with_probability}
