"""All numbers that one of our mixers draws are cut from one call for random words.

Draws say how many words an example they read; mixers plan by it; the outermost calls.
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
LATER: Final[Any] = object()  # in place of a key, for the plan of what is drawn
_READS: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


class Whole(int):
    """So many words that lie whole on each device, and what it is added to."""

    __add__ = __radd__ = lambda self, other: Whole(int(self) + int(other))
    __mul__ = __rmul__ = lambda self, other: Whole(int(self) * int(other))


class Words(NamedTuple):
    """In place of a key: uint32 ``[n, B]``, of which each row is read once."""

    rows: jax.Array
    first: int = 0


class Plan(NamedTuple, Generic[T]):
    """A draw ``of`` so many words for each of ``size`` examples; None is of a key."""

    words: int | None
    size: int
    of: Callable[[Any], T]


def drawn(key: Any, plan: Plan[T]) -> T:
    """Return what is drawn by a key, or the plan where that comes ``LATER``."""
    if key is LATER:
        return plan  # type: ignore[return-value]
    checks.prng_key(key)
    if plan.words is None:
        return plan.of(key)
    rows = bits(key, (plan.words, plan.size))
    return plan.of(Words(replicated(rows) if isinstance(plan.words, Whole) else rows))


def divided(numbers: Any, counts: Sequence[Any]) -> Any:
    """Return so many of the words for each count; of a key, a key for each."""
    if not isinstance(numbers, Words):
        return jax.random.split(numbers, len(counts))
    starts = itertools.accumulate(counts, initial=numbers.first)
    return [numbers._replace(first=first) for first, _ in zip(starts, counts)]


def reads(words: Any) -> Callable[[T], T]:
    """Decorate a draw that reads so many words, or as many as a function returns."""
    return lambda draw: _READS.update({draw: words}) or draw


def words_of(draw: Any, *args: Any) -> Any:
    """Return how many words a draw reads for each example; None if it takes a key."""
    (*_, draw), options = called(draw), {}
    if type(draw) is functools.partial and not draw.args:
        draw, options = draw.func, draw.keywords
    try:
        known = _READS.get(draw)
    except TypeError:  # of what cannot be a key of a dictionary
        return None
    return known(draw, *args, **options) if callable(known) else known
