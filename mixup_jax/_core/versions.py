"""Differences between the supported versions of JAX; no other file depends on them.

An entry can be removed once the oldest supported version has the newest's name for it.
"""

import contextlib
from typing import Any

import jax

# The context manager that sets the mesh, under another name in JAX 0.7.0.
set_mesh: Any = getattr(jax, "set_mesh", None) or getattr(jax.sharding, "use_mesh")  # noqa: B009

# The same for the abstract mesh while tracing; not available before JAX 0.7.2.
use_abstract_mesh: Any = getattr(
    jax.sharding, "use_abstract_mesh", lambda mesh: contextlib.nullcontext(mesh)
)

# A context whose value is part of JAX's cache keys for traces. JAX 0.7 lacks it, or
# respects it for jit only.
make_user_context: Any = getattr(
    jax, "make_user_context", lambda: contextlib.nullcontext
)


def varying(kind: Any) -> frozenset[str]:
    """Return the manual axes over which values of a type vary, as far as known.

    Up to JAX 0.9 the attribute is ``vma``.
    """
    told = kind.vma if hasattr(kind, "vma") else kind.manual_axis_type.varying
    return frozenset(told)
