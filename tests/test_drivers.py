"""The same numbers under every driver and on every mesh.

Plain jit is the reference; ``test_laws.py`` checks it against the equation.
``oracle.assert_close`` explains why the results are not equal bit for bit.
"""

import functools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding

import mixup_jax as mx
from benchmarks._programs import COLLECTIVES
from tests import oracle
from tests.methods import FEW, METHODS

DEVICES = 8
SHARE = 4
SEED = 5
KINDS = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}
LAYOUTS = {
    "examples": (jax.P("data"), jax.P("data")),
    "rows": (jax.P(None, "data"), jax.P()),
    "copies": (jax.P(), jax.P()),
}


def key() -> jax.Array:
    return jax.random.key(SEED)


@functools.cache
def devices_mesh(count: int, kind: str) -> Mesh:
    return jax.make_mesh(
        (count,), ("data",), (KINDS[kind],), devices=jax.devices()[:count]
    )


@pytest.fixture(scope="module", params=METHODS)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def by_share(name) -> Any:
    """Run the method on each device's shard in turn, each with its own key."""
    shares = oracle.images(DEVICES * SHARE)
    runs, mixer = [], jax.jit(METHODS[name].mixer)
    for device in range(DEVICES):
        at = slice(device * SHARE, (device + 1) * SHARE)
        batch = jax.tree.map(lambda x, at=at: x[at], shares)
        mixed, mix = mixer(jax.random.fold_in(key(), device), batch)
        runs.append((mixed, mix.lam, mix.partner))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *runs)


def stacked() -> Any:
    return jax.tree.map(
        lambda x: x.reshape(DEVICES, SHARE, *x.shape[1:]),
        oracle.images(DEVICES * SHARE),
    )


def first(tree: Any) -> Any:
    return jax.tree.map(lambda x: x[0], tree)


def drawn(result: Any) -> Any:
    mixed, mix = result
    return mixed, mix.lam, mix.partner


def over_the_whole_batch(shares: Any) -> Any:
    """Return the shards as global arrays, with partners indexed in the whole batch."""
    mixed, lam, partner = shares
    partner = partner + SHARE * np.arange(DEVICES, dtype=np.int32)[:, None]
    return jax.tree.map(
        lambda x: x.reshape(DEVICES * SHARE, *x.shape[2:]), (mixed, lam, partner)
    )


def test_jit_and_checkpoint(name, by_share):
    @jax.jit
    def gradient(key, batch):
        def total(batch):
            result = jax.checkpoint(METHODS[name].mixer)(key, batch)
            return jnp.sum(result[0][0] ** 2) / 2, drawn(result)

        slope, result = jax.grad(total, has_aux=True)(batch)
        return slope[0], result

    # The rematerialized pass has to draw the same numbers as the first.
    slope, result = gradient(jax.random.fold_in(key(), 0), first(stacked()))
    oracle.assert_close(result, first(by_share))
    x, mixed = first(stacked())[0], np.asarray(result[0][0])
    np.testing.assert_allclose(np.sum(slope * x), np.sum(mixed * mixed), rtol=1e-4)


def test_vmap_in_a_scan(name, by_share):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key(), jnp.arange(DEVICES))

    @jax.jit
    def mixed(keys, batch):
        def step(carried, given):
            return carried, drawn(jax.vmap(METHODS[name].mixer)(*given))

        pairs = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), (keys, batch))
        _, results = jax.lax.scan(step, None, pairs)
        return jax.tree.map(lambda x: x.reshape(DEVICES, *x.shape[2:]), results)

    oracle.assert_close(mixed(keys, stacked()), by_share)


def test_pmap(name, by_share):
    mixer = mx.per_device(METHODS[name].mixer, "data")
    mixed, mix = jax.pmap(mixer, axis_name="data", in_axes=(None, 0))(key(), stacked())
    want = over_the_whole_batch(by_share)
    flat = jax.tree.map(
        lambda x: np.asarray(x).reshape(DEVICES * SHARE, *x.shape[2:]), (mixed, mix)
    )
    oracle.assert_close(drawn(flat), want)


def test_shard_map(name, by_share):
    batch = oracle.images(DEVICES * SHARE)
    run = on_shares(mx.per_device(METHODS[name].mixer, "data"), DEVICES, "auto")
    mixed, mix = run(key(), spread(batch, DEVICES, "auto"))
    oracle.assert_close(drawn((mixed, mix)), over_the_whole_batch(by_share))
    assert_laid_out_as(mixed, spread(batch, DEVICES, "auto"))
    # Outside, the mix of the shards describes the whole batch.
    assert_law_outside(jax.tree.map(np.asarray, mix), batch, mixed)


def assert_law_outside(mix: mx.Mix, batch: Any, mixed: Any) -> None:
    oracle.assert_close(mix.batch(batch), jax.tree.map(np.asarray, mixed))
    index = np.arange(len(batch[1]))
    np.testing.assert_array_equal(mix.partners(index), mix.partner)


def on_shares(mixer: mx.Mixer, count: int, kind: str) -> Any:
    return jax.jit(
        jax.shard_map(
            mixer,
            mesh=devices_mesh(count, kind),
            in_specs=(jax.P(), jax.P("data")),
            out_specs=jax.P("data"),
        )
    )


def spread(batch: Any, count: int, kind: str, layout: str = "examples") -> Any:
    mesh = devices_mesh(count, kind)
    return tuple(
        jax.device_put(x, NamedSharding(mesh, spec))
        for x, spec in zip(batch, LAYOUTS[layout])
    )


def assert_laid_out_as(got: Any, given: Any) -> None:
    for g, x in zip(jax.tree.leaves(got), jax.tree.leaves(given)):
        assert g.sharding.is_equivalent_to(x.sharding, x.ndim), (g.sharding, x.sharding)


def assert_free_of_the_mesh(name, count, kind, size, layout="examples", jit=jax.jit):
    mixer = METHODS[name].mixer
    batch = oracle.images(size)
    with jax.set_mesh(devices_mesh(count, kind)):
        placed = spread(batch, count, kind, layout)
        result = jit(mixer)(key(), placed)
    oracle.assert_close(drawn(result), reference(name, size))
    assert_laid_out_as(result[0], placed)


@functools.cache
def reference(name: str, size: int) -> Any:
    return jax.tree.map(
        np.asarray, drawn(jax.jit(METHODS[name].mixer)(key(), oracle.images(size)))
    )


def test_jit_on_eight_devices_with_three_examples_each(name):
    assert_free_of_the_mesh(name, 8, "auto", 24)


@pytest.mark.parametrize("few", FEW[1:])
def test_jit_on_eight_explicit_devices_with_three_examples_each(few):
    assert_free_of_the_mesh(few, 8, "explicit", 24)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("few", ["mixup", "mixup-reverse-4", "cutmix", "choose"])
def test_jit_on_eight_devices_with_two_examples_each(few, kind):
    assert_free_of_the_mesh(few, 8, kind, 16)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("few", ["mixup", "mixup-roll", "choose-two-pairings"])
def test_jit_on_fewer_devices(few, count, kind):
    assert_free_of_the_mesh(few, count, kind, 24)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["copies", "rows"])
@pytest.mark.parametrize("few", FEW[1:])
def test_jit_where_the_batch_axis_is_not_divided(few, layout, kind):
    assert_free_of_the_mesh(few, 2, kind, 24, layout)


@pytest.mark.parametrize("few", ["mixup", "mixup-roll", "choose-two-pairings"])
def test_eager_on_an_explicit_mesh(few):
    assert_free_of_the_mesh(few, 2, "explicit", 24, jit=lambda mixer: mixer)


@pytest.mark.parametrize("few", ["mixup", "choose-two-pairings", "dirichlet-3"])
def test_jit_on_an_explicit_mesh_of_two_axes(few):
    assert_free_of_two_axes(few, "explicit")


def test_jit_on_a_mesh_of_two_axes(name):
    assert_free_of_two_axes(name, "auto")


def assert_free_of_two_axes(few, kind):
    mesh = jax.make_mesh((4, 2), ("data", "model"), (KINDS[kind],) * 2)
    batch = oracle.images(24)
    specs = (jax.P("data", None, None, "model"), jax.P(("data", "model")))
    with jax.set_mesh(mesh):
        placed = tuple(
            jax.device_put(x, NamedSharding(mesh, spec))
            for x, spec in zip(batch, specs)
        )
        result = jax.jit(METHODS[few].mixer)(key(), placed)
    oracle.assert_close(drawn(result), reference(few, 24))
    assert_laid_out_as(result[0], placed)


@pytest.mark.parametrize("few", ["mixup", "choose-two-pairings"])
def test_shard_map_on_an_explicit_mesh_with_odd_shares(few):
    batch = oracle.images(24)
    placed = spread(batch, DEVICES, "explicit")
    run = on_shares(mx.per_device(METHODS[few].mixer, "data"), DEVICES, "explicit")
    with jax.set_mesh(devices_mesh(DEVICES, "explicit")):
        mixed, mix = run(key(), placed)
    assert_laid_out_as(mixed, placed)
    assert (np.asarray(mix.partner) // 3 == np.arange(24) // 3).all()
    assert_law_outside(jax.tree.map(np.asarray, mix), batch, mixed)


WHOLE = [
    "mixup-constant-each",
    "mixup-reverse-4",
    "mixup-roll",
    "mixup-same-class",
    "cutmix",
    "choose-two-pairings",
]


@pytest.mark.parametrize("driver", ["pmap", "shard_map"])
@pytest.mark.parametrize(
    ("few", "count", "size"),
    [(few, 8, 16) for few in WHOLE]
    + [(f, n, 16) for f in ("mixup", "mixup-permutation") for n in (1, 2, 4, 8)]
    + [("mixup", 8, 24), ("mixup", 8, 8)],
)
def test_the_whole_batch_on_any_number_of_devices(few, count, size, driver):
    batch = oracle.images(size)
    mixer = mx.whole_batch(METHODS[few].mixer, "data")
    if driver == "pmap":
        run = jax.pmap(mixer, "data", in_axes=(None, 0), devices=jax.devices()[:count])
        given = jax.tree.map(
            lambda x: x.reshape(count, size // count, *x.shape[1:]), batch
        )
    else:
        run, given = on_shares(mixer, count, "auto"), spread(batch, count, "auto")
    compiled = run.lower(key(), given).compile()
    if few in ("mixup", "mixup-constant-each", "cutmix") and size // count % 2 == 0:
        assert not [kind for kind in COLLECTIVES if kind in compiled.as_text()]
    mixed, mix = jax.tree.map(np.asarray, run(key(), given))
    if driver == "pmap":
        mixed, mix = jax.tree.map(lambda x: x.reshape(size, *x.shape[2:]), (mixed, mix))
    oracle.assert_close(drawn((mixed, mix)), reference(few, size))
    assert_law_outside(mix, batch, mixed)


def test_collectives_would_be_seen():
    mixer = mx.whole_batch(METHODS["mixup-permutation"].mixer, "data")
    given = spread(oracle.images(16), 8, "auto")
    text = on_shares(mixer, 8, "auto").lower(key(), given).compile().as_text()
    assert "all-gather" in text


@pytest.mark.parametrize("common", [True, False])
def test_one_lam_for_the_mesh_or_one_for_each_device(common):
    ratio = mx.ratios.per_batch(mx.ratios.uniform())
    key_of = mx.common_key if common else mx.own_key
    mixer = mx.per_device(partial(mx.mixup, ratio=ratio), "data", key_of=key_of)
    _, mix = on_shares(mixer, 8, "auto")(key(), spread(oracle.images(16), 8, "auto"))
    assert len(np.unique(mix.lam)) == (1 if common else 8)
