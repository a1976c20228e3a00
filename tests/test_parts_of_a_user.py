"""User-defined parts work everywhere, and are written only with public names."""

import ast
import dataclasses
import functools
import inspect
import pickle
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

import mixup_jax as mx
from tests import painter

SIZE, HEIGHT, WIDTH, CLASSES, DEVICES = 8, 6, 4, 3, 2
KEY = jax.random.key(3)
KINDS = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}


def test_this_file_uses_public_names_alone():
    tree = ast.parse(inspect.getsource(sys.modules[__name__]))
    imported = [
        (node.module or "", each.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for each in node.names
    ]
    imported += [
        (each.name, "")
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for each in node.names
    ]
    ours = [names for names in imported if names[0].split(".")[0] == "mixup_jax"]
    assert ours == [("mixup_jax", "")]
    private = [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
    ]
    assert not private


# Regions.


def rows_first(x: Any) -> tuple[int, ...]:
    """Return a shape that broadcasts one value per example with ``x``."""
    return (-1, *[1] * (x.ndim - 1))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Mirrored(mx.Region):
    """The partner below a row, mirrored left to right."""

    rows: jax.Array
    grid: mx.regions.Grid = dataclasses.field(  # type: ignore[misc]
        metadata={"static": True}
    )
    pastes = True
    windows = True

    def weights(self, lam, x):
        place = jnp.arange(x.shape[1]).reshape(1, -1, *[1] * (x.ndim - 2))
        rows, lam = (each.reshape(rows_first(x)) for each in (self.rows, lam))
        return (place < rows) | (lam == 1)

    def view(self, rows):
        return rows[:, :, ::-1]


def below(key, lam, inputs, partners):
    del partners
    grid = mx.regions.grid(inputs)
    rows = jax.random.randint(key, lam.shape, 1, HEIGHT)
    return Mirrored(rows, grid), rows.astype(jnp.float32) / HEIGHT


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Louder(mx.Region):
    """Sounds of two classes at the loudness of one (between-class learning)."""

    gains = True

    def weights(self, lam, x):
        return lam.reshape(rows_first(x))

    def gain(self, w):
        return 1 / jnp.sqrt(w**2 + (1 - w) ** 2)


def as_loud(key, lam, inputs, partners):
    del key, inputs, partners
    return Louder(), lam


def over_masks(key, lam, inputs, partners):
    """Paste the content in the partner's own mask."""
    del key, lam
    mask = partners.bring(inputs["mask"])
    region = mx.regions.Field(~mask, mx.regions.grid(inputs), of_example=True)
    return region, jnp.mean(~mask, axis=(1, 2), dtype=jnp.float32)


def fading(key, lam, inputs, partners):
    """Fade between the two from left to right, or from right to left."""
    del partners
    grid = mx.regions.grid(inputs)
    ramp = jnp.linspace(0, 1, WIDTH, dtype=jnp.float32)[None, None] ** 2
    back = jax.random.bernoulli(key, 0.5, lam.shape)[:, None, None]
    field = jnp.where(back, 1 - ramp, ramp) * jnp.ones((1, HEIGHT, 1))
    return mx.regions.Field(field, grid), jnp.mean(field, axis=(1, 2))


# Moves.


@dataclasses.dataclass(frozen=True)
class Picked(mx.Move):
    """Rows picked by index: only ``map``, as its docstring describes."""

    def map(self, function, x, partner, w):
        sharding = jax.typeof(x).sharding
        there = sharding if sharding.mesh.explicit_axes else None
        return function(w, x, x.at[partner].get(out_sharding=there))


@dataclasses.dataclass(frozen=True)
class Turned(mx.Move):
    """The next example in each block, with known places."""

    block: int

    def places(self):
        return [(k + 1) % self.block for k in range(self.block)]

    def map(self, function, x, partner, w):
        blocks = x.reshape(-1, self.block, *x.shape[1:])
        return function(w, x, jnp.roll(blocks, -1, axis=1).reshape(x.shape))


def turned_index(size: int, block: int) -> np.ndarray:
    places = np.arange(size)
    return places - places % block + (places + 1) % block


def picked(key, batch):
    """Pair with a random other example."""
    size = len(jax.tree.leaves(batch)[0])
    away = jax.random.randint(key, (size,), 1, size)
    return mx.Partners((jnp.arange(size) + away) % size, Picked())


def turned(key, batch, *, block=2):
    del key
    size = len(jax.tree.leaves(batch)[0])
    return mx.Partners(jnp.asarray(turned_index(size, block)), Turned(block))


def two_of_a_ring(key, batch):
    """Return two partners: the next two examples in one random ring."""
    size = len(jax.tree.leaves(batch)[0])
    ring = jax.random.permutation(key, size)
    follows = [jnp.zeros_like(ring).at[ring].set(jnp.roll(ring, -n)) for n in (1, 2)]
    return tuple(mx.pairings.given(index)(key, batch) for index in follows)


# Mixers.


def mixing(name, *, pairing=mx.pairings.neighbour, region=mx.regions.everywhere):
    """Return the mixer of these parts, named after its variable so that it pickles."""

    def draw(key, batch):
        ratio = mx.ratios.uniform()
        return mx.compose(key, batch, ratio=ratio, pairing=pairing, region=region)

    draw.__name__ = draw.__qualname__ = name
    return mx.mixer(draw)


mirrored = mixing("mirrored", region=below, pairing=mx.pairings.roll)
between = mixing("between", region=as_loud)
masked = mixing("masked", region=over_masks, pairing=picked)
faded = mixing("faded", region=fading, pairing=turned)
gathered = mixing("gathered", pairing=picked)
by_fours = mixing("by_fours", pairing=partial(turned, block=4))


@mx.mixer
def of_ring(key, batch):
    """Blend with the next in a ring, and paste the one after, mirrored, behind it."""
    key_pairing, *keys = jax.random.split(key, 3)
    drawn = two_of_a_ring(key_pairing, batch)
    first, second = (
        mx.draw_source(
            each,
            batch,
            ratio=mx.ratios.uniform(),
            pairing=lambda key, batch, partners=partners: partners,
            region=region,
        )
        for each, partners, region in zip(keys, drawn, (mx.regions.everywhere, below))
    )
    return mx.Mix(first.lam, (first, second))


def fainter(key, batch):
    """Mix, and change the inputs in a way that the mix does not describe."""
    (x, y), mix = mirrored(key, batch)
    return (jax.tree.map(lambda leaf: leaf * leaf, x), y), mix


PASTE = {"mirrored": mirrored, "masked": masked}
BLEND = {
    "between": between,
    "faded": faded,
    "gathered": gathered,
    "by fours": by_fours,
    "of ring": of_ring,
}
HALVES = PASTE | BLEND
MIXERS = {**HALVES, "fainter": fainter}


def drawn_batch(whole: bool) -> Any:
    """Return a batch with leaves of every dtype, or only of those that blend."""
    rng = np.random.default_rng(0)
    plane = (SIZE, HEIGHT, WIDTH)
    wave = rng.normal(size=plane) + 1j * rng.normal(size=plane)
    inputs: dict[str, Any] = {
        "x": rng.normal(size=(*plane, 2)).astype(np.float32),
        "half": jnp.asarray(rng.normal(size=plane), jnp.bfloat16),
        "f16": rng.normal(size=(*plane, 1)).astype(np.float16),
        "wave": wave.astype(np.complex64),
    }
    if whole:
        inputs["id"] = rng.integers(-9, 2**30, (*plane, 1)).astype(np.int32)
        inputs["byte"] = rng.integers(0, 256, plane).astype(np.uint8)
        inputs["mask"] = rng.integers(0, 2, plane).astype(bool)
    labels = rng.integers(0, CLASSES, SIZE)
    return inputs, np.eye(CLASSES, dtype=np.float32)[labels]


ANY, FLOATS = drawn_batch(True), drawn_batch(False)


def batch_for(name: str) -> Any:
    return ANY if name in PASTE else FLOATS


# Expected values, computed by loops.


@dataclasses.dataclass(frozen=True)
class Seen:
    """What one source shows: its weight at ``[i, row, column]``, and any mirroring."""

    weight: Callable[[mx.Source, int, int, int], float]
    mirror: bool = False


def of_lam(source, i, row, column):
    return float(source.lam[i])


def of_rows(source, i, row, column):
    return float(row < source.region.rows[i])


def of_field(source, i, row, column):
    return float(source.region.own[i, row, column])


SEEN = {
    "mirrored": (Seen(of_rows, mirror=True),),
    "fainter": (Seen(of_rows, mirror=True),),
    "masked": (Seen(of_field),),
    "faded": (Seen(of_field),),
    "between": (Seen(of_lam),),
    "gathered": (Seen(of_lam),),
    "by fours": (Seen(of_lam),),
    "of ring": (Seen(of_lam), Seen(of_rows, mirror=True)),
}


def fields(name: str, mix: mx.Mix) -> list[np.ndarray]:
    """Return the weight of the content in front of each source, ``[B, H, W]``."""
    found = []
    for seen, source in zip(SEEN[name], mix.sources, strict=True):
        w = np.zeros((SIZE, HEIGHT, WIDTH))
        for i, row, column in np.ndindex(*w.shape):
            w[i, row, column] = seen.weight(source, i, row, column)
        found.append(w)
    return found


def fronts(name: str, mix: mx.Mix, x: Any) -> list[np.ndarray]:
    """Return the example's own content, then the visible content of each source."""
    own = np.asarray(x)
    found = [own]
    for seen, source in zip(SEEN[name], mix.sources):
        rows = np.stack([own[int(j)] for j in source.partner])
        found.append(rows[:, :, ::-1] if seen.mirror else rows)
    return found


def along(w: np.ndarray, x: Any) -> np.ndarray:
    """Return ``[B, H, W]``, broadcast to a leaf that may have channels."""
    return w[..., None] if np.ndim(x) == 4 else w


def loudness(name: str, w: np.ndarray) -> Any:
    return 1 / np.sqrt(w**2 + (1 - w) ** 2) if name == "between" else 1.0


def label_weights(mix: mx.Mix) -> list[np.ndarray]:
    lams = [mix.lam, *(source.lam for source in mix.sources[1:])]
    return [np.asarray(lam, np.float64) for lam in lams]


def assert_equation(name: str, batch: Any, mixed: Any, mix: mx.Mix) -> None:
    """Assert that a mixer with halves computes what its parts specify."""
    (inputs, targets), (x, y) = batch, mixed
    weights = fields(name, mix)
    for leaf in inputs:
        own = inputs[leaf]
        ws = [along(w, own) for w in weights]
        painter.assert_painted(
            x[leaf], fronts(name, mix, own), ws, loudness(name, ws[0])
        )
    rows = [np.asarray(targets)[np.asarray(s.partner)] for s in mix.sources]
    lams = [painter.column(w, 2) for w in label_weights(mix)]
    painter.assert_painted(y, [targets, *rows], lams)


LABELS = np.arange(SIZE, dtype=np.int32) % CLASSES
MAPS = np.random.default_rng(1).integers(0, 9, (SIZE, HEIGHT, WIDTH)).astype(np.int32)
EVENTS = np.random.default_rng(2).integers(0, 3, (SIZE, HEIGHT, WIDTH)) == 0
CELLS = (4, 2)  # six rows are not a multiple of four


def derived(mix: mx.Mix, labels: Any, maps: Any, events: Any) -> Any:
    """Return derived results of a mix for labels, label maps, events and patches."""
    return (
        mix.terms(labels),
        mix.terms(maps, like=maps),
        mix.union(events),
        mix.coverage(CELLS, like=maps),
    )


def everything(mixer: mx.Mixer) -> Callable[..., Any]:
    def run(key, batch, labels, maps, events):
        mixed, mix = mixer(key, batch)
        return mixed, mix, derived(mix, labels, maps, events)

    return run


@functools.cache
def alone(name: str) -> Any:
    """Return a mixer's results on its batch, and everything derived from its mix.

    Uses the key that a choice would pass to it.
    """
    return run(MIXERS[name], handed_on(KEY), batch_for(name))


def run(mixer: mx.Mixer, key: Any, batch: Any) -> Any:
    return jax.jit(everything(mixer))(key, batch, LABELS, MAPS, EVENTS)


def handed_on(key: Any) -> Any:
    """Return the key that a choice passes to all of its mixers."""
    return jax.random.split(key)[1]


@pytest.mark.parametrize("name", HALVES)
def test_the_equation(name):
    mixed, mix, _ = alone(name)
    assert_equation(name, batch_for(name), mixed, mix)
    # The label share equals the share of positions.
    np.testing.assert_allclose(
        mix.lam, fields(name, mix)[0].mean(axis=(1, 2)), rtol=1e-6
    )
    assert 0 < np.min(mix.lam) < np.max(mix.lam) < 1
    assert (np.asarray(mix.partner) != np.arange(SIZE)).all()


@pytest.mark.parametrize("name", HALVES)
def test_terms_union_and_coverage(name):
    _, mix, (terms, mapped, union, coverage) = alone(name)
    for (share, label), want, source in zip(
        terms, painter.shares(label_weights(mix)), (None, *mix.sources), strict=True
    ):
        np.testing.assert_allclose(share, want, rtol=1e-6, atol=1e-7)
        index = np.arange(SIZE) if source is None else np.asarray(source.partner)
        np.testing.assert_array_equal(label, LABELS[index])
    weights = fields(name, mix)
    events = np.zeros(EVENTS.shape, bool)
    for (share, ids), want, front, event in zip(
        mapped,
        painter.shares(weights),
        fronts(name, mix, MAPS),
        fronts(name, mix, EVENTS),
        strict=True,
    ):
        share = np.broadcast_to(share, want.shape)
        np.testing.assert_allclose(share, want, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(ids, front)
        events |= (want > 0) & event
    np.testing.assert_array_equal(union, events)
    assert (events != EVENTS).any()
    np.testing.assert_allclose(coverage, in_cells(weights[0]), rtol=1e-6, atol=1e-6)


def in_cells(w: np.ndarray) -> np.ndarray:
    """Return the mean of a field over each cell, computed on a finer grid."""
    finer = np.repeat(np.repeat(w, CELLS[0], axis=1), CELLS[1], axis=2)
    rows, columns = CELLS
    return finer.reshape(SIZE, rows, HEIGHT, columns, WIDTH).mean(axis=(2, 4))


# Choices, with given mixers for each example.


def by_index(index: Any, count: int) -> mx.Ratio:
    """Return the ratio with which each example gets the mixer of its index."""
    return mx.ratios.constant((np.asarray(index, np.float32) + 0.5) / count)


def close(got: Any, want: Any, relative: float = 1e-6) -> None:
    """Assert that trees agree up to the last bits, which depend on the compiler."""
    got, want = (jax.tree.map(np.asarray, tree) for tree in (got, want))
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
        assert g.dtype == w.dtype
        assert g.shape == w.shape
        if jnp.issubdtype(g.dtype, jnp.inexact):
            rtol = max(relative, float(jnp.finfo(g.dtype).eps))
            g, w = painter.double(g), painter.double(w)
            scale = np.abs(w).max(initial=0)
            np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol * scale)
        else:
            np.testing.assert_array_equal(g, w)


def picked_rows(index: np.ndarray, results: Any) -> Any:
    """Return a tree with each example's row from the result that ``index`` selects."""
    return jax.tree.map(
        lambda *leaves: np.stack(
            [np.asarray(leaves[k])[i] for i, k in enumerate(index)]
        ),
        *results,
    )


def mixed_one_hot(terms: Any) -> np.ndarray:
    """Return the mixture of one-hot labels that the terms describe."""
    hot = np.eye(9)
    each = [np.asarray(share)[..., None] * hot[np.asarray(ids)] for share, ids in terms]
    return np.sum(each, axis=0)


def assert_chosen(choice: Any, index: np.ndarray, each: Any) -> None:
    """Assert that each row equals that of the result in ``each`` selected by index."""
    (mixed, mix, said) = choice
    close(mixed, picked_rows(index, [one[0] for one in each]))
    lam = picked_rows(index, [one[1].lam for one in each])
    np.testing.assert_array_equal(mix.lam, lam)
    # Everything derived for an example equals what is derived from its mixer's mix.
    for got, *wants in zip(said[2:], *(one[2][2:] for one in each)):
        close(got, picked_rows(index, wants))
    for terms, *wants in zip(said[:2], *(one[2][:2] for one in each)):
        dense = picked_rows(index, list(map(mixed_one_hot, wants)))
        close(mixed_one_hot(terms), dense)


MIXERS |= {"erm": mx.erm, "mixup": mx.mixup, "cutmix": mx.cutmix}
PASTE["cutmix"] = mx.cutmix
slow = pytest.mark.slow


def some(names: Any, *often: str) -> list[Any]:
    """Return the parameters of a test, with all but a few marked slow."""
    return [n if n in often else pytest.param(n, marks=slow) for n in names]


CHOICES = [
    ("erm", *BLEND),
    pytest.param(("gathered", "by fours"), marks=slow),
    tuple(PASTE),
    *(pytest.param((name, "mixup"), marks=slow) for name in BLEND),
    *(pytest.param(("erm", name), marks=slow) for name in BLEND),
    pytest.param(("fainter", *BLEND), marks=slow),
    pytest.param(("fainter", "of ring"), marks=slow),
]


@pytest.mark.parametrize("names", CHOICES)
def test_an_example_is_mixed_as_its_own_mixer_would(names):
    index = np.random.default_rng(0).permutation(np.arange(SIZE) % len(names))
    mixers, by = [MIXERS[name] for name in names], by_index(index, len(names))
    choice = mx.choose(mixers, [1 / len(names)] * len(names), by=by)
    batch = batch_for(names[0])
    assert_chosen(run(choice, KEY, batch), index, [alone(name) for name in names])


@pytest.mark.parametrize("name", some(MIXERS, "masked"))
def test_examples_that_are_left_out_are_not_mixed(name):
    index = np.arange(SIZE) % 3 // 2
    some = mx.with_probability(0.5, MIXERS[name], by=by_index(index, 2))
    (x, y), mix, said = run(some, KEY, batch_for(name))
    unmixed = run(mx.erm, KEY, batch_for(name))
    assert_chosen(((x, y), mix, said), index, [alone(name), unmixed])
    for got, given in zip(jax.tree.leaves((x, y)), jax.tree.leaves(batch_for(name))):
        np.testing.assert_array_equal(
            np.asarray(got)[index == 1], np.asarray(given)[index == 1]
        )


# Devices.


def on_shares(mixer: mx.Mixer, key: Any, batch: Any) -> Any:
    """Return the results of all devices as one array, with the batch sharded."""

    def divided(x):
        return jnp.reshape(x, (DEVICES, -1, *jnp.shape(x)[1:]))

    given = jax.tree.map(divided, (batch, LABELS, MAPS, EVENTS))
    mapped = jax.vmap(everything(mixer), in_axes=(None, 0, 0, 0, 0), axis_name="data")
    return jax.tree.map(
        lambda x: np.reshape(x, (-1, *x.shape[2:])), jax.jit(mapped)(key, *given)
    )


def assert_same(got: Any, want: Any) -> None:
    """Assert the same batch, and the same mixes regardless of how rows are moved."""
    close((got[0], got[2]), (want[0], want[2]))
    np.testing.assert_array_equal(got[1].lam, want[1].lam)
    for one, other in zip(got[1].sources, want[1].sources, strict=True):
        np.testing.assert_array_equal(one.partner, other.partner)


@pytest.mark.parametrize("name", some(MIXERS, "masked", "fainter"))
def test_the_whole_batch(name):
    got = on_shares(
        mx.whole_batch(MIXERS[name], "data"), handed_on(KEY), batch_for(name)
    )
    assert_same(got, alone(name))


@pytest.mark.parametrize(
    "name",
    [
        "faded",
        "masked",
        pytest.param("gathered", marks=slow),
        *(pytest.param(n, marks=slow) for n in ("mirrored", "between", "by fours")),
        pytest.param("of ring", marks=slow),
    ],
)
def test_each_device_by_itself(name):
    batch = batch_for(name)
    mixed, mix, _ = on_shares(mx.per_device(MIXERS[name], "data"), KEY, batch)
    assert_equation(name, batch, mixed, mix)
    share = SIZE // DEVICES
    for source in mix.sources:
        places = np.arange(SIZE)
        assert (source.partner // share == places // share).all()
        assert (source.partner != places).any()


@dataclasses.dataclass(frozen=True)
class Paired(mx.Move):
    """Neighbors with known places, whose rows are picked by index."""

    def places(self):
        return [1, 0]

    def map(self, function, x, partner, w):
        return function(w, x, x[partner])


@pytest.mark.parametrize("place", [mx.per_device, mx.whole_batch])
def test_a_move_with_places_may_read_partners(place):
    def pairing(key, batch):
        size = len(batch[0])
        return mx.Partners(jnp.asarray(turned_index(size, 2)), Paired())

    mixer = mixing("paired", pairing=pairing)
    mapped = jax.vmap(place(mixer, "data"), in_axes=(None, 0), axis_name="data")
    x = np.arange(1, 9, dtype=np.float32)
    (mixed, _), mix = mapped(KEY, (x.reshape(2, 4), None))
    got, lam = np.reshape(mixed, -1), np.reshape(mix.lam, -1)
    painter.assert_painted(got, [x, x[turned_index(8, 2)]], [lam])


def on_mesh(mixer: mx.Mixer, key: Any, batch: Any, kind: str) -> Any:
    """Return the results of a mixer for a sharded batch, with the same sharding."""
    mesh = jax.make_mesh(
        (DEVICES,), ("data",), (KINDS[kind],), devices=jax.devices()[:DEVICES]
    )
    spec = jax.NamedSharding(mesh, jax.P("data"))
    spread = jax.device_put((batch, LABELS, MAPS, EVENTS), spec)
    with jax.set_mesh(mesh):
        got = jax.jit(everything(mixer))(key, *spread)
    mixed, _, (*_, union, coverage) = got
    for leaf in jax.tree.leaves((mixed, union)):
        assert leaf.sharding.is_equivalent_to(spec, leaf.ndim)
    return got, coverage.sharding.is_equivalent_to(spec, coverage.ndim)


@pytest.mark.parametrize("kind", some(KINDS, "explicit"))
@pytest.mark.parametrize("name", some(MIXERS, "masked", "of ring"))
def test_on_a_mesh_as_on_one_device(name, kind):
    got, _ = on_mesh(MIXERS[name], handed_on(KEY), batch_for(name), kind)
    assert_same(got, alone(name))


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("auto", marks=slow),
        "explicit",
    ],
)
def test_a_choice_on_a_mesh(kind):
    names = ["erm", *BLEND, "mirrored"]
    index = np.random.default_rng(0).permutation(np.arange(SIZE) % len(names))
    mixers, by = [MIXERS[name] for name in names], by_index(index, len(names))
    choice = mx.choose(mixers, [1 / len(names)] * len(names), by=by)
    got, _ = on_mesh(choice, KEY, FLOATS, kind)
    assert_same(got, run(choice, KEY, FLOATS))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("faded", marks=slow),
        "mirrored",
        pytest.param("between", marks=slow),
    ],
)
def test_coverage_is_laid_out_as_asked(name):
    _, laid_out = on_mesh(MIXERS[name], KEY, batch_for(name), "explicit")
    assert laid_out


# Other uses of a mixer.


def test_mixers_are_pickled():
    for mixer in (
        *MIXERS.values(),
        partial(fainter),
        mx.choose([*MIXERS.values()], [1 / len(MIXERS)] * len(MIXERS)),
        mx.whole_batch(mx.with_probability(0.5, of_ring), "data"),
        mx.on_keys(mx.once_per_batch(between), inputs="x", targets="y"),
        mx.per_device(partial(masked), "data"),
    ):
        again = pickle.loads(pickle.dumps(mixer))
        assert again == mixer or isinstance(mixer, partial)
        assert repr(again) == repr(mixer)
    mix = alone("of ring")[1]
    again = pickle.loads(pickle.dumps(mix))
    assert jax.tree.structure(again) == jax.tree.structure(mix)
    close(again.inputs(FLOATS[0]), mix.inputs(FLOATS[0]))


@pytest.mark.parametrize("name", some(("mirrored", *BLEND), "of ring"))
def test_one_draw_for_the_batch(name):
    mixed, mix, _ = run(
        mx.once_per_batch(MIXERS[name]), handed_on(KEY), batch_for(name)
    )
    assert_equation(name, batch_for(name), mixed, mix)
    drawn = alone(name)[1]
    assert np.ptp(drawn.lam) > 0
    for one, each in zip(mix.sources, drawn.sources, strict=True):
        np.testing.assert_array_equal(one.partner, each.partner)
        for got, of in zip(
            jax.tree.leaves((one.lam, one.region)),
            jax.tree.leaves((each.lam, each.region)),
            strict=True,
        ):
            for i in range(SIZE):
                np.testing.assert_array_equal(got[i], of[0])
    for i in range(SIZE):
        assert mix.lam[i] == drawn.lam[0]


def test_a_region_of_one_example_is_not_that_of_all():
    with pytest.raises(TypeError, match=r"can share; got Field.*Draw it for each"):
        mx.once_per_batch(masked)(KEY, ANY)
    with pytest.raises(TypeError, match="is a single function"):
        mx.once_per_batch(fainter)


# Refusals.


def blended_by(weights: Any, *, pastes: bool = False) -> mx.Mixer:
    """Return a mixer whose region has these weights."""

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True, eq=False)
    class Odd(mx.Region):
        def weights(self, lam, x):
            return weights(lam, x)

    Odd.pastes = pastes
    return mixing("odd", region=lambda key, lam, inputs, partners: (Odd(), lam))


def gaining(gain: Any) -> mx.Mixer:
    """Return a mixer whose region has this gain."""

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True, eq=False)
    class Odd(mx.Region):
        gains = True

        def weights(self, lam, x):
            return lam.reshape(rows_first(x))

        def gain(self, w):
            return gain(w)

    return mixing("odd", region=lambda key, lam, inputs, partners: (Odd(), lam))


def test_a_gain_is_1_where_nothing_is_mixed():
    (mixed, _), mix = gaining(lambda w: 2 * jnp.ones_like(w))(KEY, FLOATS)
    sources = (dataclasses.replace(mix.sources[0], lam=jnp.ones(SIZE)),)
    whole = dataclasses.replace(mix, sources=sources).inputs(FLOATS[0])
    for got, given in zip(jax.tree.leaves(whole), jax.tree.leaves(FLOATS[0])):
        np.testing.assert_array_equal(got, given)
    assert not np.array_equal(jax.tree.leaves(mixed)[0], jax.tree.leaves(FLOATS[0])[0])


class Unregistered(mx.Region):
    """A region that is not a pytree."""

    def weights(self, lam, x):
        return lam.reshape(rows_first(x))


def of_three(key, lam, inputs):
    return below(key, lam, inputs, None)


REFUSED = {
    "three arguments": (
        mixing("odd", region=of_three),
        TypeError,
        r"region: expected a function \(key, lam, inputs, partners\); got .*of_three"
        ".*A draw takes the partners even if it does not use them",
    ),
    "no region": (
        mixing("odd", region=lambda key, lam, inputs, partners: (lam, lam)),
        TypeError,
        r"region: expected \(region, lam\) with an instance of mixup_jax.Region; got",
    ),
    "a class": (
        mixing("odd", region=lambda key, lam, inputs, partners: (Louder, lam)),
        TypeError,
        r"region: expected \(region, lam\)",
    ),
    "a region alone": (
        mixing("odd", region=lambda key, lam, inputs, partners: Louder()),
        TypeError,
        r"region: expected \(region, lam\).*Also return the share lam",
    ),
    "lam of others": (
        mixing("odd", region=lambda key, lam, inputs, partners: (Louder(), lam[1:])),
        ValueError,
        r"region: lam: expected.*Return the share that each example keeps",
    ),
    "bool where it blends": (
        blended_by(lambda lam, x: lam.reshape(rows_first(x)) > 0.5),
        TypeError,
        "expected float32 weights from a region that does not paste; got .*bool",
    ),
    "floats where it pastes": (
        blended_by(lambda lam, x: lam.reshape(rows_first(x)), pastes=True),
        TypeError,
        "expected bool weights from a region that pastes; got .*float32.* from Odd",
    ),
    "half precision": (
        blended_by(lambda lam, x: lam.reshape(rows_first(x)).astype(jnp.bfloat16)),
        TypeError,
        "expected float32 weights .*bfloat16",
    ),
    "too few axes": (
        blended_by(lambda lam, x: lam),
        ValueError,
        "expected weights that broadcast with a leaf of shape .*Give them as many axes",
    ),
    "other positions": (
        blended_by(lambda lam, x: jnp.ones((1, HEIGHT + 1, *[1] * (x.ndim - 2)))),
        ValueError,
        "expected weights that broadcast with a leaf",
    ),
    "a number": (
        blended_by(lambda lam, x: 0.5),
        TypeError,
        "expected float32 weights",
    ),
    "a gain an example": (
        gaining(lambda w: w[:, 0, 0]),
        ValueError,
        "expected a gain that broadcasts with weights of shape",
    ),
    "a gain of ints": (gaining(lambda w: 2), TypeError, "expected a float32 gain"),
    "no pytree": (
        mixing("odd", region=lambda key, lam, inputs, partners: (Unregistered(), lam)),
        TypeError,
        "region: expected a pytree; got .*Register its class",
    ),
    "complex lam": (
        mixing("odd", region=lambda key, lam, inputs, partners: (Louder(), lam > 0)),
        TypeError,
        "region: lam: expected a real number",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_region_is_refused_while_tracing(case):
    mixer, kind, words = REFUSED[case]
    for refused in (mixer, mx.choose([mixer, mx.mixup], [0.5, 0.5])):
        with pytest.raises(kind, match=words):
            jax.eval_shape(refused, KEY, FLOATS)
