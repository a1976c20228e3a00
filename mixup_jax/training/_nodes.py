"""Dataclasses that are pytrees: those of Flax, or substitutes without Flax."""

import dataclasses
import sys
from typing import TYPE_CHECKING, Any, Self, dataclass_transform

import jax

if TYPE_CHECKING:

    def field(pytree_node: bool = True, *, default: Any = ...) -> Any: ...

    @dataclass_transform(field_specifiers=(field,), frozen_default=True)
    class PyTreeNode:
        def __init_subclass__(cls, **options: Any) -> None: ...

        def replace(self, **changes: Any) -> Self: ...

else:
    try:
        # These also support Flax's serialization, which checkpoints use.
        from flax.struct import PyTreeNode, field
    except ModuleNotFoundError as error:
        if error.name != "flax":
            raise

        def field(pytree_node=True, **options):
            """Return a dataclass field, static unless it is a pytree node."""
            return dataclasses.field(metadata={"static": not pytree_node}, **options)

        class PyTreeNode:
            """Base class whose subclasses are frozen dataclasses and pytrees."""

            def __init_subclass__(cls, **options):
                super().__init_subclass__()
                dataclasses.dataclass(frozen=True, **options)(cls)
                jax.tree_util.register_dataclass(cls)

            def replace(self, **changes):
                """Return a copy with the given fields replaced."""
                return dataclasses.replace(self, **changes)


def of_nnx(value: Any, *names: str) -> bool:
    """Return whether ``value`` is an instance of one of the named NNX classes."""
    nnx = sys.modules.get("flax.nnx")  # without it no instance can exist
    return nnx is not None and isinstance(value, tuple(getattr(nnx, n) for n in names))
