"""The same weight at all positions."""

from typing import Any

from jax import Array

from mixup_jax._core.region import Everywhere
from mixup_jax._core.types import Partners
from mixup_jax._core.words import reads


@reads(0)
def everywhere(
    key: Array, lam: Array, inputs: Any, partners: Partners | None
) -> tuple[Everywhere, Array]:
    """Return the region with the same weight at all positions, ``w = lam`` (Mixup).

    Args:
      key: PRNG key; not used.
      lam: float32 ``[B]``, as drawn by the ratio.
      inputs: not used.
      partners: not used.

    Returns:
      The region, and ``lam``.
    """
    del key, inputs, partners
    return Everywhere(), lam
