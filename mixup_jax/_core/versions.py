"""What differs between the JAX versions that are served. No other file asks for it.

What is here can go once the oldest version has the newest's name for it.
"""

from typing import Any

import jax

# The context in which a mesh is the one that is meant. JAX 0.7.0 names it otherwise.
set_mesh: Any = getattr(jax, "set_mesh", None) or getattr(jax.sharding, "use_mesh")  # noqa: B009
