"""Ratios in a range, and the gradients of draws.

Keys are fixed; distances are below the Kolmogorov-Smirnov critical value at 1e-3, and
means within five standard errors, as in test_statistics.py.
"""

import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from scipy import special

import mixup_jax as mx
from tests.test_compiled import loops

beta, truncated, folded = mx.ratios.beta, mx.ratios.truncated, mx.ratios.folded


def partners_of(size: int) -> mx.Partners:
    return mx.pairings.neighbour(jax.random.key(0), (jnp.zeros((size, 1)), None))


def drawn(ratio: mx.Ratio, size: int = 8, seed: int = 0) -> np.ndarray:
    return np.asarray(ratio(jax.random.key(seed), partners_of(size)), np.float64)


# A range


def cdf(x: np.ndarray, a: float, b: float, low: float, high: float) -> np.ndarray:
    """Return the CDF of Beta(a, b) in a range, from the tail that is more precise."""
    if special.betainc(a, b, high) < 0.5:
        least, most = special.betainc(a, b, [low, high])
        return (special.betainc(a, b, x) - least) / (most - least)
    least, most = special.betaincc(a, b, [low, high])
    return (least - special.betaincc(a, b, x)) / (least - most)


@functools.cache
def traced_range(low: float, high: float) -> Any:
    def draw(key, a, b):
        return truncated(beta(a, b), low, high)(key, partners_of(100_000))

    return jax.jit(draw)


PAIRS = [(0.05, 0.05), (0.4, 0.4), (8, 8), (0.3, 5), (2, 0.5), (300, 40), (1e-4, 3)]


@pytest.mark.parametrize("bounds", [(0, 0.5), (0.1, 0.85), (0.9, 1), (0.25, 0.26)])
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_beta_in_a_range(a, b, bounds):
    a, b = float(np.float32(a)), float(np.float32(b))
    lam = np.sort(
        np.asarray(traced_range(*bounds)(jax.random.key(1), a, b), np.float64)
    )
    assert lam[0] >= bounds[0]
    assert lam[-1] <= bounds[1]
    # float32 resolves 1 - lam no finer than 6e-8, and lam near 0 no finer than 1e-38.
    inside = (lam > 1e-30) & (lam < 1 - 1e-4)
    below = np.searchsorted(lam, lam[inside], side="right") / lam.size
    distance = np.abs(below - cdf(lam[inside], a, b, *bounds))
    assert inside.any()
    assert distance.max() < math.sqrt(-math.log(1e-3 / 2) / 2 / lam.size)


@pytest.mark.slow
def test_each_example_has_its_own_parameters_in_a_range():
    a = np.tile(np.array([0.1, 0.0, 20.0, 1e-30], np.float32), 25_000)
    lam = drawn(jax.jit(truncated(beta(a, 1.0), 0.2, 0.9)), a.size).reshape(-1, 4)
    assert (lam[:, 1] == 1).all()
    for column, alpha in [(0, 0.1), (2, 20.0), (3, 1e-9)]:
        row = np.sort(lam[:, column])
        below = np.arange(1, row.size + 1) / row.size
        distance = np.abs(below - cdf(row, alpha, 1.0, 0.2, 0.9)).max()
        assert distance < math.sqrt(-math.log(1e-3 / 2) / 2 / row.size)


@pytest.mark.parametrize("bounds", [(0.3, 0.6), (0.1, 0.2), (0.499999, 0.5)])
@pytest.mark.parametrize("of", [beta, lambda a: lambda *given: beta(a)(*given)])
def test_no_float32_leaves_a_range(of, bounds):
    lam = drawn(jax.jit(truncated(of(0.3), *bounds)), 4096)
    assert lam.min() >= bounds[0]
    assert lam.max() <= bounds[1]


def temporary(ratio_of: Callable[..., mx.Ratio], *given: Any, size: int) -> float:
    """Return the bytes of temporary memory per example."""
    draw = jax.jit(lambda key, *given: ratio_of(*given)(key, partners_of(size)))
    program: Any = draw.lower(jax.random.key(0), *given).compile()
    return program.memory_analysis().temp_size_in_bytes / size


@pytest.mark.parametrize(
    "ratio_of",
    [
        lambda a, b: beta(a),
        lambda a, b: beta(a, b),
        lambda a, b: folded(beta(a)),
        lambda a, b: mx.ratios.per_pair(beta(a, b)),
        lambda a, b: folded(beta(a, b)),  # redrawn in a loop
    ],
)
@pytest.mark.parametrize("each", [False, True])
def test_a_range_takes_little_memory(ratio_of, each):
    size = 8192
    a = jnp.full(size if each else (), 0.4)
    bytes_each = temporary(
        lambda a, b: truncated(ratio_of(a, b), 0.2, 0.7), a, a / 2, size=size
    )
    assert bytes_each <= 700


@pytest.mark.slow
def test_a_range_takes_little_memory_on_each_device():
    size = 8192
    mesh = jax.make_mesh((8,), ("data",), (AxisType.Explicit,))
    x = jax.device_put(jnp.ones((size, 1)), NamedSharding(mesh, jax.P("data")))

    def memory(ratio):
        mixed = jax.jit(partial(mx.mixup, ratio=ratio))
        program: Any = mixed.lower(jax.random.key(0), (x, None)).compile()
        return program.memory_analysis().temp_size_in_bytes / size

    with jax.set_mesh(mesh):
        assert memory(truncated(beta(0.4, 0.7), 0.2, 0.7)) <= 700
        _, mix = jax.jit(partial(mx.mixup, ratio=truncated(beta(0.4), 0.2, 0.7)))(
            jax.random.key(0), (x, None)
        )
    alone = mx.mixup(
        jax.random.key(0),
        (jnp.ones((size, 1)), None),
        ratio=truncated(beta(0.4), 0.2, 0.7),
    )[1]
    np.testing.assert_allclose(mix.lam, alone.lam, rtol=1e-5)


@pytest.mark.parametrize(
    "ratio_of",
    [
        lambda a: truncated(beta(a, 2 * a), 0.2, 1),
        lambda a: truncated(folded(beta(a)), 0.6, 0.9),
        lambda a: truncated(mx.ratios.per_pair(beta(a)), 0.2, 0.7),
        lambda a: mx.ratios.per_batch(truncated(beta(a), 0.2, 0.7)),
        lambda a: truncated(mx.ratios.uniform(high=a), 0.2, 0.7),
        lambda a: truncated(truncated(mx.ratios.constant(a), 0.2, 0.7), 0.1, 0.5),
    ],
)
def test_a_known_ratio_in_a_range_has_no_loop(ratio_of):
    def draw(key, a):
        return ratio_of(a)(key, partners_of(4))

    assert not loops(draw, jax.random.key(0), jnp.float32(0.5))


@pytest.mark.slow
def test_ranges_intersect():
    both = truncated(truncated(beta(0.4), 0.1, 0.6), 0.3, 0.9)
    np.testing.assert_array_equal(drawn(both), drawn(truncated(beta(0.4), 0.3, 0.6)))
    apart = truncated(truncated(beta(0.4), 0.1, 0.3), 0.5, 0.9)
    np.testing.assert_array_equal(drawn(apart), np.full(8, 0.5))
    uniform = truncated(mx.ratios.uniform(low=0.2, high=0.6), 0.5, 0.9)
    lam = drawn(uniform, 4096)
    assert 0.5 <= lam.min() < 0.501
    assert 0.599 < lam.max() <= np.float32(0.6)
    whole = beta(0.4)
    assert truncated(whole, 0, 1) is whole


@pytest.mark.parametrize("high", [0.8, 1.0])
def test_folded_in_a_range(high):
    lam = np.sort(drawn(jax.jit(truncated(folded(beta(0.4)), 0.3, high)), 50_000))
    assert lam[0] >= 0.5
    kept = lam < 1 - 1e-4
    below = np.searchsorted(lam, lam[kept], side="right") / lam.size
    distance = np.abs(below - cdf(lam[kept], 0.4, 0.4, 0.5, high)).max()
    assert distance < math.sqrt(-math.log(1e-3 / 2) / 2 / lam.size)
    # A folded ratio is at least 1/2, above this range.
    lam = drawn(truncated(folded(beta(0.4)), 0.1, 0.25))
    np.testing.assert_array_equal(lam, np.full(8, 0.25))


def test_a_ratio_of_ones_own_in_a_range():
    def square(key, partners):
        return jax.random.uniform(key, partners.index.shape) ** 2

    lam = np.sort(drawn(jax.jit(truncated(square, 0.04, 0.25)), 50_000))
    below = np.arange(1, lam.size + 1) / lam.size
    exact = (np.sqrt(lam) - 0.2) / 0.3
    assert np.abs(below - exact).max() < math.sqrt(-math.log(1e-3 / 2) / 2 / lam.size)
    # No draw is in the range: the last one, clipped.
    np.testing.assert_array_equal(
        drawn(truncated(lambda key, partners: square(key, partners) / 2, 0.75, 0.875)),
        np.full(8, 0.75),
    )


def test_a_ratio_may_say_how_it_is_drawn_in_a_range():
    class Middle:
        def __call__(self, key, partners):
            return mx.ratios.uniform()(key, partners)

        def within(self, low, high):
            return mx.ratios.constant((low + high) / 2)

    lam = drawn(truncated(Middle(), 0.25, 0.75))
    np.testing.assert_array_equal(lam, np.full(8, 0.5))
    lam = drawn(truncated(mx.ratios.per_pair(Middle()), 0.5, 1))
    np.testing.assert_array_equal(lam, np.full(8, 0.75))


# No mixing

NONE = {
    "beta": beta,
    "two": lambda a: beta(a, 0.5),
    "other": lambda a: beta(0.5, a),
    "folded": lambda a: folded(beta(a)),
    "per-pair": lambda a: mx.ratios.per_pair(beta(a)),
    "per-batch": lambda a: mx.ratios.per_batch(beta(a)),
    "constant": lambda a: mx.ratios.constant(1 - a),
    "uniform": lambda a: mx.ratios.uniform(low=1 - a),
    "own": lambda a: lambda key, partners: beta(a)(key, partners),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["static", "traced"])
@pytest.mark.parametrize("name", NONE)
def test_no_mixing_in_a_range_is_no_mixing(name, way):
    def lam(a):
        return truncated(NONE[name](a), 0.3, 0.7)(jax.random.key(0), partners_of(64))

    assert (np.asarray(lam(0.0) if way == "static" else jax.jit(lam)(0.0)) == 1).all()
    some = np.asarray(jax.jit(lam)(0.6))
    assert some.min() >= 0.3
    assert some.max() <= 0.7


def test_a_schedule_to_0_switches_mixing_off_in_a_range():
    alpha = optax.linear_schedule(0.4, 0.0, transition_steps=10)
    mixer = mx.scheduled(
        lambda step: partial(mx.mixup, ratio=truncated(beta(alpha(step)), 0.3, 0.7))
    )
    x = jnp.arange(8.0)[:, None]
    mixed = jax.jit(lambda step: mixer(step)(jax.random.key(0), (x, None)))
    (before, _), mix = mixed(jnp.int32(9))
    assert mix.lam.max() <= 0.7
    assert not np.array_equal(before, x)
    (after, _), mix = mixed(jnp.int32(10))
    np.testing.assert_array_equal(mix.lam, np.ones(8, np.float32))
    np.testing.assert_array_equal(after, x)


# Gradients


@pytest.mark.parametrize(
    ("symmetric", "bounds"),
    [
        (False, (0, 1)),
        (False, (0, 0.6)),
        (False, (0.9, 1)),
        (True, (0.3, 0.7)),
        (True, (0, 0.6)),
    ],
)
def test_a_draw_moves_with_its_parameters_and_keeps_its_place(symmetric, bounds):
    @jax.jit
    def slopes(a, b):
        def lam(a, b):
            ratio = truncated(beta(a) if symmetric else beta(a, b), *bounds)
            return ratio(jax.random.key(4), partners_of(64))

        return lam(a, b), *jax.jacfwd(lam, (0, 1))(a, b)

    def place(lam, a, b):
        return cdf(lam, a, a if symmetric else b, *bounds)

    h = 1e-4
    for a, b in [(0.3, 0.8), (2.0, 0.5), (6.0, 3.0)]:
        lam, by_a, by_b = (np.asarray(x, np.float64) for x in slopes(a, b))
        kept = (lam > 1e-6) & (lam < 1 - 1e-3)  # where float32 resolves lam
        assert kept.sum() > 30
        lam, by_a, by_b = lam[kept], by_a[kept], by_b[kept]
        density = (place(lam + 1e-7, a, b) - place(lam - 1e-7, a, b)) / 2e-7
        exact = (place(lam, a - h, b) - place(lam, a + h, b)) / (2 * h) / density
        np.testing.assert_allclose(by_a, exact, rtol=5e-3, atol=1e-6)
        exact = (place(lam, a, b - h) - place(lam, a, b + h)) / (2 * h) / density
        np.testing.assert_allclose(by_b, exact, rtol=5e-3, atol=1e-6)
        assert (by_b == 0).all() == symmetric


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ratio_of", "low", "high"),
    [
        (lambda a: beta(a, 0.5), 0, 1),
        (beta, 0, 1),
        (lambda a: truncated(folded(beta(a)), 0.6, 0.9), 0.6, 0.9),
    ],
)
def test_the_gradient_of_a_mean_is_right(ratio_of, low, high):
    size = 100_000

    def each(a):
        return jnp.cos(3 * ratio_of(a)(jax.random.key(3), partners_of(size)))

    def mean(a):
        b = a if ratio_of is beta or high < 1 else 0.5
        x = np.linspace(low, high, 200_001)
        steps = np.diff(cdf(x, a, b, low, high))
        return np.sum(np.cos(3 * (x[1:] + x[:-1]) / 2) * steps)

    _, slope = jax.jit(lambda a: jax.jvp(each, (a,), (1.0,)))(2.0)
    slope, h = np.asarray(slope, np.float64), 1e-3
    exact = (mean(2 + h) - mean(2 - h)) / (2 * h)
    error = slope.std() / math.sqrt(size)
    assert abs(slope.mean() - exact) < 5 * error
    assert error < 0.06 * abs(exact)


# Keys for which a uniform draw is exactly 0.
ZERO = [(43692, 256), (2468, 512), (46, 512)]
DIFFERENTIATED = {
    "beta": lambda a: partial(mx.mixup, alpha=a),
    "folded": lambda a: partial(mx.mixup, ratio=folded(beta(a))),
    "per-pair": lambda a: partial(mx.mixup, ratio=mx.ratios.per_pair(beta(a))),
    "per-batch": lambda a: partial(mx.mixup, ratio=mx.ratios.per_batch(beta(a))),
    "two": lambda a: partial(mx.mixup, ratio=beta(a, 2 * a)),
    "range": lambda a: partial(mx.mixup, ratio=truncated(beta(a), 0, 0.7)),
    "choose": lambda a: mx.choose(
        [partial(mx.mixup, alpha=a), partial(mx.cutmix, alpha=a)], [0.5, 0.5]
    ),
    "as-drawn": lambda a: partial(
        mx.cutmix,
        alpha=a,
        region=partial(mx.regions.box, share=mx.regions.as_drawn),
    ),
    "fmix": lambda a: partial(mx.fmix, alpha=a),
    "manifold": lambda a: partial(mx.manifold, alpha=a, layers=(0, 1)),
}


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "size"), ZERO)
def test_a_uniform_of_0_has_a_gradient(seed, size):
    x = jnp.zeros((size, 1))

    def lam(alpha):
        return mx.mixup(jax.random.key(seed), (x, None), alpha=alpha)[1].lam

    value, slope = jax.jvp(lam, (0.3,), (1.0,))
    back = jax.jacrev(lam)(0.3)
    assert (value == 0.5).any()
    assert (slope[value == 0.5] == 0).all()
    assert np.isfinite(slope).all()
    np.testing.assert_array_equal(back, slope)


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_gradients_by_alpha_are_finite(name):
    seed, size = ZERO[0]
    x = jax.random.normal(jax.random.key(1), (size, 4, 4, 1))
    y = jax.nn.one_hot(jnp.arange(size) % 3, 3)

    def total(alpha):
        (mixed, labels), mix = DIFFERENTIATED[name](alpha)(jax.random.key(seed), (x, y))
        return (mixed**2).sum() + (labels**2).sum() + (mix.lam**2).sum()

    alphas = jnp.array([0.0, 1e-37, 1e-20, 1e-9, 1e-4, 1e-3, 0.2, 1e3, 1e12, 1e38])
    if name != "per-batch":  # one alpha for all
        assert np.isfinite(jax.jit(jax.grad(total))(jnp.resize(alphas, (size,)))).all()
    forward = jax.jit(lambda alpha: jax.jvp(total, (alpha,), (1.0,))[1])
    assert np.isfinite([forward(alpha) for alpha in alphas]).all()


@pytest.mark.slow
def test_the_gradient_where_a_uniform_is_0_is_that_next_to_it():
    # There lam is 1/2 for any alpha; elsewhere the gradient is a difference quotient.
    def lam(alpha):
        return beta(alpha)(jax.random.key(43692), partners_of(256))

    value, slope = jax.jvp(lam, (0.2,), (1.0,))
    assert (value == 0.5).sum() == 1
    assert slope[value == 0.5] == 0
    differences = (lam(0.202) - lam(0.198)) / 0.004
    np.testing.assert_allclose(slope, differences, rtol=1e-2, atol=2e-3)


def test_no_gradient_passes_to_what_is_drawn_anew():
    def total(a):
        def own(key, partners):
            return beta(a)(key, partners)

        return truncated(own, 0.3, 0.7)(jax.random.key(0), partners_of(64)).sum()

    assert jax.jit(jax.grad(total))(0.4) == 0


def test_a_weight_of_0_or_1_has_a_gradient_of_0():
    x = jnp.array([[1.0], [3.0], [jnp.inf], [5.0], [2.0], [4.0]])
    lam = jnp.array([1.0, 0.0, 0.0, 1.0, 0.5, 0.25])

    def total(lam):
        ratio = mx.ratios.constant(lam)
        (mixed, _), _ = mx.mixup(jax.random.key(0), (x, None), ratio=ratio)
        return mixed.sum()

    want = np.array([0, 0, 0, 0, -2, 2])  # own minus partner's
    np.testing.assert_array_equal(jax.grad(total)(lam), want)
    np.testing.assert_array_equal(jax.jacfwd(total)(lam), want)


@pytest.mark.parametrize("share", [mx.regions.from_pixels, mx.regions.as_drawn])
@pytest.mark.parametrize("region", [mx.regions.box, mx.regions.blob])
def test_what_is_counted_has_no_gradient_and_what_is_drawn_has(region, share):
    x = jnp.zeros((8, 4, 4, 1))

    def total(lam):
        _, counted = region(jax.random.key(0), lam, x, None, share=share)
        return counted.sum()

    lam = jnp.linspace(0, 1, 8)
    want = np.full(8, float(share is mx.regions.as_drawn), np.float32)
    np.testing.assert_array_equal(jax.grad(total)(lam), want)
    np.testing.assert_array_equal(jax.jacfwd(total)(lam), want)


# Which number stays in the range


@pytest.mark.parametrize(
    ("region", "ratio", "low", "high"),
    [
        (mx.regions.box, folded(beta(1.0)), 0.5, 1.0),
        (mx.regions.box, truncated(beta(1.0), 0.3, 0.67), 0.3, 0.67),
        (mx.regions.blob, truncated(beta(1.0), 0.3, 0.67), 0.3, 0.67),
    ],
)
def test_the_number_that_was_drawn_keeps_the_range(region, ratio, low, high):
    x = jnp.zeros((4096, 5, 5, 1))

    def lam(share):
        mixer = partial(mx.cutmix, ratio=ratio, region=partial(region, share=share))
        return np.asarray(
            jax.jit(mixer)(jax.random.key(0), (x, None))[1].lam, np.float64
        )

    drawn, counted = lam(mx.regions.as_drawn), lam(mx.regions.from_pixels)
    assert low <= drawn.min()
    assert drawn.max() <= high
    assert counted.min() < low or counted.max() > high
    if region is mx.regions.blob:
        assert np.abs(counted - drawn).max() <= 0.5 / 25 + 1e-6


@pytest.mark.slow
def test_a_folded_box_leaves_less_than_half():
    x = jnp.zeros((64, 4, 4, 1))
    half = folded(mx.ratios.constant(0.5))
    _, mix = mx.cutmix(jax.random.key(0), (x, None), ratio=half)
    assert mix.lam.min() == 7 / 16


def test_alpha_for_each_example_may_lie_as_the_batch_does():
    mesh = jax.make_mesh((8,), ("data",), (jax.sharding.AxisType.Explicit,))
    rows = jax.NamedSharding(mesh, jax.P("data"))
    x, alpha = jnp.ones((8, 3)), jnp.linspace(0.1, 3, 8)

    def lam(x, alpha):
        return mx.mixup(jax.random.key(5), (x, None), alpha=alpha)[1].lam

    with jax.set_mesh(mesh):
        found = jax.jit(lam)(*jax.device_put((x, alpha), rows))
    np.testing.assert_allclose(found, jax.jit(lam)(x, alpha), rtol=1e-6)
