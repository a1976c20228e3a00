"""Dataclasses of arrays, known to JAX: as pytrees, and to `jax.export`.

What is static of them is written as JSON, and read without running anything.
"""

import dataclasses
import json
from typing import Any, TypeVar, cast

import jax
import jax.export  # not loaded by JAX 0.7.0 itself
import numpy as np

from mixup_jax._core import arrays
from mixup_jax._core.grid import Grid
from mixup_jax._core.made import public_name
from mixup_jax._core.move import move_from, parts_of_move

T = TypeVar("T")


def pytree(cls: type[T]) -> type[T]:
    """Decorate a dataclass: a pytree, and part of what ``jax.export`` serialises.

    Fields are its leaves, or static where ``metadata={"static": True}``: numbers,
    strings, grids, moves, tuples of such. Those of ``init=False`` are no part of the
    pytree, and have their default in what is made anew of it.

    Raises:
      TypeError: (when serialised) If something else is static.
      ValueError: (when deserialised) If the class or a move has other fields, or the
        class of a move is not defined.

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
                f"{cls.__name__}: expected what is static of it, {static}; got "
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
    """Return a static value as JSON has it."""
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
        "export: expected static numbers, strings, and tuples of such; got "
        f"{arrays.describe(value)}. Make arrays fields that are not static."
    )


def _restored(data: Any) -> Any:
    """Return the static value that ``_plain`` made ``data`` of."""
    if isinstance(data, list):
        return tuple(map(_restored, data))
    if isinstance(data, dict) and "grid" in data:
        return Grid(*_restored(data["grid"]))
    if isinstance(data, dict):
        parts = {name: _restored(part) for name, part in data["of"].items()}
        return move_from(data["move"], parts)
    return data
