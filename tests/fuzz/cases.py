"""The cases of the fuzzer: a method, a batch of shapes and dtypes, and a driver."""

import dataclasses
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np

import mixup_jax as mx
from tests.fuzz.rows import ROWS, Row

FLOAT8 = tuple(sorted(name for name in dir(jnp) if name.startswith("float8_")))
FLOATS = ("float32", "bfloat16", "float16", "float64", *FLOAT8)
COMPLEX = ("complex64", "complex128")
WHOLE = ("uint8", "int32", "int8", "int16", "uint32", "int64", "bool")
OF_NUMPY = ("float64", "complex128", "int64")  # these need 64-bit types in JAX
# Batch sizes and example shapes: one to six axes in all. There are few, since outside
# of ``jit`` each shape compiles one program per operation.
IMAGES = ((3, (4, 3, 2)), (2, (4, 3, 2)), (5, (4, 3, 2)), (1, (4, 3, 2)))
GRIDS = (*IMAGES, (3, (4, 2)), (2, (2, 3, 2, 2)), (2, (2, 2, 2, 3, 2)))
OTHERS = ((2, ()), (3, (3,)), (3, (0,)), (2, (4, 0)), (2, (0, 2)), (5, (4, 0, 2)))
UNCLEAR = ((3, (2, 4)), (3, (1, 1, 2)), (3, (3, 4, 5)))
WORLDS = GRIDS + OTHERS + UNCLEAR
CLASSES = 3


@dataclasses.dataclass(frozen=True)
class Leaf:
    """An array of the batch: ``[B, *shape]``, a JAX or NumPy array."""

    dtype: str
    shape: tuple[int, ...]
    numpy: bool = False
    classes: bool = False  # one-hot or class ids
    below: int = 0  # exclusive bound of the integers


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Record:
    """A user-defined dataclass, used as a part of a batch and as a whole batch."""

    x: Any
    y: Any
    other: Any = None


class Named(NamedTuple):
    first: Any
    second: Any


@dataclasses.dataclass(frozen=True)
class Case:
    """One case; its ``repr`` is Python code that reconstructs it.

    Attributes:
      row: the name of the method.
      driver: the name of the driver.
      size: the number of examples in each shard.
      inputs: pytree of ``Leaf``.
      targets: pytree of ``Leaf``.
      around: the wrapper around the mixer.
      flaw: a deliberate error in the batch.
      seed: the seed of the key and of the values.
    """

    row: str
    driver: str
    size: int
    inputs: Any
    targets: Any
    around: str = "nothing"
    flaw: str = "nothing"
    seed: int = 0

    @property
    def method(self) -> Row:
        return ROWS[self.row]

    def batch(self, number: int = 0) -> tuple[Any, Any]:
        """Return the inputs and targets, a different batch for each ``number``."""
        count = iter(range(1000))

        def array(leaf: Leaf) -> Any:
            text = f"{self.seed} {number} {next(count)}"
            return values(
                leaf, self.size, np.random.default_rng(zlib.crc32(text.encode()))
            )

        inputs, targets = jax.tree.map(array, (self.inputs, self.targets))
        return FLAWS[self.flaw](inputs), targets


def values(leaf: Leaf, size: int, rng: np.random.Generator) -> Any:
    """Return values that every floating-point or every integer dtype can represent."""
    shape, dtype = (size, *leaf.shape), jnp.dtype(leaf.dtype)
    if leaf.classes:
        label = rng.integers(0, CLASSES, size)
        found = label if not leaf.shape else np.eye(CLASSES)[label]
    elif leaf.below:
        found = rng.integers(0, leaf.below, shape)
    elif leaf.dtype == "float8_e8m0fnu":  # powers of two
        found = 2.0 ** rng.integers(-3, 4, shape)
    elif jnp.issubdtype(dtype, jnp.inexact):
        found = rng.normal(size=shape).clip(-3, 3)
        if jnp.issubdtype(dtype, jnp.complexfloating):
            found = found + 1j * rng.normal(size=shape)
    elif dtype == np.bool_:
        found = rng.integers(0, 2, shape)
    else:
        least, most = jnp.iinfo(np.int32 if leaf.dtype == "int64" else dtype).min, 0
        most = int(jnp.iinfo(np.int32 if leaf.dtype == "int64" else dtype).max)
        found = rng.integers(int(least), most, shape, endpoint=True)
    found = np.asarray(found).astype(dtype)
    return found if leaf.numpy or leaf.dtype in OF_NUMPY else jnp.asarray(found)


FLAWS = {
    "nothing": lambda inputs: inputs,
    "list": lambda inputs: [jax.tree.leaves(inputs)[0]] * 2,
    "scalar": lambda inputs: (inputs, np.float32(1)),
    "python": lambda inputs: {"a": inputs, "b": 3.0},
    "another size": lambda inputs: (inputs, np.ones((7, 2), np.float32)),
    "no example": lambda inputs: jax.tree.map(lambda x: x[:0], inputs),
    "text": lambda inputs: (inputs, np.array(["a"] * len(jax.tree.leaves(inputs)[0]))),
}


def leaves(dtypes: tuple[str, ...], shapes: Any) -> st.SearchStrategy[Leaf]:
    return st.builds(Leaf, st.sampled_from(dtypes), shapes, st.booleans())


@st.composite
def cases(
    draw: Any,
    drivers: Sequence[str],
    rows: Sequence[str] = tuple(ROWS),
    worlds: Sequence[tuple[int, tuple[int, ...]]] = WORLDS,
) -> Case:
    """Return a strategy for cases, most of which the method accepts."""
    name = draw(st.sampled_from(rows))
    row, driver = ROWS[name], draw(st.sampled_from(drivers))
    there = [each for each in worlds if row.fits(*each)] or list(worlds)
    size, body = draw(st.sampled_from(there if draw(st.integers(0, 5)) else worlds))
    wild = draw(st.integers(0, 9)) == 0
    dtypes = FLOATS + COMPLEX
    if wild or row.pastes:
        dtypes += WHOLE
    if row.floats:
        dtypes = FLOATS
    shapes = [body] * 5 + ([body[:-1]] if len(body) > 1 else [])
    if not row.cuts or wild:
        shapes += [(), (3,)]
    shape = st.sampled_from(shapes)
    plain = leaves(dtypes, shape)
    map_shape = st.sampled_from([body, body[:-1]] if len(body) > 1 else [body])
    maps = st.builds(mx.follow.maps, leaves(dtypes, map_shape))
    masks = st.builds(mx.follow.masks, leaves(("bool", *WHOLE, *FLOATS), map_shape))
    most = body[0] if body and body[0] else 3
    lengths = st.builds(
        lambda t, n: mx.follow.lengths(Leaf(t, (), n, below=most + 1)),
        st.sampled_from(WHOLE[:-1]),
        st.booleans(),
    )
    part = st.one_of(
        plain, plain, plain, maps, masks, *([] if row.holes and not wild else [lengths])
    )
    first = draw(leaves(dtypes, st.just(body)))
    inputs = draw(
        st.one_of(
            st.just(first),
            st.builds(lambda a: {"x": first, "more": (a, None)}, part),
            st.builds(lambda a, b: (a, [{"x": first}], b), part, part),
            st.builds(lambda a, b: Record(first, {"deep": {"er": a}}, b), part, part),
            st.builds(lambda a: Named(first, a), part),
        )
    )
    targets = draw(targets_of(row, wild, maps, masks))
    return Case(
        name,
        driver,
        size,
        inputs,
        targets,
        draw(st.sampled_from(["nothing"] * 4 + [*AROUND][1:])),
        draw(flaws(row)) if driver == "eager" and wild else "nothing",
        draw(st.integers(0, 3)),
    )


AROUND = ("nothing", "on_keys", "on_keys of a dataclass", "until", "until, after")


def flaws(row: Row) -> st.SearchStrategy[str]:
    return st.sampled_from([*FLAWS] if row.looks_at_nothing else ["nothing"])


def targets_of(row: Row, wild: bool, maps: Any, masks: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for targets, most of which the method accepts."""
    labels = st.sampled_from([(), (CLASSES,)])
    soft = leaves(FLOATS + COMPLEX, labels)
    hot = st.builds(
        lambda t, n: Leaf(t, (CLASSES,), n, classes=True),
        st.sampled_from(FLOATS[:3]),
        st.booleans(),
    )
    ids = st.builds(
        lambda t, n: Leaf(t, (), n, classes=True),
        st.sampled_from(WHOLE[:-1]),
        st.booleans(),
    )
    if row.classes and not wild:
        return hot
    found = [st.none(), hot, soft, st.tuples(hot, soft)]
    found += [st.builds(lambda a, b: {"y": a, "map": b}, soft, maps)]
    found += [st.builds(lambda a, b: Record(a, None, (b,)), hot, maps)]
    if wild or row.keeps_labels:
        any_shape = leaves(FLOATS + WHOLE, st.sampled_from([(), (3,), (4, 2), (0,)]))
        found += [ids, any_shape, st.builds(lambda a: [a, None], masks)]
    return st.one_of(*found)
