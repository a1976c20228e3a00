"""Which mixers of devices are called within another, in functions of a user's too."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator

from mixup_jax._core import bound
from mixup_jax._core.mesh import AxisName

# Of the innermost `none_within`: which of the two was called, on which axis.
_CALLED: contextvars.ContextVar[list[tuple[str, AxisName]] | None]
_CALLED = contextvars.ContextVar("_CALLED", default=None)


@contextlib.contextmanager
def none_within(refused: Callable[[str, AxisName], str]) -> Iterator[None]:
    """Refuse ``per_device`` and ``whole_batch`` within, on an axis that is bound here.

    However deep in functions of a user's. Within a ``jax.shard_map`` of its own, a
    mixer may name that one's axes: what is outside sees the whole batch.

    Raises:
      ValueError: (on leaving) If there was one; ``refused`` says so, of its name and
        axis.
    """
    called: list[tuple[str, AxisName]] = []
    token = _CALLED.set(called)
    try:
        yield
    finally:
        _CALLED.reset(token)
    for name, axis_name in called:
        if bound.is_bound(axis_name):
            raise ValueError(refused(name, axis_name))


def noted(name: str, axis_name: AxisName) -> None:
    """Tell the innermost ``none_within`` of a call on an axis."""
    called = _CALLED.get()
    if called is not None:
        called.append((name, axis_name))
