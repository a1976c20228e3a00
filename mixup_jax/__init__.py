"""Mixup and related methods for JAX: pure functions for the training step.

::

    (images, labels), mix = mixup_jax.mixup(key, (images, labels), alpha=0.2)
"""

import importlib as _importlib
import importlib.util as _util
from typing import TYPE_CHECKING

from mixup_jax import attacks as attacks
from mixup_jax import follow as follow
from mixup_jax import losses as losses
from mixup_jax import metrics as metrics
from mixup_jax import pairings as pairings
from mixup_jax import ratios as ratios
from mixup_jax import regions as regions
from mixup_jax._combinators.cast import cast_inputs as cast_inputs
from mixup_jax._combinators.choose import choose as choose
from mixup_jax._combinators.choose import with_probability as with_probability
from mixup_jax._combinators.devices import common_key as common_key
from mixup_jax._combinators.devices import own_key as own_key
from mixup_jax._combinators.devices import per_device as per_device
from mixup_jax._combinators.devices import whole_batch as whole_batch
from mixup_jax._combinators.names import on_keys as on_keys
from mixup_jax._combinators.names import using as using
from mixup_jax._combinators.once import once_per_batch as once_per_batch
from mixup_jax._combinators.scheduled import scheduled as scheduled
from mixup_jax._combinators.until import until as until
from mixup_jax._core.compose import compose as compose
from mixup_jax._core.compose import draw_source as draw_source
from mixup_jax._core.halves import Mixer as Mixer
from mixup_jax._core.halves import draw_of as draw_of
from mixup_jax._core.mesh import AxisName as AxisName
from mixup_jax._core.mix import Mix as Mix
from mixup_jax._core.mixer import mixer as mixer
from mixup_jax._core.move import Move as Move
from mixup_jax._core.region import Region as Region
from mixup_jax._core.region import RegionDraw as RegionDraw
from mixup_jax._core.region import SpatialDraw as SpatialDraw
from mixup_jax._core.source import Source as Source
from mixup_jax._core.types import Batch as Batch
from mixup_jax._core.types import Pairing as Pairing
from mixup_jax._core.types import Partners as Partners
from mixup_jax._core.types import Ratio as Ratio
from mixup_jax._mixers.cutmix import cutmix as cutmix
from mixup_jax._mixers.dirichlet import dirichlet as dirichlet
from mixup_jax._mixers.erm import erm as erm
from mixup_jax._mixers.extrapolate import extrapolate as extrapolate
from mixup_jax._mixers.fmix import fmix as fmix
from mixup_jax._mixers.gaussian import gaussian as gaussian
from mixup_jax._mixers.manifold import manifold as manifold
from mixup_jax._mixers.mixup import mixup as mixup
from mixup_jax._mixers.resizemix import resizemix as resizemix
from mixup_jax._mixers.saliencymix import saliencymix as saliencymix
from mixup_jax._mixers.smoothmix import smoothmix as smoothmix
from mixup_jax.plot._figure import plot as plot

if TYPE_CHECKING:
    from mixup_jax import hidden as hidden
    from mixup_jax import training as training

__version__ = "0.2.0.dev0"


# Modules that are imported on first use, and the package that each one requires.
_LAZY = {"hidden": "flax", "training": "optax"}

if not TYPE_CHECKING:  # Otherwise type checkers accept any attribute.

    def __getattr__(name: str):
        if name in _LAZY:
            return _importlib.import_module(f"mixup_jax.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # ``help`` and ``inspect.getmembers`` get every name that is listed here, so list
    # only modules whose requirements are installed.
    there = [name for name, package in _LAZY.items() if _util.find_spec(package)]
    return sorted({*globals(), *there})
