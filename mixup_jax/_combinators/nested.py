"""Which mixers of devices are called within another, in functions of a user's too."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mixup_jax._core import bound
from mixup_jax._core.mesh import AxisName, axes


class _Within(NamedTuple):
    refused: Callable[[str, AxisName], str]
    manual: frozenset[str]  # axes that were so where it began
    called: list[tuple[str, AxisName]]  # on others, which may be bound within alone


_INNERMOST: contextvars.ContextVar[_Within | None]
_INNERMOST = contextvars.ContextVar("_INNERMOST", default=None)


@contextlib.contextmanager
def none_within(refused: Callable[[str, AxisName], str]) -> Iterator[None]:
    """Refuse ``per_device`` and ``whole_batch`` within, on an axis that is bound here.

    However deep in functions of a user's, unless JAX kept what it traced of them
    before. Within a ``jax.shard_map`` of its own, a mixer may name that one's axes:
    what is outside sees the whole batch.

    Raises:
      ValueError: If there is one; ``refused`` says so, of its name and axis.
    """
    here = _Within(refused, bound.names_of_shard_map(), [])
    token = _INNERMOST.set(here)
    try:
        yield
    finally:
        _INNERMOST.reset(token)
    for name, axis_name in here.called:
        if bound.is_bound(axis_name):
            raise ValueError(refused(name, axis_name))


def noted(name: str, axis_name: AxisName) -> None:
    """Tell the innermost ``none_within`` of a call on an axis."""
    within = _INNERMOST.get()
    if within is None:
        return
    # At once where that can be told: of a trace that fails, JAX keeps nothing.
    if within.manual.issuperset(axes(axis_name)):
        raise ValueError(within.refused(name, axis_name))
    within.called.append((name, axis_name))
