"""Laws that hold for every method: the labels describe exactly what was mixed."""

import dataclasses
import functools
import itertools
from functools import partial
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx
from tests import oracle
from tests.methods import FEW, METHODS, Method
from tests.oracle import Expected

SIZE = 8
CELLS = (2, 2)
SEED = 5


@dataclasses.dataclass(frozen=True)
class Case:
    """The result of one method on one batch, outside jit, and the expected result."""

    name: str
    method: Method
    batch: Any
    mixed: Any
    mix: mx.Mix
    expected: Expected

    @property
    def lam(self) -> np.ndarray:
        return np.asarray(self.mix.lam)

    @property
    def partner(self) -> np.ndarray:
        return np.asarray(self.mix.partner)


def run(name: str, batch: Any = None, seed: int = SEED) -> Case:
    method, key = METHODS[name], jax.random.key(seed)
    batch = oracle.batch(method, SIZE) if batch is None else batch
    mixed, mix = method.mixer(key, batch)
    return Case(name, method, batch, mixed, mix, method.expected(mix, key, batch))


once = functools.cache(run)


# One run for each method; pytest groups the tests that share it.
@pytest.fixture(scope="module", params=METHODS)
def case(request) -> Case:
    return once(request.param)


def assert_equation(case: Case) -> None:
    """Assert the equation: exact for content of weight 1, rounded once elsewhere."""
    size = case.lam.shape[0]
    assert case.mix.lam.dtype == jnp.float32
    assert case.mix.partner.dtype == jnp.int32
    assert case.mix.lam.shape == case.mix.partner.shape == (size,)
    assert ((case.lam >= 0) & (case.lam <= 1)).all()
    assert ((case.partner >= 0) & (case.partner < size)).all()
    assert (case.lam[case.partner == np.arange(size)] == 1).all()
    if case.method.deranged and size > 1:
        assert (case.partner != np.arange(size)).all()
    for half, given in zip(case.mixed, case.batch):
        assert jax.tree.structure(half) == jax.tree.structure(given)
    for half, given, terms in zip(
        case.mixed, case.batch, (case.expected.inputs, case.expected.targets)
    ):
        for got, x in zip(jax.tree.leaves(half), jax.tree.leaves(given)):
            oracle.assert_terms(got, terms(x), case.expected.slack)


def assert_shares(case: Case) -> None:
    """Assert the terms of the labels, and ``lam`` against the share of the inputs."""
    size, slack = len(case.lam), case.expected.slack
    for y, mixed in zip(jax.tree.leaves(case.batch[1]), jax.tree.leaves(case.mixed[1])):
        terms = case.mix.terms(y)
        assert all(np.asarray(share).dtype == np.float32 for share, _ in terms)
        got = [(oracle.column(share, y), np.asarray(each)) for share, each in terms]
        total = np.sum([w for w, _ in got], axis=0)
        np.testing.assert_allclose(total, 1, rtol=1e-6)
        # Terms that one side lacks weigh 0.
        want = case.expected.targets(y)
        depth = max(len(got), len(want))
        lacking = [(np.zeros_like(total), np.asarray(y))] * depth
        pairs = zip([*got, *lacking][:depth], [*want, *lacking][:depth])
        for (w, content), (share, expected) in pairs:
            w, share = (np.broadcast_to(each, content.shape) for each in (w, share))
            np.testing.assert_allclose(w, share, rtol=1e-6, atol=slack)
            assert content.dtype == expected.dtype
            np.testing.assert_array_equal(content[w > 0], expected[w > 0])
        # Shares are rounded, and so are the products with them.
        oracle.assert_terms(mixed, got, slack=oracle.EPS)
    own = case.expected.own((size, oracle.HEIGHT, oracle.WIDTH))
    share, lam = own.reshape(size, -1).mean(axis=1), case.expected.shares(size)[0]
    if case.method.corrected:
        np.testing.assert_allclose(lam, share, rtol=1e-6, atol=slack)
    np.testing.assert_allclose(case.lam, lam, rtol=1e-6, atol=slack)


def assert_follows(case: Case) -> None:
    """Assert the union of masks, and the mean weight of own content in each cell."""
    size, slack = len(case.lam), case.expected.slack
    plane = (size, oracle.HEIGHT, oracle.WIDTH)
    rng = np.random.default_rng(2)
    mask = rng.random(plane) < 0.4
    want = oracle.seen(case.expected.inputs(mask))
    np.testing.assert_array_equal(case.mix.union(mask), want)
    if case.method.pastes:
        many = 1 << np.iinfo(np.int32).bits - 1
        ids = rng.integers(-many, many, plane).astype(np.int32)
        for x in (mask, ids):
            oracle.assert_terms(case.mix.inputs(x), case.expected.inputs(x))
    assert_declared_follow(case, rng, mask)
    want = oracle.cells(case.expected.own(plane), CELLS)
    got = case.mix.coverage(CELLS)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=max(slack, 1e-7))


def assert_declared_follow(case: Case, rng: Any, mask: np.ndarray) -> None:
    """Assert that maps and masks follow by their rules, in inputs and in targets."""
    slack, dense = case.expected.slack, case.expected.dense
    ids = rng.integers(0, oracle.CLASSES, mask.shape).astype(np.int32)
    hot = np.eye(oracle.CLASSES, dtype=np.float32)[ids]
    many = {"hot": mx.follow.maps(hot), "half": mx.follow.maps(jnp.bfloat16(mask))}
    got = case.mix.targets(many)
    if case.mix.mixes_targets:
        oracle.assert_terms(got["hot"].tree, dense(hot), slack)
        oracle.assert_terms(got["half"].tree, dense(many["half"].tree), slack)
    else:
        assert got is many
    weights = [np.broadcast_to(w, mask.shape) for w, _ in dense(mask)]
    if case.method.pastes:
        assert all(((w == 0) | (w == 1)).all() for w in weights)
        follows = case.mix.inputs(mx.follow.maps(ids)).tree
        oracle.assert_terms(follows, case.expected.inputs(ids))
    # Mixed one-hot maps equal the weighted sum of the terms of their ids.
    total = np.zeros(hot.shape)
    for share, each in case.mix.terms(mx.follow.maps(ids)):
        share = np.broadcast_to(np.asarray(share, np.float64), ids.shape)
        total += share[..., None] * np.eye(oracle.CLASSES)[np.asarray(each.tree)]
    want = sum(w * content for w, content in dense(hot))
    np.testing.assert_allclose(total, want, rtol=1e-6, atol=max(slack, 1e-6))
    joined = case.mix.inputs({"mask": mx.follow.masks(mask.astype(np.int8))})
    seen = oracle.seen(case.expected.inputs(mask))
    np.testing.assert_array_equal(joined["mask"].tree, seen.astype(np.int8))


@pytest.mark.parametrize("row", METHODS)
def test_equals_the_formula_in_every_dtype(row):
    assert_equation(once(row))


def on_shares(mixer: mx.Mixer, key: Any, batch: Any) -> Any:
    """Return the results on two devices' shards, as one array."""
    shares = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), batch)
    run = jax.vmap(mixer, in_axes=(None, 0), axis_name="data")
    return jax.tree.map(
        lambda x: x.reshape(SIZE, *x.shape[2:]), drawn(run(key, shares))
    )


def drawn(result: Any) -> Any:
    """Return the mixed batch, with the partners and lam of each source."""
    mixed, mix = result
    return mixed, mix.lam, [(source.partner, source.lam) for source in mix.sources]


# More drivers are in test_drivers.py; by default one row of each kind runs.
@pytest.mark.parametrize("name", METHODS)
def test_jitted_and_in_shares_and_on_an_explicit_mesh(name):
    method, key, batch = METHODS[name], jax.random.key(SEED), oracle.images(SIZE)
    mixer, whole = method.mixer, mx.whole_batch(method.mixer, "data")

    @jax.jit
    def in_two_places(key, batch):
        return mixer(key, batch), on_shares(whole, key, batch)

    (mixed, mix), in_shares = in_two_places(key, batch)
    expected = method.expected(mix, key, batch)
    # Each program rounds the weights that it computes in its own way.
    expected = dataclasses.replace(expected, slack=expected.slack + 4 * oracle.EPS)
    assert_equation(Case(name, method, batch, mixed, mix, expected))
    want = jax.tree.map(np.asarray, drawn((mixed, mix)))
    oracle.assert_close(in_shares, want)
    mesh = jax.make_mesh(
        (2,), ("data",), (jax.sharding.AxisType.Explicit,), devices=jax.devices()[:2]
    )
    spread = jax.device_put(batch, jax.NamedSharding(mesh, jax.P("data")))
    with jax.set_mesh(mesh):
        on_mesh = jax.jit(lambda *given: drawn(mixer(*given)))(key, spread)
    oracle.assert_close(on_mesh, want)
    for got, given in zip(on_mesh[0], spread):
        assert got.sharding.is_equivalent_to(given.sharding, got.ndim)


def test_labels_are_of_the_shares(case):
    assert_shares(case)


def test_masks_and_cells_follow(case):
    assert_follows(case)


def test_does_mix(case):
    same = case.name == "erm"
    assert (case.lam == 1).all() == (same or case.method.keeps_labels)
    assert np.array_equal(case.mixed[0]["x"], case.batch[0]["x"]) == same


# Sizes in this order, so that the default tests compile few shapes.
@pytest.mark.parametrize("size", [3, 2, 5, 6, 4, 7])
@pytest.mark.parametrize("name", METHODS)
def test_any_batch_size(name, size):
    if METHODS[name].even and size % 2:
        with pytest.raises(ValueError, match="per_pair"):
            run(name, oracle.images(size))
    else:
        assert_equation(run(name, oracle.images(size)))


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_of_one_comes_back_unchanged(name):
    case = run(name, oracle.images(1))
    assert case.lam == [1]
    assert case.partner == [0]
    oracle.assert_equal(case.mixed, case.batch)


def test_target_mass_is_one(case):
    for y in jax.tree.leaves(case.mixed[1]):
        if y.ndim == 2:
            mass = oracle.double(y).sum(axis=1)
            np.testing.assert_allclose(mass, 1, atol=4 * float(jnp.finfo(y.dtype).eps))


def test_label_share_is_pixel_share(case):
    w = case.expected.own((SIZE, oracle.HEIGHT, oracle.WIDTH))
    share = w.reshape(SIZE, -1).mean(axis=1)
    if case.method.corrected:
        slack = case.expected.slack
        np.testing.assert_allclose(case.lam, share, rtol=1e-6, atol=slack)
    elif case.method.pastes:
        assert not np.allclose(case.lam, share, rtol=1e-3)
    if case.method.corrected and case.method.pastes:
        whole = w.reshape(SIZE, -1).sum(axis=1).astype(np.float32)
        pixels = np.float32(oracle.HEIGHT * oracle.WIDTH)
        np.testing.assert_array_equal(case.lam, whole / pixels)


def test_applied_again_is_the_same_bit_for_bit(case):
    inputs, targets = case.batch
    oracle.assert_equal(case.mix.inputs(inputs), case.mixed[0])
    oracle.assert_equal(case.mix.targets(targets), case.mixed[1])
    oracle.assert_equal(case.mix.batch(case.batch), case.mixed)
    # A single leaf, another structure and arrays outside the batch follow the same way.
    oracle.assert_equal(case.mix.inputs([inputs["x"]])[0], case.mixed[0]["x"])


def test_targets_may_be_none(case):
    if case.method.classes:
        with pytest.raises(ValueError, match=r"labels: |targets: "):
            case.method.mixer(jax.random.key(SEED), (case.batch[0], None))
        return
    (inputs, targets), mix = case.method.mixer(
        jax.random.key(SEED), (case.batch[0], None)
    )
    assert targets is None
    oracle.assert_equal(inputs, case.mixed[0])
    oracle.assert_equal(mix.lam, case.mix.lam)


def test_partners_are_moved_in_any_dtype(case):
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2, (SIZE, 4)) * 100
    tree = {
        t: values.astype(t) for t in ("uint8", "int32", "bool", "float16", "complex64")
    } | {"bfloat16": jnp.asarray(values, jnp.bfloat16), "flat": np.arange(SIZE)}
    want = {t: np.asarray(x)[case.partner] for t, x in tree.items()}
    got = case.mix.partners(tree)
    want["flat"] = want["flat"].astype(got["flat"].dtype)
    oracle.assert_equal(got, want)


def test_the_callers_arrays_are_not_written(case):
    # Writing to a locked NumPy array raises, and so does reading a donated JAX array.
    def locked(x):
        if isinstance(x, np.ndarray):
            x = x.copy()
            x.flags.writeable = False
        return x

    batch = jax.tree.map(locked, case.batch)
    before = jax.tree.map(np.array, batch)
    mixed, mix = case.method.mixer(jax.random.key(SEED), batch)
    mix.batch(batch)
    oracle.assert_equal(jax.tree.map(np.asarray, batch), before)
    oracle.assert_equal(mixed, case.mixed)


def test_raw_and_typed_keys_draw_the_same(case):
    mixed, mix = case.method.mixer(jax.random.PRNGKey(SEED), case.batch)
    oracle.assert_equal(mixed, case.mixed)
    oracle.assert_equal((mix.lam, mix.partner), (case.mix.lam, case.mix.partner))


def test_another_key_draws_anew(case):
    if case.name in ("erm", "mixup-constant", "mixup-constant-each", "extrapolate"):
        return
    _, mix = case.method.mixer(jax.random.key(SEED + 1), case.batch)
    assert not np.array_equal(mix.lam, case.lam)


def test_no_key_is_used_twice(case):
    key = jax.random.key(SEED)
    with jax.debug_key_reuse(True):
        jax.jit(case.method.mixer).trace(key, case.batch)


def test_a_key_used_twice_would_be_seen():
    def twice(key, batch):
        return batch, jax.random.uniform(key) + jax.random.normal(key)

    key = jax.random.key(SEED)
    with jax.debug_key_reuse(True), pytest.raises(jax.errors.KeyReuseError):
        jax.jit(twice).trace(key, None)


def test_alpha_zero_is_erm(case):
    if case.method.default is None:
        return
    mixed, mix = case.method.of(0.0)(jax.random.key(SEED), case.batch)
    assert (np.asarray(mix.lam) == 1).all()
    oracle.assert_equal(mixed, case.batch)


def test_a_traced_alpha_is_the_same_and_zero_or_less_is_erm(case):
    if case.method.default is None:
        return
    batch = oracle.images(SIZE)
    static = run(case.name, batch)

    @jax.jit
    def step(alpha, key, batch):
        return case.method.of(alpha)(key, batch)

    key = jax.random.key(SEED)
    mixed, mix = step(case.method.default, key, batch)
    oracle.assert_close((mixed, mix), (static.mixed, static.mix))
    for alpha in (0.0, -1.0):
        mixed, mix = step(alpha, key, batch)
        assert (np.asarray(mix.lam) == 1).all()
        oracle.assert_equal(mixed, batch)


@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=str)
def test_nan_and_infinity_stay_with_those_mixed_with_them(case, bad):
    inputs, targets = case.batch
    for poisoned in range(0, SIZE, 3):
        spoilt = {
            "x": inputs["x"].at[poisoned].set(bad),
            "half": tuple(jnp.asarray(x).at[poisoned].set(bad) for x in inputs["half"]),
            "wave": jnp.asarray(inputs["wave"][0]).at[poisoned].set(complex(0, bad)),
        }
        spoilt_case = run(case.name, (spoilt, targets))
        mixed = jax.tree.leaves(spoilt_case.mixed[0])
        for got, x in zip(mixed, jax.tree.leaves(spoilt)):
            terms = spoilt_case.expected.inputs(x)
            assert_finite_where_unmixed(got, terms, x, poisoned)


def assert_finite_where_unmixed(got, terms, x, poisoned):
    """Assert that nonfinite values are visible exactly where their weight is not 0."""
    x = np.asarray(x)
    rest = np.delete(x, poisoned, axis=0)
    assert np.isfinite(rest).all()
    assert not np.isfinite(x[poisoned]).any()
    np.testing.assert_array_equal(np.isfinite(np.asarray(got)), oracle.finite(terms))


@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=str)
def test_nan_and_infinity_stop_at_a_weight_of_zero(bad):
    # The smallest weights would underflow in half precision; they stay float32.
    lam = jnp.asarray([1, 0, 0.5, 1e-9, 1 - 6e-8, 0, 1, 2e-8], jnp.float32)
    for partner, move in [
        (np.arange(8) ^ 1, mx.pairings.neighbour(jax.random.key(0), (lam, None)).move),
        ((np.arange(8) - 1) % 8, mx.pairings.roll(jax.random.key(0), (lam, None)).move),
        (
            np.asarray([3, 3, 0, 1, 2, 2, 7, 6]),
            None,
        ),
    ]:
        mix = mx.Mix.from_pairs(lam, jnp.asarray(partner, jnp.int32), move=move)
        for dtype in (jnp.float32, jnp.bfloat16, jnp.float16, jnp.complex64):
            for poisoned in range(8):
                x = jnp.ones((8, 2), dtype).at[poisoned].set(bad)
                terms = oracle.two(oracle.column(lam, x), x, partner)
                assert_finite_where_unmixed(mix.inputs(x), terms, x, poisoned)
                assert_finite_where_unmixed(mix.targets(x), terms, x, poisoned)


@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=str)
def test_nan_and_infinity_stop_along_the_whole_chain(bad):
    partners = [(np.arange(8) + k) % 8 for k in (1, 2, 3)]
    # Earlier sources leave all of it, some of it, or nothing.
    lams = np.array(list(itertools.product([0, 0.5, 1], repeat=3)), np.float32)
    for first in range(0, len(lams), 8):
        drawn = np.ones((8, 3), np.float32)
        drawn[: len(lams) - first] = lams[first : first + 8]
        arrays = [map(jnp.asarray, pair) for pair in zip(partners, drawn.T)]
        sources = tuple(mx.Source(partner, lam) for partner, lam in arrays)
        mix = mx.Mix(sources[0].lam, sources)
        terms = oracle.broken_stick(mix).inputs
        for dtype in (jnp.float32, jnp.bfloat16):
            for poisoned in range(8):
                x = jnp.ones((8, 2), dtype).at[poisoned].set(bad)
                for got in (mix.inputs(x), mix.targets(x)):
                    assert_finite_where_unmixed(got, terms(x), x, poisoned)
                    oracle.assert_terms(got, terms(x))


@pytest.fixture(scope="module")
def doubled(case) -> Case:
    """Run the method on float64 leaves."""
    batch = jax.tree.map(oracle.double, oracle.images(SIZE))
    with jax.enable_x64(True):
        return run(case.name, batch)


def test_float64_keeps_its_digits(doubled):
    assert doubled.mix.lam.dtype == np.float32
    assert doubled.mix.partner.dtype == np.int32
    for got, x, terms in zip(
        doubled.mixed,
        doubled.batch,
        (doubled.expected.inputs, doubled.expected.targets),
    ):
        assert got.dtype == np.float64
        oracle.assert_terms(got, terms(x), doubled.expected.slack)


def test_x64_draws_the_same(case, doubled):
    single = run(case.name, oracle.images(SIZE))
    oracle.assert_close(doubled.mix.lam, single.mix.lam)
    np.testing.assert_array_equal(doubled.partner, single.partner)


@pytest.mark.parametrize("name", FEW)
def test_gradients_equal_finite_differences(name):
    rng = np.random.default_rng(5)
    inputs, targets = jax.tree.map(oracle.double, oracle.images(SIZE))
    weight_x, weight_y = rng.normal(size=inputs.shape), rng.normal(size=targets.shape)
    mix = run(name, oracle.images(SIZE)).mix
    # A weight of exactly 0 or 1 cuts off one side, and its gradient.
    lam = np.clip(mix.lam, 0.01, 0.99)

    @jax.jit
    @partial(jax.value_and_grad, argnums=(0, 1, 2))
    def value(inputs, targets, lam):
        (source,) = mix.sources
        moved = mx.Mix(lam, (dataclasses.replace(source, lam=lam),))
        return jnp.sum(weight_x * moved.inputs(inputs)) + jnp.sum(
            weight_y * moved.targets(targets)
        )

    point = (inputs, targets, lam)
    with jax.enable_x64(True):
        _, gradients = value(*point)
        for k, gradient in enumerate(gradients):
            assert gradient.dtype == point[k].dtype
            assert np.isfinite(gradient).all()
            way = 1e-3 * rng.normal(size=point[k].shape)
            above, below = (
                (point[k] + s * way).astype(gradient.dtype) for s in (1, -1)
            )
            up, down = (
                value(*point[:k], moved, *point[k + 1 :])[0] for moved in (above, below)
            )
            # The equation is linear in each argument, so the only error is rounding.
            want = np.sum(oracle.double(gradient) * (oracle.double(above) - below))
            size = np.sum(np.abs(oracle.double(gradient) * way))
            assert abs(float(up - down) - want) <= 1e-6 * size


@pytest.mark.parametrize(
    "of",
    [
        mx.ratios.beta,
        lambda a: mx.ratios.beta(a, 2 * a),
        lambda a: mx.ratios.folded(mx.ratios.beta(a)),
        lambda a: mx.ratios.truncated(mx.ratios.beta(a), 0.2, 0.8),
    ],
    ids=["beta", "beta-ab", "folded", "truncated"],
)
def test_gradients_through_alpha_are_finite(of):
    partners = mx.pairings.neighbour(jax.random.key(0), (np.zeros(20_000), None))

    @jax.jit
    def slope(alpha, key):
        # Forward mode: one derivative per example.
        return jax.jvp(
            lambda a: of(a)(key, partners), (alpha,), (jnp.ones_like(alpha),)
        )

    for alpha in (0.05, 0.2, 1.0, 8.0):
        lam, derivative = slope(jnp.float32(alpha), jax.random.key(1))
        assert np.isfinite(lam).all()
        assert np.isfinite(derivative).all(), alpha
        assert np.count_nonzero(derivative) > 0.1 * lam.size
    # A schedule may start or end at 0, where an untaken branch divides by it.
    slope_at = jax.jit(jax.grad(lambda a, key: jnp.sum(of(a)(key, partners))))
    for alpha in (0.0, 0.5):
        assert np.isfinite(slope_at(jnp.float32(alpha), jax.random.key(1)))


def test_a_mix_can_be_made_by_hand():
    x = np.asarray([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]], np.float32)
    mix = mx.Mix.from_pairs(
        lam=jnp.asarray([0.5, 1.0, 0.25]), partner=jnp.asarray([2, 1, 0])
    )
    want = [[2.5, 25.0], [2.0, 20.0], [1.75, 17.5]]
    np.testing.assert_array_equal(mix.inputs(x), want)
    np.testing.assert_array_equal(mix.targets(x), want)
    np.testing.assert_array_equal(mix.partners(x), x[[2, 1, 0]])
    lam: Any = np.asarray([0.5, 1.0, 0.25], np.float32)
    partner: Any = np.asarray([2, 1, 0])
    by_numpy = mx.Mix.from_pairs(lam, partner)
    np.testing.assert_array_equal(by_numpy.inputs(x), want)


def test_small_weights_survive_half_precision():
    # 1 - bfloat16(0.999) is 0: the partner's share would be lost.
    lam = jnp.full(2, 0.999, jnp.float32)
    mix = mx.Mix.from_pairs(lam, jnp.asarray([1, 0]))
    x = jnp.asarray([0.0, 1024.0], jnp.bfloat16)
    np.testing.assert_allclose(oracle.double(mix.inputs(x)), [1.024, 1023], rtol=4e-3)


@pytest.mark.parametrize("name", FEW)
def test_a_mix_passes_through_transformations(name):
    # vmap and pmap of every method are in test_drivers.py.
    case = run(name)
    x = case.batch[0]["x"]
    want = case.mixed[0]["x"]
    leaves, treedef = jax.tree.flatten(case.mix)
    assert all(leaf.shape[0] == SIZE for leaf in leaves)
    oracle.assert_equal(jax.tree.unflatten(treedef, leaves).inputs(x), want)

    @jax.jit
    def passed(mix, x):
        carried, ys = jax.lax.scan(lambda m, _: (m, m), mix, length=2)
        second = jax.tree.map(lambda leaf: leaf[1], ys)
        stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), mix)
        mapped = jax.vmap(lambda m, x: m.inputs(x))(stacked, jnp.stack([x, x]))
        return carried, carried.inputs(x), second.inputs(x), mapped

    mix, *others = passed(case.mix, x)
    assert jax.tree.structure(mix) == treedef
    oracle.assert_equal(jax.tree.leaves(mix), leaves)
    for got in (mix.inputs(x), *others[:2], *others[2]):
        oracle.assert_close(got, want)


PAIRINGS: list[tuple[str, Any]] = [
    ("neighbour", mx.pairings.neighbour),
    ("reverse", mx.pairings.reverse),
    ("reverse-3", partial(mx.pairings.reverse, block=3)),
    ("reverse-4", partial(mx.pairings.reverse, block=4)),
    ("roll", mx.pairings.roll),
    ("permutation", mx.pairings.permutation),
    ("derangement", mx.pairings.derangement),
]


@hypothesis.settings(max_examples=10)
@hypothesis.given(
    size=st.integers(1, 9),
    shape=st.lists(st.integers(0, 3), max_size=4),
    pairing=st.sampled_from(PAIRINGS),
    dtype=st.sampled_from(["float32", "float16", "bfloat16", "complex64"]),
    seed=st.integers(0, 99),
)
def test_mixup_of_any_shape(size, shape, pairing, dtype, seed):
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.normal(size=(size, *shape)) * 10, dtype)
    y = rng.normal(size=(size,)).astype(np.float32)
    (mixed_x, mixed_y), mix = jax.jit(partial(mx.mixup, pairing=pairing[1]))(
        jax.random.key(seed), (x, y)
    )
    lam, partner = np.asarray(mix.lam), np.asarray(mix.partner)
    oracle.assert_mixed(mixed_x, oracle.column(lam, x), x, partner)
    oracle.assert_mixed(mixed_y, lam, y, partner)
    assert (lam[partner == np.arange(size)] == 1).all()
    assert sorted(partner) == list(range(size))
    if size > 1 and pairing[0] != "permutation":
        assert (partner != np.arange(size)).all()


@st.composite
def box_sizes(draw):
    low = draw(st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]))
    return low, draw(st.sampled_from([s for s in (0.3, 0.5, 0.8, 1.0) if s >= low]))


@hypothesis.settings(max_examples=8)
@hypothesis.given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    limits=box_sizes(),
    alpha=st.sampled_from([0.2, 1.0, 4.0]),
    seed=st.integers(0, 99),
)
def test_cutmix_of_any_geometry(sizes, limits, alpha, seed):
    rng = np.random.default_rng(seed)
    size, dims = 6, len(sizes)
    last = rng.integers(0, 256, (size, *sizes, 2)).astype(np.uint8)
    first = np.moveaxis(last, -1, 1)
    mask = rng.integers(0, 9, (size, *sizes)).astype(np.int32)
    region = partial(mx.regions.box, min_size=limits[0], max_size=limits[1])
    ratio = mx.ratios.beta(alpha)

    @jax.jit
    def both(key):
        channels_last = mx.cutmix(
            key,
            (last, None),
            ratio=ratio,
            region=region,
            spatial=tuple(range(1, 1 + dims)),
        )
        channels_first = mx.cutmix(
            key,
            (first, None),
            ratio=ratio,
            region=region,
            spatial=tuple(range(2, 2 + dims)),
        )
        masks = (mix.inputs(mask) for _, mix in (channels_last, channels_first))
        # The same key draws the same ratio, which Mixup keeps uncorrected.
        whole = mx.draw_of(partial(mx.mixup, ratio=ratio))(key, (last, None))
        return channels_last, channels_first, whole.lam, *masks

    ((got, _), mix), ((turned, _), other), drawn, *masks = both(jax.random.key(seed))
    assert isinstance(mix.region, mx.regions.Box)
    lam = np.asarray(mix.lam)
    start, stop = np.asarray(mix.region.start), np.asarray(mix.region.stop)
    assert ((start >= 0) & (start <= stop) & (stop <= np.asarray(sizes))).all()
    own = np.prod(sizes) - np.prod(stop - start, axis=1)
    np.testing.assert_array_equal(lam, (own / np.prod(sizes)).astype(np.float32))
    for k, n in enumerate(sizes):
        side = (stop - start)[:, k]
        assert (side <= round(limits[1] * n + 1e-6)).all()
        # Examples that drew lam = 1, possible for alpha = 0.2, have no box.
        drew = np.asarray(drawn) < 1
        assert (side[drew] >= np.round(np.float32(limits[0]) * np.float32(n))).all()
        assert (side[~drew] == 0).all()
    terms = oracle.box(mix).inputs
    oracle.assert_terms(got, terms(last))
    oracle.assert_terms(masks[0], terms(mask))
    np.testing.assert_array_equal(np.moveaxis(np.asarray(turned), 1, -1), got)
    np.testing.assert_array_equal(other.lam, lam)
    np.testing.assert_array_equal(masks[1], masks[0])


def test_cutmix_refuses_other_sizes():
    x, y = oracle.images(SIZE)
    _, mix = mx.cutmix(jax.random.key(0), (x, y))
    for shape in [(8, 5, 6), (8, 6), (8, 6, 5, 3, 1), (8, 12, 10, 3), (8, 3, 6, 5)]:
        with pytest.raises(ValueError, match="spatial sizes"):
            mix.inputs(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="examples on axis 0"):
        mix.inputs(np.zeros((4, 6, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="spatial sizes"):
        mx.cutmix(jax.random.key(0), ((x, x[:, :5]), None))
