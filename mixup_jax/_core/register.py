"""Registration of dataclasses of arrays with JAX: as pytrees and for ``jax.export``.

Their static fields are written as JSON, and read without executing any code.
"""

import dataclasses
import json
from typing import Any, TypeVar, cast

import jax
import jax.export  # JAX 0.7.0 does not import it by default
import numpy as np

from mixup_jax._core import arrays
from mixup_jax._core.grid import Grid
from mixup_jax._core.made import public_name
from mixup_jax._core.move import move_from, parts_of_move

T = TypeVar("T")


def pytree(cls: type[T]) -> type[T]:
    """Register a dataclass as a pytree that ``jax.export`` can serialize.

    Fields are its leaves, or static where ``metadata={"static": True}``: numbers,
    strings, grids, moves, and tuples of these. Fields with ``init=False`` are not part
    of the pytree, and have their defaults in instances made from it.

    Raises:
      TypeError: If, when serialized, a static field holds anything else.
      ValueError: If, when deserialized, the fields of the class or of a move differ, or
        the class of a move is not defined.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.ones((4, 3))
      >>> exported = jax.export.export(jax.jit(mx.mixup))(jax.random.key(0), (x, None))
      >>> again = jax.export.deserialize(exported.serialize())
      >>> _, mix = again.call(jax.random.key(0), (x, None))
      >>> type(mix).__name__, mix.partner
      ('Mix', Array([1, 0, 3, 2], dtype=int32))
    """
    fields = [field for field in dataclasses.fields(cast(Any, cls)) if field.init]
    static = [field.name for field in fields if field.metadata.get("static")]
    leaves = [field.name for field in fields if field.name not in static]
    jax.tree_util.register_dataclass(cls, leaves, static)

    def written(values: Any) -> bytes:
        return json.dumps(dict(zip(static, map(_plain, values)))).encode()

    def read(data: bytes) -> Any:
        found = json.loads(data)
        if sorted(found) != sorted(static):
            raise ValueError(
                f"{cls.__name__}: expected the static fields {static}; got "
                f"{sorted(found)}. Export again with this version of mixup_jax."
            )
        return tuple(_restored(found[name]) for name in static)

    jax.export.register_pytree_node_serialization(
        cls,
        serialized_name=public_name(cls),
        serialize_auxdata=written,
        deserialize_auxdata=read,
    )
    return cls


def _plain(value: Any) -> Any:
    """Return a static value in a form that JSON can represent."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, Grid):
        return {"grid": _plain(tuple(value))}
    if isinstance(value, tuple):
        return list(map(_plain, value))
    of_move = parts_of_move(value)
    if of_move is not None:
        name, parts = of_move
        return {"move": name, "of": {k: _plain(part) for k, part in parts.items()}}
    raise TypeError(
        "export: expected static numbers, strings, and tuples of these; got "
        f"{arrays.describe(value)}. Store arrays in fields that are not static."
    )


def _restored(data: Any) -> Any:
    """Return the static value that ``_plain`` converted to ``data``."""
    if isinstance(data, list):
        return tuple(map(_restored, data))
    if isinstance(data, dict) and "grid" in data:
        return Grid(*_restored(data["grid"]))
    if isinstance(data, dict):
        parts = {name: _restored(part) for name, part in data["of"].items()}
        return move_from(data["move"], parts)
    return data
