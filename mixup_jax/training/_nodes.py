"""Dataclasses that are pytrees: Flax's, or without Flax others like them."""

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
        # Known to Flax's serialization too, from which runs are resumed.
        from flax.struct import PyTreeNode, field
    except ModuleNotFoundError as error:
        if error.name != "flax":
            raise

        def field(pytree_node=True, **options):
            """Return a field of a dataclass, static if it is no node."""
            return dataclasses.field(metadata={"static": not pytree_node}, **options)

        class PyTreeNode:
            """A base whose subclasses are frozen dataclasses and pytrees."""

            def __init_subclass__(cls, **options):
                super().__init_subclass__()
                dataclasses.dataclass(frozen=True, **options)(cls)
                jax.tree_util.register_dataclass(cls)

            def replace(self, **changes):
                """Return a copy with other values in the fields that are named."""
                return dataclasses.replace(self, **changes)


def of_nnx(value: Any, *names: str) -> bool:
    """Whether ``value`` is of one of the classes of NNX that are named."""
    nnx = sys.modules.get("flax.nnx")  # if nobody has loaded it, nothing is
    return nnx is not None and isinstance(value, tuple(getattr(nnx, n) for n in names))
