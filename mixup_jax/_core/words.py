"""Draws that share one call for random bits.

All numbers that a built-in mixer draws are slices of a single array of random words.
Draws declare how many words they read per example, mixers sum these into a plan, and
the outermost mixer makes the call.
"""

import functools
import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import jax

from mixup_jax._core import checks
from mixup_jax._core.made import called
from mixup_jax._core.mesh import replicated
from mixup_jax._core.threefry import bits

T = TypeVar("T")
LATER: Final[Any] = object()  # passed in place of a key to get the plan of a draw
_READS: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


class Whole(int):
    """A number of words that are replicated on each device, as are sums with it."""

    __add__ = __radd__ = lambda self, other: Whole(int(self) + int(other))
    __mul__ = __rmul__ = lambda self, other: Whole(int(self) * int(other))


class Words(NamedTuple):
    """Random words in place of a key: uint32 ``[n, B]``, each row read once."""

    rows: jax.Array
    first: int = 0


class Plan(NamedTuple, Generic[T]):
    """A draw that is planned but not yet made.

    Attributes:
      words: number of random words that it reads per example; ``None`` if it takes a
        key.
      size: number of examples.
      of: the draw, as a function of its words or its key.
    """

    words: int | None
    size: int
    of: Callable[[Any], T]


def drawn(key: Any, plan: Plan[T]) -> T:
    """Return the draw for a key, or the plan if the key is ``LATER``."""
    if key is LATER:
        return plan  # type: ignore[return-value]
    checks.prng_key(key)
    if plan.words is None:
        return plan.of(key)
    rows = bits(key, (plan.words, plan.size))
    return plan.of(Words(replicated(rows) if isinstance(plan.words, Whole) else rows))


def divided(numbers: Any, counts: Sequence[Any]) -> Any:
    """Return the words for each count, or a key for each if ``numbers`` is a key."""
    if not isinstance(numbers, Words):
        return jax.random.split(numbers, len(counts))
    starts = itertools.accumulate(counts, initial=numbers.first)
    return [numbers._replace(first=first) for first, _ in zip(starts, counts)]


def reads(words: Any) -> Callable[[T], T]:
    """Decorate a draw with the number of words it reads, or a function for it."""
    return lambda draw: _READS.update({draw: words}) or draw


def words_of(draw: Any, *args: Any) -> Any:
    """Return the number of words that a draw reads per example; ``None`` for a key."""
    (*_, draw), options = called(draw), {}
    if type(draw) is functools.partial and not draw.args:
        draw, options = draw.func, draw.keywords
    try:
        known = _READS.get(draw)
    except TypeError:  # not hashable
        return None
    return known(draw, *args, **options) if callable(known) else known
