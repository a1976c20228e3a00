"""Detection of device mixers that are called within other mixers."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mixup_jax._core import bound
from mixup_jax._core.mesh import AxisName, axes


class _Within(NamedTuple):
    refused: Callable[[str, AxisName], str]
    manual: frozenset[str]  # manual axes on entry
    called: list[tuple[str, AxisName]]  # on other axes, maybe bound only inside


_INNERMOST: contextvars.ContextVar[_Within | None]
_INNERMOST = contextvars.ContextVar("_INNERMOST", default=None)


@contextlib.contextmanager
def none_within(refused: Callable[[str, AxisName], str]) -> Iterator[None]:
    """Reject ``per_device`` and ``whole_batch`` inside, on an axis that is bound here.

    This includes calls at any depth in user-defined functions, unless JAX reuses an
    earlier trace of them. Inside a nested ``jax.shard_map`` a mixer may name the axes
    which that binds: the code outside sees the whole batch.

    Args:
      refused: returns the message for the name of a mixer and its axis.

    Raises:
      ValueError: If one is called inside.
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
    """Report a call on an axis to the innermost ``none_within``."""
    within = _INNERMOST.get()
    if within is None:
        return
    # Raise immediately where possible, since JAX does not cache traces that fail.
    if within.manual.issuperset(axes(axis_name)):
        raise ValueError(within.refused(name, axis_name))
    within.called.append((name, axis_name))
