"""What differs between the JAX versions that are served. No other file asks for it.

What is here can go once the oldest version has the newest's name for it.
"""

import contextlib
from typing import Any

import jax

# The context in which a mesh is the one that is meant. JAX 0.7.0 names it otherwise.
set_mesh: Any = getattr(jax, "set_mesh", None) or getattr(jax.sharding, "use_mesh")  # noqa: B009

# The same while a program is traced. Before JAX 0.7.2 there is none.
use_abstract_mesh: Any = getattr(
    jax.sharding, "use_abstract_mesh", lambda mesh: contextlib.nullcontext(mesh)
)

# A context whose value JAX goes by where it looks up what it once traced. JAX 0.7 has
# none, or goes by it for jit alone.
make_user_context: Any = getattr(
    jax, "make_user_context", lambda: contextlib.nullcontext
)


def varying(kind: Any) -> frozenset[str]:
    """Return the manual axes over which values of a type differ, as far as it says.

    JAX up to 0.9 has them in ``vma``.
    """
    told = kind.vma if hasattr(kind, "vma") else kind.manual_axis_type.varying
    return frozenset(told)
