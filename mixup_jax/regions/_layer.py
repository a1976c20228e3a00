"""A layer of the model, drawn once for the whole batch."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from mixup_jax._core.mesh import per_example
from mixup_jax._core.random import uniforms
from mixup_jax._core.region import Everywhere, Region, Untouched
from mixup_jax._core.register import pytree
from mixup_jax._core.types import Partners
from mixup_jax._core.words import Whole, reads


@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Layer(Region):
    """``w = lam`` in the layer that was drawn, the example's own content in all others.

    Attributes:
      drawn: int32 ``[B]``, the layer in which each example is mixed.
      layers: the layers that it was drawn from.
      here: the layer that ``weights`` is for; 0 is the inputs.
    """

    drawn: Array
    layers: tuple[int, ...] = dataclasses.field(  # type: ignore[misc]
        metadata={"static": True}
    )
    here: int = dataclasses.field(default=0, metadata={"static": True})

    @property
    def pastes(self) -> bool:  # type: ignore[override]
        """Whether this layer is never mixed."""
        return self.here not in self.layers

    def weights(self, lam: Array, x: Array) -> Array:
        """Return ``lam`` or 1, float32 ``[B, 1, ...]``; bool if never mixed."""
        if self.pastes:
            return Untouched().weights(lam, x)
        return per_example(jnp.where(self.drawn == self.here, lam, 1.0), x)

    def at(self, layer: int) -> Region:
        """Return the region of a hidden layer, the identity if it cannot be drawn."""
        if layer not in self.layers:
            return Untouched()
        return dataclasses.replace(self, here=layer)

    def of_labels(self) -> Region:
        """Return the region of the labels: ``w = lam`` whichever layer was drawn."""
        return Everywhere()


@reads(Whole(1))
def layer(
    key: Array,
    lam: Array,
    inputs: Any,
    partners: Partners | None,
    *,
    layers: Sequence[int],
) -> tuple[Layer, Array]:
    """Draw one of ``layers``, the same for the whole batch (Manifold Mixup).

    Args:
      key: PRNG key.
      lam: float32 ``[B]``, as drawn by the ratio.
      inputs: not used.
      partners: not used.
      layers: numbers of the layers to draw from, each once; 0 is the inputs.

    Returns:
      The region, and ``lam``.

    Raises:
      ValueError: If ``layers`` is empty or contains a negative or repeated number.

    Example:
      >>> import jax, mixup_jax as mx
      >>> key, lam = jax.random.key(0), jax.numpy.full(4, 0.5)
      >>> region, _ = mx.regions.layer(key, lam, None, None, layers=(0, 2))
      >>> region.drawn.shape, region.at(1)
      ((4,), Untouched())

    References:
      Verma et al., "Manifold Mixup: Better Representations by Interpolating Hidden
      States", ICML 2019, https://arxiv.org/abs/1806.05236.
    """
    del inputs, partners
    numbers = tuple(layers) if isinstance(layers, Sequence) else ()
    counts = all(isinstance(k, int | np.integer) and k >= 0 for k in numbers)
    if not numbers or len(set(numbers)) < len(numbers) or not counts:
        raise ValueError(
            "layers: expected at least one layer number, without repetition; got "
            f"{layers!r}. 0 is the inputs; hidden layers are numbered from 1."
        )
    u = uniforms(key, ())
    drawn = jnp.int32(numbers[0])
    for k, number in enumerate(numbers[1:], start=1):
        drawn = jnp.where(u >= k / len(numbers), number, drawn)
    return Layer(jnp.broadcast_to(drawn, lam.shape), numbers), lam
