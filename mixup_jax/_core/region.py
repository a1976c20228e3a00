"""The protocol of regions.

All code queries a region through the facts and methods of ``Region``, never through its
class, so user-defined regions work the same way.
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
    """The region of a mix: a pytree of what was drawn, with the examples on axis 0.

    A region must implement ``weights``. Its facts describe what else it does; the
    defaults are those of a region that blends or pastes the partner's content at the
    same position. Facts are static: class attributes, or properties of static fields.
    To serialize functions that return the region in a mix, also register its class with
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
    """Whether weights are bool: each position is from one side, of any dtype."""

    identity: ClassVar[bool] = False
    """Whether it leaves every layer unchanged, with ``lam = 1``."""

    windows: ClassVar[bool] = False
    """Whether the partner's content is shown through ``view``."""

    gains: ClassVar[bool] = False
    """Whether the mixture is multiplied by ``gain``."""

    of_example: ClassVar[bool] = False
    """Whether it was drawn from the content of an example or its partner."""

    grid: ClassVar["Grid | None"] = None
    """The positions that it was drawn for; ``None`` if all have equal weights.

    It distinguishes dense labels from those of whole examples, and regions that paste
    positions from regions that keep or replace whole examples.
    """

    layers: ClassVar[tuple[int, ...]] = (0,)
    """The layers that it may mix, 0 for the inputs."""

    @abc.abstractmethod
    def weights(self, lam: Array, x: Array) -> Array:
        """Return the weight field ``w`` of the content in front.

        Args:
          lam: float32 ``[B]``.
          x: a leaf of the inputs, ``[B, ...]``, of which only shape and sharding
            matter.

        Returns:
          float32, or bool if the region ``pastes``, of a shape that broadcasts with
          ``x``. Where ``lam`` is 1, ``w`` must be 1.
        """

    def view(self, rows: Array) -> Array:
        """Return the partners' content, ``[B, ...]``, as the window shows it."""
        return rows

    def gain(self, w: Array) -> Array:
        """Return the float32 factor of the mixture for ``w``; 1 where ``w`` is 1."""
        return jnp.ones_like(w)

    def at(self, layer: int) -> "Region":
        """Return the region for a hidden layer; by default only layer 0 is mixed."""
        return self if layer == 0 else Untouched()

    def of_labels(self) -> "Region":
        """Return the region for dense labels; by default that of the inputs."""
        return self

    @property
    def cuts(self) -> bool:
        """Whether single positions are replaced, which leaves holes in sequences."""
        return self.pastes and self.grid is not None


class RegionDraw(Protocol):
    """A draw of a region for ``lam``, and of the share that each example kept.

    ``partners.bring(tree)`` gathers the partners' values, for instance of a saliency
    map or masks.
    """

    def __call__(
        self, key: Array, lam: Array, inputs: Any, partners: Partners, /
    ) -> tuple[Region, Array]: ...


class SpatialDraw(Protocol):
    """A region draw along spatial axes, which its caller may specify.

    ``spatial`` holds the indices of these axes; ``None`` takes all axes between the
    first and the last, as for ``regions.grid``.
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
    """The example's own content at every position, of any dtype."""

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
    """Return the region and ``lam`` that a region draw returned.

    Raises:
      TypeError: If the result is not a pair of a region, registered as a pytree, and
        real ``lam``.
      ValueError: If ``lam`` is for another number of examples.
    """
    pair = isinstance(drawn, tuple | list) and len(drawn) == 2
    if not pair or not isinstance(drawn[0], Region):
        got = arrays.describe(drawn[0] if pair else drawn)
        raise TypeError(
            "region: expected (region, lam) with an instance of mixup_jax.Region; got "
            f"{got}. Also return the share lam that each example keeps."
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
      TypeError: If the dtype is not the one that the facts of the region specify.
      ValueError: If the shape does not broadcast with that of ``x``.
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
            f"{type(region).__name__}. Give them as many axes, each of size 1 or of "
            "the leaf's size."
        )
    return laid_like(w, x)


def through(region: Region, rows: Array) -> Array:
    """Return the partners' content as the window of the region shows it.

    Raises:
      ValueError: If the window changes the dtype or the shape.
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
    """Return ``region.gain(w)``, 1 where ``w`` is 1; ``None`` if it has no gain.

    Raises:
      TypeError: If the gain is not float32.
      ValueError: If its shape does not broadcast with that of ``w``.
    """
    if not region.gains:
        return None
    w = w.astype(jnp.float32)
    gain: Any = region.gain(w)
    if getattr(gain, "dtype", None) != jnp.float32:
        raise TypeError(
            f"region: expected a float32 gain; got {arrays.describe(gain)} from "
            f"{type(region).__name__}. Compute it from the given weights."
        )
    if not _broadcasts(gain, w):
        raise ValueError(
            f"region: expected a gain that broadcasts with weights of shape "
            f"{tuple(w.shape)}; got {arrays.describe(gain)} from "
            f"{type(region).__name__}. Compute it from the given weights."
        )
    return jnp.where(w == 1, 1.0, laid_like(gain, w))


def _broadcasts(w: Array, x: Array) -> bool:
    """Return whether ``w`` has the axes of ``x``, each of equal size or of size 1."""
    sizes = zip(w.shape, x.shape)
    return len(w.shape) == len(x.shape) and all(n in (1, m) for n, m in sizes)


def region_of(value: Any) -> Region:
    """Return ``value``; raise TypeError if it is not a region."""
    if not isinstance(value, Region):
        raise TypeError(
            f"region: expected an instance of mixup_jax.Region; got "
            f"{arrays.describe(value)}. Pass a function that draws one to "
            "mixup_jax.compose."
        )
    return value
