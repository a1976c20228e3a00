"""SaliencyMix: a box around the partner's peak."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mixup_jax as mx
from tests import oracle

KEY = jax.random.key(3)
SIZE, SIDES = 8, (11, 8)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(SIZE, *SIDES, 2)).astype(np.float32)
Y = np.eye(4, dtype=np.float32)[np.arange(SIZE) % 4]
SALIENCY = RNG.uniform(size=(SIZE, *SIDES)).astype(np.float32)


def boxes(lam, partner, saliency):
    """Return the start and stop of each box, from the formula."""
    start, stop = [], []
    for weight, j in zip(lam, partner):
        peak = np.unravel_index(np.argmax(saliency[j]), saliency[j].shape)
        sides = [round(n * float(np.sqrt(1 - weight))) for n in saliency[j].shape]
        corner = [p - side // 2 for p, side in zip(peak, sides)]
        start.append(np.clip(corner, 0, saliency[j].shape))
        stop.append(np.clip(np.add(corner, sides), 0, saliency[j].shape))
    return np.array(start), np.array(stop)


def test_a_box_by_hand():
    saliency = np.zeros((2, 8, 8), np.float32)
    saliency[1, 0, 0] = saliency[0, 5, 6] = 1
    x = np.stack([np.zeros((8, 8, 1)), np.ones((8, 8, 1))]).astype(np.uint8)
    mixer = partial(mx.saliencymix, saliency=saliency, ratio=mx.ratios.constant(0.75))
    (mixed, _), mix = jax.jit(mixer)(KEY, (x, None))
    mixed = np.asarray(mixed)
    np.testing.assert_array_equal(mix.lam, [60 / 64, 1 - 4 * 4 / 64 + 0])
    assert mixed[0].sum() == 4
    assert mixed[0, :2, :2].all()
    assert not mixed[1, 3:7, 4:8].any()
    assert mixed[1].sum() == 48


def test_each_example_has_the_peak_of_its_own_partner():
    lam = np.linspace(0.05, 0.95, SIZE, dtype=np.float32)
    pairing = mx.pairings.given(np.array([3, 0, 1, 2, 4, 7, 5, 6]))
    mixer = partial(
        mx.saliencymix,
        saliency=SALIENCY,
        ratio=mx.ratios.constant(lam),
        pairing=pairing,
    )
    (mixed, y), mix = jax.jit(mixer)(KEY, (X, Y))
    partner = np.asarray(mix.partner)
    start, stop = boxes(lam, partner, SALIENCY)
    own = np.ones((SIZE, *SIDES), bool)
    for i in range(SIZE):
        if partner[i] != i:
            own[i][tuple(slice(a, b) for a, b in zip(start[i], stop[i]))] = False
    np.testing.assert_array_equal(mixed, np.where(own[..., None], X, X[partner]))
    share = own.mean(axis=(1, 2))
    np.testing.assert_allclose(mix.lam, share, atol=1e-7)
    want = share[:, None] * Y + (1 - share)[:, None] * Y[partner]
    np.testing.assert_allclose(y, want, atol=1e-6)
    # Odd sides include their last position.
    assert ((stop - start) % 2 == 1).any()


def test_any_number_of_spatial_axes_anywhere():
    saliency = jnp.asarray(SALIENCY)
    mixer = jax.jit(mx.saliencymix, static_argnames="spatial")
    last = mixer(KEY, (X, None), saliency=saliency)[0][0]
    turned = np.moveaxis(X, -1, 1)
    first, _ = mixer(KEY, (turned, None), saliency=saliency, spatial=(2, 3))
    np.testing.assert_array_equal(np.moveaxis(np.asarray(first[0]), 1, -1), last)
    flat = {"saliency": saliency[:, :, 0], "spatial": (1,)}
    (wave, _), mix = mixer(KEY, (X[:, :, 0, 0], None), **flat)
    assert wave.shape == (SIZE, SIDES[0])
    assert np.mean(mix.lam < 1) > 0


def test_what_is_not_a_number_is_no_peak():
    saliency = np.full((2, 8, 8), np.nan, np.float32)
    saliency[1, 4, 4] = -5.0
    lam, x = jnp.full(2, 0.75), jnp.zeros((2, 8, 8, 1))
    partners = mx.pairings.neighbour(KEY, (x, None))
    box, _ = mx.regions.salient(KEY, lam, x, partners, saliency=saliency)
    np.testing.assert_array_equal(box.start, [[2, 2], [0, 0]])


def of_saliency(saliency):
    mixer = partial(mx.saliencymix, saliency=saliency)
    return mx.on_keys(mixer, inputs="x", targets="y")


NAMED = {"x": X, "y": Y, "saliency": SALIENCY}
USING = mx.using("saliency", of_saliency)


def loss(params: Any, batch: Any, mix: mx.Mix) -> Any:
    logits = jnp.asarray(batch["x"]).reshape(len(batch["y"]), -1) @ params
    return optax.softmax_cross_entropy(logits, batch["y"]).mean(), {}


def test_a_train_step_takes_the_saliency_from_the_batch():
    params = jnp.asarray(RNG.normal(size=(X[0].size, 4)), jnp.float32)
    step = mx.training.train_step(loss, USING)
    mesh = jax.make_mesh((4,), ("data",), devices=jax.devices()[:4])

    def new():
        return mx.training.TrainState.create(jnp.copy(params), optax.sgd(0.1))

    _, one = jax.jit(step)(new(), KEY, NAMED)
    _, several = mx.training.sharded(step, mesh)(new(), KEY, NAMED)
    np.testing.assert_allclose(several["loss"], one["loss"], rtol=1e-6)
    whole = mx.training.pmapped(step, mixing=mx.whole_batch)
    _, each = whole(new(), KEY, NAMED)
    assert np.isfinite(each["loss"])


def test_the_whole_batch_on_its_shares():
    mixed, mix = USING(KEY, NAMED)
    shares = jax.tree.map(lambda x: x.reshape(2, 4, *x.shape[1:]), NAMED)
    run = jax.vmap(mx.whole_batch(USING, "data"), in_axes=(None, 0), axis_name="data")
    got, drawn = jax.jit(run)(KEY, shares)
    for name in ("x", "y"):
        whole = np.asarray(got[name]).reshape(NAMED[name].shape)
        np.testing.assert_allclose(whole, mixed[name], atol=1e-6)
    np.testing.assert_array_equal(np.ravel(drawn.lam), mix.lam)


def test_one_box_for_all_is_refused():
    mixer = mx.once_per_batch(partial(mx.saliencymix, saliency=SALIENCY))
    with pytest.raises(TypeError, match="once_per_batch: expected regions that all"):
        jax.jit(mixer)(KEY, (X, None))


@pytest.mark.parametrize(
    ("saliency", "kind", "said"),
    [
        (SALIENCY.astype(int), TypeError, "saliency: expected a floating-point dtype"),
        (SALIENCY[:, :5], ValueError, r"saliency: expected shape \(8, 11, 8\)"),
        (SALIENCY[:4], ValueError, r"saliency: expected shape \(8, 11, 8\)"),
        (SALIENCY[..., None], ValueError, r"saliency: expected shape \(8, 11, 8\)"),
    ],
)
def test_another_saliency_is_refused(saliency, kind, said):
    with pytest.raises(kind, match=said):
        jax.jit(partial(mx.saliencymix, saliency=saliency))(KEY, (X, None))


def test_labels_and_boxes_agree_with_those_of_cutmix():
    # The same sides are drawn; only the positions differ.
    ratio = mx.ratios.uniform()
    _, mix = mx.saliencymix(KEY, (X, None), saliency=SALIENCY, ratio=ratio)
    region = partial(mx.regions.box, share=mx.regions.as_drawn)
    _, drawn = mx.cutmix(KEY, (X, None), ratio=ratio, region=region)
    start, stop = boxes(np.asarray(drawn.lam), np.arange(SIZE) ^ 1, SALIENCY)
    share = 1 - (stop - start).prod(axis=1) / np.prod(SIDES)
    oracle.assert_close(mix.lam, share.astype(np.float32))
