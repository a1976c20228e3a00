"""A mixer is a draw and its application: the two halves, and user-defined mixers."""

import copy
import dataclasses
import functools
import gc
import inspect
import pickle
import pydoc
import re
import types
import typing
import weakref
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx
from tests import oracle
from tests.methods import METHODS, constant_each
from tests.test_api import MIXERS

KEY = jax.random.key(2)
BATCH = oracle.images(8)
NAMES = sorted(set(MIXERS) - {"compose", "draw_source"})
OPTIONS: dict[str, Any] = {
    "manifold": {"layers": (0, 1)},
    "saliencymix": {"saliency": np.ones((8, 6, 5), np.float32)},
    "extrapolate": {"pairing": mx.pairings.neighbour},
    "gaussian": {"sigma": 0.5},
}


def named(name):
    return getattr(mx, name)


@mx.mixer
def swapped(key, batch, *, lam=0.25):
    """Mix each pair of neighbors, and keep the share ``lam`` of each.

    A user-defined draw.
    """
    return mx.compose(
        key,
        batch,
        ratio=mx.ratios.constant(lam),
        pairing=mx.pairings.neighbour,
        region=mx.regions.everywhere,
    )


@pytest.mark.parametrize("name", NAMES)
def test_key_and_batch_go_by_place_or_by_keyword(name):
    mixer = partial(named(name), **OPTIONS.get(name, {}))
    want = mixer(KEY, BATCH)
    for got in (
        mixer(key=KEY, batch=BATCH),
        mixer(batch=BATCH, key=KEY),
        mixer(KEY, batch=BATCH),
        jax.jit(mixer)(key=KEY, batch=BATCH),
    ):
        oracle.assert_close(got, want)


@pytest.mark.parametrize("mixer", [*map(named, NAMES), swapped])
def test_a_mixer_says_what_it_takes_and_returns(mixer):
    signature = inspect.signature(mixer)
    assert list(signature.parameters)[:2] == ["key", "batch"]
    returned = tuple[tuple[Any, Any], mx.Mix]
    if mixer is not swapped:
        hints = typing.get_type_hints(mixer)
        assert hints["key"] is jax.Array
        assert hints["return"] == signature.return_annotation == returned
    assert "alpha" not in signature.parameters or "alpha" in mixer.__doc__
    page = re.sub(".\x08", "", pydoc.render_doc(mixer))  # without bold text
    assert re.search(rf"{mixer.__name__}\(\s*key", page)
    assert mixer.__doc__.splitlines()[0] in page
    assert inspect.getsource(mixer).lstrip().startswith(("@", f"def {mixer.__name__}"))
    bound = partial(mixer, **OPTIONS.get(mixer.__name__, {}))
    assert list(inspect.signature(bound).parameters)[:2] == ["key", "batch"]
    assert pydoc.render_doc(bound)


@pytest.mark.parametrize("mixer", [*map(named, NAMES), swapped])
def test_a_mixer_pickles_and_copies_to_itself(mixer):
    for again in (pickle.loads(pickle.dumps(mixer)), copy.deepcopy(mixer)):
        assert again is mixer
    bound = partial(mixer, **OPTIONS.get(mixer.__name__, {}))
    for again in (pickle.loads(pickle.dumps(bound)), copy.deepcopy(bound)):
        oracle.assert_equal(again(KEY, BATCH), bound(KEY, BATCH))


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"mixup-given"}))
def test_a_mixer_is_its_draw_applied(name):
    mixer = METHODS[name].mixer
    mixed, mix = mixer(KEY, BATCH)
    drawn = mx.draw_of(mixer)(KEY, BATCH)
    oracle.assert_equal(drawn, mix)
    oracle.assert_equal(drawn.batch(BATCH), mixed)


@pytest.mark.parametrize("mixer", [swapped, partial(swapped, lam=0.75), constant_each])
def test_a_draw_of_a_users_is_merged(mixer):
    with_others = mx.choose([mixer, mx.cutmix], [0.5, 0.5])
    mixed, mix = with_others(KEY, BATCH)
    oracle.assert_equal(mx.draw_of(with_others)(KEY, BATCH), mix)
    oracle.assert_equal(mix.batch(BATCH), mixed)


def test_the_draw_alone_looks_at_no_content():
    shapes = jax.eval_shape(lambda: BATCH)
    mix = jax.eval_shape(
        mx.draw_of(mx.choose([mx.mixup, mx.cutmix], [0.5, 0.5])), KEY, shapes
    )
    assert mix.lam.shape == (8,)


def test_the_same_draw_on_other_arrays():
    mix = mx.draw_of(mx.cutmix)(KEY, BATCH)
    masks = np.arange(8 * 6 * 5, dtype=np.int32).reshape(8, 6, 5)
    follow = mix.inputs(masks)
    assert np.isin(follow, masks).all()
    assert not np.array_equal(follow, masks)


# Mixers without halves


def wrapped(mixer):
    @functools.wraps(mixer)
    def louder(key, batch, **options):
        (x, y), mix = mixer(key, batch, **options)
        return (2 * x, y), mix

    return louder


ONE_FUNCTION = {
    "gaussian": partial(mx.gaussian, sigma=0.5),
    "wraps": wrapped(mx.mixup),
    "wraps a partial": partial(wrapped(mx.mixup), alpha=0.2),
    "wraps what was chosen": wrapped(mx.choose([mx.mixup, mx.cutmix], [0.5, 0.5])),
    "jitted": jax.jit(mx.mixup),
    "lambda": lambda key, batch: mx.mixup(key, batch),
    "method": mx.mixup.__call__,
}


class Louder(functools.partial):
    """A user-defined subclass of ``partial`` that does more than call."""

    def __call__(self, key, batch):
        (x, y), mix = super().__call__(key, batch)
        return (2 * x, y), mix


ONE_FUNCTION["derived"] = Louder(mx.mixup, alpha=0.2)


@pytest.mark.parametrize("name", ONE_FUNCTION)
def test_a_mixer_of_one_function_keeps_what_it_does(name):
    mixer = ONE_FUNCTION[name]
    with pytest.raises(TypeError, match="which is a single function"):
        mx.draw_of(mixer)
    (x, y), _ = mx.choose([mixer], [1.0])(KEY, BATCH)
    (want, labels), _ = mixer(jax.random.split(KEY)[1], BATCH)
    np.testing.assert_array_equal(x, want)
    np.testing.assert_array_equal(y, labels)


def test_a_combinator_of_one_function_has_no_draw():
    for mixer in (
        mx.choose([ONE_FUNCTION["gaussian"], mx.mixup], [0.5, 0.5]),
        mx.with_probability(0.5, mx.choose([jax.jit(mx.mixup)], [1])),
    ):
        with pytest.raises(TypeError, match="which is a single function"):
            mx.draw_of(mixer)(KEY, BATCH)


@pytest.mark.parametrize(
    "draw",
    [
        7,
        "mixup",
        None,
        mx.Mix,
        partial(mx.compose, pairing=mx.pairings.roll),
        jax.jit(lambda key, batch: None),
        mx.mixup,
        lambda: None,
        lambda key: None,
        lambda *args: None,
        lambda *, key, batch: None,
        lambda key, batch=None: None,
        lambda self, key, batch: None,
    ],
)
def test_what_is_no_draw_is_refused(draw):
    with pytest.raises(TypeError, match=r"mixer: expected a function \(key, batch"):
        mx.mixer(draw)


@pytest.mark.parametrize("returned", [None, (BATCH, None), BATCH])
def test_a_draw_that_returns_no_mix_is_refused(returned):
    @mx.mixer
    def wrong(key, batch):
        return returned

    for mixer in (wrong, mx.choose([mx.erm, wrong], [0.5, 0.5])):
        with pytest.raises(TypeError, match=r"mixer: expected wrong to return a Mix"):
            mixer(KEY, BATCH)


def test_a_draw_may_name_its_arguments_otherwise():
    @mx.mixer
    def mine(rng, examples):
        return mx.draw_of(mx.mixup)(rng, examples)

    want = mx.mixup(KEY, BATCH)
    oracle.assert_equal(mine(KEY, BATCH), want)
    oracle.assert_equal(mine(rng=KEY, examples=BATCH), want)
    with pytest.raises(TypeError, match=r"mine\(\) missing 1 required positional"):
        mine(KEY)  # type: ignore[call-arg]


def test_a_mix_may_leave_targets_alone():
    @mx.mixer
    def inputs_alone(key, batch):
        partner = jnp.arange(8, dtype=jnp.int32)[::-1]
        return dataclasses.replace(mx.Mix.from_pairs(1.0, partner), mixes_targets=False)

    labels = np.arange(8)
    (_, same), mix = inputs_alone(KEY, (BATCH[0], labels))
    assert same is labels
    assert mix.targets({"any": labels})["any"] is labels
    with pytest.raises(ValueError, match="expected 8 examples"):
        mix.targets(labels[:4])
    (_, same), _ = mx.choose([inputs_alone, mx.erm], [0.5, 0.5])(
        KEY, (BATCH[0], labels)
    )
    np.testing.assert_array_equal(same, labels)


def test_a_mixer_that_is_pickled_by_value_keeps_its_halves():
    # As cloudpickle treats functions of a notebook: code, closure and attributes.
    made = types.FunctionType(
        swapped.__code__, swapped.__globals__, "swapped", None, swapped.__closure__
    )
    kept = vars(swapped)["_mixup_jax_draw"]
    made.__dict__.update(vars(swapped))
    with pytest.raises(TypeError, match="which is a single function"):
        mx.draw_of(made)
    made.__dict__["_mixup_jax_draw"] = kept._replace(of=made)
    assert mx.draw_of(made)(KEY, BATCH).lam[0] == 0.25


def test_mixers_made_in_a_loop_are_freed():
    def made():
        @mx.mixer
        def mine(key, batch):
            return mx.draw_of(mx.once_per_batch(mine))(key, batch)  # refers to itself

        mx.once_per_batch(mine)
        return weakref.ref(mine)

    alive = [made() for _ in range(20)]
    gc.collect()
    assert not [one for one in alive if one() is not None]


def test_a_scheduled_mixer_has_a_draw_once_there_is_a_step():
    scheduled: Any = mx.scheduled(lambda step: mx.mixup)
    with pytest.raises(TypeError, match="Call it with the step first"):
        mx.draw_of(scheduled)(KEY, BATCH)
    assert mx.draw_of(scheduled(0))(KEY, BATCH).lam.shape == (8,)


# A method derived from another, with other defaults


@pytest.mark.parametrize(
    "call",
    [
        lambda mixer: mixer(KEY, BATCH, regoin=1),
        lambda mixer: mixer(KEY, BATCH, 0.2),
        lambda mixer: mixer(),
        lambda mixer: mixer(KEY, BATCH, key=KEY),
        lambda mixer: mx.draw_of(partial(mixer, regoin=1))(KEY, BATCH),
    ],
    ids=["option", "place", "nothing", "twice", "half"],
)
def test_a_wrong_call_of_a_derived_mixer_names_it(call):
    with pytest.raises(TypeError, match=r"^fmix\(\) ") as of_derived:
        call(mx.fmix)
    with pytest.raises(TypeError, match=r"^cutmix\(\) ") as of_other:
        call(mx.cutmix)
    assert str(of_derived.value) == str(of_other.value).replace("cutmix", "fmix")


def test_a_derived_mixer_differs_in_its_default_alone():
    own, other = map(inspect.signature, (mx.fmix, mx.cutmix))
    changed = {n for n in own.parameters if own.parameters[n] != other.parameters[n]}
    assert changed == {"region"}
    assert own.parameters["region"].default is mx.regions.blob
    assert inspect.unwrap(mx.fmix).__kwdefaults__["region"] is mx.regions.blob
    assert inspect.unwrap(mx.cutmix).__kwdefaults__["region"] is mx.regions.box
    given = partial(mx.cutmix, region=mx.regions.blob)
    for one, another in zip(
        jax.tree.leaves(mx.fmix(KEY, BATCH)), jax.tree.leaves(given(KEY, BATCH))
    ):
        np.testing.assert_array_equal(one, another)
