"""Where: regions turn `lam` into a weight field `w` over the positions of an example.

A region draw is any callable `(key, lam, inputs, partners) -> (region, lam)`. The
region is a small pytree that holds what was drawn (the corners of a box, not the pixels
of a mask) and spells out the field for a leaf when it is asked for. The `lam` that
comes back is the share that the own content really kept, which is what the labels use.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import checks, windows
from mixup_jax._core.moves import laid_like, laid_out, normal_rows, per_example
from mixup_jax._core.region import Chosen as Chosen
from mixup_jax._core.region import Everywhere as Everywhere
from mixup_jax._core.region import Grid as Grid
from mixup_jax._core.region import Region
from mixup_jax._core.region import Untouched as Untouched
from mixup_jax._core.region import grid as grid
from mixup_jax._core.types import Partners

_LONGEST_PRODUCT = 1024  # positions; the work of a product grows with their square


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Box(Region):
    """The partner's content inside a box, the own content outside.

    Attributes:
      start: int32 ``[B, S]``, the first position inside, on each of S spatial axes.
      stop: int32 ``[B, S]``, the first position behind the box.
      grid: the positions that the box was drawn for.
      of_example: whether it was drawn from what an example or its partner holds.
    """

    start: Array
    stop: Array
    grid: Grid = dataclasses.field(metadata={"static": True})  # type: ignore[misc]
    of_example: bool = dataclasses.field(  # type: ignore[misc]
        default=False, metadata={"static": True}
    )
    pastes = True

    def weights(self, lam: Array, x: Array) -> Array:
        """Return bool ``[B, ..., 1]``, True where the own content stays."""
        inside = per_example(lam, x) < 1  # examples that are not mixed have no box
        axes = self.grid.axes_of(x)
        for corner in (self.start, self.stop):
            advice = "Give a corner of each example's box, on each spatial axis."
            checks.shaped(corner, "box: corners", [(x.shape[0], len(axes))], advice)
        for s, axis in enumerate(axes):
            at, unit = _places(x, axis, x.ndim if axis == axes[-1] else axis + 1)
            start, stop = (
                per_example(corner[:, s] * unit, x)
                for corner in (self.start, self.stop)
            )
            inside = inside & (start <= at) & (at < stop)
        return ~inside


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Field(Region):
    """A weight of its own at each position.

    Attributes:
      own: ``[B, *sizes]``: bool, True where the own content stays; or float32, its
        weight.
      grid: the positions that the field covers.
      of_example: whether it was drawn from what an example or its partner holds.
    """

    own: Array
    grid: Grid = dataclasses.field(metadata={"static": True})  # type: ignore[misc]
    of_example: bool = dataclasses.field(  # type: ignore[misc]
        default=False, metadata={"static": True}
    )

    @property
    def pastes(self) -> bool:  # type: ignore[override]
        """Whether the field is bool."""
        return self.own.dtype == jnp.bool_

    def weights(self, lam: Array, x: Array) -> Array:
        """Return the field, ``[B, ..., 1]``, in its dtype."""
        axes = self.grid.axes_of(x)
        advice = "Give a weight for each position of the grid."
        wanted = (x.shape[0], *self.grid.sizes)
        checks.shaped(self.own, "field: own", [wanted], advice)
        shape = tuple(n if k in (0, *axes) else 1 for k, n in enumerate(x.shape))
        own, alone = laid_like(self.own.reshape(shape), x), per_example(lam, x) == 1
        return own | alone if self.pastes else jnp.where(alone, 1.0, own)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Window(Region):
    """A box of the partner shown in a box of the own place, resized to fit.

    A position q of a side from ``start`` to ``stop`` shows the partner's nearest::

        first + floor((q - start + 1/2) * extent / (stop - start))

    in whole positions, so any dtype goes and masks follow.

    Attributes:
      start: int32 ``[B, S]``, the first position inside, on each of S spatial axes.
      stop: int32 ``[B, S]``, the first position behind the box.
      first: int32 ``[B, S]``, the first position of the partner's that is shown.
      extent: int32 ``[B, S]``, how many of the partner's positions are shown.
      grid: the positions that the boxes were drawn for.
    """

    start: Array
    stop: Array
    first: Array
    extent: Array
    grid: Grid = dataclasses.field(metadata={"static": True})  # type: ignore[misc]
    pastes = True
    windows = True

    def weights(self, lam: Array, x: Array) -> Array:
        """Return bool ``[B, ..., 1]``, True outside the box."""
        return Box(self.start, self.stop, self.grid).weights(lam, x)

    def view(self, rows: Array) -> Array:
        """Return the partners' content, resized into the boxes; elsewhere anything."""
        for s, axis in enumerate(self.grid.axes_of(rows)):
            rows = windows.shown(rows, axis, self._shown_at(s, rows.shape[axis]))
        return rows

    def _shown_at(self, s: int, size: int) -> Array:
        """Return the position that each one of ``size`` shows, int32 ``[B, size]``."""
        start, stop, first, extent = (
            corner[:, s][:, None]
            for corner in (self.start, self.stop, self.first, self.extent)
        )
        place = laid_like(jnp.arange(size, dtype=jnp.int32)[None], start)
        inside = jnp.clip(place - start, 0, jnp.maximum(stop - start - 1, 0))
        side = jnp.maximum(stop - start, 1)
        shown = first + windows.divided(2 * inside + 1, extent, 2 * side)
        return jnp.clip(shown, 0, size - 1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Bell(Region):
    """The partner's content strongest at a centre, the own content far from it.

    ::

        w[q] = 1 - exp(-|(q - centre) / n|^2 / (2 width^2))

    at position q of sides n.

    Attributes:
      centre: int32 ``[B, S]``, a position on each of S spatial axes.
      width: float32 ``[B]``, as a share of each side.
      grid: the positions that the bell was drawn for.
    """

    centre: Array
    width: Array
    grid: Grid = dataclasses.field(metadata={"static": True})  # type: ignore[misc]

    def weights(self, lam: Array, x: Array) -> Array:
        """Return float32 ``[B, ..., 1]``."""

        # Broadcast to all of the leaf at once: with axes of size 1, a TPU lays factors
        # out in memory that is mostly padding.
        def over(factor: Array, *axes: int) -> Array:
            factor = laid_out(factor, x, jax.P(*jax.typeof(x).sharding.spec[:1]))
            return jax.lax.broadcast_in_dim(factor, x.shape, axes)

        theirs = over(jnp.where(lam == 1, 0.0, 1.0), 0)
        for s, axis in enumerate(self.grid.axes_of(x)):
            at = jnp.arange(x.shape[axis], dtype=jnp.int32)[None]
            theirs *= over(self.along(s, at), 0, axis)
        return 1 - theirs

    def along(self, s: int, place: Array) -> Array:
        """Return the factor of spatial axis s at ``place`` ``[1, n]``: ``[B, n]``."""
        away = (place - self.centre[:, s][:, None]).astype(jnp.float32)
        return jnp.exp(-0.5 * (away / self.grid.sizes[s] / self.width[:, None]) ** 2)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Layer(Region):
    """``w = lam`` in the layer that was drawn, the own content in all others.

    Attributes:
      drawn: int32 ``[B]``, the layer that each example is mixed in.
      layers: those that it was drawn from.
      here: the layer whose weights are asked for, 0 for the inputs.
    """

    drawn: Array
    layers: tuple[int, ...] = dataclasses.field(  # type: ignore[misc]
        metadata={"static": True}
    )
    here: int = dataclasses.field(default=0, metadata={"static": True})

    @property
    def pastes(self) -> bool:  # type: ignore[override]
        """Whether this layer is never mixed."""
        return self.here not in self.layers

    def weights(self, lam: Array, x: Array) -> Array:
        """Return ``lam`` or 1, float32 ``[B, 1, ...]``; bool if it is never mixed."""
        if self.pastes:
            return Untouched().weights(lam, x)
        return per_example(jnp.where(self.drawn == self.here, lam, 1.0), x)

    def at(self, layer: int) -> Region:
        """Return what is done to a hidden layer: nothing, unless it may be drawn."""
        if layer not in self.layers:
            return Untouched()
        return dataclasses.replace(self, here=layer)


def _places(x: Array, axis: int, end: int) -> tuple[Array, int]:
    """Count the positions along ``axis`` in elements of the axes from it to ``end``.

    A mask that differs from one channel to the next, if only formally, is a vector
    select in XLA's loops; one that is constant over the channels is a branch a pixel.
    """
    sizes = x.shape[axis:end]
    places = jnp.arange(math.prod(sizes), dtype=jnp.int32).reshape(
        (1,) * axis + sizes + (1,) * (x.ndim - end)
    )
    return laid_like(places, x), math.prod(sizes[1:])


def everywhere(
    key: Array, lam: Array, inputs: Any, partners: Partners
) -> tuple[Everywhere, Array]:
    """Weigh every position alike: ``w = lam`` (Mixup)."""
    del key, inputs, partners
    return Everywhere(), lam


def layer(
    key: Array, lam: Array, inputs: Any, partners: Partners, *, layers: Sequence[int]
) -> tuple[Layer, Array]:
    """Draw one of ``layers``, the same for the whole batch (Manifold Mixup).

    Args:
      key: PRNG key.
      lam: float32 ``[B]``, as the ratio drew it.
      inputs: not used.
      partners: not used.
      layers: numbers of layers, each once; 0 is the inputs.

    Raises:
      ValueError: no layers, a negative one, or one named twice.

    Example:
      >>> import jax, mixup_jax as mx
      >>> key, lam = jax.random.key(0), jax.numpy.full(4, 0.5)
      >>> region, _ = mx.regions.layer(key, lam, None, None, layers=(0, 2))
      >>> region.drawn.shape, region.at(1)
      ((4,), Untouched())

    Source: Verma et al., "Manifold Mixup", ICML 2019, arXiv:1806.05236.
    """
    del inputs, partners
    numbers = tuple(layers) if isinstance(layers, Sequence) else ()
    counts = all(isinstance(k, int | np.integer) and k >= 0 for k in numbers)
    if not numbers or len(set(numbers)) < len(numbers) or not counts:
        raise ValueError(
            "layers: expected numbers of layers, at least one, each once, 0 for the "
            f"inputs; got {layers!r}. Number the hidden layers from 1."
        )
    u = jax.random.uniform(key, (), jnp.float32)
    drawn = jnp.int32(numbers[0])
    for k, number in enumerate(numbers[1:], start=1):
        drawn = jnp.where(u >= k / len(numbers), number, drawn)
    return Layer(jnp.broadcast_to(drawn, lam.shape), numbers), lam


def from_pixels(drawn: Array, pixels: Array) -> Array:
    """Return the share of the positions that the own content kept."""
    del drawn
    return pixels


def as_drawn(drawn: Array, pixels: Array) -> Array:
    """Return ``lam`` as the ratio drew it, whatever the box left of it.

    Labels then no longer say what was pasted; on fine-grained data that was found to
    train better (pytorch-image-models, issue 8). They stay in the range of a
    ``ratios.folded`` or ``ratios.truncated`` ratio, and have a gradient by ``alpha``.
    """
    del pixels
    return drawn


def box(
    key: Array,
    lam: Array,
    inputs: Any,
    partners: Partners,
    *,
    spatial: tuple[int, ...] | None = None,
    min_size: float = 0.0,
    max_size: float = 1.0,
    share: Callable[[Array, Array], Array] = from_pixels,
) -> tuple[Box, Array]:
    """Draw one box per example that covers about ``1 - lam`` of the positions.

    On each of S spatial axes of size n::

        side   = round(n * clip((1 - lam)^(1/S), min_size, max_size))
        centre ~ Uniform{0, ..., n - 1}, the box clipped at the borders
        lam    = 1 - (positions in the clipped box) / (all positions)

    Where ``min_size`` is given, the centre is drawn such that at least so much of the
    side stays inside. ``lam = 1`` has no box.

    The ``lam`` that is counted differs from the one that was drawn: a side is rounded
    to whole positions, either way, and clipping makes the box smaller. So it may leave
    the range of a ``ratios.folded`` or ``ratios.truncated`` ratio; the labels keep to
    it with ``share=as_drawn``. The gradient of the box, and of a ``lam`` that is
    counted, by the ``lam`` that was drawn is 0.

    Args:
      key: PRNG key.
      lam: float32 ``[B]``, as the ratio drew it.
      inputs: pytree of arrays with the same spatial sizes.
      partners: not used.
      spatial: the axis numbers of the spatial axes, as in ``grid``.
      min_size: the smallest side, as a share of the axis, in [0, 1].
      max_size: the largest side, as a share of the axis, in [0, 1].
      share: what the labels use, from the drawn share and that of the pixels:
        ``from_pixels`` or ``as_drawn``.

    Raises:
      ValueError: a range outside [0, 1], inputs without spatial axes.

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> region = partial(mx.regions.box, min_size=0.25, max_size=0.5)
      >>> images = jax.numpy.ones((2, 8, 8, 3))
      >>> _, mix = mx.cutmix(jax.random.key(0), (images, None), region=region)
      >>> bool((mix.lam >= 0.75).all())
      True

    Source: Yun et al., "CutMix", ICCV 2019, arXiv:1905.04899.
    """
    del partners
    if not 0 <= min_size <= max_size <= 1:
        raise ValueError(
            "box: expected 0 <= min_size <= max_size <= 1; got min_size="
            f"{min_size}, max_size={max_size}. Give sizes as shares of an axis."
        )
    positions = grid(inputs, spatial=spatial)
    n = jnp.asarray([positions.sizes], jnp.int32)
    side = _side(lam, positions, min_size, max_size)
    seen = jnp.minimum(
        jnp.round(min_size * n.astype(jnp.float32)).astype(jnp.int32), side
    )
    first = jnp.maximum(-(side // 2), seen - side)
    last = jnp.minimum(n - 1 - side // 2, n - seen)
    corner = first + _uniform_below(key, last - first + 1)
    start, stop = jnp.clip(corner, 0, n), jnp.clip(corner + side, 0, n)
    return Box(start, stop, positions), share(lam, _outside(start, stop, positions))


def salient(
    key: Array,
    lam: Array,
    inputs: Any,
    partners: Partners,
    *,
    saliency: ArrayLike,
    spatial: tuple[int, ...] | None = None,
    share: Callable[[Array, Array], Array] = from_pixels,
) -> tuple[Box, Array]:
    """Draw the box of ``box`` around the peak of the partner's saliency.

    On each of S spatial axes of size n::

        side   = round(n * (1 - lam)^(1/S))
        centre = argmax of the partner's saliency, the box clipped at the borders
        lam    = 1 - (positions in the clipped box) / (all positions)

    Args:
      key: not used; the peak says where.
      lam: float32 ``[B]``, as the ratio drew it.
      inputs: pytree of arrays with the same spatial sizes.
      partners: whose peak it is.
      saliency: floating ``[B, *sizes]``, how much each position matters, in any units.
        A NaN is below every number; of equal peaks the first counts.
      spatial: the axis numbers of the spatial axes, as in ``grid``.
      share: as in ``box``.

    Raises:
      TypeError: If ``saliency`` is not floating.
      ValueError: If ``saliency`` has another shape, or inputs have no spatial axes.

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> images = jax.numpy.ones((2, 8, 8, 3))
      >>> saliency = jax.numpy.zeros((2, 8, 8)).at[1, 4, 4].set(1.0)
      >>> partners = mx.pairings.neighbour(jax.random.key(0), (images, None))
      >>> lam = jax.numpy.full(2, 0.75)
      >>> box, lam = mx.regions.salient(
      ...     jax.random.key(0), lam, images, partners, saliency=saliency
      ... )
      >>> box.start.tolist(), box.stop.tolist(), lam
      ([[2, 2], [0, 0]], [[6, 6], [2, 2]], Array([0.75  , 0.9375], dtype=float32))

    References:
      Uddin et al., "SaliencyMix", ICLR 2021, arXiv:2006.01791.
    """
    del key
    advice = "Give a number for each position, such as the norm of a gradient."
    checks.floating(saliency, "saliency", "to compare positions by", advice)
    positions = grid(inputs, spatial=spatial)
    checks.shaped(saliency, "saliency", [(lam.shape[0], *positions.sizes)], advice)
    rows = checks.exact(checks.array(saliency), "saliency").reshape(lam.shape[0], -1)
    peak = jnp.argmax(jnp.where(jnp.isnan(rows), -jnp.inf, rows), axis=1)
    theirs = partners.bring(peak.astype(jnp.int32))
    centre = jnp.stack(jnp.unravel_index(theirs, positions.sizes), axis=1)
    n = jnp.asarray([positions.sizes], jnp.int32)
    side = laid_like(_side(lam, positions), centre)
    corner = centre - side // 2
    start, stop = jnp.clip(corner, 0, n), jnp.clip(corner + side, 0, n)
    region = Box(start, stop, positions, of_example=True)
    return region, share(lam, _outside(start, stop, positions))


def resized(
    key: Array,
    lam: Array,
    inputs: Any,
    partners: Partners,
    *,
    spatial: tuple[int, ...] | None = None,
    share: Callable[[Array, Array], Array] = from_pixels,
) -> tuple[Window, Array]:
    """Draw a box, wholly inside, that shows the whole partner (ResizeMix).

    On each of S spatial axes of size n::

        side  = round(n * (1 - lam)^(1/S))
        start ~ Uniform{0, ..., n - side}
        lam   = 1 - (positions in the box) / (all positions)

    Args:
      key: PRNG key.
      lam: float32 ``[B]``, as the ratio drew it.
      inputs: pytree of arrays with the same spatial sizes.
      partners: not used.
      spatial: the axis numbers of the spatial axes, as in ``grid``.
      share: as in ``box``.

    Raises:
      ValueError: If inputs have no spatial axes.

    Example:
      >>> import jax, mixup_jax as mx
      >>> images = jax.numpy.ones((2, 8, 8, 3))
      >>> lam = jax.numpy.full(2, 0.75)
      >>> window, lam = mx.regions.resized(jax.random.key(0), lam, images, None)
      >>> (window.stop - window.start).tolist(), lam
      ([[4, 4], [4, 4]], Array([0.75, 0.75], dtype=float32))

    References:
      Qin et al., "ResizeMix: Mixing Data with Preserved Object Information and True
      Labels", 2020, arXiv:2012.11101.
    """
    del partners
    positions = grid(inputs, spatial=spatial)
    n = jnp.asarray([positions.sizes], jnp.int32)
    side = _side(lam, positions)
    start = _uniform_below(key, n - side + 1)
    stop, whole = start + side, jnp.broadcast_to(n, side.shape)
    region = Window(start, stop, jnp.zeros_like(start), whole, positions)
    return region, share(lam, _outside(start, stop, positions))


def bell(
    key: Array,
    lam: Array,
    inputs: Any,
    partners: Partners,
    *,
    spatial: tuple[int, ...] | None = None,
    min_width: float = 0.25,
    max_width: float = 0.5,
) -> tuple[Bell, Array]:
    """Draw a bell in which the partner's content shows (SmoothMix).

    ::

        centre ~ Uniform{0, ..., n - 1} on each spatial axis of size n
        width  ~ Uniform(min_width, max_width)
        lam    = mean over positions of 1 - exp(-|(q - centre) / n|^2 / (2 width^2))

    Args:
      key: PRNG key.
      lam: float32 ``[B]``, as the ratio drew it; only where it is 1 does it count, and
        nothing is mixed.
      inputs: pytree of arrays with the same spatial sizes.
      partners: not used.
      spatial: the axis numbers of the spatial axes, as in ``grid``.
      min_width: the smallest width, as a share of each side, above 0.
      max_width: the largest width, as a share of each side.

    Raises:
      ValueError: If ``0 < min_width <= max_width`` does not hold, or inputs have no
        spatial axes.

    Example:
      >>> import jax, mixup_jax as mx
      >>> images, lam = jax.numpy.ones((2, 8, 8, 3)), jax.numpy.zeros(2)
      >>> bell, lam = mx.regions.bell(jax.random.key(0), lam, images, None)
      >>> field = bell.weights(lam, images)
      >>> bool((abs(field.mean(axis=(1, 2, 3)) - lam) < 1e-6).all())
      True

    References:
      Lee et al., "SmoothMix: A Simple Yet Effective Data Augmentation to Train Robust
      Classifiers", CVPR Workshops 2020.
    """
    del partners
    if not 0 < min_width <= max_width:
        raise ValueError(
            "bell: expected 0 < min_width <= max_width; got min_width="
            f"{min_width}, max_width={max_width}. Give widths as shares of a side."
        )
    positions = grid(inputs, spatial=spatial)
    key_centre, key_width = jax.random.split(key)
    count = jnp.asarray([positions.sizes] * lam.shape[0], jnp.int32)
    centre = _uniform_below(key_centre, count)
    u = jax.random.uniform(key_width, lam.shape, jnp.float32)
    region = Bell(centre, min_width + (max_width - min_width) * u, positions)
    theirs = jnp.ones_like(lam)
    for s, n in enumerate(positions.sizes):
        at = jnp.arange(n, dtype=jnp.int32)[None]
        theirs *= region.along(s, at).mean(axis=1)
    return region, jnp.where(lam == 1, 1.0, 1 - theirs)


def blob(
    key: Array,
    lam: Array,
    inputs: Any,
    partners: Partners,
    *,
    spatial: tuple[int, ...] | None = None,
    decay: ArrayLike = 3.0,
    share: Callable[[Array, Array], Array] = from_pixels,
) -> tuple[Field, Array]:
    """Draw for each example blobs that cover ``1 - lam`` of the positions.

    The partner's content is where a random field of low frequencies is lowest::

        spectrum[f] = normal / max(|f|, 1 / longest axis)^decay
        field       = Hartley transform of the spectrum
        partner's   = the round((1 - lam) * positions) positions with the lowest field
        lam         = 1 - partner's / positions

    so the spectrum is the same in every direction, on any shape of image. The field is
    distributed as with complex normals and the Fourier transform, which XLA would not
    divide over devices.

    The ``lam`` that is counted lies within half a position of the one that was drawn,
    and may leave the range of a ``ratios.folded`` or ``ratios.truncated`` ratio by as
    much; the labels keep to it with ``share=as_drawn``. The gradient of the blobs, and
    of a ``lam`` that is counted, by the ``lam`` that was drawn is 0.

    Cost on a sharded batch: none, but for axes of more than 1024 positions, where the
    transform is a Fourier transform and each device makes the fields of all examples or
    gathers the masks; inside ``per_device`` each makes its own.

    Args:
      key: PRNG key.
      lam: float32 ``[B]``, as the ratio drew it.
      inputs: pytree of arrays with the same spatial sizes.
      partners: not used.
      spatial: the axis numbers of the spatial axes, as in ``grid``; one to three.
      decay: how fast amplitudes fall with frequency, at least 0, may be traced. 3 is
        the paper's; 0 is white noise, single positions.
      share: as in ``box``; here they differ by the rounding to whole positions.

    Raises:
      ValueError: a ``decay`` that is negative or no scalar, inputs without spatial axes
        or with over three.

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> region = partial(mx.regions.blob, decay=5.0)
      >>> images = jax.numpy.ones((2, 8, 8, 3))
      >>> _, mix = mx.fmix(jax.random.key(0), (images, None), region=region)
      >>> bool((mix.region.own.mean(axis=(1, 2)) == mix.lam).all())
      True

    Source: Harris et al., "FMix", 2020, arXiv:2002.12047.
    """
    del partners
    advice = "3 is the paper's."
    checks.number(decay, "blob: decay", 0, advice=advice)
    checks.shaped(decay, "blob: decay", [()], advice)
    positions = grid(inputs, spatial=spatial)
    if len(positions.sizes) > 3:
        raise ValueError(
            f"blob: expected one to three spatial axes; got {len(positions.sizes)} "
            f"(axes {positions.axes}). Name those to cut along with spatial=(...)."
        )
    total = math.prod(positions.sizes)
    like = jnp.asarray(jax.tree.leaves(inputs)[0])
    noise = normal_rows(key, (lam.shape[0], *positions.sizes), like)
    field = _low_pass(noise, decay).reshape(-1, total)
    theirs = jnp.round((1 - lam) * total).astype(jnp.int32)
    own = _above_lowest(field, laid_like(theirs, field))
    region = Field(own.reshape(-1, *positions.sizes), positions)
    return region, share(lam, _own_share(theirs, total))


def _side(
    lam: Array, positions: Grid, min_size: float = 0.0, max_size: float = 1.0
) -> Array:
    """Return the sides of a box of ``1 - lam`` of the positions, int32 ``[B, S]``."""
    n = jnp.asarray([positions.sizes], jnp.float32)
    # Whole positions have no derivative, and that of the power is infinite at lam = 1.
    rest = 1 - jax.lax.stop_gradient(lam)
    sides = jnp.clip(rest ** (1 / len(positions.sizes)), min_size, max_size)
    side = jnp.round(sides[:, None] * n).astype(jnp.int32)
    return jnp.where(lam[:, None] < 1, side, 0)


def _uniform_below(key: Array, count: Array) -> Array:
    """Draw one of ``count`` integers from 0, each alike, in the shape of ``count``."""
    u = jax.random.uniform(key, count.shape, jnp.float32)
    drawn = jnp.floor(u * count.astype(jnp.float32)).astype(jnp.int32)
    return jnp.minimum(drawn, count - 1)


def _outside(start: Array, stop: Array, positions: Grid) -> Array:
    """Return the share of the positions outside a box, float32 ``[B]``."""
    total = math.prod(positions.sizes)
    return _own_share(jnp.prod(stop - start, axis=1), total)


def _own_share(theirs: Array, total: int) -> Array:
    """Return the share of ``total`` positions that are not the partner's."""
    # XLA would divide by a constant as a product with its inverse, which is rounded.
    whole = jnp.maximum(theirs, total)
    return (total - theirs).astype(jnp.float32) / whole.astype(jnp.float32)


def _low_pass(noise: Array, decay: ArrayLike) -> Array:
    """Return a field of ``[B, *sizes]`` with amplitude falling as |f|^-decay."""
    # The code of the paper's authors takes real and imaginary parts from the first two
    # rows of frequencies, where it means the last axis, so that only the horizontal
    # frequencies 0 and 1 have power and blobs are upright stripes. Ours keeps to the
    # paper's formula. It also rounds lam up or down by a coin; ours to the nearest.
    sizes = noise.shape[1:]
    axes = [np.fft.fftfreq(n) for n in sizes]
    frequency = np.linalg.norm(np.meshgrid(*axes, indexing="ij"), axis=0)
    lowest = 1 / max(sizes)
    base = jnp.asarray(lowest / np.maximum(frequency, lowest), jnp.float32)
    amplitude = base ** jnp.asarray(decay, jnp.float32)
    field = amplitude[None] * noise
    for _ in sizes:
        field = _hartley(field)
    return field


def _hartley(x: Array) -> Array:
    """Transform axis 1, which becomes the last: sum over f of x[f] (cos + sin)(f)."""
    n = x.shape[1]
    if n > _LONGEST_PRODUCT:
        fourier = jnp.fft.fft(jnp.moveaxis(x, 1, -1))
        return fourier.real - fourier.imag
    places = jnp.arange(n, dtype=jnp.int32)
    turns = jax.lax.rem(jnp.outer(places, places), jnp.int32(n))
    angles = turns.astype(jnp.float32) * np.float32(2 * np.pi / n)
    waves = jnp.cos(angles) + jnp.sin(angles)
    return jnp.tensordot(x, waves, axes=(1, 0), precision=jax.lax.Precision.HIGHEST)


def _above_lowest(x: Array, count: Array) -> Array:
    """Return for each row of ``x`` which values are not among its ``count`` lowest.

    A search for the highest of these, two bits at a time: far faster than to sort them
    on a CPU, and than to compile a sort for a TPU.
    """
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    sign = jnp.uint32(1 << 31)
    ordered = jnp.where(bits >= sign, ~bits, bits | sign)  # as the floats are
    highest = jnp.zeros_like(ordered[:, 0])
    for shift in reversed(range(0, 32, 2)):
        digits = jnp.arange(1, 4, dtype=jnp.uint32)[None] << shift
        tried = highest[:, None] | digits
        below = (ordered[:, None] < tried[:, :, None]).sum(axis=2, dtype=jnp.int32)
        digit = (below < count[:, None]).sum(axis=1, dtype=jnp.uint32)
        highest |= digit << shift
    return (ordered > highest[:, None]) | (count == 0)[:, None]
