"""Named batches keep their type, the order of their entries, and all other entries."""

import collections
import dataclasses
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.core
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx

KEY = jax.random.key(0)
IMAGE = np.arange(8, dtype=np.float32).reshape(4, 2)
LABEL = np.arange(4, dtype=np.int32)
# Not in alphabetical order, in which JAX sorts the keys of a dict.
ENTRIES = {"weight": IMAGE[:, 0], "image": IMAGE, "label": LABEL}


class Named(NamedTuple):
    weight: Any
    image: Any
    label: Any


@flax.struct.dataclass
class Struct:
    weight: Any
    image: Any
    label: Any
    source: str = flax.struct.field(pytree_node=False, default="camera")


@dataclasses.dataclass
class Plain:
    weight: Any
    image: Any
    label: Any


class OwnDict(dict):
    """A dict with an attribute."""

    source = "nowhere"


class Frozen(Mapping):
    """A mapping type of another library, constructed from a dict."""

    def __init__(self, entries: dict[str, Any]):
        self._entries = dict(entries)

    def __getitem__(self, name):
        return self._entries[name]

    def __iter__(self):
        return iter(self._entries)

    def __len__(self):
        return len(self._entries)


class Unmakeable(Frozen):
    def __init__(self, entries: dict[str, Any], folder: str):
        super().__init__(entries)


def own_dict() -> OwnDict:
    batch = OwnDict(ENTRIES)
    batch.source = "disk"
    return batch


BATCHES = {
    "dict": lambda: dict(ENTRIES),
    "OrderedDict": lambda: collections.OrderedDict(ENTRIES),
    "defaultdict": lambda: collections.defaultdict(list, ENTRIES),
    "UserDict": lambda: collections.UserDict(ENTRIES),
    "FrozenDict": lambda: flax.core.freeze(ENTRIES),
    "proxy": lambda: types.MappingProxyType(dict(ENTRIES)),
    "a dict of one's own": own_dict,
    "a mapping of one's own": lambda: Frozen(ENTRIES),
    "named tuple": lambda: Named(**ENTRIES),
    "Flax's dataclass": lambda: Struct(**ENTRIES, source="disk"),
    "dataclass": lambda: Plain(**ENTRIES),
}
PYTREES = [name for name in BATCHES if name not in ("proxy", "UserDict", "dataclass")]
PYTREES = [name for name in PYTREES if "one's own" not in name]


def entries(batch: Any) -> list[tuple[str, Any]]:
    if isinstance(batch, Mapping):
        return list(batch.items())
    if isinstance(batch, Named):
        return list(batch._asdict().items())
    return [(name, getattr(batch, name)) for name in ENTRIES]


mixer = mx.on_keys(mx.mixup, inputs=["image"], targets="weight")


@pytest.mark.parametrize("name", BATCHES)
def test_type_and_order_stay(name):
    batch = BATCHES[name]()
    mixed, mix = mixer(KEY, batch)
    assert type(mixed) is type(batch)
    assert [key for key, _ in entries(mixed)] == [*ENTRIES]
    found = dict(entries(mixed))
    np.testing.assert_array_equal(found["image"], mix.inputs(IMAGE))
    np.testing.assert_array_equal(found["weight"], mix.targets(IMAGE[:, 0]))
    assert found["label"] is LABEL
    # The caller's own batch is unchanged.
    for key, value in entries(batch):
        np.testing.assert_array_equal(value, ENTRIES[key])
    for attribute in ("source", "default_factory"):
        assert getattr(mixed, attribute, None) == getattr(batch, attribute, None)


@pytest.mark.parametrize("name", PYTREES)
def test_a_branch_between_mixed_and_unmixed(name):
    batch = jax.tree.map(jnp.asarray, BATCHES[name]())
    assert len(jax.tree.leaves(batch)) == 3

    @jax.jit
    def step(key, batch, mixing):
        return jax.lax.cond(
            mixing,
            lambda: mixer(key, batch)[0],
            lambda: mx.erm(key, (batch, None))[0][0],
        )

    for mixing in (False, True):
        found = step(KEY, batch, mixing)
        assert jax.tree.structure(found) == jax.tree.structure(batch)
        same = np.array_equal(dict(entries(found))["image"], IMAGE)
        assert same is not mixing


def test_a_batch_within_a_batch():
    inner = mx.on_keys(mx.mixup, inputs="image")
    batch = Struct(weight=IMAGE[:, 0], image={"b": IMAGE, "a": IMAGE + 1}, label=LABEL)
    mixed, mix = inner(KEY, batch)
    assert type(mixed) is Struct
    np.testing.assert_array_equal(mixed.image["a"], mix.inputs(IMAGE + 1))


def test_making_a_batch_anew_runs_nothing_of_its_class_twice():
    @dataclasses.dataclass
    class Scaled:
        image: Any
        scale: dataclasses.InitVar[float] = 255.0
        seen: bool = dataclasses.field(default=False, init=False)

        def __post_init__(self, scale):
            self.image = self.image / scale

    batch = Scaled(IMAGE * 255)
    batch.seen = True
    mixed, mix = mx.on_keys(mx.mixup, inputs="image", targets=None)(KEY, batch)
    np.testing.assert_allclose(mixed.image, mix.inputs(IMAGE), rtol=1e-6)
    assert mixed.seen is True


def test_a_dict_that_takes_no_items():
    class Closed(dict):
        def __setitem__(self, name, value):
            raise TypeError("closed")

    with pytest.raises(TypeError, match=r"got Closed: .*closed.*Pass dict\(batch\)"):
        mixer(KEY, Closed(ENTRIES))


def test_what_cannot_be_made_anew_is_refused():
    batch = Unmakeable(ENTRIES, "here")
    with pytest.raises(TypeError, match=r"got Unmakeable: .*Pass dict\(batch\)"):
        mixer(KEY, batch)
    mixed, _ = mixer(KEY, dict(batch))
    assert [*mixed] == [*ENTRIES]


def test_a_dataclass_lacks_a_name():
    with pytest.raises(ValueError, match=r"without \['picture'\]"):
        mx.on_keys(mx.mixup, inputs="picture")(KEY, Struct(**ENTRIES))
