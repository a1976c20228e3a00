"""The parts of a train step that depend on where it runs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import Array

from mixup_jax._combinators.devices import own_key, per_device
from mixup_jax._core.blend import summable
from mixup_jax._core.bound import averaged
from mixup_jax._core.halves import Mixer
from mixup_jax._core.mesh import AxisName


class Place(NamedTuple):
    """The parts of a train step that depend on where it runs.

    Attributes:
      mixer: function that adapts a mixer to the place.
      key: function that derives this device's key.
      average: function that averages a pytree over devices, in float32 or wider.
    """

    mixer: Callable[[Mixer], Mixer]
    key: Callable[[Array], Array]
    average: Callable[[Any], Any]


def _as_it_is(value):
    return value


TOGETHER = Place(_as_it_is, _as_it_is, _as_it_is)
"""One program over the whole batch: one device, or plain jit over a mesh."""


def apart(
    axis_name: AxisName, mixing: Callable[[Mixer, Any], Mixer] = per_device
) -> Place:
    """Return the place of a program that sees one device's shard of the batch."""
    return Place(
        lambda mixer: mixing(mixer, axis_name),
        lambda key: own_key(key, axis_name),
        lambda tree: averaged(jax.tree.map(summable, tree), axis_name),
    )
