"""The law of choice: each example is mixed exactly as its chosen mixer would mix it."""

import dataclasses
import functools
import itertools
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mixup_jax as mx
from tests import oracle
from tests.methods import KINDS, METHODS, Choice, Method, fixed, handed_on

KEY = jax.random.key(4)
SIZE = 8
INDEX = np.array([0, 1, 1, 0, 0, 1, 0, 1])
MASK = np.random.default_rng(2).random((SIZE, oracle.HEIGHT, oracle.WIDTH)) < 0.4


def one_more(key, batch):
    """Mix, and add 1 to the inputs."""
    (x, y), mix = mx.mixup(key, batch)
    return (
        jax.tree.map(lambda x: (x + np.ones((), x.dtype)).astype(x.dtype), x),
        y,
    ), mix


def shifted_back(key, batch):
    """Drop the first row of each image, and pad at the other end."""
    inputs, targets = batch

    def shifted(x):
        rest = jnp.asarray(x)[:, 1:]
        return jnp.pad(rest, [(0, 0), (0, 1)] + [(0, 0)] * (rest.ndim - 2))

    return (jax.tree.map(shifted, inputs), targets), mx.erm(key, batch)[1]


@functools.wraps(mx.mixup)
def noisy(key, batch):
    """Mix, and add noise that is not part of the mix."""
    (x, y), mix = mx.mixup(key, batch)
    key = jax.random.fold_in(key, 1)

    def louder(x):
        noise = jax.random.normal(key, x.shape)
        return (x + noise.astype(x.dtype)).astype(x.dtype)

    return (jax.tree.map(louder, x), y), mix


# Mixers without halves: the mix does not describe everything that they do.
ONE_FUNCTION = {
    "gaussian": fixed(partial(mx.gaussian, sigma=0.5), pastes=False, deranged=False),
    "one more": fixed(one_more),
    "shifted back": fixed(shifted_back, pastes=True, deranged=False),
    "wraps": fixed(noisy),
    "jitted": fixed(jax.jit(mx.mixup)),
    "choose-gaussian": fixed(
        mx.choose([partial(mx.gaussian, sigma=0.5), mx.mixup, mx.erm], [0.4, 0.3, 0.3])
    ),
}
ROWS = METHODS | ONE_FUNCTION
SOME = [*KINDS, "wraps"]
PAIRS = list(itertools.combinations(SOME, 2))
RING = list(zip(SOME, SOME[1:] + SOME[:1]))


def batch_for(pastes: bool, classes: bool) -> Any:
    method = Method(lambda alpha: mx.erm, pastes=pastes, classes=classes)
    inputs, targets = oracle.batch(method, SIZE)
    # Noise requires floating-point inputs.
    inputs = {name: x for name, x in inputs.items() if name != "wave"}
    return inputs, targets


def shared_batch(*names: str) -> tuple[bool, bool]:
    """Return the kind of batch that all of these rows accept."""
    rows = [ROWS[name] for name in names]
    return all(row.pastes for row in rows), any(row.classes for row in rows)


@functools.cache
def alone(name: str, kind: tuple[bool, bool]) -> Any:
    return ROWS[name].mixer(handed_on(KEY), batch_for(*kind))


def by_index(key, partners):
    """Decide by ``INDEX``, for probabilities of a half."""
    del key, partners
    return jnp.where(INDEX == 0, jnp.float32(0.25), jnp.float32(0.75))


def uniform(key, partners):
    """Decide as by default, but with a separate key."""
    return jax.random.uniform(key, partners.index.shape)


# Rows whose lam is the mean of a computed field: programs round it as they round a
# blend.
WORKED_OUT = {"smoothmix"}


def assert_same(names: Any, got: Any, want: Any) -> None:
    """Assert that weights are equal bit for bit, except in rows that compute them."""
    if WORKED_OUT & set(names):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)
    else:
        np.testing.assert_array_equal(got, want)


def assert_chosen(got: Any, each: Any, names: Any, index: Any, equal: Any) -> None:
    """Assert that row ``i`` of ``got`` is that of the result of mixer ``index[i]``."""

    def picked(*leaves):
        stacked = np.stack([np.asarray(leaf) for leaf in leaves])
        return stacked[index, np.arange(len(index))]

    (mixed, mix), mixes = got, [mix for _, mix in each]
    equal(mixed, jax.tree.map(picked, *(mixed for mixed, _ in each)))
    lam, partner = (
        picked(*(getattr(mix, field) for mix in mixes)) for field in ("lam", "partner")
    )
    assert_same(() if equal is oracle.assert_equal else names, mix.lam, lam)
    moves_inputs = np.array([ROWS[name].keeps_labels for name in names])[index]
    has_partner = (partner != np.arange(len(index))) & ((lam < 1) | moves_inputs)
    np.testing.assert_array_equal(
        np.asarray(mix.partner)[has_partner], partner[has_partner]
    )


def assert_terms_chosen(mix: Any, mixes: Any, names: Any, index: Any) -> None:
    """Assert that row ``i`` has the labels and partners that mixer ``index[i]`` drew.

    Compares each term with a share above 0; terms that a mixer lacks have a share of 0.
    """
    size, rows = len(index), np.arange(len(index))
    found = [
        [np.asarray(each) for each in zip(*drawn.terms(np.arange(size)))]
        for drawn in (mix, *mixes)
    ]
    depth = max(len(shares) for shares, _ in found)
    (shares, partners), *others = [
        np.pad(each, [(0, 0), (0, depth - each.shape[1]), (0, 0)])
        for each in map(np.stack, found)
    ]
    want, whom = np.stack(others)[index, :, :, rows].transpose(1, 2, 0)
    assert_same(names, shares, want)
    np.testing.assert_array_equal(partners[want > 0], whom[want > 0])


def places_of(mix: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return each cell's share of own content, and where a mask shows any content."""
    return np.asarray(mix.coverage((2, 2))), np.asarray(mix.union(MASK))


@functools.cache
def places_alone(name: str, kind: tuple[bool, bool]) -> tuple[np.ndarray, np.ndarray]:
    return places_of(alone(name, kind)[1])


def assert_law(first, second):
    """Assert the law for a choice that the test determines."""
    names, kind = (first, second), shared_batch(first, second)
    mixers, batch = [ROWS[name].mixer for name in names], batch_for(*kind)
    got = mx.choose(mixers, [0.5, 0.5], by=by_index)(KEY, batch)
    each = [alone(name, kind) for name in names]
    assert_chosen(got, each, names, INDEX, oracle.assert_equal)
    assert_terms_chosen(got[1], [mix for _, mix in each], (), INDEX)


def assert_places(first, second):
    """Assert that row ``i`` has the coverage and union of the mixer chosen for it."""
    names, kind = (first, second), shared_batch(first, second)
    mixers, rows = [ROWS[name].mixer for name in names], np.arange(SIZE)
    _, mix = mx.choose(mixers, [0.5, 0.5], by=by_index)(KEY, batch_for(*kind))
    each = [places_alone(name, kind) for name in names]
    covers, shows = (np.stack(found)[INDEX, rows] for found in zip(*each))
    got = places_of(mix)
    # A mean over a cell is rounded, but a single weight for all positions is not.
    np.testing.assert_allclose(got[0], covers, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(got[1], shows)


def assert_certainty(first, second):
    """Assert the law for probabilities of 0 and 1."""
    names, kind = (first, second), shared_batch(first, second)
    mixers, batch = [ROWS[name].mixer for name in names], batch_for(*kind)
    each = [alone(name, kind) for name in names]
    for k, probs in enumerate(([1, 0], [0, 1])):
        got = mx.choose(mixers, probs, by=uniform)(KEY, batch)
        index = np.full(SIZE, k)
        assert_chosen(got, each, names, index, oracle.assert_equal)


def assert_compiled(first, second):
    """Assert the law for traced probabilities, up to the last bit of a blend.

    Programs fuse differently; whatever is not blended is still exact.
    """
    names, kind = (first, second), shared_batch(first, second)
    mixers = [ROWS[name].mixer for name in names]

    @jax.jit
    def all_of_them(key, batch, probs):
        chosen = mx.choose(mixers, probs, by=by_index)(KEY, batch)
        return chosen, [mixer(key, batch) for mixer in mixers]

    batch, key = batch_for(*kind), handed_on(KEY)
    got, each = all_of_them(key, batch, jnp.array([0.5, 0.5]))
    assert_chosen(got, each, names, INDEX, oracle.assert_close)
    assert_terms_chosen(got[1], [mix for _, mix in each], names, INDEX)
    if set(names) & set(ONE_FUNCTION):
        return
    expected = oracle.picked(
        INDEX,
        [ROWS[name].expected(mix, key, batch) for name, (_, mix) in zip(names, each)],
    )
    slack = expected.slack
    if any(isinstance(ROWS[name].expected, Choice) for name in names):
        slack += 4 * oracle.EPS  # its parts are drawn again, in another program
    for half, given, terms in zip(got[0], batch, (expected.inputs, expected.targets)):
        for y, x in zip(jax.tree.leaves(half), jax.tree.leaves(given)):
            oracle.assert_terms(y, terms(x), slack)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_each_example_is_what_its_mixer_makes_of_it(first, second):
    assert_law(first, second)


@pytest.mark.parametrize(("first", "second"), RING)
def test_each_example_covers_and_shows_what_its_mixer_does(first, second):
    assert_places(first, second)


@pytest.mark.parametrize(("first", "second"), RING)
def test_probabilities_of_0_and_1_are_certain(first, second):
    assert_certainty(first, second)


@pytest.mark.parametrize(("first", "second"), RING)
def test_traced_and_compiled(first, second):
    assert_compiled(first, second)


@pytest.mark.slow
@pytest.mark.parametrize(
    "law", [assert_law, assert_places, assert_certainty, assert_compiled]
)
@pytest.mark.parametrize("first", ROWS)
def test_with_every_other_row(first, law):
    for second in ROWS:
        law(first, second)


@pytest.mark.parametrize("name", ["mixup", "fmix", *ONE_FUNCTION])
def test_examples_left_out_are_those_of_erm(name):
    kind = shared_batch(name)
    mixer = mx.with_probability(0.5, ROWS[name].mixer, by=by_index)
    got = mixer(KEY, batch_for(*kind))
    each = [alone(name, kind), alone("erm", kind)]
    assert_chosen(got, each, (name, "erm"), INDEX, oracle.assert_equal)


DEVICES = 2


def on_shares(mixer, key, batch):
    shares = jax.tree.map(lambda x: x.reshape(DEVICES, -1, *x.shape[1:]), batch)
    run = jax.vmap(mixer, in_axes=(None, 0), axis_name="data")
    mixed, mix = jax.jit(run)(key, shares)
    return jax.tree.map(lambda x: np.reshape(x, (-1, *x.shape[2:])), (mixed, mix))


@pytest.mark.parametrize("place", [mx.per_device, mx.whole_batch])
@pytest.mark.parametrize(
    "names", [("mixup", "cutmix"), ("cutmix-permutation", "wraps")], ids=str
)
def test_the_law_holds_on_each_device(place, names):
    mixers, batch = [ROWS[name].mixer for name in names], oracle.images(SIZE)
    choice = mx.choose(mixers, [0.5, 0.5])
    got = on_shares(place(choice, "data"), KEY, batch)
    # The mixers with the key that each device's choice passes to them.
    each = [on_shares(place(mixer, "data"), KEY, batch) for mixer in mixers]
    drawn = [np.asarray(mix.lam) for _, mix in each]
    index = (np.asarray(got[1].lam) != drawn[0]).astype(int)
    assert set(index) == {0, 1}
    assert_chosen(got, each, names, index, oracle.assert_close)


def test_eager_choice_makes_one_pass_over_each_leaf(monkeypatch):
    from mixup_jax._core import blend

    passes, mixed = [], blend.chain

    def counted(*args):
        passes.append(args)
        return mixed(*args)

    monkeypatch.setattr(blend, "chain", counted)
    inputs, targets = batch_for(False, False)
    batch = ({"a": inputs["x"], "b": inputs["x"][..., 0]}, targets["label"])
    mixers = [mx.mixup, mx.cutmix, mx.fmix, partial(mx.mixup, alpha=0.2), mx.erm]
    mx.choose(mixers, [0.2] * 5)(KEY, batch)
    assert len(passes) == 3
    passes.clear()
    mx.with_probability(0.5, mx.choose(mixers[:2], [0.5, 0.5]))(KEY, batch)
    assert len(passes) == 3


# Refusals


def loss(params, batch, mix):
    return jnp.mean(params * batch[0]), {}


def trained(step, key, batch):
    state = mx.training.TrainState.create(jnp.ones(()), optax.sgd(0.1))
    return step(state, key, batch)


def no_mix(key, batch):
    return batch


def none_for_a_mix(key, batch):
    return batch, None


@pytest.mark.parametrize("mixer", [no_mix, none_for_a_mix])
@pytest.mark.parametrize(
    "around",
    [
        lambda m: mx.choose([m, mx.mixup], [0.5, 0.5]),
        lambda m: mx.with_probability(0.5, m),
        lambda m: partial(on_shares, mx.per_device(m, "data")),
        lambda m: partial(on_shares, mx.whole_batch(m, "data")),
        lambda m: mx.on_keys(m, inputs="x"),
        lambda m: partial(trained, mx.training.train_step(loss, m)),
        lambda m: partial(trained, mx.training.train_step(loss, m, micro_batches=2)),
    ],
    ids=[
        "choose",
        "with_probability",
        "per_device",
        "whole_batch",
        "on_keys",
        "train_step",
        "micro_batches",
    ],
)
def test_a_mixer_that_returns_no_mix_is_refused(mixer, around, request):
    batch = oracle.images(SIZE)
    if "on_keys" in request.node.name:
        batch = {"x": batch[0]}
    with pytest.raises(TypeError, match=r"expected \(batch, mix\) from .*mix.*; got"):
        around(mixer)(KEY, batch)


def returning(change):
    def mixer(key, batch):
        mixed, mix = mx.mixup(key, batch)
        return change(mixed), mix

    return mixer


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (
            lambda b: (b[0].astype(jnp.bfloat16), b[1]),
            TypeError,
            r"batch\[0\]: .*float32",
        ),
        (lambda b: (b[0], b[1][:, :2]), ValueError, r"batch\[1\]: .*float32\[8, 3\]"),
        (
            lambda b: (b[0][1:], b[1]),
            ValueError,
            r"batch\[0\]: expected an array float32",
        ),
        (lambda b: (b[0], None), ValueError, "the same structure as other mixers"),
        (lambda b: ({"x": b[0]}, b[1]), ValueError, "Return all given entries"),
    ],
)
def test_what_mixers_return_has_to_agree(change, kind, said):
    for mixers in ([returning(change), mx.cutmix], [mx.erm, returning(change)]):
        with pytest.raises(kind, match=said):
            mx.choose(mixers, [0.5, 0.5])(KEY, oracle.images(SIZE))


@pytest.mark.parametrize(
    ("lam", "partner", "said"),
    [
        (np.full(3, 0.5), np.arange(SIZE), r"expected lam \[B\] and partner \[B\]"),
        (np.ones(4), np.arange(4), r"mix: lam: expected shape \(8,\)"),
        (np.ones(SIZE), np.arange(SIZE) + 1, r"partner: expected a number in \[0, 7\]"),
    ],
)
def test_a_mix_of_another_batch_is_refused(lam, partner, said):
    def wrong(key, batch):
        return batch, mx.Mix.from_pairs(lam, partner)

    for mixer in (wrong, mx.mixer(lambda key, batch: wrong(key, batch)[1])):
        with pytest.raises(ValueError, match=said):
            mx.choose([mx.erm, mixer], [0.5, 0.5])(KEY, oracle.images(SIZE))


@pytest.mark.parametrize("other", [partial(mx.gaussian, sigma=0.1), mx.erm])
def test_integer_labels_are_refused_as_by_the_mixer_that_blends_them(other):
    batch = (oracle.images(SIZE)[0], np.arange(SIZE))
    said = r"targets: expected a floating-point or complex dtype"
    for mixer in (mx.mixup, mx.choose([other, mx.mixup], [0.5, 0.5])):
        with pytest.raises(TypeError, match=said):
            mixer(KEY, batch)


away = partial(mx.extrapolate, pairing=mx.pairings.neighbour)


@pytest.mark.parametrize(
    "mixer", [away, jax.jit(away), mx.extrapolate, jax.jit(mx.extrapolate)]
)
@pytest.mark.parametrize("jit", [lambda mixer: mixer, jax.jit])
def test_integer_labels_stay_where_no_mixer_mixes_them(mixer, jit):
    x, labels = oracle.images(SIZE)[0], np.arange(SIZE) % 3
    (mixed, same), mix = jit(mx.with_probability(0.5, mixer))(KEY, (x, labels))
    np.testing.assert_array_equal(same, labels)
    np.testing.assert_array_equal(mix.lam, 1)
    (moved, _), _ = mixer(handed_on(KEY), (x, labels))
    rows = np.array([np.array_equal(a, b) for a, b in zip(mixed, x)])
    assert 0 < rows.mean() < 1
    oracle.assert_close(np.asarray(mixed)[~rows], np.asarray(moved)[~rows])


@dataclasses.dataclass
class Counted:
    """A mixer that counts its calls, and thereby its traces."""

    calls: int = 0

    def __call__(self, key, batch):
        self.calls += 1
        return mx.mixup(key, batch)


def test_a_mixer_that_is_one_function_is_called_once():
    mixer = Counted()
    mx.choose([mx.erm, mixer, mx.cutmix], [0.2, 0.4, 0.4])(KEY, oracle.images(SIZE))
    assert mixer.calls == 1


class Pair(NamedTuple):
    """A batch with named entries that is also a pair."""

    image: Any
    label: Any


def given(key, batch):
    return batch, mx.erm(key, batch)[1]


@pytest.mark.parametrize(
    "mixer",
    [
        mx.on_keys(mx.mixup, inputs="image"),
        mx.on_keys(partial(mx.gaussian, sigma=0.5), inputs="image"),
        mx.using("label", lambda _: mx.on_keys(mx.mixup, inputs="image")),
        given,
    ],
)
def test_a_pair_with_names_is_mixed_as_the_mixer_says(mixer):
    x, labels = oracle.images(SIZE)
    (mixed, same), _ = mx.choose([mixer], [1.0])(KEY, Pair(x, labels))
    np.testing.assert_array_equal(same, labels)
    (want, _), _ = mixer(handed_on(KEY), Pair(x, labels))
    np.testing.assert_array_equal(mixed, want)


def test_a_choice_is_made_among_mixers_of_one_step():
    stops, batch = mx.until(5, mx.mixup), oracle.images(SIZE)
    got = mx.choose([stops(4), stops(5)], [0.5, 0.5], by=by_index)(KEY, batch)
    mixed, mix = stops(4)(handed_on(KEY), batch)
    for found, before, after in zip(got[0], batch, mixed):
        np.testing.assert_array_equal(found[INDEX == 0], after[INDEX == 0])
        np.testing.assert_array_equal(found[INDEX == 1], before[INDEX == 1])
    np.testing.assert_array_equal(got[1].lam, np.where(INDEX == 0, mix.lam, 1))
    with pytest.raises(TypeError, match="schedule outermost"):
        mx.choose([stops, mx.erm], [0.5, 0.5])(KEY, batch)  # type: ignore[list-item]


def test_a_list_of_two_is_a_pair():
    x, labels = oracle.images(SIZE)
    for mixers in ([given, mx.mixup], [given, given]):
        mixed, _ = mx.choose(mixers, [0.5, 0.5])(KEY, [x, labels])
        want, _ = mx.choose(mixers, [0.5, 0.5])(KEY, (x, labels))
        oracle.assert_equal(mixed, want)


@mx.mixer
def inputs_alone(key, batch):
    """Blend inputs, and leave the targets unchanged."""
    mix = mx.draw_of(mx.mixup)(key, batch)
    return dataclasses.replace(mix, mixes_targets=False)


@pytest.mark.parametrize("other", [mx.mixup, mx.cutmix, mx.erm])
def test_examples_mixed_in_their_inputs_alone_keep_their_labels(other):
    batch = oracle.images(SIZE)
    (x, y), mix = mx.choose([inputs_alone, other], [0.5, 0.5], by=by_index)(KEY, batch)
    (alone, _), (mixed, labels) = (
        mixer(handed_on(KEY), batch)[0] for mixer in (inputs_alone, other)
    )
    mine = INDEX == 0
    np.testing.assert_array_equal(mix.lam[mine], 1)
    np.testing.assert_array_equal(np.asarray(y)[mine], batch[1][mine])
    np.testing.assert_array_equal(np.asarray(x)[mine], np.asarray(alone)[mine])
    np.testing.assert_array_equal(np.asarray(y)[~mine], np.asarray(labels)[~mine])
    np.testing.assert_array_equal(np.asarray(x)[~mine], np.asarray(mixed)[~mine])
    assert not np.array_equal(x, batch[0])


def test_a_leaf_of_text_is_refused():
    with pytest.raises(TypeError, match=r"batch\[0\]: expected an array"):
        mx.choose([returning(lambda b: ("a", b[1])), mx.erm], [0.5, 0.5])(
            KEY, oracle.images(SIZE)
        )
