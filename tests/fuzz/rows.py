"""The methods that the fuzzer tries, and the batches that each of them accepts."""

import dataclasses
import math
from functools import partial
from typing import Any

import mixup_jax as mx
from tests import oracle
from tests.methods import METHODS, Choice, Method


@dataclasses.dataclass(frozen=True)
class Row:
    """A method of the table, and the requirements on its batch.

    Attributes:
      method: the method, as in the shared laws.
      cuts: the largest number of spatial axes that it cuts; 0 if it needs none.
      holes: whether it pastes positions, so that lengths cannot follow.
      floats: whether it refuses complex numbers and integers.
      looks_at_nothing: False for functions of the tests that inspect the batch.
    """

    method: Method
    cuts: int = 0
    holes: bool = False
    floats: bool = False
    looks_at_nothing: bool = True

    def fits(self, size: int, shape: tuple[int, ...]) -> bool:
        """Return whether it takes this batch size and shape, and the axes are clear."""
        if self.method.even and size % 2:
            return False
        if not self.cuts:
            return True
        *sizes, channels = shape or (1,)
        clear = 1 < len(shape) <= self.cuts + 1 and math.prod(sizes) > 1
        if len(shape) == 2:
            return clear and channels < sizes[0]
        # Channels may come first.
        return clear and (len(shape) > 4 or not sizes[0] <= 4 < channels)

    @property
    def pastes(self) -> bool:
        return self.method.pastes and not self.floats

    @property
    def classes(self) -> bool:
        return self.method.classes

    @property
    def keeps_labels(self) -> bool:
        """Return whether targets of any dtype are left unchanged."""
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


# Noise with a standard deviation of 0, so that the sum is known.
_NOISE = Method(
    lambda alpha: partial(mx.gaussian, sigma=0.0),
    oracle.untouched,
    default=None,
    deranged=False,
    keeps_labels=True,
)

# The SaliencyMix of the table reads the images from fixed places in the batch.
ROWS: dict[str, Row] = {
    name: _row(name, method)
    for name, method in METHODS.items()
    if name != "saliencymix"
} | {"gaussian-0": Row(_NOISE, floats=True)}
