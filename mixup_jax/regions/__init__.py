"""Regions: where each example is mixed, as weights ``w`` over its positions.

A region draw is any callable ``(key, lam, inputs, partners) -> (region, lam)``. The
region is a small pytree of what was drawn (the corners of a box, not a mask of pixels),
and computes the weights for the shape of a leaf when they are needed. The returned
``lam`` is the share that the example's own content actually kept, which the targets
use.
"""

from mixup_jax._core.grid import Grid as Grid
from mixup_jax._core.grid import grid as grid
from mixup_jax._core.region import Everywhere as Everywhere
from mixup_jax._core.region import Untouched as Untouched
from mixup_jax.regions._bell import Bell as Bell
from mixup_jax.regions._bell import bell as bell
from mixup_jax.regions._blob import blob as blob
from mixup_jax.regions._box import Box as Box
from mixup_jax.regions._box import box as box
from mixup_jax.regions._box import salient as salient
from mixup_jax.regions._chosen import Chosen as Chosen
from mixup_jax.regions._everywhere import everywhere as everywhere
from mixup_jax.regions._field import Field as Field
from mixup_jax.regions._layer import Layer as Layer
from mixup_jax.regions._layer import layer as layer
from mixup_jax.regions._share import as_drawn as as_drawn
from mixup_jax.regions._share import from_pixels as from_pixels
from mixup_jax.regions._window import Window as Window
from mixup_jax.regions._window import resized as resized
