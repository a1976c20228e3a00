"""The distributions, against SciPy and against simulations in NumPy.

Keys are fixed, so a test that passes will keep passing. Distances must be below the
Kolmogorov-Smirnov critical value at 1e-3, moments and frequencies within five standard
errors.
"""

import functools
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import mixup_jax as mx

ALPHAS = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.8, 1.0, 2.0, 4.0, 8.0, 32.0]
DRAWS = 1_000_000


def batch_of(size: int) -> Any:
    """Return the shape and dtype of a batch; draws read nothing else."""
    return jax.ShapeDtypeStruct((size, 1), jnp.float32), None


def sample(ratio: mx.Ratio, size: int = DRAWS, seed: int = 0) -> np.ndarray:
    key = jax.random.key(seed)
    partners = mx.pairings.neighbour(key, batch_of(size))
    drawn = jax.jit(lambda key: ratio(key, partners))(key)
    assert drawn.dtype == jnp.float32
    return np.asarray(drawn, np.float64)


def assert_distributed(
    drawn: np.ndarray, cdf: Callable[[np.ndarray], np.ndarray], points: np.ndarray
) -> None:
    below = np.searchsorted(np.sort(drawn), points, side="right") / drawn.size
    critical = math.sqrt(-math.log(1e-3 / 2) / 2 / drawn.size)
    assert np.max(np.abs(below - cdf(points))) < critical


def assert_moments(drawn: np.ndarray, law: Any) -> None:
    mean, variance, excess = (float(m) for m in law.stats(moments="mvk"))
    n = drawn.size
    assert abs(drawn.mean() - mean) < 5 * math.sqrt(variance / n)
    error = math.sqrt((excess + 2) * variance**2 / n)
    assert abs(drawn.var() - variance) < 5 * error


def assert_share(count: Any, trials: int, p: float) -> None:
    assert abs(count / trials - p) <= 5 * math.sqrt(p * (1 - p) / trials)


def assert_uncorrelated(a: np.ndarray, b: np.ndarray) -> None:
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / math.sqrt(a.size)


@functools.cache
def traced_beta() -> Any:
    key = jax.random.key(1)
    partners = mx.pairings.neighbour(key, batch_of(DRAWS))
    return jax.jit(lambda alpha: mx.ratios.beta(alpha)(key, partners))


@pytest.mark.parametrize("way", ["static", "traced"])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_beta(alpha, way):
    if way == "static":
        lam = sample(mx.ratios.beta(alpha))
    else:
        lam = np.asarray(traced_beta()(alpha), np.float64)
    law = stats.beta(alpha, alpha)
    # float32 resolves 1 - lam no finer than 6e-8.
    points = np.geomspace(1e-6, 0.5, 5000)
    assert_distributed(np.minimum(lam, 1 - lam), lambda x: 2 * law.cdf(x), points)
    assert_moments(lam, law)


@pytest.mark.parametrize(
    ("a", "b"), [(0.1, 0.4), (0.5, 0.5), (1.0, 3.0), (2.0, 0.3), (8.0, 5.0)]
)
def test_asymmetric_beta(a, b):
    lam = sample(mx.ratios.beta(a, b), 300_000)
    law = stats.beta(a, b)
    near = np.geomspace(1e-6, 0.5, 2500)
    assert_distributed(lam, law.cdf, np.concatenate([near, 1 - near[::-1]]))
    assert_moments(lam, law)


def test_uniform_between_bounds():
    lam = sample(jax.jit(mx.ratios.uniform(low=0.5, high=0.75)))
    grid = np.linspace(0.5, 0.75, 1001)
    assert_distributed(lam, stats.uniform(0.5, 0.25).cdf, grid)


@pytest.mark.parametrize(("low", "high"), [(-0.1, 1), (0, 1.1), (0.6, 0.5)])
def test_uniform_refuses_what_is_no_share(low, high):
    with pytest.raises(ValueError, match=r"uniform: (low|high)"):
        mx.ratios.uniform(low=low, high=high)


def test_uniform_stays_between_bounds_that_are_close():
    lam = sample(mx.ratios.uniform(low=0.999))
    assert lam.min() >= np.float32(0.999)
    assert lam.max() == 1  # rounding reaches this bound, but never exceeds it


def test_uniform():
    lam = sample(mx.ratios.uniform())
    assert_distributed(lam, stats.uniform.cdf, np.linspace(0, 1, 1001))


def test_folded():
    lam = sample(mx.ratios.folded(mx.ratios.beta(0.4)))
    law = stats.beta(0.4, 0.4)
    points = 1 - np.geomspace(1e-6, 0.5, 1000)
    assert lam.min() >= 0.5
    assert_distributed(lam, lambda x: law.cdf(x) - law.cdf(1 - x), points)


@pytest.mark.parametrize("name", ["folded", "truncated", "per_pair", "per_batch"])
def test_a_ratio_is_made_of_a_ratio(name):
    bounds = {"low": 0.1, "high": 0.2} if name == "truncated" else {}
    with pytest.raises(TypeError, match=f"{name}: ratio: expected a function; got 0.5"):
        getattr(mx.ratios, name)(0.5, **bounds)


def test_truncated():
    low, high = 0.2, 0.7
    lam = sample(mx.ratios.truncated(mx.ratios.beta(0.4), low, high), 100_000)
    law = stats.beta(0.4, 0.4)
    inside = law.cdf(high) - law.cdf(low)
    assert lam.min() >= low
    assert lam.max() <= high
    points = np.linspace(low, high, 1001)[:-1]
    assert_distributed(lam, lambda x: (law.cdf(x) - law.cdf(low)) / inside, points)


def test_per_pair_and_per_batch_keep_the_distribution():
    pairs = sample(mx.ratios.per_pair(mx.ratios.uniform()))
    np.testing.assert_array_equal(pairs[0::2], pairs[1::2])
    assert_distributed(pairs[::2], stats.uniform.cdf, np.linspace(0, 1, 1001))

    partners = mx.pairings.roll(jax.random.key(0), batch_of(3))
    one = mx.ratios.per_batch(mx.ratios.uniform())
    keys = jax.random.split(jax.random.key(0), 20_000)
    lam = np.asarray(jax.jit(jax.vmap(one, (0, None)))(keys, partners), np.float64)
    assert (lam == lam[:, :1]).all()
    assert_distributed(lam[:, 0], stats.uniform.cdf, np.linspace(0, 1, 1001))


def pairs(pairing: mx.Pairing, batch: Any, trials: int) -> np.ndarray:
    keys = jax.random.split(jax.random.key(2), trials)
    return np.asarray(jax.jit(jax.vmap(lambda key: pairing(key, batch).index))(keys))


@pytest.mark.parametrize(
    ("pairing", "rings"), [(mx.pairings.permutation, 24), (mx.pairings.derangement, 6)]
)
def test_each_permutation_is_equally_likely(pairing, rings):
    trials = 48_000
    drawn, counts = np.unique(
        pairs(pairing, batch_of(4), trials), axis=0, return_counts=True
    )
    possible = set(itertools.permutations(range(4)))
    if pairing is mx.pairings.derangement:  # a single ring
        possible = {
            p for p in possible if p[0] and p[p[0]] and p[p[p[0]]] and len(set(p)) == 4
        }
    assert {tuple(map(int, row)) for row in drawn} == possible
    assert len(possible) == rings
    for count in counts:
        assert_share(count, trials, 1 / rings)


@pytest.mark.parametrize("size", [5, 32])
@pytest.mark.parametrize("pairing", [mx.pairings.permutation, mx.pairings.derangement])
def test_each_partner_is_equally_likely(pairing, size):
    trials = 20_000
    index = pairs(pairing, batch_of(size), trials)
    deranged = pairing is mx.pairings.derangement
    for i, j in itertools.product(range(size), range(size)):
        p = (i != j) / (size - 1) if deranged else 1 / size
        assert_share(np.count_nonzero(index[:, i] == j), trials, p)


@pytest.mark.parametrize("same", [True, False])
def test_each_example_of_the_class_is_equally_likely(same):
    label = np.asarray([2, 0, 0, 1, 2, 0, 3, 2, 2])
    pairing = mx.pairings.same_class if same else mx.pairings.other_class
    trials = 20_000
    index = pairs(partial(pairing, labels=label), batch_of(len(label)), trials)
    for i in range(len(label)):
        others = (label == label[i]) & (np.arange(len(label)) != i)
        if not same:
            others = label != label[i]
        if not others.any():
            others[i] = True
        for j in range(len(label)):
            p = others[j] / others.sum()
            assert_share(np.count_nonzero(index[:, i] == j), trials, p)


def simulated_boxes(lam, sizes, limits, rng):
    """Return the corners of ``regions.box``, as its docstring describes them."""
    min_size, max_size = limits
    starts, stops = [], []
    for n in sizes:
        side = np.round(n * np.clip((1 - lam) ** (1 / len(sizes)), min_size, max_size))
        seen = np.minimum(np.round(min_size * n), side)
        start, stop = np.zeros_like(lam), np.zeros_like(lam)
        todo = np.ones(lam.shape, bool)
        while todo.any():  # until enough of the side is inside
            first = rng.integers(0, n, lam.size) - side // 2
            new = np.clip(first, 0, n), np.clip(first + side, 0, n)
            fits = todo & (new[1] - new[0] >= seen)
            start, stop = (np.where(fits, a, b) for a, b in zip(new, (start, stop)))
            todo &= ~fits
        starts.append(start)
        stops.append(stop)
    return np.stack(starts, 1), np.stack(stops, 1)


@pytest.mark.parametrize("sizes", [(16,), (12, 7), (5, 4, 6)], ids=str)
@pytest.mark.parametrize("limits", [(0.0, 1.0), (0.3, 0.6)], ids=str)
def test_boxes_equal_a_simulation(sizes, limits):
    n = 200_000
    rng = np.random.default_rng(3)
    lam = rng.uniform(size=n).astype(np.float32)
    inputs = jax.ShapeDtypeStruct((n, *sizes, 1), jnp.float32)
    draw = partial(mx.regions.box, min_size=limits[0], max_size=limits[1])
    no_partners: Any = None  # a box does not depend on the partners
    box, share = jax.jit(lambda key, lam: draw(key, lam, inputs, no_partners))(
        jax.random.key(3), lam
    )
    assert isinstance(box, mx.regions.Box)

    def facts(start, stop, share):
        side = stop - start
        return [
            *start.T,
            *stop.T,
            *(side**2).T,
            *(start.T * lam),
            *(side.T * lam),
            np.prod(start, axis=1),
            share,
            share**2,
            share * lam,
        ]

    start, stop = simulated_boxes(lam.astype(np.float64), sizes, limits, rng)
    want = facts(start, stop, 1 - np.prod(stop - start, axis=1) / math.prod(sizes))
    got = facts(*(np.asarray(x, np.float64) for x in (box.start, box.stop, share)))
    for drawn, simulated in zip(got, want):
        error = math.sqrt((np.var(drawn) + np.var(simulated)) / n)
        assert abs(drawn.mean() - simulated.mean()) < 5 * error


def constants(*lams: float) -> list[mx.Mixer]:
    return [partial(mx.mixup, ratio=mx.ratios.constant(lam)) for lam in lams]


def lam_of(mixer: mx.Mixer, size: int, seed: int = 4) -> np.ndarray:
    x = jnp.zeros((size, 1))
    return np.asarray(jax.jit(mixer)(jax.random.key(seed), (x, None))[1].lam)


def test_choose_by_its_probabilities():
    n, probs = 200_000, [0.2, 0.5, 0.0, 0.3]
    lam = lam_of(mx.choose([*constants(0.25, 0.5, 0.75), mx.erm], probs), n)
    for value, p in zip([0.25, 0.5, 0.75, 1.0], probs):
        assert_share(np.count_nonzero(lam == value), n, p)
    # Examples choose independently: pairs agree as often as expected by chance.
    assert_share(np.count_nonzero(lam[::2] == lam[1::2]), n // 2, 0.38)


def test_choose_per_pair_and_per_batch():
    n = 100_000
    one = mx.ratios.uniform()
    two = constants(0.25, 0.5)
    lam = lam_of(mx.choose(two, [0.3, 0.7], by=mx.ratios.per_pair(one)), n)
    np.testing.assert_array_equal(lam[::2], lam[1::2])
    assert_share(np.count_nonzero(lam[::2] == 0.25), n // 2, 0.3)

    mixer = mx.choose(two, [0.3, 0.7], by=mx.ratios.per_batch(one))
    keys = jax.random.split(jax.random.key(5), 20_000)
    mixed = jax.jit(jax.vmap(mixer, (0, None)))(keys, (jnp.zeros((4, 1)), None))
    lam = np.asarray(mixed[1].lam)
    assert (lam == lam[:, :1]).all()
    assert_share(np.count_nonzero(lam[:, 0] == 0.25), len(lam), 0.3)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_with_probability_applies_it_once(p):
    n = 200_000
    lam = lam_of(mx.with_probability(p, constants(0.5)[0]), n)
    assert set(np.unique(lam)) <= {0.5, 1.0}
    assert_share(np.count_nonzero(lam == 0.5), n, p)


def test_draws_are_independent_of_each_other():
    n, side = 20_000, 12
    inputs = jnp.zeros((n, side, side, 1), jnp.float16)
    permuted = partial(mx.cutmix, pairing=mx.pairings.permutation)

    @jax.jit
    def drawn(key):
        blend = partial(mx.mixup, pairing=mx.pairings.permutation)
        mix = mx.choose([blend, permuted], [0.5, 0.5])(key, (inputs, None))[1]
        alone = mx.mixup(key, (inputs, None))[1].lam
        return mix.lam, mix.partner, mix.region, alone

    lam, partner, region, alone = drawn(jax.random.key(6))
    assert isinstance(region, mx.regions.Chosen)
    index, box = np.asarray(region.index), region.regions[1]
    assert isinstance(box, mx.regions.Box)
    lam, partner, alone = (np.asarray(x, np.float64) for x in (lam, partner, alone))
    blended = index == 0
    place = np.arange(n, dtype=np.float64)
    assert_uncorrelated(partner, place)
    assert_uncorrelated(lam[blended], partner[blended])
    assert_uncorrelated(lam[blended], place[blended])
    assert_uncorrelated(alone[1:], alone[:-1])
    assert_uncorrelated(index, partner)
    # The chosen method is independent of how much it mixes.
    assert_distributed(lam[blended], stats.uniform.cdf, np.linspace(0, 1, 1001))
    middle = np.asarray(box.start + box.stop, np.float64)
    assert_uncorrelated(middle[:, 0], partner)
    assert_uncorrelated(middle[:, 0], middle[:, 1])
    assert_uncorrelated(middle[:, 0], index)


def test_keys_draw_independently():
    keys = jax.random.split(jax.random.key(7), 1000)
    batch = (jnp.zeros((16, 1)), None)
    lam = jax.jit(jax.vmap(lambda key: mx.mixup(key, batch)[1].lam))(keys)
    lam = np.asarray(lam, np.float64)
    assert_distributed(lam.ravel(), stats.uniform.cdf, np.linspace(0, 1, 1001))
    assert_uncorrelated(lam[1:], lam[:-1])


def test_devices_draw_independently():
    # ``vmap`` also binds an axis name, for any number of devices in one program.
    devices, share = 8, 4000
    mixer = mx.per_device(partial(mx.mixup, ratio=mx.ratios.uniform()), "data")
    run = jax.jit(jax.vmap(mixer, (None, 0), axis_name="data"))
    _, mix = run(jax.random.key(8), (jnp.zeros((devices, share, 1)), None))
    lam = np.asarray(mix.lam, np.float64)
    assert_distributed(lam.ravel(), stats.uniform.cdf, np.linspace(0, 1, 1001))
    for one, other in itertools.combinations(lam, 2):
        assert_uncorrelated(one, other)
