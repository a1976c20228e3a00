"""Partners drawn by weight: near labels, near inputs, the same class."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import mixup_jax as mx

weighted, nearest = mx.pairings.weighted, mx.pairings.nearest
label_kernel, of_same_class = mx.pairings.label_kernel, mx.pairings.of_same_class

X = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, 40)


@pytest.fixture(params=[True, False], ids=["differences", "product"])
def distances(request, monkeypatch):
    """Distances taken in either of the two ways, whatever the size."""
    if not request.param:
        monkeypatch.setattr(mx.pairings, "_MOST_DIFFERENCES", 0)


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
def test_a_large_common_part_does_not_hide_who_is_near():
    far = (X + 1000.0, None)
    got = np.asarray(nearest(1)(far)).argmax(axis=1)
    want = NearestNeighbors(n_neighbors=1).fit(X).kneighbors(return_distance=False)
    np.testing.assert_array_equal(got, want[:, 0])


def test_clusters_far_apart_do_not_hide_who_is_near():
    far = X + np.where(LABELS > 0, 1000, -1000).astype(np.float32)[:, None]
    exact = far.astype(np.float64)  # what float32 leaves of the places
    got = np.asarray(nearest(1)((far, None))).argmax(axis=1)
    want = NearestNeighbors(n_neighbors=1).fit(exact).kneighbors(return_distance=False)
    np.testing.assert_array_equal(got, want[:, 0])


def test_differences_are_not_kept():
    x = jnp.ones((64, 1024))
    scores = jax.jit(lambda x: nearest(1)((x, None)))
    memory: Any = scores.lower(x).compile().memory_analysis()
    # Of all differences there are 64 times as many numbers as in x.
    assert memory.temp_size_in_bytes < 2 * x.nbytes


@pytest.mark.usefixtures("distances")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("affinity", ["label_kernel", "nearest", "among"])
def test_who_is_not_finite_is_left_alone(affinity, bad):
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
    # The others are as near to each other as they would be without it.
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
        ValueError, match=r"2 classes.*\[4, 1\]. Give the ids as integers"
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


def test_who_has_no_candidate_keeps_itself():
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
        (lambda: nearest(0), ValueError, "at least 1 neighbour; got 0"),
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
