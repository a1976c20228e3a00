"""What is laid out while a program is traced."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
from jax.core import Tracer

from mixup_jax._core import layouts
from mixup_jax._core.layouts import Layout

Specs: TypeAlias = tuple[jax.P | None, ...]


def is_traced(*trees: Any) -> bool:
    """Whether a call is part of a program: under jit, in a scan, in eval_shape."""
    # All arguments may be closed over: a result is then of the program all the same.
    leaves = jax.tree.leaves((trees, _result()))
    return any(isinstance(leaf, Tracer) for leaf in leaves)


@jax.jit
def _result() -> int:
    return 0


def laid(tree: Any, mesh: jax.sharding.Mesh, layout: Layout) -> Any:
    """Return ``tree`` as ``layout`` says, as far as its types tell how it lies."""
    return jax.tree.map(lambda x: layouts.laid(x, layout(x, mesh), mesh), tree)


def keeping(step: Callable[..., Any], mesh: jax.sharding.Mesh) -> Callable[..., Any]:
    """Return ``step`` with the state laid out afterwards as it was before.

    The fourth argument has what types do not tell: the spec of each leaf of the state,
    or None where nobody knows.
    """

    def run(state: Any, key: Any, batch: Any, specs: Specs | None) -> Any:
        after, metrics = step(state, key, batch)
        old, before = jax.tree.flatten(state)
        new, structure = jax.tree.flatten(after)
        if structure != before:
            return after, metrics
        for k, (x, y) in enumerate(zip(old, new)):
            if getattr(x, "shape", None) != getattr(y, "shape", None):
                continue
            new[k] = layouts.typed_as(y, x, mesh)
            spec = specs[k] if specs is not None else None
            if spec is not None:
                new[k] = layouts.constrained(new[k], spec, mesh)
        return jax.tree.unflatten(structure, new), metrics

    return run
