"""The protocol of batch parts that follow a mix by a rule of their own."""

import abc
import contextlib
from collections.abc import Iterator
from typing import Any, TypeAlias

import jax
from jax.typing import ArrayLike


class Follower(abc.ABC):
    """A part of a batch that follows a mix by its own rule: a pytree.

    Its leaves have the examples on axis 0. Wherever a mix is applied, to inputs or
    targets, ``mixed`` is called in place of mixing these leaves.

    Example:
      >>> import dataclasses, jax, jax.numpy as jnp, mixup_jax as mx
      >>> @jax.tree_util.register_dataclass
      ... @dataclasses.dataclass(frozen=True)
      ... class Boxes(mx.follow.Follower):  # corners [B, N, 4], of weight [B, N]
      ...     corners: jax.Array
      ...     weight: jax.Array
      ...     def mixed(self, mix):
      ...         (own, mine), (left, theirs) = mix.terms(self)
      ...         weight = (own[:, None] * mine.weight, left[:, None] * theirs.weight)
      ...         corners = (mine.corners, theirs.corners)
      ...         return Boxes(*(jnp.concatenate(x, 1) for x in (corners, weight)))
      >>> mix = mx.Mix.from_pairs(jnp.array([0.75, 1.0]), jnp.array([1, 0]))
      >>> mix.targets(Boxes(jnp.ones((2, 1, 4)), jnp.ones((2, 1)))).weight
      Array([[0.75, 0.25],
             [1.  , 0.  ]], dtype=float32)
    """

    @abc.abstractmethod
    def mixed(self, mix: Any) -> Any:
        """Return this part of the batch, mixed.

        Args:
          mix: the ``Mix`` that is applied. For targets its regions describe where
            labels are mixed, which for a mix of a hidden layer is not where inputs are
            mixed.
        """

    def positions(self) -> ArrayLike | None:
        """Return an array whose positions have their own shares in ``mix.terms``.

        The default, ``None``, gives each example one share.
        """
        return None


Labels: TypeAlias = ArrayLike | Follower
"""An array of labels, or a ``Follower`` that holds one."""


def is_follower(value: Any) -> bool:
    """Return whether ``value`` follows a mix by its own rule."""
    return isinstance(value, Follower)


def positions_of(tree: Any) -> ArrayLike | None:
    """Return the array whose positions have their own shares, or ``None``.

    Raises:
      ValueError: If ``tree`` contains a follower with positions beside other parts.
    """
    if is_follower(tree):
        return tree.positions()
    for part in jax.tree.leaves(tree, is_leaf=is_follower):
        if is_follower(part) and part.positions() is not None:
            raise ValueError(
                f"terms: expected {type(part).__name__} on its own; got it within a "
                f"{type(tree).__name__}, whose other parts have other shares. Pass "
                "each separately."
            )
    return None


def blended(tree: Any) -> list[Any]:
    """Return the leaves of ``tree`` that are not part of a follower."""
    leaves = jax.tree.leaves(tree, is_leaf=is_follower)
    return [leaf for leaf in leaves if not is_follower(leaf)]


@contextlib.contextmanager
def noted(part: Follower, where: str) -> Iterator[None]:
    """Add a note to errors raised in this context that names the follower."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.add_note(f"This concerns {where}, a {type(part).__name__}.")
        raise


def content(value: Any, name: str) -> Any:
    """Return the single array in ``value``, or ``value`` if it is not a follower.

    Raises:
      ValueError: If the follower holds no array, or several.
    """
    if not is_follower(value):
        return value
    held = jax.tree.leaves(value)
    if len(held) != 1:
        raise ValueError(
            f"{name}: expected one array; got {type(value).__name__} of {len(held)}. "
            "Pass each separately."
        )
    return held[0]


def held_as(value: Any, array: Any) -> Any:
    """Return ``array`` in a container like ``value``, or as is if it is not a follower.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> from mixup_jax._core.follow import held_as
      >>> held_as(mx.follow.maps(jnp.ones(2)), jnp.zeros(3))
      Maps(tree=Array([0., 0., 0.], dtype=float32))
    """
    return jax.tree.map(lambda _: array, value) if is_follower(value) else array
