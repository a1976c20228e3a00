"""The methods that the fuzzer tries, and what each of them takes."""

import dataclasses
import math
from functools import partial
from typing import Any

import mixup_jax as mx
from tests import oracle
from tests.methods import METHODS, Choice, Method


@dataclasses.dataclass(frozen=True)
class Row:
    """A method of the table, and what a batch has to be for it.

    Attributes:
      method: as the laws have it.
      cuts: the most spatial axes along which it cuts; 0 if it needs none.
      holes: it pastes positions, so that lengths do not follow.
      floats: takes no complex numbers, and no integers.
      looks_at_nothing: is no function of the tests, which would look into the batch.
    """

    method: Method
    cuts: int = 0
    holes: bool = False
    floats: bool = False
    looks_at_nothing: bool = True

    def fits(self, size: int, shape: tuple[int, ...]) -> bool:
        """Whether it takes so many examples of this shape, and knows its positions."""
        if self.method.even and size % 2:
            return False
        if not self.cuts:
            return True
        *sizes, channels = shape or (1,)
        clear = 1 < len(shape) <= self.cuts + 1 and math.prod(sizes) > 1
        if len(shape) == 2:
            return clear and channels < sizes[0]
        # Channels may stand first.
        return clear and (len(shape) > 4 or not sizes[0] <= 4 < channels)

    @property
    def pastes(self) -> bool:
        return self.method.pastes and not self.floats

    @property
    def classes(self) -> bool:
        return self.method.classes

    @property
    def keeps_labels(self) -> bool:
        """Whether targets are left alone, of any dtype."""
        return self.method.keeps_labels or self.method.expected is oracle.untouched


def _row(name: str, method: Method) -> Row:
    expected = _expected(method)
    cuts = 4 if expected & {oracle.box, oracle.field, oracle.window, oracle.bell} else 0
    return Row(
        method,
        cuts=min(cuts, 3) if oracle.field in expected else cuts,
        holes=bool(expected & {oracle.box, oracle.field, oracle.window}),
        looks_at_nothing=name not in ("mixup-given", "mixup-constant-each"),
    )


def _expected(method: Method) -> set[Any]:
    if isinstance(method.expected, Choice):
        return set().union(*map(_expected, method.expected.parts))
    return {method.expected}


# Noise of no size, whose sum is known.
_NOISE = Method(
    lambda alpha: partial(mx.gaussian, sigma=0.0),
    oracle.untouched,
    default=None,
    deranged=False,
    keeps_labels=True,
)

# SaliencyMix of the table reads images at places of their own.
ROWS: dict[str, Row] = {
    name: _row(name, method)
    for name, method in METHODS.items()
    if name != "saliencymix"
} | {"gaussian-0": Row(_NOISE, floats=True)}
