"""How parts of a batch follow a mix that are neither blended nor weighed by label.

A container says so of what it holds, wherever it stands in the inputs or the targets of
a mixer. It is a pytree, so it passes through jit, vmap and shard_map, and comes back in
its place; ``.tree`` is what it holds. In a dict batch ``on_keys(..., maps=, masks=,
lengths=)`` wraps and unwraps. A rule of your own is a subclass of ``Follower``.
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
    "One-hot integer maps with mixup_jax.losses.one_hot(maps, classes); or leave them "
    "out of the batch and use mixup_jax.losses.termwise(loss)(logits, "
    "mixup_jax.follow.maps(labels), mix)."
)


@dataclasses.dataclass(frozen=True, eq=False)
class _Container(Follower):
    """What holds something else, and is not to be taken for it."""

    tree: Any

    def __eq__(self, other: object) -> bool:
        raise TypeError(
            f"{type(self).__name__}: expected to be compared by what it holds; got "
            f"{arrays.describe(other)} to compare it with. Compare its .tree."
        )

    __hash__ = object.__hash__


@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Maps(_Container):
    """Values at each position, such as labels: mixed there as the inputs are.

    Attributes:
      tree: pytree of arrays with the spatial sizes of the inputs.
    """

    # Lost where the pytree is made anew, and so no promise.
    were_mixed: bool = dataclasses.field(default=False, init=False, repr=False)

    def mixed(self, mix: Mix) -> "Maps":
        """Return them pasted or blended, position by position.

        Raises:
          TypeError: If an array would be blended and is neither floating nor complex.
          ValueError: If an array has other spatial sizes than the inputs.
        """

        def placed(x: Array, where: str, sources: tuple[Source, ...]) -> Array:
            return leaf.placed(x, sources, where, _IDS)

        maps = Maps(_of_seen("maps", placed, self.tree, mix))
        object.__setattr__(maps, "were_mixed", True)
        return maps

    def positions(self) -> ArrayLike:
        """Return the array of labels, whose positions have shares of their own.

        Raises:
          ValueError: If there are several arrays, or they are known to be mixed.
        """
        if self.were_mixed:
            raise ValueError(
                "maps: expected labels before they are mixed; got what a mixer has "
                "mixed, of which each position is of one label. Leave out the mix: "
                "loss(logits, labels)."
            )
        return content(self, "maps")


@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Masks(_Container):
    """Which positions hold something: where any content that is seen there does.

    Attributes:
      tree: pytree of arrays with the spatial sizes of the inputs.
    """

    def mixed(self, mix: Mix) -> "Masks":
        """Return, per position, the largest value of what is seen there.

        Raises:
          TypeError: If an array is neither of bools nor of real numbers.
          ValueError: If an array has other spatial sizes than the inputs.
        """

        def joined(x: Array, where: str, sources: tuple[Source, ...]) -> Array:
            if x.dtype != jnp.bool_:
                checks.real(x, where, "Mask with bools, True where there is something.")
            return leaf.largest_seen(x, sources)

        return Masks(_of_seen("masks", joined, self.tree, mix))


@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Lengths(_Container):
    """How many positions hold something, from the first on.

    Attributes:
      tree: pytree of integer arrays ``[B]``.
    """

    def mixed(self, mix: Mix) -> "Lengths":
        """Return the last position at which something is seen, plus 1.

        Raises:
          TypeError: If an array is not of integers.
          ValueError: If the mix pastes positions, or an array is not ``[B]``.
        """

        def last(n: Array, where: str, sources: tuple[Source, ...]) -> Array:
            if not jnp.issubdtype(n.dtype, jnp.integer):
                raise TypeError(
                    f"{where}: expected integers, numbers of positions; got "
                    f"{arrays.describe(n)}. Lengths as shares of the longest follow "
                    "once they are multiplied by it and rounded."
                )
            checks.shaped(n, where, [mix.lam.shape], "Give one for each example.")
            grids = [each.region.grid for each in sources if each.region.grid]
            if any(each.region.cuts for each in sources):
                raise ValueError(
                    f"{where}: expected a mix without pasted positions, between which "
                    "padding is left that a length does not tell; got "
                    f"{', '.join(type(each.region).__name__ for each in sources)}. "
                    "Declare masks: "
                    "mixup_jax.follow.masks(jnp.arange(size) < lengths[:, None])."
                )
            if not grids:
                return leaf.largest_seen(n, sources)
            return _last_seen(n, sources, grids[0], where)

        return Lengths(_of_seen("lengths", last, self.tree, mix))


def maps(tree: Any) -> Maps:
    """Return a container of what is mixed position by position, as the inputs are.

    ::

        m~[i, q] = w[i, q] * m[i, q] + (1 - w[i, q]) * m[partner(i), q]

    at position q: pasted where inputs are pasted, of any dtype, and seen through the
    same window; blended where they are blended. For label maps and whatever else has a
    value at each position. In the targets, labels of a mix of a hidden layer are mixed
    whichever layer was drawn.

    Losses and metrics of integer labels take it too, with a mix, of labels that were
    not mixed: each position then has shares of its own. Labels that a mixer has mixed,
    which it pastes, take no mix.

    Args:
      tree: pytree of arrays ``[B, *sizes]`` or ``[B, *sizes, K]`` of the spatial sizes
        of the inputs. Integers and bools can be pasted, not blended. Channels stand
        where those of the inputs do, or last; where both fit, as those of the inputs.

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
    """Return a container of masks of what positions hold: any that is seen counts.

    As ``mix.union``: True where a source of a weight other than 0 has True, through its
    window. Of numbers the largest counts, so masks of 0 and 1, and those of 0 and -inf
    that are added to attention, follow alike. A mask that is True at padding does not:
    invert it first.

    A mix of a hidden layer leaves masks as they are; the model joins them where it
    mixes: ``mix.at(k).union(mask)``. What a model has at padding is blended too, so let
    it be 0 there.

    Args:
      tree: pytree of arrays ``[B, *sizes]`` or ``[B, *sizes, K]`` of the spatial sizes
        of the inputs: bools, integers or floats.

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
    """Return a container of lengths: how many positions hold something.

    A mixture is as long as the last position at which something is seen, plus 1: of a
    blend the longer of the two. A paste leaves holes of padding, which only masks tell,
    and is refused.

    Args:
      tree: pytree of integer arrays ``[B]``, counted along the first spatial axis.

    Example:
      >>> import jax, jax.numpy as jnp, mixup_jax as mx
      >>> x, lengths = jnp.ones((2, 9)), mx.follow.lengths(jnp.array([3, 7]))
      >>> ((x, lengths), _), mix = mx.mixup(jax.random.key(0), ((x, lengths), None))
      >>> lengths.tree
      Array([7, 7], dtype=int32)
    """
    return Lengths(tree)


def tree_of(value: Any) -> Any:
    """Return what one of these containers holds, or ``value`` if it is none of them.

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
    """Return ``rule`` of each array, for the sources that show anything."""
    sources = seen(mix.drawn().sources)

    def followed(path: Any, value: Any) -> Any:
        where = name + jax.tree_util.keystr(path)
        if is_follower(value):
            raise ValueError(
                f"{where}: expected arrays; got {type(value).__name__} within a "
                "container, whose rules may differ. Put each where it stands by itself."
            )
        value = on_mesh_of(mix.lam, arrays.exact(value, where))
        return rule(value, where, sources) if sources else value

    return jax.tree.map_with_path(followed, tree, is_leaf=is_follower)


def _last_seen(
    n: Array, sources: tuple[Source, ...], positions: Grid, where: str
) -> Array:
    """Return the last position seen along the first spatial axis, plus 1."""
    most = positions.sizes[0]
    checks.number(n, where, 0, most, "Count positions of the first spatial axis.")
    place = jnp.arange(most, dtype=n.dtype)
    place = place.reshape(1, most, *[1] * (len(positions.sizes) - 1))
    held = jnp.broadcast_to(place, (*n.shape, *positions.sizes)) < per_example(
        n, jnp.zeros((*n.shape, *positions.sizes), bool)
    )
    here = leaf.largest_seen(held, sources)
    return jnp.max(jnp.where(here, place + 1, 0), axis=tuple(range(1, here.ndim)))
