"""A region chosen for each example from several."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._core.grid import Grid
from mixup_jax._core.mesh import alike, per_example
from mixup_jax._core.region import Region, Untouched, field, gain_of, through
from mixup_jax._core.register import pytree


@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Chosen(Region):
    """The region that was chosen for each example.

    Attributes:
      index: int32 ``[B]``, the index of each example's region.
      regions: the regions to choose from.
    """

    index: Array
    regions: tuple[Region, ...]

    @property
    def pastes(self) -> bool:  # type: ignore[override]
        """Whether all of the regions paste."""
        return all(region.pastes for region in self.regions)

    @property
    def windows(self) -> bool:  # type: ignore[override]
        """Whether any of the regions has a window."""
        return any(region.windows for region in self.regions)

    @property
    def gains(self) -> bool:  # type: ignore[override]
        """Whether any of the regions has a gain."""
        return any(region.gains for region in self.regions)

    @property
    def of_example(self) -> bool:  # type: ignore[override]
        """Whether any of the regions was drawn from the content of examples."""
        return any(region.of_example for region in self.regions)

    @property
    def grid(self) -> "Grid | None":  # type: ignore[override]
        """The grid of the first region that has one."""
        return next((each.grid for each in self.regions if each.grid), None)

    @property
    def layers(self) -> tuple[int, ...]:  # type: ignore[override]
        """The layers of all regions."""
        return tuple(sorted({k for each in self.regions for k in each.layers}))

    def weights(self, lam: Array, x: Array) -> Array:
        """Return the weights of the chosen regions, bool if all regions paste."""
        fields = [field(region, lam, x) for region in self.regions]
        if not self.pastes:
            fields = [field.astype(jnp.float32) for field in fields]
        return self._selected(fields, x)

    def view(self, rows: Array) -> Array:
        """Return the partners' content through the windows of the chosen regions."""
        views = [through(region, rows) for region in self.regions]
        return self._selected(views, rows)

    def gain(self, w: Array) -> Array:
        """Return the gain of the chosen regions."""
        gains = [
            jnp.ones_like(w) if (gain := gain_of(region, w)) is None else gain
            for region in self.regions
        ]
        return self._selected(gains, w)

    def at(self, layer: int) -> Region:
        """Return the choice among the regions at that layer."""
        there = tuple(region.at(layer) for region in self.regions)
        if all(region.identity for region in there):
            return Untouched()
        return dataclasses.replace(self, regions=there)

    def of_labels(self) -> Region:
        """Return the choice among the regions of the labels."""
        there = tuple(region.of_labels() for region in self.regions)
        return dataclasses.replace(self, regions=there)

    @property
    def cuts(self) -> bool:
        """Whether any of the regions cuts."""
        return any(region.cuts for region in self.regions)

    def _selected(self, values: Sequence[Array], x: Array) -> Array:
        index, selected = per_example(self.index, x), values[0]
        for k, value in enumerate(values[1:], start=1):
            if value is not selected:
                selected = jnp.where(index == k, value, selected)
        return selected


def select_region(index: Array, regions: Sequence[Region]) -> Region:
    """Return a region that is, for each example, the one selected by ``index``.

    Identity regions can be ignored, since ``lam`` is 1 for the examples that select
    them. If all other regions have the same structure, the result has it too.
    """
    mixing = {k: each for k, each in enumerate(regions) if not each.identity}
    if not mixing:
        return Untouched()
    first, *others = mixing.values()
    if not others:
        return first
    kinds = {_kind(region) for region in mixing.values()}
    if len(kinds) > 1:
        return Chosen(index, tuple(regions))

    def of_one_kind(*leaves: Array) -> Array:
        own_index, selected, *values = alike(index, *leaves)
        for k, value in zip(list(mixing)[1:], values):
            selected = jnp.where(per_example(own_index == k, value), value, selected)
        return selected

    return jax.tree.map(of_one_kind, first, *others)


def _kind(region: Region) -> Any:
    """Return a value that is equal for regions that can be selected row by row."""
    leaves, structure = jax.tree.flatten(region)
    return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
