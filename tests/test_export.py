"""Functions that take or return a mix are exported, and run in another process."""

import dataclasses
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx
from mixup_jax._core.register import pytree
from tests import exported, exported_parts

ROOT = Path(__file__).parents[1]
MIXERS = {
    "mixup": mx.mixup,
    "cutmix": mx.cutmix,
    "smoothmix": mx.smoothmix,
    "resizemix": mx.resizemix,
    "dirichlet": partial(mx.dirichlet, partners=2),
    "choose": mx.choose([mx.mixup, mx.cutmix, mx.fmix], [0.3, 0.3, 0.4]),
    "manifold": partial(mx.manifold, layers=(0, 1)),
    "extrapolate": partial(mx.extrapolate, pairing=mx.pairings.roll),
    "on_keys": mx.on_keys(mx.cutmix, inputs="image", targets="label"),
    "follow": mx.mixup,
    "own": exported_parts.own,
}
KEY = jax.random.key(7)


def exported_from(function, *args, **options):
    return jax.export.export(jax.jit(function), **options)(*args)


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """Return the results of a fresh process that ran the exported mixers."""
    folder = tmp_path_factory.mktemp("exported")
    for name, mixer in MIXERS.items():
        blob = exported_from(mixer, KEY, exported.batch_for(name)).serialize()
        (folder / f"{name}.blob").write_bytes(blob)
    move = exported_parts.Turned(1, ((), None, False))
    mix = mx.Mix.from_pairs(0.5, jnp.array([1, 0]), move=move)
    others = {
        "takes": exported_from(mx.Mix.inputs, chosen(), exported.IMAGES),
        "of_a_user": exported_from(lambda mix: mix, mix),
    }
    for name, each in others.items():
        (folder / f"{name}.blob").write_bytes(each.serialize())
    subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.exported", str(folder)],
        cwd=ROOT,
        check=True,
        timeout=240,
    )
    return pickle.loads((folder / "found").read_bytes())


def chosen():
    return jax.jit(MIXERS["choose"])(KEY, exported.batch_for("choose"))[1]


@pytest.mark.parametrize("name", MIXERS)
def test_a_fresh_process_computes_the_same(name, there):
    here = exported.made_by(jax.jit(MIXERS[name]), name)
    found = there[name]
    assert found["type"] == "Mix"
    for fact in ("moves", "regions", "static"):
        assert found[fact] == here[fact]
    for result in ("returned", "follows", "hidden"):
        for got, wanted in zip(found[result], here[result], strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_what_was_compared_is_of_every_kind(there):
    regions = {region for name in MIXERS for region in there[name]["regions"]}
    ours = {"Everywhere", "Box", "Bell", "Window", "Chosen", "Layer"}
    assert regions == ours | {"Half"}
    moves = {move for name in MIXERS for move in there[name]["moves"]}
    assert {"Flip(block=2)", "Roll(block=4, shift=1)"} < moves
    assert "Turned(by=2, ways=((0.5, inf), None, True))" in moves


def test_a_fresh_process_takes_a_mix(there):
    (wanted,) = exported.numbers(jax.jit(mx.Mix.inputs)(chosen(), exported.IMAGES))
    (found,) = there["takes"]
    np.testing.assert_array_equal(found, wanted)
    assert (wanted != exported.IMAGES).any()


def test_an_undefined_move_is_missed_in_words(there):
    assert "got 'tests.exported_parts.Turned', which this process" in there["missed"]
    assert "Import the module that defines it, then deserialize" in there["missed"]


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_for_a_platform_that_is_not_here(platform):
    mixer = MIXERS["choose"]
    batch = exported.batch_for("choose")
    blob = exported_from(mixer, KEY, batch, platforms=[platform]).serialize()
    again = jax.export.deserialize(blob)
    assert again.platforms == (platform,)
    assert again.out_tree == jax.tree.structure(jax.eval_shape(mixer, KEY, batch))


# Each class


def round_trip(tree):
    """Return the structure of a tree after a round trip through bytes."""
    blob = exported_from(lambda tree: tree, tree).serialize()
    return jax.export.deserialize(blob).out_tree


LAM = jnp.full(2, 0.5)
GRID = mx.regions.Grid((1, 2), (6, 5), 4)
TREES = [
    mx.Partners(jnp.array([1, 0]), mx.draw_of(mx.mixup)(KEY, (LAM, None)).move),
    mx.draw_of(mx.erm)(KEY, (LAM, None)),
    mx.regions.Field(LAM, GRID, of_example=True),
    mx.metrics.reliability(jnp.eye(2), jnp.array([0, 1])),
    {"a": (mx.regions.Everywhere(), None), "b": [LAM]},
]


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: type(tree).__name__)
def test_a_structure_comes_back_as_it_was(tree):
    found, wanted = round_trip(tree), jax.tree.structure(tree)
    assert found == wanted
    again = jax.tree.unflatten(found, jax.tree.leaves(tree))
    assert repr(again) == repr(tree)


def test_numbers_of_numpy_are_numbers():
    numbers: tuple[Any, ...] = (np.int64(0), 1)
    layer = mx.regions.Layer(jnp.array([1, 0]), numbers)
    assert round_trip(layer) == jax.tree.structure(layer)


def test_a_move_across_devices_comes_back():
    mixer = mx.whole_batch(partial(mx.mixup, pairing=mx.pairings.roll), ("data",))
    on_shares = jax.vmap(mixer, in_axes=(None, 0), axis_name="data")
    _, mix = jax.jit(on_shares)(KEY, (jnp.ones((2, 3, 1)), None))
    assert round_trip(mix) == jax.tree.structure(mix)
    assert "axis_name=('data',)" in str(mix.move)


def test_every_class_of_the_library_is_registered_in_one_place():
    package = Path(mx.__file__).parent
    found = {
        path.name
        for path in package.rglob("*.py")
        if "    jax.tree_util.register_" in path.read_text(encoding="utf-8")
        or "\n@jax.tree_util.register_" in path.read_text(encoding="utf-8")
    }
    # A state holds functions, which are not data; Flax registers its own.
    assert found == {"register.py", "_nodes.py"}


# Errors in serialization and deserialization


def of_class(cls, *values):
    return exported_from(lambda tree: tree, cls(*values)).serialize


def test_what_is_not_data_is_refused():
    class Odd(mx.Move):
        def map(self, function, x, partner, w):
            return function(w, x, x)

    source = mx.Source(jnp.array([1, 0]), LAM, move=Odd())
    with pytest.raises(TypeError, match="expected a frozen dataclass of numbers"):
        of_class(mx.Mix, LAM, (source,))()

    @pytree
    @dataclasses.dataclass(frozen=True, eq=False)
    class Named:
        x: jax.Array
        by: object = dataclasses.field(metadata={"static": True})

    with pytest.raises(TypeError, match="expected static numbers, strings, and tuples"):
        of_class(Named, LAM, frozenset([1]))()


def test_other_fields_than_the_ones_that_were_written_are_refused():
    def make(name, *static):
        fields = [
            ("x", jax.Array),
            *[(each, int, dataclasses.field(metadata={"static": True}))
              for each in static],
        ]  # fmt: skip
        made = dataclasses.make_dataclass(name, fields, frozen=True, eq=False)
        made.__qualname__ = name
        return pytree(made)

    blob = of_class(make("Before", "n"), LAM, 3)()
    make("Later_", "n", "m")
    blob = bytearray(bytes(blob).replace(b"Before", b"Later_"))
    with pytest.raises(ValueError, match=r"static fields \['n', 'm'\]; got \['n'\]"):
        jax.export.deserialize(blob)


def test_a_move_whose_class_has_changed_is_refused():
    def define(*fields):
        return dataclasses.make_dataclass(
            "Changed",
            [(name, int) for name in fields],
            bases=(mx.Move,),
            frozen=True,
            namespace={"map": exported_parts.Turned.map},
        )

    move = define("by", "n")(1, 2)
    partners = mx.Partners(jnp.array([1, 0]), move)
    blob = of_class(lambda: partners)()
    assert jax.export.deserialize(blob).out_tree == jax.tree.structure(partners)
    later = define("by")
    with pytest.raises(ValueError, match=r"Changed, \['by'\]; got \['by', 'n'\]"):
        jax.export.deserialize(blob)
    assert later


# Symbolic sizes


def symbolic(*shapes, dtypes=(jnp.float32, jnp.float32)):
    """Return arrays of these shapes, in which names are symbolic sizes."""
    scope = jax.export.SymbolicScope()
    return tuple(
        jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape, scope=scope), dtype)
        for shape, dtype in zip(shapes, dtypes)
    )


OF_ANY_SIZE = {
    "erm": mx.erm,
    "gaussian": partial(mx.gaussian, sigma=0.1),
    "permutation": partial(mx.mixup, pairing=mx.pairings.permutation),
    "once": mx.once_per_batch(mx.mixup),
    "same-class": partial(mx.mixup, pairing=mx.pairings.same_class),
    **{name: MIXERS[name] for name in ("mixup", "dirichlet", "manifold")},
}
OF_A_GRID = {
    "fmix": mx.fmix,
    "one-box": mx.once_per_batch(mx.cutmix),
    "with_probability": mx.with_probability(0.5, mx.resizemix),
    **{name: MIXERS[name] for name in ("cutmix", "smoothmix", "resizemix", "choose")},
}


@pytest.mark.parametrize("name", OF_ANY_SIZE | OF_A_GRID)
def test_a_symbolic_number_of_examples_is_refused(name):
    mixer = (OF_ANY_SIZE | OF_A_GRID)[name]
    batch = symbolic("b, 6, 6, 3", "b, 4")
    with pytest.raises(ValueError, match=r"a known number of examples, .*; got b,"):
        exported_from(mixer, KEY, batch)


@pytest.mark.parametrize("name", OF_A_GRID)
def test_symbolic_spatial_sizes_are_refused_where_places_are_drawn(name):
    batch = symbolic("4, h, 6, 3", "4, 4")
    with pytest.raises(ValueError, match="size of each spatial axis; got h, which is"):
        exported_from(OF_A_GRID[name], KEY, batch)


@pytest.mark.parametrize("name", OF_ANY_SIZE)
def test_symbolic_sizes_pass_where_every_position_is_alike(name):
    same_as_of_known_sizes(OF_ANY_SIZE[name], symbolic("4, h, w, 3", "4, k"))


@pytest.mark.parametrize("name", ["cutmix", "fmix", "resizemix"])
def test_symbolic_channels_pass(name):
    same_as_of_known_sizes(OF_A_GRID[name], symbolic("4, 6, 6, c", "4, k"))


def same_as_of_known_sizes(mixer, open_batch):
    batch = exported.batch_for("")
    found = exported_from(mixer, KEY, open_batch).call(KEY, batch)
    wanted = jax.jit(mixer)(KEY, batch)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.parametrize(
    "follow",
    [
        mx.Mix.inputs,
        mx.Mix.targets,
        mx.Mix.partners,
        mx.Mix.terms,
        lambda mix, x: mix.union(x > 0),
        lambda mix, x: mix.batch((x, None)),
    ],
    ids=["inputs", "targets", "partners", "terms", "union", "batch"],
)
def test_a_mix_refuses_a_symbolic_number_of_examples(follow):
    _, mix = mx.mixup(KEY, exported.batch_for("mixup"))
    (x,) = symbolic("b, 6, 6, 3")
    with pytest.raises(ValueError, match=r"expected 4 examples on axis 0; got b\. Exp"):
        exported_from(follow, mix, x)


def test_a_symbolic_mix_is_refused():
    lam, partner = symbolic("b", "b", dtypes=(jnp.float32, jnp.int32))
    for build in (
        lambda lam, partner: mx.Mix(lam, (mx.Source(partner, lam),)).drawn(),
        mx.Mix.from_pairs,
    ):
        with pytest.raises(ValueError, match="known number of examples; got b, which"):
            exported_from(build, lam, partner)


def test_a_grid_refuses_other_sizes_that_are_symbolic():
    _, mix = mx.cutmix(KEY, exported.batch_for("cutmix"))
    (x,) = symbolic("4, h, 6, 3")
    with pytest.raises(ValueError, match=r"expected a leaf with the spatial sizes"):
        exported_from(mx.Mix.inputs, mix, x)


def test_what_follows_no_mix_takes_any_number_of_examples():
    logits, labels = jnp.eye(4), jnp.arange(4)
    of_any, ids = symbolic("b, 4", "b", dtypes=(jnp.float32, jnp.int32))

    def judged(logits, labels):
        loss = mx.losses.termwise(lambda x, y: -x[jnp.arange(x.shape[0]), y])
        squared = lambda x: jnp.sum(x**2, axis=-1)  # noqa: E731
        moved = mx.attacks.fgsm(squared, logits, epsilon=0.1)
        return loss(logits, labels), mx.metrics.accuracy(logits, labels), moved

    found = exported_from(judged, of_any, ids).call(logits, labels)
    jax.tree.map(np.testing.assert_array_equal, found, jax.jit(judged)(logits, labels))
