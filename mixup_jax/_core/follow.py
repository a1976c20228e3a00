"""What a part of a batch is asked that follows a mix by a rule of its own."""

import abc
import contextlib
from collections.abc import Iterator
from typing import Any, TypeAlias

import jax
from jax.typing import ArrayLike


class Follower(abc.ABC):
    """A part of a batch that follows a mix by a rule of its own: a pytree.

    Its leaves have the examples on axis 0. Whatever applies a mix asks ``mixed``, in
    the inputs and in the targets, and of no such leaf how else it might follow.

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
        """Return what becomes of it.

        Args:
          mix: the ``Mix`` that is applied. In the targets its regions say where labels
            are mixed, which for a mix of a hidden layer is not where inputs are.
        """

    def positions(self) -> ArrayLike | None:
        """Return an array whose positions have shares of their own in ``mix.terms``.

        None, the default, is one share for each example.
        """
        return None


Labels: TypeAlias = ArrayLike | Follower
"""An array of labels, or a container of one that says how it follows a mix."""


def is_follower(value: Any) -> bool:
    """Whether ``value`` is a part that follows by a rule of its own."""
    return isinstance(value, Follower)


def positions_of(tree: Any) -> ArrayLike | None:
    """Return the positions that have shares of their own, None if examples have.

    Raises ValueError if ``tree`` holds a follower with positions among other things.
    """
    if is_follower(tree):
        return tree.positions()
    for part in jax.tree.leaves(tree, is_leaf=is_follower):
        if is_follower(part) and part.positions() is not None:
            raise ValueError(
                f"terms: expected {type(part).__name__} by itself; got it within a "
                f"{type(tree).__name__}, whose parts have other shares. Hand in each "
                "by itself."
            )
    return None


def blended(tree: Any) -> list[Any]:
    """Return the leaves of ``tree`` that follow by no rule of their own."""
    leaves = jax.tree.leaves(tree, is_leaf=is_follower)
    return [leaf for leaf in leaves if not is_follower(leaf)]


@contextlib.contextmanager
def noted(part: Follower, where: str) -> Iterator[None]:
    """Within it, errors are given a note of which part did not follow."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.add_note(f"This is about {where}, {type(part).__name__}.")
        raise


def content(value: Any, name: str) -> Any:
    """Return the one array that ``value`` holds, or ``value`` if it is no follower.

    Raises ValueError if it holds several, or none.
    """
    if not is_follower(value):
        return value
    held = jax.tree.leaves(value)
    if len(held) != 1:
        raise ValueError(
            f"{name}: expected one array; got {type(value).__name__} of {len(held)}. "
            "Hand in each by itself."
        )
    return held[0]


def held_as(value: Any, array: Any) -> Any:
    """Return ``array`` in a container such as ``value``, or as it is if that is none.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> from mixup_jax._core.follow import held_as
      >>> held_as(mx.follow.maps(jnp.ones(2)), jnp.zeros(3))
      Maps(tree=Array([0., 0., 0.], dtype=float32))
    """
    return jax.tree.map(lambda _: array, value) if is_follower(value) else array
