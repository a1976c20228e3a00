"""Containers for label maps, masks and lengths, which follow a mix by their own rules.

Wrap such arrays anywhere in the inputs or targets of a mixer; a mixer returns them in
the same container. Containers are pytrees, so they pass through jit, vmap and
shard_map, and their content is ``.tree``. For dict batches,
``on_keys(..., maps=, masks=, lengths=)`` wraps and unwraps the entries. To define
another rule, subclass ``Follower``.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import arrays, checks, leaf
from mixup_jax._core.follow import Follower as Follower
from mixup_jax._core.follow import content, is_follower
from mixup_jax._core.grid import Grid
from mixup_jax._core.mesh import on_mesh_of, per_example
from mixup_jax._core.mix import Mix
from mixup_jax._core.register import pytree
from mixup_jax._core.source import Source, seen

_IDS = (
    "One-hot integer maps with mixup_jax.losses.one_hot(maps, classes), or leave them "
    "out of the batch and use mixup_jax.losses.termwise(loss)(logits, "
    "mixup_jax.follow.maps(labels), mix)."
)


@dataclasses.dataclass(frozen=True, eq=False)
class _Container(Follower):
    """Base of the containers; cannot be compared in place of its content."""

    tree: Any

    def __eq__(self, other: object) -> bool:
        raise TypeError(
            f"{type(self).__name__}: expected its content to be compared; got a "
            f"comparison with {arrays.describe(other)}. Compare its .tree."
        )

    __hash__ = object.__hash__


@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Maps(_Container):
    """Per-position values, such as label maps, mixed like the inputs.

    Attributes:
      tree: pytree of arrays with the spatial sizes of the inputs.
    """

    # Best effort: unflattening the pytree resets it.
    were_mixed: bool = dataclasses.field(default=False, init=False, repr=False)

    def mixed(self, mix: Mix) -> "Maps":
        """Return the maps, pasted or blended position by position.

        Raises:
          TypeError: If an array would be blended and is neither floating-point nor
            complex.
          ValueError: If the spatial sizes of an array differ from those of the inputs.
        """

        def placed(x: Array, where: str, sources: tuple[Source, ...]) -> Array:
            return leaf.placed(x, sources, where, _IDS)

        maps = Maps(_of_seen("maps", placed, self.tree, mix))
        object.__setattr__(maps, "were_mixed", True)
        return maps

    def positions(self) -> ArrayLike:
        """Return the array of labels, each position of which has its own shares.

        Raises:
          ValueError: If there are several arrays, or a mixer has already mixed them.
        """
        if self.were_mixed:
            raise ValueError(
                "maps: expected unmixed labels; got labels that a mixer has mixed, "
                "with one label per position. Leave out the mix: loss(logits, labels)."
            )
        return content(self, "maps")


@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Masks(_Container):
    """Masks of valid positions, mixed as the union over visible sources.

    Attributes:
      tree: pytree of arrays with the spatial sizes of the inputs.
    """

    def mixed(self, mix: Mix) -> "Masks":
        """Return, for each position, the largest value among the visible sources.

        Raises:
          TypeError: If an array contains neither bools nor real numbers.
          ValueError: If the spatial sizes of an array differ from those of the inputs.
        """

        def joined(x: Array, where: str, sources: tuple[Source, ...]) -> Array:
            if x.dtype != jnp.bool_:
                checks.real(x, where, "Use a bool mask, True at valid positions.")
            return leaf.largest_seen(x, sources)

        return Masks(_of_seen("masks", joined, self.tree, mix))


@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Lengths(_Container):
    """Numbers of valid positions, counted from the first.

    Attributes:
      tree: pytree of integer arrays ``[B]``.
    """

    def mixed(self, mix: Mix) -> "Lengths":
        """Return the last position at which a source is visible and valid, plus 1.

        Raises:
          TypeError: If an array does not contain integers.
          ValueError: If the mix pastes positions, or an array is not ``[B]``.
        """

        def last(n: Array, where: str, sources: tuple[Source, ...]) -> Array:
            if not jnp.issubdtype(n.dtype, jnp.integer):
                raise TypeError(
                    f"{where}: expected integer numbers of positions; got "
                    f"{arrays.describe(n)}. Multiply relative lengths by the number of "
                    "positions, and round them."
                )
            checks.shaped(n, where, [mix.lam.shape], "Pass one per example.")
            grids = [each.region.grid for each in sources if each.region.grid]
            if any(each.region.cuts for each in sources):
                raise ValueError(
                    f"{where}: expected a mix that does not paste, since a paste can "
                    "leave gaps of padding that a length cannot describe; got "
                    f"{', '.join(type(each.region).__name__ for each in sources)}. "
                    "Declare masks: "
                    "mixup_jax.follow.masks(jnp.arange(size) < lengths[:, None])."
                )
            if not grids:
                return leaf.largest_seen(n, sources)
            return _last_seen(n, sources, grids[0], where)

        return Lengths(_of_seen("lengths", last, self.tree, mix))


def maps(tree: Any) -> Maps:
    """Wrap label maps and other per-position values, to be mixed like the inputs.

    ::

        m~[i, q] = w[i, q] * m[i, q] + (1 - w[i, q]) * m[partner(i), q]

    at position q. Values are pasted where the inputs are pasted, through the same
    window and for any dtype, and blended where the inputs are blended. For a mix of a
    hidden layer, maps in the targets are mixed whichever layer was drawn.

    Losses and metrics of integer labels also accept maps. With a mix, pass unmixed
    labels; each position then has its own shares. Maps that a mixer has already pasted
    are passed without a mix.

    Args:
      tree: pytree of arrays ``[B, *sizes]`` or ``[B, *sizes, K]``, with the spatial
        sizes of the inputs. Integers and bools can be pasted but not blended. Channels
        are on the same axis as those of the inputs, or on the last; if the shape allows
        both, on that of the inputs.

    Returns:
      The container.

    Example:
      >>> import jax, mixup_jax as mx
      >>> images, labels = jax.numpy.ones((4, 8, 8, 3)), jax.numpy.ones((4, 8, 8), int)
      >>> batch = (images, mx.follow.maps(labels))
      >>> (images, labels), mix = mx.cutmix(jax.random.key(0), batch)
      >>> labels.tree.shape, labels.tree.dtype
      ((4, 8, 8), dtype('int32'))
    """
    return Maps(tree)


def masks(tree: Any) -> Masks:
    """Wrap masks of valid positions, to be mixed by union.

    Like ``mix.union``, the result is True wherever any source with nonzero weight is
    True, through its window. For numbers it is the maximum, so masks of 0 and 1, and
    additive attention masks of 0 and -inf, follow in the same way. Invert masks that
    are True at padding before wrapping them.

    A mix of a hidden layer leaves masks unchanged. The model takes their union where it
    mixes: ``mix.at(k).union(mask)``. Since padding is blended as well, hidden states
    should be 0 there.

    Args:
      tree: pytree of bool, integer or floating-point arrays ``[B, *sizes]`` or
        ``[B, *sizes, K]``, with the spatial sizes of the inputs.

    Returns:
      The container.

    Example:
      >>> import jax, jax.numpy as jnp, mixup_jax as mx
      >>> x, mask = jnp.ones((2, 3, 4)), jnp.array([[1, 0, 0], [1, 1, 0]])
      >>> batch = ({"x": x, "mask": mx.follow.masks(mask)}, None)
      >>> (inputs, _), mix = mx.mixup(jax.random.key(0), batch)
      >>> inputs["mask"].tree
      Array([[1, 1, 0],
             [1, 1, 0]], dtype=int32)
    """
    return Masks(tree)


def lengths(tree: Any) -> Lengths:
    """Wrap lengths, the numbers of valid positions of sequences.

    A mixed example ends at the last visible valid position; the length of a blend is
    therefore the larger of the two. Mixes that paste are rejected: they can leave gaps
    of padding, which only masks can describe.

    Args:
      tree: pytree of integer arrays ``[B]``, counted along the first spatial axis.

    Returns:
      The container.

    Example:
      >>> import jax, jax.numpy as jnp, mixup_jax as mx
      >>> x, lengths = jnp.ones((2, 9)), mx.follow.lengths(jnp.array([3, 7]))
      >>> ((x, lengths), _), mix = mx.mixup(jax.random.key(0), ((x, lengths), None))
      >>> lengths.tree
      Array([7, 7], dtype=int32)
    """
    return Lengths(tree)


def tree_of(value: Any) -> Any:
    """Return the content of a container, or ``value`` itself if it is not one.

    Args:
      value: any object.

    Returns:
      ``value.tree`` for maps, masks and lengths, otherwise ``value``.

    Example:
      >>> import mixup_jax as mx
      >>> mx.follow.tree_of(mx.follow.maps(3)), mx.follow.tree_of(4)
      (3, 4)
    """
    return value.tree if isinstance(value, _Container) else value


def _of_seen(
    name: str,
    rule: Callable[[Array, str, tuple[Source, ...]], Array],
    tree: Any,
    mix: Mix,
) -> Any:
    """Apply ``rule`` to each array with the visible sources."""
    sources = seen(mix.drawn().sources)

    def followed(path: Any, value: Any) -> Any:
        where = name + jax.tree_util.keystr(path)
        if is_follower(value):
            raise ValueError(
                f"{where}: expected arrays; got {type(value).__name__} within a "
                "container, and their rules may differ. Do not nest containers."
            )
        value = on_mesh_of(mix.lam, arrays.exact(value, where))
        return rule(value, where, sources) if sources else value

    return jax.tree.map_with_path(followed, tree, is_leaf=is_follower)


def _last_seen(
    n: Array, sources: tuple[Source, ...], positions: Grid, where: str
) -> Array:
    """Return the last visible valid position on the first spatial axis, plus 1."""
    most = positions.sizes[0]
    checks.number(n, where, 0, most, "Count positions along the first spatial axis.")
    place = jnp.arange(most, dtype=n.dtype)
    place = place.reshape(1, most, *[1] * (len(positions.sizes) - 1))
    held = jnp.broadcast_to(place, (*n.shape, *positions.sizes)) < per_example(
        n, jnp.zeros((*n.shape, *positions.sizes), bool)
    )
    here = leaf.largest_seen(held, sources)
    return jnp.max(jnp.where(here, place + 1, 0), axis=tuple(range(1, here.ndim)))
