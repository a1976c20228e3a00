"""Random words: one call per mixer, equal bit for bit to that of ``jax.random``."""

import functools
import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import mixup_jax as mx
from mixup_jax._core import threefry
from tests import oracle
from tests.methods import KINDS, METHODS
from tests.test_compiled import equations, hashes

KEY, SIZE = jax.random.key(3), 8
IMPLS = ["threefry2x32", "rbg", "unsafe_rbg"]
IMAGES = (jnp.ones((SIZE, 6, 5, 3)), jnp.eye(SIZE))


def own(key: jax.Array, partners: mx.Partners) -> jax.Array:
    """Draw as a user-defined ratio would."""
    return jax.random.uniform(key, partners.index.shape)


def hashed(mixer: mx.Mixer, batch: Any = IMAGES) -> tuple[int, int]:
    """Return how often a mixer calls for words, ours and those of ``jax.random``."""
    jaxpr = jax.make_jaxpr(mixer)(KEY, batch).jaxpr
    names = [str(each.primitive) for each in equations(jaxpr)]
    own_calls = sum(
        names.count(name)
        for name in ("random_bits", "random_split", "random_fold_in", "threefry2x32")
    )
    return len(hashes(jaxpr)), own_calls


# Mixers that draw more than a few numbers per example, or with the test's own ratio.
WITH_KEYS = {"fmix", "gaussian", "weighted", "choose", "with-probability"}


@pytest.mark.parametrize("name", KINDS)
def test_a_mixer_makes_one_call(name):
    method = METHODS[name]
    calls, of_jax = hashed(method.mixer, oracle.batch(method, SIZE))
    assert (calls <= 1 and not of_jax) or any(name.startswith(n) for n in WITH_KEYS)


UNMIXED = partial(mx.mixup, ratio=mx.ratios.constant(0.3), pairing=mx.pairings.roll)
ONE_CALL = {
    "mixup": mx.mixup,
    "cutmix": mx.cutmix,
    "permutation": partial(mx.cutmix, pairing=mx.pairings.permutation),
    "derangement": partial(mx.mixup, pairing=mx.pairings.derangement),
    "asymmetric": partial(mx.mixup, ratio=mx.ratios.beta(0.3, 0.7)),
    "truncated": partial(
        mx.cutmix, ratio=mx.ratios.truncated(mx.ratios.beta(0.3), 0.1, 0.6)
    ),
    "folded": partial(mx.mixup, ratio=mx.ratios.folded(mx.ratios.uniform())),
    "per pair": partial(mx.mixup, ratio=mx.ratios.per_pair(mx.ratios.beta(2.0))),
    "per batch": partial(mx.mixup, ratio=mx.ratios.per_batch(mx.ratios.beta(2.0))),
    "dirichlet": partial(mx.dirichlet, partners=3),
    "manifold": partial(mx.manifold, layers=(0, 1, 2)),
    "smoothmix": mx.smoothmix,
    "resizemix": mx.resizemix,
    "choose": mx.choose([mx.mixup, mx.cutmix, mx.erm], [0.3, 0.3, 0.4]),
    "choose, a choice a batch": mx.choose(
        [mx.mixup, mx.cutmix], [0.5, 0.5], by=mx.ratios.per_batch(mx.ratios.uniform())
    ),
    "nested": mx.choose(
        [
            mx.with_probability(0.5, mx.resizemix),
            mx.choose([partial(mx.cutmix, alpha=0.3), mx.mixup], [0.5, 0.5]),
        ],
        [0.5, 0.5],
    ),
    "once": mx.once_per_batch(mx.choose([mx.mixup, mx.cutmix], [0.5, 0.5])),
    "on keys": lambda key, batch: mx.on_keys(mx.cutmix, inputs="x", targets="y")(
        key, dict(zip("xy", batch))
    ),
}


@pytest.mark.parametrize("name", ONE_CALL)
def test_all_numbers_are_cut_from_one_call(name):
    assert hashed(ONE_CALL[name]) == (1, 0)


@pytest.mark.parametrize(
    "mixer",
    [
        mx.erm,
        partial(mx.mixup, ratio=mx.ratios.constant(0.3), pairing=mx.pairings.roll),
    ],
)
def test_what_draws_nothing_hashes_nothing(mixer):
    assert hashed(mixer) == (0, 0)


# Separate keys


def test_parts_of_a_user_have_keys_of_their_own():
    seen = []

    def noted(part):
        def called(key, *given):
            seen.append(tuple(np.asarray(jax.random.key_data(key)).tolist()))
            return part(key, *given)

        return called

    def region(key, lam, inputs, partners, *, spatial):
        return mx.regions.box(key, lam, inputs, partners, spatial=spatial)

    mx.cutmix(
        KEY,
        IMAGES,
        ratio=noted(mx.ratios.beta(1.0)),
        pairing=noted(mx.pairings.permutation),
        region=partial(
            lambda *given, spatial: noted(partial(region, spatial=spatial))(*given)
        ),
    )
    other = jax.random.key(4)
    mx.choose([noted(mx.mixup), mx.cutmix], [0.5, 0.5], by=noted(own))(other, IMAGES)
    assert len(set(seen)) == len(seen) == 5
    for key in (KEY, other):
        assert tuple(np.asarray(jax.random.key_data(key)).tolist()) not in seen


def test_a_wrapper_that_looks_like_ours_has_a_key():
    @functools.wraps(mx.regions.everywhere)
    def region(key, lam, inputs, partners):
        assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        return mx.regions.everywhere(key, lam, inputs, partners)

    class Half:
        __slots__ = ()
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, key, partners):
            return own(key, partners) / 2

    _, mix = mx.mixup(KEY, IMAGES, ratio=Half())
    assert mix.lam.max() < 0.5
    mx.compose(KEY, IMAGES, ratio=own, pairing=mx.pairings.roll, region=region)


# The law of choice


@pytest.mark.parametrize(("kind", "size"), list(zip(IMPLS, [2, 5, 3])))
def test_mixers_of_a_choice_read_prefixes_of_one_call(kind, size):
    key = jax.random.key(1, impl=kind)
    batch = jax.tree.map(lambda x: x[:size], IMAGES)
    mixers = [
        mx.mixup,
        partial(mx.cutmix, pairing=mx.pairings.derangement),
        mx.with_probability(0.5, mx.resizemix),
        mx.dirichlet,
    ]
    for k, mixer in enumerate(mixers):
        probs = [float(k == n) for n in range(len(mixers))]
        _, want = mixer(key, batch)
        _, got = mx.choose(mixers, probs)(key, batch)
        np.testing.assert_array_equal(got.lam, want.lam)
        for source, other in zip(want.sources, got.sources):
            mixed = np.asarray(source.lam) < 1
            np.testing.assert_array_equal(other.lam, source.lam)
            np.testing.assert_array_equal(other.partner[mixed], source.partner[mixed])


# Bit for bit


SHAPES = [(), (1,), (5,), (2, 7), (3, 1), (4, 64), (0, 3), (2, 3, 5)]


@pytest.mark.parametrize("kind", IMPLS)
def test_words_are_those_of_jax(kind):
    key = jax.random.key(11, impl=kind)
    for shape in SHAPES:
        for each in (key, jax.random.key_data(key) if kind == IMPLS[0] else key):
            want = jax.random.bits(each, shape, "uint32")
            got = threefry.bits(each, shape)
            np.testing.assert_array_equal(got, want)
            assert got.dtype == want.dtype


@pytest.mark.parametrize(
    "setting",
    [
        {"jax_threefry_partitionable": False},
        {"jax_enable_x64": True},
        {"jax_default_prng_impl": "rbg"},
        {"jax_debug_key_reuse": True},
    ],
    ids=str,
)
def test_words_are_those_of_jax_under_every_setting(setting):
    ((name, value),) = setting.items()
    kept = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        for key in (jax.random.key(2), jax.random.PRNGKey(2)):
            want = jax.random.bits(jax.random.clone(key), (3, 5), "uint32")
            np.testing.assert_array_equal(threefry.bits(key, (3, 5)), want)
    finally:
        jax.config.update(name, kept)


def test_words_of_many_keys_and_of_each_device():
    keys = jax.random.split(KEY, 4)
    want = jax.vmap(lambda key: jax.random.bits(key, (2, 3), "uint32"))(keys)
    np.testing.assert_array_equal(
        jax.vmap(lambda k: threefry.bits(k, (2, 3)))(keys), want
    )
    mesh = jax.sharding.Mesh(jax.devices()[:4], "data")

    def each(keys):
        return threefry.bits(keys[0], (2, 3))[None]

    rows = jax.P("data")
    got = jax.jit(jax.shard_map(each, mesh=mesh, in_specs=rows, out_specs=rows))(keys)
    np.testing.assert_array_equal(got, want)


def test_a_key_that_is_used_twice_is_told_by_jax():
    with jax.debug_key_reuse(True):
        key = jax.random.key(5)
        mx.mixup(key, IMAGES)
        with pytest.raises(jax.errors.KeyReuseError):
            mx.cutmix(key, IMAGES)


# Streams


STEPS, EDGE, LAYERS = 6000, 16, (0, 1, 2, 3)


def streams(key: jax.Array) -> dict[str, jax.Array]:
    """Return the draws of one step, one number in [0, 1) of each kind."""
    key, key_next = jax.random.fold_in(key, 0), jax.random.fold_in(key, 2)
    batch = (jnp.ones((4, EDGE, EDGE, 1)), None)
    # Boxes of one position, which are not clipped by a border.
    box = partial(mx.regions.box, max_size=1 / EDGE, share=mx.regions.as_drawn)
    uniform, shuffled = mx.ratios.uniform(high=0.99), mx.pairings.derangement
    cut = partial(mx.cutmix, ratio=uniform, pairing=shuffled, region=box)
    hidden = partial(mx.manifold, layers=LAYERS, ratio=uniform, pairing=shuffled)
    one, two = (mx.draw_of(mixer)(key, batch) for mixer in (cut, hidden))
    both = mx.draw_of(mx.choose([mx.erm, cut], [0.5, 0.5]))(key, batch)
    place = one.region.start[0] / EDGE  # type: ignore[attr-defined]
    found = {
        "lam": one.sources[0].lam[3],
        "lam of another": one.sources[0].lam[2],
        "row": place[0],
        "column": place[1],
        "partner": one.partner[1] / 4,
        "choice": jnp.where(both.lam[0] < 1, 0.5, 0.0),
        "layer": two.region.drawn[0] / len(LAYERS),  # type: ignore[attr-defined]
    }
    micro_batches = jax.random.split(key)

    def devices(key):
        own = jax.vmap(lambda _: mx.own_key(key, "data"), axis_name="data")
        return own(jnp.arange(3))

    others = {
        "step": key_next,
        "micro-batch": micro_batches[0],
        "device": devices(key)[2],
        "device of a micro-batch": devices(micro_batches[0])[0],
    }
    for name, other in others.items():
        found[f"lam of another {name}"] = (
            mx.draw_of(cut)(other, batch).sources[0].lam[3]
        )
    return found


@functools.cache
def drawn() -> dict[str, np.ndarray]:
    found = jax.jit(jax.vmap(streams))(jax.random.split(KEY, STEPS))
    return {name: np.asarray(x, np.float64) for name, x in found.items()}


def counted(*numbers: np.ndarray) -> np.ndarray:
    """Return the counts of numbers by quarter, without quarters that are empty."""
    quarters = [(4 * x).astype(int) for x in numbers]
    table = np.zeros((4,) * len(numbers))
    np.add.at(table, tuple(quarters), 1)
    for axis in range(len(numbers)):
        others = tuple(k for k in range(len(numbers)) if k != axis)
        table = np.compress(table.sum(axis=others) > 0, table, axis=axis)
    return table


def test_streams_are_independent():
    names = list(drawn())
    assert len(names) == 11
    # An example has either a box or a layer: both may read the same words.
    apart = [{"layer", "row"}, {"layer", "column"}]
    for first, second in itertools.combinations(names, 2):
        if {first, second} in apart:
            continue
        a, b = drawn()[first], drawn()[second]
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(STEPS), (first, second)
        found: Any = stats.chi2_contingency(counted(a, b), correction=False)
        assert found.pvalue > 1e-5, (first, second)


def test_streams_are_uniform():
    values = {"partner": 3, "choice": 2}  # one of three others, and a coin
    for name, x in drawn().items():
        table = counted(x / (0.99 if "lam" in name else 1))
        assert len(table) == values.get(name, 4)
        assert stats.chisquare(table)[1] > 1e-5, name


def test_numbers_that_are_read_twice_would_be_told():
    lam = drawn()["lam"]
    table = counted(lam, (lam + 0.25) % 1)
    found: Any = stats.chi2_contingency(table)
    assert found.pvalue < 1e-5
