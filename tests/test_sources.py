"""Three sources, wherever one source is supported."""

import dataclasses
import functools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from jax.sharding import AxisType

import mixup_jax as mx
from tests import oracle, painter

SIZE, HEIGHT, WIDTH, DEVICES = 8, 6, 4, 2
KEY = jax.random.key(5)
KINDS = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(SIZE, HEIGHT, WIDTH, 2)).astype(np.float32)
INPUTS = {
    "x": X,
    "half": jnp.asarray(RNG.normal(size=(SIZE, HEIGHT, WIDTH)), jnp.bfloat16),
}
SOFT = np.asarray(RNG.dirichlet(np.ones(3), SIZE), np.float32)
BATCH = (INPUTS, SOFT)
everywhere = mx.regions.everywhere


def some(names: Any, *often: Any) -> list[Any]:
    """Return the parameters of a test, with all but a few marked slow."""
    slow = pytest.mark.slow
    return [n if n in often else pytest.param(n, marks=slow) for n in names]


def rolled(shift: int) -> mx.Pairing:
    return partial(mx.pairings.roll, shift=shift)


def three(name: str, pairings: Any, regions: Any) -> mx.Mixer:
    """Return the mixer of three sources, each with a pairing and a region."""

    def draw(key, batch):
        sources = tuple(
            mx.draw_source(
                each, batch, ratio=mx.ratios.uniform(), pairing=pairing, region=region
            )
            for each, pairing, region in zip(
                jax.random.split(key, 3), pairings, regions, strict=True
            )
        )
        return mx.Mix(sources[0].lam, sources)

    draw.__name__ = draw.__qualname__ = name
    return mx.mixer(draw)


ROLLS = [rolled(1), rolled(2), rolled(-1)]
NEAR = [partial(mx.pairings.nth, n=n, of=3) for n in (1, 2, 3)]
MIXERS = {
    "blends": three("blends", ROLLS, [everywhere] * 3),
    "near": three("near", NEAR, [everywhere] * 3),
    "parts": three(
        "parts",
        [mx.pairings.neighbour, rolled(1), mx.pairings.permutation],
        [everywhere, mx.regions.box, mx.regions.resized],
    ),
    "neighbours": three("neighbours", [mx.pairings.neighbour] * 3, [everywhere] * 3),
    "pastes": three(
        "pastes", NEAR, [mx.regions.box, mx.regions.resized, mx.regions.box]
    ),
}


def run(mixer: mx.Mixer, key: Any, batch: Any) -> Any:
    return jax.jit(mixer)(key, batch)


@functools.cache
def alone(name: str) -> Any:
    """Return a mixer's result with the key that a choice passes to it."""
    return run(MIXERS[name], jax.random.split(KEY)[1], BATCH)


def kept(source: mx.Source) -> np.ndarray:
    """Return the weight in front of a source, ``[B, H, W]``, computed by loops."""
    w = np.ones((SIZE, HEIGHT, WIDTH))
    region: Any = source.region
    for i in range(SIZE):
        if isinstance(region, mx.regions.Everywhere):
            w[i] = source.lam[i]
        elif source.lam[i] < 1:
            (top, left), (bottom, right) = region.start[i], region.stop[i]
            w[i, int(top) : int(bottom), int(left) : int(right)] = 0
    return w


def shown(source: mx.Source, x: np.ndarray) -> np.ndarray:
    """Return the content of a source, through its window if it has one."""
    rows = x[np.asarray(source.partner)]
    region: Any = source.region
    if not isinstance(region, mx.regions.Window):
        return rows
    seen = rows.copy()
    for i in range(SIZE):
        (top, left), (bottom, right) = np.asarray((region.start[i], region.stop[i]))
        for row in range(top, bottom):
            for column in range(left, right):
                at = (2 * (row - top) + 1) * HEIGHT // (2 * (bottom - top))
                across = (2 * (column - left) + 1) * WIDTH // (2 * (right - left))
                seen[i, row, column] = rows[i, at, across]
    return seen


def assert_equation(batch: Any, mixed: Any, mix: mx.Mix) -> None:
    (inputs, targets), (x, y) = batch, mixed
    fields = [kept(source) for source in mix.sources]
    for name, own in inputs.items():
        own = np.asarray(own)
        fronts = [own, *(shown(source, own) for source in mix.sources)]
        ws = [w[..., None] if own.ndim == 4 else w for w in fields]
        painter.assert_painted(x[name], fronts, ws)
    lams = [mix.lam, *(source.lam for source in mix.sources[1:])]
    rows = [targets, *(targets[np.asarray(s.partner)] for s in mix.sources)]
    painter.assert_painted(y, rows, [painter.column(w, 2) for w in lams])


def assert_same(got: Any, want: Any) -> None:
    (mixed, mix), (wanted, drawn) = got, want
    oracle.assert_close(mixed, jax.tree.map(np.asarray, wanted))
    np.testing.assert_array_equal(mix.lam, drawn.lam)
    for one, other in zip(mix.sources, drawn.sources, strict=True):
        np.testing.assert_array_equal(one.partner, other.partner)
        np.testing.assert_array_equal(one.lam, other.lam)


@pytest.mark.parametrize("name", some(MIXERS, "parts", "blends"))
def test_the_chain(name):
    mixed, mix = alone(name)
    assert_equation(BATCH, mixed, mix)
    terms = mix.terms(np.arange(SIZE))
    np.testing.assert_allclose(sum(share for share, _ in terms), 1, rtol=1e-6)
    assert len(terms) == 4
    # All are visible; otherwise a missing source would go unnoticed.
    assert all(np.max(share) > 0.1 for share, _ in terms)


@pytest.mark.slow
def test_integers_are_pasted_whole():
    ids = RNG.integers(0, 2**31 - 1, (SIZE, HEIGHT, WIDTH)).astype(np.int32)
    byte = RNG.integers(0, 256, X.shape).astype(np.uint8)
    batch = ({"id": ids, "byte": byte}, SOFT)
    assert_equation(batch, *run(MIXERS["pastes"], KEY, batch))


def test_what_is_not_a_number_stays_behind_a_weight_of_0():
    lam = [
        np.array(v, np.float32) for v in ((1, 0, 0, 0.5), (0, 1, 0, 0), (0.5, 1, 1, 1))
    ]
    index = [(np.arange(4) + n) % 4 for n in (1, 2, 3)]
    sources = tuple(
        mx.Source(jnp.asarray(i), jnp.asarray(w)) for i, w in zip(index, lam)
    )
    mix = mx.Mix(sources[0].lam, sources)
    for dtype in (np.float32, np.float16):
        x = np.array([[1.0], [np.nan], [np.inf], [4.0]], dtype)
        # Example 0 shows its own content, example 1 that of its first partner.
        want = [1, np.inf, np.nan, np.nan]
        share = painter.painted([x, *(x[i] for i in index)], [w[:, None] for w in lam])
        np.testing.assert_array_equal(mix.inputs(x), share.astype(dtype))
        np.testing.assert_array_equal(share[:, 0][:2], want[:2])
        np.testing.assert_array_equal(mix.targets(x), mix.inputs(x))
        assert not np.isfinite(np.asarray(mix.inputs(x))).all()


# Choices, and one draw for all examples.


@pytest.mark.parametrize(
    "names",
    [
        ("blends", "mixup", "parts"),
        pytest.param(("near", "mixup"), marks=pytest.mark.slow),
        pytest.param(("cutmix", "blends", "erm"), marks=pytest.mark.slow),
        pytest.param(("pastes", "parts"), marks=pytest.mark.slow),
    ],
)
def test_an_example_is_mixed_as_its_own_mixer_would(names):
    known = {**MIXERS, "mixup": mx.mixup, "cutmix": mx.cutmix, "erm": mx.erm}
    index = np.arange(SIZE) % len(names)
    by = mx.ratios.constant((index.astype(np.float32) + 0.5) / len(names))
    mixers = [known[name] for name in names]
    choice = mx.choose(mixers, [1 / len(names)] * len(names), by=by)
    mixed, mix = run(choice, KEY, BATCH)
    key = jax.random.split(KEY)[1]
    each = [alone(n) if n in MIXERS else run(known[n], key, BATCH) for n in names]

    def rows(*leaves):
        return np.stack([np.asarray(leaves[k])[i] for i, k in enumerate(index)])

    oracle.assert_close(mixed, jax.tree.map(rows, *(one for one, _ in each)))
    assert len(mix.sources) == 3

    def dense(mix):
        return sum(
            np.asarray(share)[:, None] * np.eye(SIZE)[np.asarray(place)]
            for share, place in mix.terms(np.arange(SIZE))
        )

    want = rows(*(dense(one) for _, one in each))
    np.testing.assert_allclose(dense(mix), want, atol=1e-6)
    # Examples with a single source have a share of 0 for all others.
    for k, name in enumerate(names):
        if name not in MIXERS:
            for source in mix.sources[1:]:
                np.testing.assert_array_equal(source.lam[index == k], 1)


@pytest.mark.parametrize("name", some(["parts", "near"], "near"))
def test_one_draw_for_the_batch(name):
    once = mx.once_per_batch(MIXERS[name])
    mixed, mix = run(once, jax.random.split(KEY)[1], BATCH)
    assert_equation(BATCH, mixed, mix)
    for one, each in zip(mix.sources, alone(name)[1].sources, strict=True):
        partner = np.asarray(each.partner)
        np.testing.assert_array_equal(one.partner, partner)
        has = partner != np.arange(SIZE)
        first = int(np.argmax(partner_of_first(alone(name)[1])))
        for got, of in zip(
            jax.tree.leaves((one.lam, one.region)),
            jax.tree.leaves((each.lam, each.region)),
            strict=True,
        ):
            for i in range(SIZE):
                np.testing.assert_array_equal(got[i], of[first if has[i] else i])


def partner_of_first(mix: mx.Mix) -> np.ndarray:
    return np.asarray(mix.partner) != np.arange(SIZE)


# Devices.


def divided(tree: Any) -> Any:
    return jax.tree.map(
        lambda x: jnp.reshape(x, (DEVICES, -1, *jnp.shape(x)[1:])), tree
    )


def on_shares(mixer: mx.Mixer, key: Any, batch: Any) -> Any:
    mapped = jax.vmap(mixer, in_axes=(None, 0), axis_name="data")
    got = jax.jit(mapped)(key, divided(batch))
    return jax.tree.map(lambda x: np.reshape(x, (-1, *x.shape[2:])), got)


@pytest.mark.parametrize("name", some(MIXERS, "parts"))
def test_the_whole_batch(name):
    got = on_shares(
        mx.whole_batch(MIXERS[name], "data"), jax.random.split(KEY)[1], BATCH
    )
    assert_same(got, alone(name))


@pytest.mark.parametrize("name", some(MIXERS, "parts"))
def test_each_device_by_itself(name):
    mixed, mix = on_shares(mx.per_device(MIXERS[name], "data"), KEY, BATCH)
    assert_equation(BATCH, mixed, mix)
    share, places = SIZE // DEVICES, np.arange(SIZE)
    for source in mix.sources:
        assert (source.partner // share == places // share).all()


def mesh(kind: str = "auto", count: int = DEVICES) -> jax.sharding.Mesh:
    devices = jax.devices()[:count]
    return jax.make_mesh((count,), ("data",), (KINDS[kind],), devices=devices)


@pytest.mark.parametrize("kind", some(KINDS, "explicit"))
@pytest.mark.parametrize("name", some(MIXERS, "parts"))
def test_on_a_mesh_as_on_one_device(name, kind):
    devices = mesh(kind)
    spec = jax.NamedSharding(devices, jax.P("data"))
    with jax.set_mesh(devices):
        got = run(MIXERS[name], jax.random.split(KEY)[1], jax.device_put(BATCH, spec))
    assert_same(got, alone(name))
    for leaf in jax.tree.leaves(got[0]):
        assert leaf.sharding.is_equivalent_to(spec, leaf.ndim)


@pytest.mark.parametrize(
    ("name", "gathers"),
    [
        ("near", False),
        pytest.param("neighbours", False, marks=pytest.mark.slow),
        pytest.param("pastes", False, marks=pytest.mark.slow),
        ("blends", True),
    ],
)
def test_pairs_within_a_share_gather_no_images(name, gathers):
    mapped = jax.jit(
        jax.shard_map(
            mx.whole_batch(MIXERS[name], "data"),
            mesh=mesh(),
            in_specs=(jax.P(), jax.P("data")),
            out_specs=jax.P("data"),
        )
    )
    spread = jax.device_put(BATCH, jax.NamedSharding(mesh(), jax.P("data")))
    key = jax.random.split(KEY)[1]
    program = mapped.lower(key, spread).compile()
    assert ("all-gather" in (program.as_text() or "")) == gathers
    assert_same(mapped(key, spread), alone(name))


def loss(params, batch, mix):
    x, y = batch
    logits = x["x"].reshape(len(y), -1) @ params
    return optax.softmax_cross_entropy(logits, y).mean(), {"lam": mix.lam.mean()}


@functools.cache
def trained(name: str, driver: str) -> Any:
    step = mx.training.train_step(loss, MIXERS[name])
    drivers = {
        "jit": jax.jit,
        "auto": lambda step: mx.training.sharded(step, mesh("auto", 4)),
        "explicit": lambda step: mx.training.sharded(step, mesh("explicit", 4)),
        "pmap": partial(mx.training.pmapped, mixing=mx.whole_batch),
    }
    params = jnp.zeros((X[0].size, 3))
    state, found = mx.training.TrainState.create(params, optax.sgd(0.5)), []
    step = drivers[driver](step)
    for _ in range(3):
        state, metrics = step(state, KEY, BATCH)
        found.append(jax.tree.map(float, (metrics["loss"], metrics["lam"])))
    return found


@pytest.mark.parametrize("driver", some(["auto", "explicit", "pmap"], "explicit"))
@pytest.mark.parametrize(
    "name", ["parts", pytest.param("near", marks=pytest.mark.slow)]
)
def test_every_driver_trains_as_one_device(name, driver):
    want = trained(name, "jit")
    np.testing.assert_allclose(trained(name, driver), want, rtol=1e-5)
    assert len({value for value, _ in want}) == 3


# Hidden layers.


def layered(layer: int) -> mx.Mixer:
    regions = [partial(mx.regions.layer, layers=(layer,))] * 3
    return three("layered", ROLLS, regions)


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        hidden = nn.Dense(4)(x)
        return nn.Dense(3)(jnp.tanh(hidden))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(5, 4, rngs=rngs)
        self.last = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(jnp.tanh(self.first(x)))


def chained(mix: mx.Mix, x: Any) -> np.ndarray:
    own = np.asarray(x)
    fronts = [own, *(own[np.asarray(source.partner)] for source in mix.sources)]
    lams = [painter.column(source.lam, own.ndim) for source in mix.sources]
    return painter.painted(fronts, lams).astype(np.float32)


@pytest.mark.parametrize("layer", some([0, 1], 1))
def test_hidden_layers(layer):
    flat = X[:, :, 0, 0][:, :5]
    (x, _), mix = layered(layer)(KEY, (flat, SOFT))
    wanted = chained(mix, flat) if layer == 0 else flat
    np.testing.assert_allclose(x, wanted, rtol=1e-5, atol=1e-6)
    hidden = np.asarray(RNG.normal(size=(SIZE, 4)), np.float32)
    np.testing.assert_array_equal(mix.at(2).inputs(hidden), hidden)
    at_one = chained(mix, hidden) if layer == 1 else hidden
    np.testing.assert_allclose(mix.at(1).inputs(hidden), at_one, rtol=1e-5, atol=1e-6)

    linen: Any = Linen()
    twin: Any = Nnx(nnx.Rngs(0))
    variables = linen.init(KEY, x)
    with mx.hidden.linen(mix, after=["Dense_0"]):
        through_linen: Any = linen.apply(variables, x)
    with mx.hidden.nnx(twin, mix, after=["first"]):
        through_nnx = twin(x)
    first, last = (variables["params"][f"Dense_{k}"] for k in (0, 1))
    for got, (w, b), (v, c) in (
        (
            through_linen,
            (first["kernel"], first["bias"]),
            (last["kernel"], last["bias"]),
        ),
        (
            through_nnx,
            (twin.first.kernel[...], twin.first.bias[...]),
            (twin.last.kernel[...], twin.last.bias[...]),
        ),
    ):
        out = np.asarray(x) @ np.asarray(w) + np.asarray(b)
        out = chained(mix, out) if layer == 1 else out
        want = np.tanh(out) @ np.asarray(v) + np.asarray(c)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_hidden_labels_are_those_of_the_chain():
    _, mix = layered(1)(KEY, (X, SOFT))
    (_, y), other = MIXERS["blends"](KEY, (X, SOFT))
    np.testing.assert_array_equal(mix.lam, other.lam)
    np.testing.assert_array_equal(mix.targets(SOFT), y)
    replaced = dataclasses.replace(mix, lam=jnp.zeros(SIZE))
    np.testing.assert_array_equal(replaced.at(1).inputs(X), mix.at(1).inputs(X))
