"""Where: regions turn `lam` into a weight field `w` over the positions of an example.

A region draw is any callable `(key, lam, inputs) -> (region, lam)`. The region is a
small pytree that holds what was drawn (the corners of a box, not the pixels of a mask)
and spells out the field for a leaf when it is asked for. The `lam` that comes back is
the share that the own content really kept, which is what the labels use.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mixup_jax import _checks
from mixup_jax._made import made
from mixup_jax._moves import laid_like, normal_rows, per_example
from mixup_jax._types import Region

_LONGEST_PRODUCT = 1024  # positions; the work of a product grows with their square


class Grid(NamedTuple):
    """The positions of an example: which axes are spatial, and their sizes."""

    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    ndim: int

    def axes_of(self, x: Array) -> tuple[int, ...]:
        """Return the spatial axes of ``x``, which may have lost its channel axes.

        Raises:
          ValueError: ``x`` does not have the sizes of the grid on these axes.
        """
        axes = self.axes if x.ndim == self.ndim else range(1, 1 + len(self.axes))
        fits = x.ndim in (self.ndim, 1 + len(self.axes))
        if not fits or tuple(x.shape[axis] for axis in axes) != self.sizes:
            raise ValueError(
                f"inputs: expected a leaf with the spatial sizes {self.sizes}, as the "
                f"one that the region was drawn for (axes {self.axes} of {self.ndim}, "
                f"or without a channel axis); got shape {tuple(x.shape)}. Resize it, "
                "or leave it out."
            )
        return tuple(axes)


def grid(inputs: Any, *, spatial: tuple[int, ...] | None = None) -> Grid:
    """Return the grid that the leaves of ``inputs`` share.

    Args:
      inputs: any pytree of arrays; the leaf with most axes decides, the others fit it
        with or without a channel axis.
      spatial: the spatial axes of that leaf; None takes all between the first and the
        last (``[B, H, W, C]``). ``(2, 3)`` is NCHW, ``(1,)`` a waveform ``[B, T]``.

    Raises:
      ValueError: there are no spatial axes, or leaves that disagree on their sizes.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> images, masks = jnp.ones((2, 8, 6, 3)), jnp.ones((2, 8, 6))
      >>> mx.regions.grid((images, masks))
      Grid(axes=(1, 2), sizes=(8, 6), ndim=4)
    """
    leaves = jax.tree.leaves(inputs)
    if not leaves:
        raise ValueError(
            "inputs: expected an array to cut from; got none. Put what is to be mixed "
            "into the first half of the batch."
        )
    leaf = max(leaves, key=lambda x: x.ndim)
    axes = tuple(range(1, leaf.ndim - 1)) if spatial is None else spatial
    if not isinstance(axes, tuple | list) or list(axes) != sorted(set(axes)):
        raise ValueError(
            f"spatial: expected a tuple of rising axis numbers; got {spatial!r}. "
            "Pass (1,) for [B, T], (2, 3) for NCHW."
        )
    if not axes or not all(0 < axis < leaf.ndim for axis in axes):
        raise ValueError(
            "inputs: expected spatial axes between the first (examples) and the last "
            f"(channels); got shape {tuple(leaf.shape)} and spatial={spatial}. Name "
            "them by their numbers: spatial=(1,) for [B, T], (2, 3) for NCHW."
        )
    shared = Grid(tuple(axes), tuple(leaf.shape[axis] for axis in axes), leaf.ndim)
    if 0 in shared.sizes:
        raise ValueError(
            "inputs: expected at least one position on each spatial axis; got shape "
            f"{tuple(leaf.shape)}. Drop empty examples in the loader."
        )
    for other in jax.tree.leaves(inputs):
        shared.axes_of(other)
    return shared


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Everywhere:
    """The same weight at every position: ``w = lam``."""

    def weights(self, lam: Array, x: Array) -> Array:
        """Return ``lam``, float32 ``[B, 1, ...]``."""
        return per_example(lam, x)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Untouched:
    """The own content at every position, of any dtype."""

    def weights(self, lam: Array, x: Array) -> Array:
        """Return bool ``[B, 1, ...]``, True throughout."""
        return per_example(jnp.ones_like(lam, bool), x)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Box:
    """The partner's content inside a box, the own content outside.

    Attributes:
      start: int32 ``[B, S]``, the first position inside, on each of S spatial axes.
      stop: int32 ``[B, S]``, the first position behind the box.
      grid: the positions that the box was drawn for.
    """

    start: Array
    stop: Array
    grid: Grid = dataclasses.field(metadata={"static": True})

    def weights(self, lam: Array, x: Array) -> Array:
        """Return bool ``[B, ..., 1]``, True where the own content stays."""
        inside = per_example(lam, x) < 1  # who is not mixed has no box
        axes = self.grid.axes_of(x)
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
class Field:
    """The own content where a mask says so.

    Attributes:
      own: bool ``[B, *sizes]``, True where the own content stays.
      grid: the positions that the mask covers.
    """

    own: Array
    grid: Grid = dataclasses.field(metadata={"static": True})

    def weights(self, lam: Array, x: Array) -> Array:
        """Return bool ``[B, ..., 1]``, True where the own content stays."""
        axes = self.grid.axes_of(x)
        shape = tuple(n if k in (0, *axes) else 1 for k, n in enumerate(x.shape))
        return laid_like(self.own.reshape(shape), x) | (per_example(lam, x) == 1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Chosen:
    """For each example the region that was chosen for it.

    Attributes:
      index: int32 ``[B]``, which of the regions holds.
      regions: the regions to choose from.
    """

    index: Array
    regions: tuple[Region, ...]

    def weights(self, lam: Array, x: Array) -> Array:
        """Return the field of the chosen region: bool if all of them paste."""
        fields = [region.weights(lam, x) for region in self.regions]
        if any(field.dtype != jnp.bool_ for field in fields):
            fields = [field.astype(jnp.float32) for field in fields]
        index, w = per_example(self.index, x), fields[0]
        for k, field in enumerate(fields[1:], start=1):
            w = jnp.where(index == k, field, w)
        return w


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """``w = lam`` in the layer that was drawn, the own content in all others.

    Attributes:
      drawn: int32 ``[B]``, the layer that each example is mixed in.
      layers: those that it was drawn from.
      at: the layer whose weights are asked for, 0 for the inputs (`at_layer`).
    """

    drawn: Array
    layers: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    at: int = dataclasses.field(default=0, metadata={"static": True})

    def weights(self, lam: Array, x: Array) -> Array:
        """Return ``lam`` or 1, float32 ``[B, 1, ...]``; bool where nobody is mixed."""
        if self.at not in self.layers:
            return Untouched().weights(lam, x)
        return per_example(jnp.where(self.drawn == self.at, lam, 1.0), x)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Beyond:
    """Away from the partner: ``w = 1 + by``, whatever ``lam`` says of the labels.

    Attributes:
      by: float32 ``[B]``, 0 for who is not mixed.
    """

    by: Array

    def weights(self, lam: Array, x: Array) -> Array:
        """Return ``1 + by``, float32 ``[B, 1, ...]``."""
        del lam
        return per_example(1 + self.by, x)


def at_layer(region: Region, layer: int) -> Region:
    """Return what ``region`` does to a hidden layer; 0 is the inputs.

    What was drawn for the inputs alone leaves hidden layers as they are.

    Example:
      >>> import mixup_jax as mx
      >>> mx.regions.at_layer(mx.regions.Everywhere(), 2)
      Untouched()
    """
    if isinstance(region, Layer):
        return dataclasses.replace(region, at=layer)
    if isinstance(region, Chosen):
        there = tuple(at_layer(each, layer) for each in region.regions)
        return dataclasses.replace(region, regions=there)
    return region if layer == 0 else Untouched()


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


def everywhere(key: Array, lam: Array, inputs: Any) -> tuple[Everywhere, Array]:
    """Weigh every position alike: ``w = lam`` (Mixup)."""
    del key, inputs
    return Everywhere(), lam


def layer(
    key: Array, lam: Array, inputs: Any, *, layers: Sequence[int]
) -> tuple[Layer, Array]:
    """Draw one of ``layers``, the same for the whole batch (Manifold Mixup).

    Args:
      key: PRNG key.
      lam: float32 ``[B]``, as the ratio drew it.
      inputs: not used.
      layers: numbers of layers, each once; 0 is the inputs.

    Raises:
      ValueError: no layers, a negative one, or one named twice.

    Example:
      >>> import jax, mixup_jax as mx
      >>> key, lam = jax.random.key(0), jax.numpy.full(4, 0.5)
      >>> region, _ = mx.regions.layer(key, lam, None, layers=(0, 2))
      >>> region.drawn.shape, mx.regions.at_layer(region, 1).weights(lam, lam).all()
      ((4,), Array(True, dtype=bool))

    Source: Verma et al., "Manifold Mixup", ICML 2019, arXiv:1806.05236.
    """
    del inputs
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
    if not 0 <= min_size <= max_size <= 1:
        raise ValueError(
            "box: expected 0 <= min_size <= max_size <= 1; got min_size="
            f"{min_size}, max_size={max_size}. Give sizes as shares of an axis."
        )
    positions = grid(inputs, spatial=spatial)
    n = jnp.asarray([positions.sizes], jnp.int32)
    dims = len(positions.sizes)
    # Whole positions have no derivative, and that of the power is infinite at lam = 1.
    rest = 1 - jax.lax.stop_gradient(lam)
    sides = jnp.clip(rest ** (1 / dims), min_size, max_size)
    side = jnp.round(sides[:, None] * n.astype(jnp.float32)).astype(jnp.int32)
    side = jnp.where(lam[:, None] < 1, side, 0)
    seen = jnp.minimum(
        jnp.round(min_size * n.astype(jnp.float32)).astype(jnp.int32), side
    )
    first = jnp.maximum(-(side // 2), seen - side)
    last = jnp.minimum(n - 1 - side // 2, n - seen)
    u = jax.random.uniform(key, side.shape, jnp.float32)
    steps = jnp.floor(u * (last - first + 1).astype(jnp.float32)).astype(jnp.int32)
    corner = jnp.minimum(first + steps, last)
    start, stop = jnp.clip(corner, 0, n), jnp.clip(corner + side, 0, n)
    total = math.prod(positions.sizes)
    inside = jnp.prod(stop - start, axis=1)
    return Box(start, stop, positions), share(lam, _own_share(inside, total))


def blob(
    key: Array,
    lam: Array,
    inputs: Any,
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
    advice = "3 is the paper's."
    _checks.number(decay, "blob: decay", 0, advice=advice)
    _checks.shaped(decay, "blob: decay", [()], advice)
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
    partners = jnp.round((1 - lam) * total).astype(jnp.int32)
    own = _above_lowest(field, laid_like(partners, field))
    region = Field(own.reshape(-1, *positions.sizes), positions)
    return region, share(lam, _own_share(partners, total))


def _own_share(partners: Array, total: int) -> Array:
    """Return the share of ``total`` positions that are not the partner's."""
    # XLA would divide by a constant as a product with its inverse, which is rounded.
    whole = jnp.maximum(partners, total)
    return (total - partners).astype(jnp.float32) / whole.astype(jnp.float32)


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


@made
def per_batch(region: Callable) -> Callable:
    """Return ``region`` drawn once a batch: the first example's holds for all.

    Example:
      >>> import jax, mixup_jax as mx
      >>> one_box = mx.regions.per_batch(mx.regions.box)
      >>> images = jax.numpy.ones((4, 8, 8, 3))
      >>> _, mix = mx.cutmix(jax.random.key(0), (images, None), region=one_box)
      >>> bool((mix.region.start == mix.region.start[:1]).all())
      True
    """

    def draw(key: Array, lam: Array, inputs: Any, **options) -> tuple[Region, Array]:
        drawn, share = region(key, lam[:1], inputs, **options)
        return jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (lam.shape[0], *leaf.shape[1:])),
            (drawn, share),
        )

    return draw
