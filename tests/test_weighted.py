"""Partners drawn by weight: near labels, near inputs, the same class."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import mixup_jax as mx
from benchmarks._programs import sent
from mixup_jax.pairings import _distances, _weighted

weighted, nearest = mx.pairings.weighted, mx.pairings.nearest
label_kernel, of_same_class = mx.pairings.label_kernel, mx.pairings.of_same_class

X = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, 40)


@pytest.fixture(params=[True, False], ids=["differences", "product"])
def distances(request, monkeypatch):
    """Compute distances in each of the two ways, regardless of the size."""
    if not request.param:
        monkeypatch.setattr(_distances, "_MOST_DIFFERENCES", 0)


def drawn(pairing, batch, count=1):
    keys = jax.random.split(jax.random.key(0), count)
    return np.asarray(jax.vmap(lambda key: pairing(key, batch).index)(keys))


def test_partners_come_as_often_as_their_weight_says():
    y = np.array([0.0, 0.5, 1.0, 3.0], np.float32)
    count = 20_000
    index = drawn(weighted(label_kernel(bandwidth=0.8)), (X[:4], y), count)
    weight = np.exp(-((y[:, None] - y[None]) ** 2) / (2 * 0.8**2))
    np.fill_diagonal(weight, 0)
    share = weight / weight.sum(axis=1, keepdims=True)
    for i in range(4):
        found = np.bincount(index[:, i], minlength=4) / count
        error = np.sqrt(share[i] * (1 - share[i]) / count)
        assert (np.abs(found - share[i]) <= 4 * error + 1e-9).all()


def test_distances_of_targets_are_euclidean_over_all_of_them():
    batch = (None, {"a": jnp.array([[0.0, 0.0], [3.0, 0.0]]), "b": jnp.array([0.0, 4])})
    scores = label_kernel(bandwidth=1.0)(batch)
    np.testing.assert_allclose(scores, [[0, -12.5], [-12.5, 0]])


@pytest.mark.usefixtures("distances")
@pytest.mark.parametrize("k", [1, 3, 39, 100])
def test_neighbours_are_those_of_a_search(k):
    scores = np.asarray(nearest(k)((X, None)))
    search = NearestNeighbors(n_neighbors=min(k, 39)).fit(X)
    want = search.kneighbors(return_distance=False)
    for i in range(40):
        assert set(np.flatnonzero(scores[i] == 0)) == set(want[i])
    assert np.isneginf(np.diag(scores)).all()


def test_neighbours_among_the_same_class_are_of_that_class():
    scores = np.asarray(nearest(2, among=of_same_class)((X, LABELS)))
    for i in range(40):
        same = np.flatnonzero((LABELS[i] == LABELS) & (np.arange(40) != i))
        order = same[np.argsort(((X[same] - X[i]) ** 2).sum(axis=1))]
        assert set(np.flatnonzero(scores[i] == 0)) == set(order[:2])


@pytest.mark.usefixtures("distances")
def test_a_large_common_part_does_not_hide_neighbours():
    far = (X + 1000.0, None)
    got = np.asarray(nearest(1)(far)).argmax(axis=1)
    want = NearestNeighbors(n_neighbors=1).fit(X).kneighbors(return_distance=False)
    np.testing.assert_array_equal(got, want[:, 0])


def test_clusters_far_apart_do_not_hide_neighbours():
    far = X + np.where(LABELS > 0, 1000, -1000).astype(np.float32)[:, None]
    exact = far.astype(np.float64)  # the positions as rounded to float32
    got = np.asarray(nearest(1)((far, None))).argmax(axis=1)
    want = NearestNeighbors(n_neighbors=1).fit(exact).kneighbors(return_distance=False)
    np.testing.assert_array_equal(got, want[:, 0])


@pytest.mark.skipif(
    jax.__version_info__ < (0, 10), reason="JAX before 0.10 compiles it otherwise"
)
def test_differences_are_not_kept():
    x = jnp.ones((64, 1024))
    scores = jax.jit(lambda x: nearest(1)((x, None)))
    memory: Any = scores.lower(x).compile().memory_analysis()
    # All differences together are 64 times as large as x.
    assert memory.temp_size_in_bytes < 2 * x.nbytes


@pytest.mark.usefixtures("distances")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("affinity", ["label_kernel", "nearest", "among"])
def test_examples_that_are_not_finite_are_left_alone(affinity, bad):
    x = jnp.asarray(X[:8]).at[2, 3].set(bad)
    near = label_kernel(bandwidth=2.0)
    affinity = {
        "label_kernel": near,
        "nearest": nearest(3),
        "among": nearest(3, among=near),
    }[affinity]
    index = drawn(weighted(affinity), (x, x), 200)
    others = np.arange(8) != 2
    assert (index[:, 2] == 2).all()
    assert (index[:, others] != 2).all()
    assert (index[:, others] != np.arange(8)[others]).all()
    # Scores between the others are the same as without it.
    kept = np.flatnonzero(others)
    scores = np.asarray(affinity((x, x)))[np.ix_(kept, kept)]
    alone = np.asarray(affinity((x[kept], x[kept])))
    np.testing.assert_allclose(scores, alone, rtol=1e-5, atol=1e-5)


def test_two_that_are_infinite_are_not_near_each_other():
    y = jnp.array([np.inf, 0.0, np.inf, 1.0])
    index = drawn(weighted(label_kernel(bandwidth=1.0)), (X[:4], y))
    np.testing.assert_array_equal(index, [[0, 3, 2, 1]])


def test_a_score_that_is_not_a_number_is_a_weight_of_0():
    def affinity(batch):
        return jnp.zeros((4, 4)).at[:, 1].set(jnp.nan).at[3].set(jnp.nan)

    index = drawn(weighted(affinity), (X[:4], None), 100)
    assert (index != 1).all()
    assert (index[:, 3] == 3).all()
    assert set(index[:, 0]) == {2, 3}


@pytest.mark.parametrize("pairing", ["same_class", "other_class", "of_same_class"])
def test_one_column_tells_no_classes(pairing):
    binary = jnp.array([[0.0], [1.0], [0.0], [1.0]])
    pairing = {
        "same_class": mx.pairings.same_class,
        "other_class": mx.pairings.other_class,
        "of_same_class": weighted(of_same_class),
    }[pairing]
    with pytest.raises(
        ValueError, match=r"2 classes.*\[4, 1\]. Pass class ids as integers"
    ):
        pairing(jax.random.key(0), (X[:4], binary))


def test_candidates_may_be_a_pool():
    scores = np.asarray(nearest(1)((X[:5], None), (X, None)))
    np.testing.assert_array_equal(scores.argmax(axis=1), np.arange(5))
    assert label_kernel(bandwidth=1.0)((None, X[:5]), (None, X)).shape == (5, 40)


def test_affinities_add_up():
    def both(batch):
        near = label_kernel(bandwidth=1.0)((None, batch[0]))
        return near + of_same_class(batch)

    index = drawn(weighted(both), (X, LABELS), 200)
    assert (LABELS[index] == LABELS).all()
    assert len(np.unique(index[:, 0])) > 2


def test_examples_without_candidates_keep_themselves():
    labels = jnp.array([0, 1, 0, 2])
    pairing = weighted(of_same_class)
    x = jnp.asarray(X[:4])
    hot = mx.losses.one_hot(labels, 3)
    (mixed, _), mix = mx.mixup(jax.random.key(0), (x, hot), pairing=pairing)
    np.testing.assert_array_equal(mix.partner, [2, 1, 0, 3])
    np.testing.assert_array_equal(mixed[1], x[1])
    np.testing.assert_array_equal(np.asarray(mix.lam)[[1, 3]], 1)


def test_a_wide_kernel_is_a_fair_draw_among_the_others():
    index = drawn(weighted(label_kernel(bandwidth=1e6)), (X, X[:, 0]), 2000)
    assert (index != np.arange(40)).all()
    found = np.bincount(index[:, 0], minlength=40)[1:] / 2000
    assert np.abs(found - 1 / 39).max() < 4.5 * np.sqrt(1 / 39 / 2000)


def test_on_each_share_nothing_is_sent():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    pairing = weighted(label_kernel(bandwidth=1.0))
    mixer = mx.per_device(
        lambda key, batch: mx.mixup(key, batch, pairing=pairing), "data"
    )
    spec = jax.P("data")
    run = jax.shard_map(
        lambda key, batch: mixer(key, batch)[0],
        mesh=mesh,
        in_specs=(jax.P(), spec),
        out_specs=spec,
    )
    batch = (jnp.asarray(X), jnp.asarray(X[:, :1]))
    text = jax.jit(run).lower(jax.random.key(0), batch).compile().as_text() or ""
    assert not any(word in text for word in ("all-gather", "all-reduce", "permute("))


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: nearest(0), ValueError, "at least 1 neighbor; got 0"),
        (lambda: label_kernel(bandwidth=0.0), ValueError, "label_kernel: bandwidth"),
        (
            lambda: label_kernel(bandwidth=jnp.ones(40)),
            ValueError,
            r"label_kernel: bandwidth: expected a scalar; got shape \(40,\)",
        ),
        (
            lambda: weighted(1.0),  # pyright: ignore[reportArgumentType]
            TypeError,
            "weighted: affinity: expected a function",
        ),
        (
            lambda: drawn(weighted(label_kernel(bandwidth=1.0)), (X, None)),
            ValueError,
            "targets: ",
        ),
        (
            lambda: drawn(weighted(lambda batch: jnp.zeros((2, 3))), (X, None)),
            ValueError,
            r"affinity: expected shape \(40, 40\)",
        ),
    ],
)
def test_bad_input_is_refused(call, kind, said):
    with pytest.raises(kind, match=said):
        call()


# Ids and targets of any width: values that float32 or int32 would merge stay distinct.

WIDTHS = ["int4", "int8", "uint8", "int16", "uint16"]
WIDTHS += ["int32", "uint32", "int64", "uint64"]
# 64-bit types as well, where they make a difference.
CASES = [(dtype, False) for dtype in WIDTHS]
CASES += [("int32", True), ("int64", True), ("uint64", True)]


def integers(dtype):
    """Return nine integers of five values: limits of the dtype and values nearby."""
    limits = jnp.iinfo(dtype)
    low, high = int(limits.min), int(limits.max)
    # The ones in the middle agree modulo 2^32, in 64-bit dtypes.
    values = [low, low + 1, high // 2**32 * 2**32 + 1 if limits.bits == 64 else 2]
    values += [high - 1, high]
    ids = [values[k] for k in (0, 4, 2, 1, 0, 3, 4, 2, 0)]
    return np.array(ids, np.uint64 if low == 0 else np.int64).astype(dtype)


def runs(dtype, wide):
    """Yield ways to call a function with an array of integers."""
    yield lambda f, y: f(y)
    # Without 64-bit types, JAX itself truncates the array.
    if wide or jnp.iinfo(dtype).bits < 64:
        yield lambda f, y: f(jnp.asarray(y))
        yield lambda f, y: jax.jit(f)(y)


@pytest.mark.parametrize(("dtype", "wide"), CASES)
def test_classes_are_told_apart_whatever_their_width(dtype, wide):
    ids = integers(dtype)
    # The same classes in the same order, numbered from 0.
    values = sorted({int(k) for k in ids})
    assert len(values) == 5
    small = np.array([values.index(int(k)) for k in ids], np.int32)
    key, x = jax.random.key(3), X[:9]
    with jax.enable_x64(wide):
        for pairing in (mx.pairings.same_class, mx.pairings.other_class):

            def index(ids, pairing=pairing):
                # Labels from the targets, and as an argument.
                found = pairing(key, (x, ids)).index
                again = pairing(key, (x, None), labels=ids).index
                return found, again

            want = index(small)[0]
            for run in runs(dtype, wide):
                for found in run(index, ids):
                    assert found.dtype == jnp.int32
                    np.testing.assert_array_equal(found, want)
        assert len(set(small[np.asarray(want)] == small)) == 1


@pytest.mark.parametrize(("dtype", "wide"), CASES)
def test_candidates_of_another_width_are_told_apart(dtype, wide):
    own = integers(dtype)
    for other in WIDTHS:
        pool = integers(other)[:7]
        want = np.array([[int(a) == int(b) for b in pool] for a in own])
        with jax.enable_x64(wide):
            scores = of_same_class((None, own), (None, pool))
            np.testing.assert_array_equal(scores, np.where(want, 0, -np.inf))
            if other not in ("int8", "uint32", "int64"):
                continue
            if wide or "64" not in dtype + other:
                scores = jax.jit(of_same_class)((None, own), (None, pool))
                np.testing.assert_array_equal(scores, np.where(want, 0, -np.inf))
            elif "64" not in other:
                # One half is traced, and the other is not.
                scores = jax.jit(lambda pool: of_same_class((None, own), (None, pool)))
                scores = scores(pool)
                np.testing.assert_array_equal(scores, np.where(want, 0, -np.inf))


def test_what_was_made_with_64_bits_is_right_without_them():
    ids = np.array([2**32 + 1, 1, 2**32 + 1, 1])
    with jax.enable_x64(True):
        given = jnp.asarray(ids)
    index = mx.pairings.same_class(jax.random.key(0), (X[:4], given)).index
    np.testing.assert_array_equal(index, [2, 3, 0, 1])
    scores = of_same_class((None, given))
    same = ids[:, None] == ids[None]
    np.testing.assert_array_equal(scores, np.where(same, 0, -np.inf))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_weight_that_is_not_a_number_makes_a_class_of_its_own(dtype):
    hot = np.eye(3)[[0, 1, 0, 1, 0]]
    hot[[2, 3], [1, 0]] = np.nan
    hot = jnp.asarray(hot.astype(jnp.dtype(dtype)))
    for key in jax.random.split(jax.random.key(0), 5):
        index = mx.pairings.same_class(key, (X[:5], hot)).index
        np.testing.assert_array_equal(index, [4, 1, 2, 3, 0])
    scores = of_same_class((None, hot), (None, hot))
    want = np.zeros((5, 5), bool)
    want[np.ix_([0, 4], [0, 4])] = want[1, 1] = True
    np.testing.assert_array_equal(scores == 0, want)


def distances_by_hand(own, others):
    """Return squared distances of integers or floats, without rounding to float32."""
    number = int if own.dtype.kind != "f" else float
    rows = [[[number(v) for v in np.ravel(row)] for row in y] for y in (own, others)]
    return np.array(
        [
            [float(sum((p - q) ** 2 for p, q in zip(a, b))) for b in rows[1]]
            for a in rows[0]
        ]
    )


def targets(dtype, features, near):
    """Return targets far from 0, either near each other or anywhere."""
    rng = np.random.default_rng(5)
    if dtype == "float64":  # seconds since 1970
        return 1.7e9 + rng.normal(size=(12, features)) * (1 if near else 1e8)
    limits = jnp.iinfo(dtype)
    low, high = int(limits.min), int(limits.max)
    if near:
        # Around a value at which the upper digits change.
        centre = high // 3 * 2 if limits.bits < 32 else high // 2 >> 16 << 16
        low, high = max(low, centre - 40), min(high, centre + 40)
    elif limits.bits == 64:  # larger squares would overflow float32
        low, high = low // 2**9, high // 2**9
    widest = np.uint64 if low >= 0 else np.int64
    return rng.integers(low, high, (12, features), widest, True).astype(dtype)


@pytest.mark.usefixtures("distances")
@pytest.mark.parametrize("near", [True, False])
@pytest.mark.parametrize(
    ("dtype", "wide"), [*CASES, ("float64", False), ("float64", True)]
)
def test_distances_are_rounded_once(dtype, near, wide):
    for features in (1, 3):
        y = targets(dtype, features, near)
        own, others = y[:5], y[3:]
        want = distances_by_hand(own, others)

        def scores(own, others):
            return label_kernel(bandwidth=1.0)((None, own), (None, others))

        # By products, the error is relative to the distances from the mean.
        product = features > 1 and not _distances._MOST_DIFFERENCES
        rtol, atol = (0, 1e-5 * want.max()) if product else (1e-6, 0)
        with jax.enable_x64(wide):
            ways = [scores]
            if wide or "64" not in dtype:
                ways.append(jax.jit(scores))
            for run in ways:
                found = run(own, others)
                assert found.dtype == jnp.float32
                found = -2 * np.asarray(found)
                np.testing.assert_allclose(found, want, rtol=rtol, atol=atol)


@pytest.mark.usefixtures("distances")
@pytest.mark.parametrize("wide", [False, True])
def test_neighbours_of_whole_numbers_far_from_0(wide):
    # One example is far from all others, which are near each other.
    x = targets("int64", 3, True) + 2**40
    x[4] = 7
    want = distances_by_hand(x, x)
    np.fill_diagonal(want, np.inf)
    with jax.enable_x64(wide):
        found = np.asarray(nearest(2)((x, None))) == 0
    others = np.arange(12) != 4
    if _distances._MOST_DIFFERENCES:
        kth = np.sort(want, axis=1)[:, 1:2]
        np.testing.assert_array_equal(found[others], (want <= kth)[others])
    assert not found[others, 4].any()


@pytest.mark.parametrize("wide", [False, True])
def test_halves_of_different_kinds_are_compared(wide):
    y = np.arange(6)
    for own in ("int8", "uint32", "int64", "float32", "float64", "bfloat16"):
        for other in ("uint8", "int32", "uint64", "float32", "float64", "float16"):
            with jax.enable_x64(wide):
                found = label_kernel(bandwidth=1.0)(
                    (None, y.astype(jnp.dtype(own))), (None, y.astype(other))
                )
            np.testing.assert_array_equal(
                -2 * found, distances_by_hand(y, y), err_msg=f"{own} {other}"
            )


@pytest.mark.parametrize("wide", [False, True])
def test_float64_that_is_not_finite_is_infinitely_far(wide):
    y = np.array([1.0, np.nan, np.inf, 1e300, 3.0])
    with jax.enable_x64(wide):
        scores = np.asarray(label_kernel(bandwidth=1.0)((None, y)))
    want = np.full((5, 5), -np.inf)
    want[np.ix_([0, 4], [0, 4])] = [[0, -2], [-2, 0]]
    if wide:  # finite when subtracted in float64
        want[3, 3] = 0
    np.testing.assert_array_equal(scores, want)


# In blocks of rows, as for large batches.

BLOCKS = {
    "label_kernel": (label_kernel(bandwidth=2.0), (X, X)),
    "nearest": (nearest(3), (X, None)),
    "among": (nearest(3, among=of_same_class), (X, LABELS)),
    "of_same_class": (of_same_class, (X, LABELS)),
}


@pytest.fixture
def rows_in_a_block(monkeypatch):
    """Return a function that makes batches of 40 large, in blocks of ``rows``."""

    def set_to(rows):
        monkeypatch.setattr(_weighted, "_MOST_AT_ONCE", 1)
        monkeypatch.setattr(_weighted, "_MOST_IN_BLOCK", 40 * rows)

    return set_to


@pytest.mark.usefixtures("distances")
@pytest.mark.parametrize("name", BLOCKS)
def test_rows_of_scores_are_those_of_all(name):
    affinity, (x, y) = BLOCKS[name]
    x = jnp.asarray(x).at[3, 2].set(jnp.nan)
    batch = (x, x if y is X else y)
    places = jnp.array([7, 3, 7, 39], jnp.int32)
    rows = affinity.rows(batch)(places)
    np.testing.assert_allclose(rows, affinity(batch)[places], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", BLOCKS)
def test_no_draw_depends_on_its_block(name, rows_in_a_block):
    affinity, batch = BLOCKS[name]
    index = []
    for rows in (6, 40):  # the last block of 6 has 4 new rows
        rows_in_a_block(rows)
        index.append(drawn(weighted(affinity), batch, 3))
    np.testing.assert_array_equal(*index)
    scores = np.asarray(affinity(batch))
    for each in index[0]:
        assert (each != np.arange(40)).all()
        assert np.isfinite(scores[np.arange(40), each]).all()


def test_in_blocks_partners_come_as_often_as_their_weight_says(rows_in_a_block):
    y = np.concatenate([[0.0, 0.5, 1.0, 3.0, np.inf], np.full(35, 99.0)])
    y = y.astype(np.float32)
    rows_in_a_block(3)
    count = 2000
    index = drawn(weighted(label_kernel(bandwidth=0.8)), (X, y), count)
    assert (index[:, 4] == 4).all()
    weight = np.exp(-((y[:4, None] - y[None, :4]) ** 2) / (2 * 0.8**2))
    np.fill_diagonal(weight, 0)
    share = weight / weight.sum(axis=1, keepdims=True)
    for i in range(4):
        found = np.bincount(index[:, i], minlength=4)[:4] / count
        error = np.sqrt(share[i] * (1 - share[i]) / count)
        assert (np.abs(found - share[i]) <= 4 * error + 1e-9).all()
    # Rows have independent draws.
    assert np.mean(index[:, 5] == index[:, 6]) < 0.2


def test_an_affinity_without_rows_is_asked_at_once(rows_in_a_block):
    rows_in_a_block(6)

    def both(batch):
        return nearest(5)(batch) + of_same_class(batch)

    index = drawn(weighted(both), (X, LABELS))[0]
    # Examples without one of their class among the five are their own partner.
    assert (LABELS[index] == LABELS).all()
    among_it = nearest(2, among=lambda batch, candidates=None: both(batch))
    index = drawn(weighted(among_it), (X, LABELS))[0]
    assert (LABELS[index] == LABELS).all()


def test_an_affinity_of_a_user_may_have_rows(rows_in_a_block):
    rows_in_a_block(6)

    class Next:
        """The next example."""

        width = 40

        def __call__(self, batch):
            raise AssertionError("all scores at once")

        def rows(self, batch):
            candidates = jnp.arange(self.width, dtype=jnp.int32)
            behind = lambda places: candidates[None] == (places[:, None] + 1) % 40  # noqa: E731
            return lambda places: jnp.where(behind(places), 0.0, -jnp.inf)

    index = drawn(weighted(Next()), (X, None))[0]
    np.testing.assert_array_equal(index, (np.arange(40) + 1) % 40)
    narrow = Next()
    narrow.width = 39
    with pytest.raises(ValueError, match=r"affinity: rows: expected shape \(6, 40\)"):
        drawn(weighted(narrow), (X, None))


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_in_blocks_on_a_mesh_as_on_one_device(kind, rows_in_a_block):
    rows_in_a_block(6)
    pairing = weighted(nearest(3, among=of_same_class))
    want = pairing(jax.random.key(0), (X, LABELS)).index
    kinds = (getattr(jax.sharding.AxisType, kind),)
    mesh = jax.make_mesh((8,), ("data",), axis_types=kinds)
    batch = jax.device_put(
        (X, LABELS.astype(np.int32)), jax.NamedSharding(mesh, jax.P("data"))
    )
    run = jax.jit(lambda *given: pairing(*given).index)
    program = run.lower(jax.random.key(0), batch).compile()
    # Inputs and labels are sent once, and nothing in the loop.
    assert sorted(each.shape for each in sent(program)) == [(40,), (40, 7)]
    np.testing.assert_array_equal(run(jax.random.key(0), batch), want)


@pytest.mark.parametrize(
    ("affinity", "targets"),
    [(nearest(5, among=of_same_class), jnp.int32), (label_kernel(bandwidth=1.0), None)],
    ids=["nearest", "label_kernel"],
)
def test_of_a_large_batch_scores_are_held_in_blocks(affinity, targets):
    size = 65_536
    x = jax.ShapeDtypeStruct((size, 32, 32, 3), jnp.float32)
    y = jax.ShapeDtypeStruct((size,), targets or jnp.float32)
    run = jax.jit(lambda key, batch: weighted(affinity)(key, batch).index)
    memory: Any = run.lower(jax.random.key(0), (x, y)).compile().memory_analysis()
    # One centered copy of what is compared, and a few blocks; all scores are 17 GB.
    copied = 4 * x.size if targets else 0
    blocks = 8 * 4 * _weighted._MOST_IN_BLOCK
    assert memory.temp_size_in_bytes < copied + blocks
