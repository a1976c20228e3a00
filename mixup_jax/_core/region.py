"""What a region is asked.

Whoever needs to know something of a region asks it by a fact or a method of `Region`,
whoever wrote it: nothing looks into its class.
"""

import abc
import dataclasses
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._core import arrays, checks
from mixup_jax._core.grid import Grid
from mixup_jax._core.mesh import laid_like, per_example
from mixup_jax._core.register import pytree
from mixup_jax._core.types import Partners


class Region(abc.ABC):
    """Where: a pytree, examples on axis 0, that holds what was drawn.

    It has to say ``weights``. The facts say what else it does; the defaults are those
    of a region that blends or pastes the partner's content in its own place. Facts are
    static: class attributes, or properties of static fields. To serialise functions
    that return it in a mix, register your class also by
    ``jax.export.register_pytree_node_serialization``.

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

    def of_labels(self) -> "Region":
        """Return what is done to labels of positions; by default as to the inputs."""
        return self

    @property
    def cuts(self) -> bool:
        """Whether positions are one side's alone, which leaves holes in sequences."""
        return self.pastes and self.grid is not None


class RegionDraw(Protocol):
    """Draws a region that leaves the share ``lam``, and the share it really left.

    ``partners.bring(tree)`` is what the partners have: of a saliency map, or of masks.
    """

    def __call__(
        self, key: Array, lam: Array, inputs: Any, partners: Partners, /
    ) -> tuple[Region, Array]: ...


class SpatialDraw(Protocol):
    """A region draw along spatial axes, which its caller may name.

    ``spatial`` are their numbers, and None is all between the first and the last, as in
    ``regions.grid``.
    """

    def __call__(
        self,
        key: Array,
        lam: Array,
        inputs: Any,
        partners: Partners,
        /,
        *,
        spatial: tuple[int, ...] | None,
    ) -> tuple[Region, Array]: ...


@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Everywhere(Region):
    """The same weight at every position: ``w = lam``."""

    def weights(self, lam: Array, x: Array) -> Array:
        """Return ``lam``, float32 ``[B, 1, ...]``."""
        return per_example(lam, x)


@pytree
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


def region_and_lam(size: int, drawn: Any) -> tuple[Region, Array]:
    """Return what a region draw returned.

    Raises:
      TypeError: If that is anything but a region and lam.
      ValueError: If lam is for another number of examples.
    """
    pair = isinstance(drawn, tuple | list) and len(drawn) == 2
    if not pair or not isinstance(drawn[0], Region):
        got = arrays.describe(drawn[0] if pair else drawn)
        raise TypeError(
            f"region: expected (region, lam), of a subclass of mixup_jax.Region; got "
            f"{got}. Return what it left of lam too."
        )
    where, lam = drawn
    if any(leaf is where for leaf in jax.tree.leaves(where)):
        raise TypeError(
            f"region: expected a pytree; got {arrays.describe(where)}. Register its "
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
            f"region: expected {kind}; got {arrays.describe(w)} from "
            f"{type(region).__name__}. Set its fact `pastes`, or cast the weights."
        )
    if not _broadcasts(w, x):
        raise ValueError(
            f"region: expected weights that broadcast with a leaf of shape "
            f"{tuple(x.shape)}; got {arrays.describe(w)} from "
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
            f"region: expected a view like the rows, {arrays.describe(rows)}; got "
            f"{arrays.describe(seen)} from {type(region).__name__}. A window shows "
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
            f"region: expected a float32 gain; got {arrays.describe(gain)} from "
            f"{type(region).__name__}. Work it out from the weights that are given."
        )
    if not _broadcasts(gain, w):
        raise ValueError(
            f"region: expected a gain that broadcasts with weights of shape "
            f"{tuple(w.shape)}; got {arrays.describe(gain)} from "
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
            f"{arrays.describe(value)}. A function draws one: mixup_jax.compose."
        )
    return value
