"""One weight for all positions."""

from typing import Any

from jax import Array

from mixup_jax._core.region import Everywhere
from mixup_jax._core.types import Partners
from mixup_jax._core.words import reads


@reads(0)
def everywhere(
    key: Array, lam: Array, inputs: Any, partners: Partners | None
) -> tuple[Everywhere, Array]:
    """Weigh every position alike: ``w = lam`` (Mixup)."""
    del key, inputs, partners
    return Everywhere(), lam
