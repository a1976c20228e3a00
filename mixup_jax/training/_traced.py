"""Shardings of values inside a program that is being traced."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
from jax.core import Tracer

from mixup_jax._core import layouts
from mixup_jax._core.layouts import Layout

Specs: TypeAlias = tuple[jax.P | None, ...]


def is_traced(*trees: Any) -> bool:
    """Return whether a call is being traced, as under jit, scan or eval_shape."""
    # If all arguments are constants, a result of jit still shows an outer trace.
    leaves = jax.tree.leaves((trees, _result()))
    return any(isinstance(leaf, Tracer) for leaf in leaves)


@jax.jit
def _result() -> int:
    return 0


def laid(tree: Any, mesh: jax.sharding.Mesh, layout: Layout) -> Any:
    """Constrain ``tree`` to ``layout``, as far as shardings are known from types."""
    return jax.tree.map(lambda x: layouts.laid(x, layout(x, mesh), mesh), tree)


def keeping(step: Callable[..., Any], mesh: jax.sharding.Mesh) -> Callable[..., Any]:
    """Return ``step`` modified to return the state with its original sharding.

    The returned function takes a fourth argument for shardings that types do not hold:
    the spec of each leaf of the state, or ``None`` if unknown.
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
