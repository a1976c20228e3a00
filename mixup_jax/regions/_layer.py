"""A layer of the model, drawn for the whole batch."""

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
    """``w = lam`` in the layer that was drawn, the own content in all others.

    Attributes:
      drawn: int32 ``[B]``, the layer that each example is mixed in.
      layers: those that it was drawn from.
      here: the layer whose weights are asked for, 0 for the inputs.
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
        """Return ``lam`` or 1, float32 ``[B, 1, ...]``; bool if it is never mixed."""
        if self.pastes:
            return Untouched().weights(lam, x)
        return per_example(jnp.where(self.drawn == self.here, lam, 1.0), x)

    def at(self, layer: int) -> Region:
        """Return what is done to a hidden layer: nothing, unless it may be drawn."""
        if layer not in self.layers:
            return Untouched()
        return dataclasses.replace(self, here=layer)

    def of_labels(self) -> Region:
        """Return what is done in whichever layer was drawn: ``w = lam``."""
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
      lam: float32 ``[B]``, as the ratio drew it.
      inputs: not used.
      partners: not used.
      layers: numbers of layers, each once; 0 is the inputs.

    Raises:
      ValueError: no layers, a negative one, or one named twice.

    Example:
      >>> import jax, mixup_jax as mx
      >>> key, lam = jax.random.key(0), jax.numpy.full(4, 0.5)
      >>> region, _ = mx.regions.layer(key, lam, None, None, layers=(0, 2))
      >>> region.drawn.shape, region.at(1)
      ((4,), Untouched())

    Source: Verma et al., "Manifold Mixup", ICML 2019, arXiv:1806.05236.
    """
    del inputs, partners
    numbers = tuple(layers) if isinstance(layers, Sequence) else ()
    counts = all(isinstance(k, int | np.integer) and k >= 0 for k in numbers)
    if not numbers or len(set(numbers)) < len(numbers) or not counts:
        raise ValueError(
            "layers: expected numbers of layers, at least one, each once, 0 for the "
            f"inputs; got {layers!r}. Number the hidden layers from 1."
        )
    u = uniforms(key, ())
    drawn = jnp.int32(numbers[0])
    for k, number in enumerate(numbers[1:], start=1):
        drawn = jnp.where(u >= k / len(numbers), number, drawn)
    return Layer(jnp.broadcast_to(drawn, lam.shape), numbers), lam
