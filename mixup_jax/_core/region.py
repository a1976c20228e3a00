"""What a region is asked, and the regions that others are made of.

Whoever needs to know something of a region asks it by a fact or a method of `Region`,
whoever wrote it: nothing looks into its class.
"""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._core import checks
from mixup_jax._core.moves import alike, laid_like, per_example
from mixup_jax._core.types import Partners


class Grid(NamedTuple):
    """The positions of an example: which axes are spatial, and their sizes."""

    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    ndim: int

    def axes_of(self, x: Array) -> tuple[int, ...]:
        """Return the spatial axes of ``x``, which may have lost its channel axes.

        Raises:
          ValueError: ``x`` does not have the sizes of the grid on these axes.
        """
        axes = self.axes if x.ndim == self.ndim else range(1, 1 + len(self.axes))
        fits = x.ndim in (self.ndim, 1 + len(self.axes))
        if not fits or tuple(x.shape[axis] for axis in axes) != self.sizes:
            raise ValueError(
                f"inputs: expected a leaf with the spatial sizes {self.sizes}, as the "
                f"one that the region was drawn for (axes {self.axes} of {self.ndim}, "
                f"or without a channel axis); got shape {tuple(x.shape)}. Resize it, "
                "or leave it out."
            )
        return tuple(axes)


def grid(inputs: Any, *, spatial: tuple[int, ...] | None = None) -> Grid:
    """Return the grid that the leaves of ``inputs`` share.

    Args:
      inputs: any pytree of arrays; the leaf with most axes decides, the others fit it
        with or without a channel axis.
      spatial: the spatial axes of that leaf; None takes all between the first and the
        last (``[B, H, W, C]``). ``(2, 3)`` is NCHW, ``(1,)`` a waveform ``[B, T]``.

    Raises:
      ValueError: there are no spatial axes, or leaves that disagree on their sizes.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> images, masks = jnp.ones((2, 8, 6, 3)), jnp.ones((2, 8, 6))
      >>> mx.regions.grid((images, masks))
      Grid(axes=(1, 2), sizes=(8, 6), ndim=4)
    """
    leaves = jax.tree.leaves(inputs)
    if not leaves:
        raise ValueError(
            "inputs: expected an array to cut from; got none. Put what is to be mixed "
            "into the first half of the batch."
        )
    leaf = max(leaves, key=lambda x: x.ndim)
    axes = tuple(range(1, leaf.ndim - 1)) if spatial is None else spatial
    if not isinstance(axes, tuple | list) or list(axes) != sorted(set(axes)):
        raise ValueError(
            f"spatial: expected a tuple of rising axis numbers; got {spatial!r}. "
            "Pass (1,) for [B, T], (2, 3) for NCHW."
        )
    if not axes or not all(0 < axis < leaf.ndim for axis in axes):
        raise ValueError(
            "inputs: expected spatial axes between the first (examples) and the last "
            f"(channels); got shape {tuple(leaf.shape)} and spatial={spatial}. Name "
            "them by their numbers: spatial=(1,) for [B, T], (2, 3) for NCHW."
        )
    shared = Grid(tuple(axes), tuple(leaf.shape[axis] for axis in axes), leaf.ndim)
    if 0 in shared.sizes:
        raise ValueError(
            "inputs: expected at least one position on each spatial axis; got shape "
            f"{tuple(leaf.shape)}. Drop empty examples in the loader."
        )
    for other in jax.tree.leaves(inputs):
        shared.axes_of(other)
    return shared


class Region(abc.ABC):
    """Where: a pytree, examples on axis 0, that holds what was drawn.

    It has to say ``weights``. The facts say what else it does; the defaults are those
    of a region that blends or pastes the partner's content in its own place. Facts are
    static: class attributes, or properties of static fields.

    Example:
      >>> import dataclasses, jax, jax.numpy as jnp, mixup_jax as mx
      >>> @jax.tree_util.register_dataclass
      ... @dataclasses.dataclass(frozen=True)
      ... class FirstRows(mx.Region):
      ...     rows: jax.Array
      ...     grid: mx.regions.Grid = dataclasses.field(metadata=dict(static=True))
      ...     pastes = True
      ...     def weights(self, lam, x):
      ...         rows = self.rows.reshape(-1, *[1] * (x.ndim - 1))
      ...         lam = lam.reshape(rows.shape)
      ...         place = jnp.arange(x.shape[1]).reshape(1, -1, *[1] * (x.ndim - 2))
      ...         return (place >= rows) | (lam == 1)
      >>> x = jnp.array([[0, 1, 2], [3, 4, 5]])
      >>> grid = mx.regions.grid(x, spatial=(1,))
      >>> region = FirstRows(jnp.array([1, 2]), grid)
      >>> mix = mx.Mix.from_pairs(0.5, jnp.array([1, 0]), region=region)
      >>> mix.inputs(x)
      Array([[3, 1, 2],
             [0, 1, 5]], dtype=int32)
    """

    pastes: ClassVar[bool] = False
    """Whether weights are bool: whole positions are one side's, and any dtype goes."""

    identity: ClassVar[bool] = False
    """Whether it leaves every layer as it is, at ``lam`` 1."""

    windows: ClassVar[bool] = False
    """Whether the partner's content is shown through ``view``."""

    gains: ClassVar[bool] = False
    """Whether what was mixed is multiplied by ``gain``."""

    of_example: ClassVar[bool] = False
    """Whether it was drawn from what an example or its partner holds."""

    grid: ClassVar["Grid | None"] = None
    """The positions that it was drawn for, if it tells them apart."""

    layers: ClassVar[tuple[int, ...]] = (0,)
    """The layers that it may mix, 0 for the inputs."""

    @abc.abstractmethod
    def weights(self, lam: Array, x: Array) -> Array:
        """Return the weight field ``w`` of the content in front.

        Args:
          lam: float32 ``[B]``.
          x: a leaf of the inputs, ``[B, ...]``; its shape and layout count.

        Returns:
          Float32, or bool if it ``pastes``, of a shape that broadcasts with ``x``.
          Where ``lam`` is 1, ``w`` is 1.
        """

    def view(self, rows: Array) -> Array:
        """Return the partners' content, ``[B, ...]``, as the window shows it."""
        return rows

    def gain(self, w: Array) -> Array:
        """Return the factor of what was mixed, float32, by ``w``; 1 where ``w`` is."""
        return jnp.ones_like(w)

    def at(self, layer: int) -> "Region":
        """Return what is done to a hidden layer; by default nothing, but to layer 0."""
        return self if layer == 0 else Untouched()


class RegionDraw(Protocol):
    """Draws a region that leaves the share ``lam``, and the share it really left.

    ``partners.bring(tree)`` is what the partners have: of a saliency map, or of masks.
    """

    def __call__(
        self, key: Array, lam: Array, inputs: Any, partners: Partners
    ) -> tuple[Region, Array]: ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Everywhere(Region):
    """The same weight at every position: ``w = lam``."""

    def weights(self, lam: Array, x: Array) -> Array:
        """Return ``lam``, float32 ``[B, 1, ...]``."""
        return per_example(lam, x)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Untouched(Region):
    """The own content at every position, of any dtype."""

    pastes = True
    identity = True

    def weights(self, lam: Array, x: Array) -> Array:
        """Return bool ``[B, 1, ...]``, True throughout."""
        return per_example(jnp.ones_like(lam, bool), x)

    def at(self, layer: int) -> Region:
        """Return itself."""
        del layer
        return self


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Chosen(Region):
    """For each example the region that was chosen for it.

    Attributes:
      index: int32 ``[B]``, which of the regions holds.
      regions: the regions to choose from.
    """

    index: Array
    regions: tuple[Region, ...]

    @property
    def pastes(self) -> bool:  # type: ignore[override]
        """Whether all of them do."""
        return all(region.pastes for region in self.regions)

    @property
    def windows(self) -> bool:  # type: ignore[override]
        """Whether one of them does."""
        return any(region.windows for region in self.regions)

    @property
    def gains(self) -> bool:  # type: ignore[override]
        """Whether one of them does."""
        return any(region.gains for region in self.regions)

    @property
    def of_example(self) -> bool:  # type: ignore[override]
        """Whether one of them is."""
        return any(region.of_example for region in self.regions)

    @property
    def grid(self) -> "Grid | None":  # type: ignore[override]
        """The positions of the first that tells them apart."""
        return next((each.grid for each in self.regions if each.grid), None)

    @property
    def layers(self) -> tuple[int, ...]:  # type: ignore[override]
        """The layers of all of them."""
        return tuple(sorted({k for each in self.regions for k in each.layers}))

    def weights(self, lam: Array, x: Array) -> Array:
        """Return the field of the chosen region: bool if all of them paste."""
        fields = [field(region, lam, x) for region in self.regions]
        if not self.pastes:
            fields = [field.astype(jnp.float32) for field in fields]
        return self._selected(fields, x)

    def view(self, rows: Array) -> Array:
        """Return the partners' content through the window of the chosen region."""
        views = [through(region, rows) for region in self.regions]
        return self._selected(views, rows)

    def gain(self, w: Array) -> Array:
        """Return the gain of the chosen region."""
        gains = [
            jnp.ones_like(w) if (gain := gain_of(region, w)) is None else gain
            for region in self.regions
        ]
        return self._selected(gains, w)

    def at(self, layer: int) -> Region:
        """Return the choice among what the regions do to that layer."""
        there = tuple(region.at(layer) for region in self.regions)
        if all(region.identity for region in there):
            return Untouched()
        return dataclasses.replace(self, regions=there)

    def _selected(self, values: Sequence[Array], x: Array) -> Array:
        index, selected = per_example(self.index, x), values[0]
        for k, value in enumerate(values[1:], start=1):
            if value is not selected:
                selected = jnp.where(index == k, value, selected)
        return selected


def region_and_lam(size: int, drawn: Any) -> tuple[Region, Array]:
    """Return what a region draw returned.

    Raises:
      TypeError: If that is anything but a region and lam.
      ValueError: If lam is for another number of examples.
    """
    pair = isinstance(drawn, tuple | list) and len(drawn) == 2
    if not pair or not isinstance(drawn[0], Region):
        got = checks.describe(drawn[0] if pair else drawn)
        raise TypeError(
            f"region: expected (region, lam), of a subclass of mixup_jax.Region; got "
            f"{got}. Return what it left of lam too."
        )
    where, lam = drawn
    if any(leaf is where for leaf in jax.tree.leaves(where)):
        raise TypeError(
            f"region: expected a pytree; got {checks.describe(where)}. Register its "
            "class: jax.tree_util.register_dataclass."
        )
    advice = "Return the share that each example keeps."
    checks.real(lam, "region: lam", advice)
    checks.shaped(lam, "region: lam", [(size,)], advice)
    lam = jnp.asarray(lam)
    return where, lam if lam.dtype == jnp.float32 else lam.astype(jnp.float32)


def field(region: Region, lam: Array, x: Array) -> Array:
    """Return ``region.weights(lam, x)``.

    Raises:
      TypeError: If their dtype is not what the facts of the region say.
      ValueError: If their shape does not broadcast with that of ``x``.
    """
    w: Any = region.weights(lam, x)
    if getattr(w, "dtype", None) != (jnp.bool_ if region.pastes else jnp.float32):
        kind = "bool weights from a region that pastes"
        if not region.pastes:
            kind = "float32 weights from a region that does not paste"
        raise TypeError(
            f"region: expected {kind}; got {checks.describe(w)} from "
            f"{type(region).__name__}. Set its fact `pastes`, or cast the weights."
        )
    if not _broadcasts(w, x):
        raise ValueError(
            f"region: expected weights that broadcast with a leaf of shape "
            f"{tuple(x.shape)}; got {checks.describe(w)} from "
            f"{type(region).__name__}. Give them as many axes, with 1 or the leaf's "
            "size in each."
        )
    return laid_like(w, x)


def through(region: Region, rows: Array) -> Array:
    """Return the partners' content as the region shows it.

    Raises:
      ValueError: If its window returns another dtype or shape.
    """
    if not region.windows:
        return rows
    seen: Any = region.view(rows)
    like = getattr(seen, "dtype", None), getattr(seen, "shape", None)
    if like != (rows.dtype, rows.shape):
        raise ValueError(
            f"region: expected a view like the rows, {checks.describe(rows)}; got "
            f"{checks.describe(seen)} from {type(region).__name__}. A window shows "
            "positions; it does not change their number or dtype."
        )
    return laid_like(seen, rows)


def gain_of(region: Region, w: Array) -> Array | None:
    """Return ``region.gain(w)``, 1 where ``w`` is; None if it has none.

    Raises:
      TypeError: If it is not float32.
      ValueError: If its shape does not broadcast with that of ``w``.
    """
    if not region.gains:
        return None
    w = w.astype(jnp.float32)
    gain: Any = region.gain(w)
    if getattr(gain, "dtype", None) != jnp.float32:
        raise TypeError(
            f"region: expected a float32 gain; got {checks.describe(gain)} from "
            f"{type(region).__name__}. Work it out from the weights that are given."
        )
    if not _broadcasts(gain, w):
        raise ValueError(
            f"region: expected a gain that broadcasts with weights of shape "
            f"{tuple(w.shape)}; got {checks.describe(gain)} from "
            f"{type(region).__name__}. Work it out from the weights that are given."
        )
    return jnp.where(w == 1, 1.0, laid_like(gain, w))


def _broadcasts(w: Array, x: Array) -> bool:
    """Whether ``w`` has the axes of ``x``, each of its size or of 1."""
    sizes = zip(w.shape, x.shape)
    return len(w.shape) == len(x.shape) and all(n in (1, m) for n, m in sizes)


def region_of(value: Any) -> Region:
    """Return ``value``, or raise TypeError if it is not a region."""
    if not isinstance(value, Region):
        raise TypeError(
            f"region: expected a subclass of mixup_jax.Region; got "
            f"{checks.describe(value)}. A function draws one: mixup_jax.compose."
        )
    return value


def chosen(index: Array, regions: Sequence[Region]) -> Region:
    """Return the region that is, for each example, the one that ``index`` names.

    Regions that leave everything as it is count as any other at ``lam = 1``. Those of
    one kind become one of that kind.
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
        at, selected, *values = alike(index, *leaves)
        for k, value in zip(list(mixing)[1:], values):
            selected = jnp.where(per_example(at == k, value), value, selected)
        return selected

    return jax.tree.map(of_one_kind, first, *others)


def _kind(region: Region) -> Any:
    """Return what two regions share whose arrays can be exchanged row by row."""
    leaves, structure = jax.tree.flatten(region)
    return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
