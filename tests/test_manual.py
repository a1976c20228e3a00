"""Draws and layouts where all or some axes of a mesh are manual.

``jax.shard_map`` binds the manual axes; the remaining ones are Auto or Explicit.
"""

import itertools
import math
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

import mixup_jax as mx
from tests import oracle
from tests.methods import KINDS, METHODS

KEY = jax.random.key(3)
SIZE = 8
rng = np.random.default_rng(0)
X = rng.normal(size=(SIZE, 4, 4, 4)).astype(np.float32)
Y = np.eye(4, dtype=np.float32)[rng.integers(0, 4, SIZE)]
PERMUTED = partial(mx.mixup, pairing=mx.pairings.permutation)

Names = tuple[str, ...]


class Layout(NamedTuple):
    """A mesh over ("data", "tensor"), and the layout of a batch on it.

    Attributes:
      sizes: sizes of the mesh axes.
      kinds: "auto" or "explicit", for each axis.
      manual: the axes of the ``shard_map``; if empty, there is none.
      rows: the axes that divide the examples.
      channels: the axis that divides the channels of the inputs.
    """

    sizes: tuple[int, int]
    kinds: tuple[str, str]
    manual: Names
    rows: Names
    channels: str | None = None

    def __str__(self) -> str:
        parts = [self.sizes, self.kinds, self.manual, self.rows, (self.channels,)]
        return "-".join(",".join(map(str, part)) for part in parts)

    @property
    def mesh(self) -> jax.sharding.Mesh:
        kinds = tuple(AxisType[kind.capitalize()] for kind in self.kinds)
        devices = jax.devices()[: math.prod(self.sizes)]
        return jax.make_mesh(self.sizes, ("data", "tensor"), kinds, devices=devices)

    @property
    def bound(self) -> Names:
        """The manual axes that divide the examples."""
        return tuple(axis for axis in self.rows if axis in self.manual)

    def specs(self, axes: Any) -> Any:
        """Return the specs of inputs and targets, restricted to these axes."""
        rows = tuple(axis for axis in self.rows if axis in axes)
        channels = self.channels if self.channels in axes else None
        return jax.P(rows, None, None, channels), jax.P(rows)

    def run(self, function: Any) -> Any:
        """Return the result of ``function`` on the key and the batch in this layout."""
        mesh = self.mesh
        with jax.set_mesh(mesh):
            batch = jax.tree.map(
                lambda x, spec: jax.device_put(x, jax.NamedSharding(mesh, spec)),
                (X, Y),
                self.specs(mesh.axis_names),
            )
            if self.manual:
                specs = self.specs(self.manual)
                function = jax.shard_map(
                    function,
                    axis_names={*self.manual},
                    in_specs=(jax.P(), specs),
                    out_specs=specs,
                )
            return jax.jit(function)(KEY, batch)


def doubled(key, batch):
    """Change only values, since jit passes untouched arguments through as they are."""
    del key
    return jax.tree.map(lambda x: x + x, batch)


def handed_on(key, batch):
    del key
    return batch


SIZES = [(2, 2), (4, 1), (1, 2)]
TYPES_OF_AXES = ("auto", "explicit")
TYPES = [(first, second) for first in TYPES_OF_AXES for second in TYPES_OF_AXES]
AXES = [("data",), ("tensor",), ("data", "tensor")]
ON = [(("data",), "tensor"), (("data", "tensor"), None), (("data",), None)]
EVERY = [
    Layout(sizes, kinds, manual, *on)
    for sizes, kinds, manual, on in itertools.product(SIZES, TYPES, [(), *AXES], ON)
]
BOTH = ("explicit", "explicit")
SOME = {  # each with a method that failed there once, or a similar one
    Layout((2, 2), BOTH, ("data",), ("data", "tensor")): "mixup-permutation",
    Layout((2, 2), BOTH, ("data",), ("data",), "tensor"): "choose-two-pairings",
    Layout((2, 2), ("explicit", "auto"), ("data",), ("data",), "tensor"): "cutmix",
    Layout((4, 1), BOTH, ("tensor",), ("data",), "tensor"): "mixup-roll",
}


def test_values_are_those_of_one_device_and_layouts_stay():
    layout, row = next(iter(SOME.items()))
    holds(layout, row)


EACH = [*SOME.items(), *zip(EVERY, itertools.cycle(KINDS))]


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "row"), EACH, ids=str)
def test_of_some_kind_on_every_mesh(layout, row):
    holds(layout, row)


@pytest.mark.slow
@pytest.mark.parametrize("row", METHODS)
def test_of_every_method_where_the_mesh_is_partly_manual(row):
    for layout in SOME:
        holds(layout, row)


def holds(layout, name):
    """Assert the values and the layout of a method's result."""
    mixer, kept = METHODS[name].mixer, layout.run(doubled)
    shares = math.prod(layout.mesh.shape[axis] for axis in layout.bound)
    where = [(1, mixer)]
    if layout.bound:
        on_each = mx.per_device(mixer, layout.bound, key_of=mx.common_key)
        where = [(shares, on_each), (1, mx.whole_batch(mixer, layout.bound))]
    for count, placed in where:
        got = layout.run(lambda key, batch, placed=placed: placed(key, batch)[0])
        want = [
            jax.jit(mixer)(KEY, (x, y))[0]
            for x, y in zip(np.split(X, count), np.split(Y, count))
        ]
        want = jax.tree.map(lambda *parts: np.concatenate(parts), *want)
        oracle.assert_close(got, want)
        for k, mixed in enumerate(got):
            as_kept = mixed.sharding.is_equivalent_to(kept[k].sharding, mixed.ndim)
            # Untouched labels are returned as the identity returns them.
            assert as_kept or mixed.sharding == layout.run(handed_on)[k].sharding


# The axes that divide the examples


def on_axes(mixer, spec, *, targets=Y, out=None, **options):
    """Return the mix that a mixer draws for a batch sharded by ``spec``."""
    kinds = (AxisType.Auto,) * 3
    names, devices = ("data", "fsdp", "one"), jax.devices()[:4]
    mesh = jax.make_mesh((2, 2, 1), names, kinds, devices=devices)
    run = jax.shard_map(
        lambda key, batch: mixer(key, batch)[1],
        mesh=mesh,
        in_specs=(jax.P(), spec),
        out_specs=out or spec,
        **options,
    )
    return jax.jit(run)(KEY, (X, targets))


def drawn(mixer):
    return jax.jit(mixer)(KEY, (X, Y))[1]


BY_BOTH = jax.P(("data", "fsdp"))
PLACES = [mx.per_device, mx.whole_batch]
places = pytest.mark.parametrize("place", PLACES)


@pytest.mark.parametrize("names", [("data", "fsdp"), ("fsdp", "data")], ids=str)
def test_several_axes_divide_the_examples(names):
    mix = on_axes(mx.per_device(mx.mixup, names), jax.P(names))
    assert len(np.unique(mix.lam)) == SIZE
    np.testing.assert_array_equal(mix.partner, np.arange(SIZE) ^ 1)
    mix, one = on_axes(mx.whole_batch(PERMUTED, names), jax.P(names)), drawn(PERMUTED)
    oracle.assert_close((mix.lam, mix.partner), (one.lam, one.partner))


@places
@pytest.mark.parametrize("targets", [Y, None], ids=["targets", "none"])
def test_an_axis_that_is_not_named_is_refused(place, targets):
    for name, spec in (("data", BY_BOTH), ("one", jax.P("data"))):
        with pytest.raises(ValueError, match=r"all axes that the examples .* pass \("):
            on_axes(place(mx.mixup, name), spec, targets=targets)


@places
def test_what_is_refused_says_what_to_write(place):
    with pytest.raises(
        ValueError,
        match=r"got 'fsdp', and every .* over \['data', 'fsdp'\]. "
        r"If these divide the examples of one batch, pass \('data', 'fsdp'\), in",
    ):
        on_axes(place(mx.mixup, "fsdp"), BY_BOTH)


@places
def test_an_axis_of_channels_or_of_one_device_need_not_be_named(place):
    spec = jax.P(("data", "one"), None, None, "fsdp"), jax.P("data")
    mix = on_axes(place(mx.mixup, "data"), spec, out=jax.P(("data", "one")))
    assert len(np.unique(mix.lam)) == SIZE
    np.testing.assert_array_equal(mix.partner, np.arange(SIZE) ^ 1)
    spec = jax.P("one", None, None, "fsdp"), jax.P("one")
    mix = on_axes(place(mx.mixup, "one"), spec, out=jax.P("one"))
    np.testing.assert_array_equal(mix.partner, np.arange(SIZE) ^ 1)


def test_batches_that_lie_along_an_axis_are_told_by_leaving_out_types():
    mesh = jax.make_mesh((2, 4), ("run", "data"), devices=jax.devices())
    spec = jax.P("run", "data")
    batch = jax.tree.map(lambda x: np.stack([x, 0 * x]), oracle.images(SIZE))

    def of_each(key, batch):
        mixer = mx.whole_batch(partial(mx.mixup, pairing=mx.pairings.roll), "data")
        (x, _), _ = mixer(key, jax.tree.map(lambda x: x[0], batch))
        return x[None]

    run = jax.shard_map(
        of_each, mesh=mesh, in_specs=(jax.P(), spec), out_specs=spec, check_vma=False
    )
    spread = jax.device_put(batch, jax.NamedSharding(mesh, spec))
    mixed = np.asarray(jax.jit(run)(KEY, spread))
    (want, _), _ = mx.mixup(KEY, oracle.images(SIZE), pairing=mx.pairings.roll)
    np.testing.assert_allclose(mixed[0], want, rtol=1e-5, atol=1e-6)
    assert not np.any(mixed[1])


@places
def test_an_axis_that_is_not_bound_is_refused(place):
    words = r"expected an axis that is bound here; got 'rows'.*Plain jit binds no axis"
    for run in (
        lambda mixer: on_axes(mixer, BY_BOTH),
        lambda mixer: on_axes(mixer, BY_BOTH, check_vma=False),
        lambda mixer: mixer(KEY, (X, Y)),
        lambda mixer: jax.jit(mixer)(KEY, (X, Y)),
    ):
        with pytest.raises(ValueError, match=words):
            run(place(mx.mixup, "rows"))


def test_a_whole_batch_counts_no_example_twice():
    with pytest.raises(ValueError, match=r"vary over \['data'\] only. Name the axes"):
        on_axes(mx.whole_batch(mx.mixup, ("data", "fsdp")), jax.P("data"), out=BY_BOTH)


# Applying a mix of the whole batch


def applied(mix, spec, axes, **options):
    kinds, devices = (AxisType.Auto,) * 2, jax.devices()[:4]
    mesh = jax.make_mesh((2, 2), ("data", "fsdp"), kinds, devices=devices)
    run = jax.shard_map(
        lambda mix, x: mix.inputs(x),
        mesh=mesh,
        axis_names=axes,
        in_specs=spec,
        out_specs=spec,
        **options,
    )
    return jax.jit(run)(mix, X)


def test_a_mix_is_applied_under_the_axis_that_it_was_drawn_under():
    mix = on_axes(mx.whole_batch(PERMUTED, "data"), jax.P("data"))
    oracle.assert_close(
        applied(mix, jax.P("data"), {"data", "fsdp"}), np.asarray(mix.inputs(X))
    )
    both = {"data", "fsdp"}
    for spec, axes, options, words in (
        (jax.P("fsdp"), both, {}, r"vary over \['fsdp'\] only"),
        (jax.P("fsdp"), {"fsdp"}, {}, "bound here; got 'data'"),
        (BY_BOTH, both, {}, "shard of the 8 examples .*got 2 on each of 2 devices"),
        (BY_BOTH, both, {"check_vma": False}, "shard of the 8 examples"),
    ):
        with pytest.raises(ValueError, match=words):
            applied(mix, spec, axes, **options)


def test_nor_under_another_name_of_vmap():
    mix = on_axes(mx.whole_batch(PERMUTED, "data"), jax.P("data"))
    shares, x = jax.tree.map(lambda leaf: leaf.reshape(2, 4, *leaf.shape[1:]), (mix, X))
    got = jax.vmap(mx.Mix.inputs, axis_name="data")(shares, x)
    oracle.assert_close(np.reshape(got, X.shape), np.asarray(mix.inputs(X)))
    with pytest.raises(ValueError, match="bound here; got 'data'"):
        jax.vmap(mx.Mix.inputs, axis_name="rows")(shares, x)
