"""Where: regions turn `lam` into a weight field `w` over the positions of an example.

A region draw is any callable `(key, lam, inputs, partners) -> (region, lam)`. The
region is a small pytree that holds what was drawn (the corners of a box, not the pixels
of a mask) and spells out the field for a leaf when it is asked for. The `lam` that
comes back is the share that the own content really kept, which is what the labels use.
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
