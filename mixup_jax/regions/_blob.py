"""Blobs of the partner: where a random field of low frequencies is lowest."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import checks
from mixup_jax._core.follow import blended
from mixup_jax._core.grid import grid_for
from mixup_jax._core.mesh import examples_whole, laid_like
from mixup_jax._core.random import normal_rows
from mixup_jax._core.types import Partners
from mixup_jax.regions._field import Field
from mixup_jax.regions._lowest import above_lowest
from mixup_jax.regions._share import from_pixels, of_valid, own_share

_LONGEST_PRODUCT = 1024  # positions; the work of a product grows with their square


def blob(
    key: Array,
    lam: Array,
    inputs: Any,
    partners: Partners | None,
    *,
    spatial: tuple[int, ...] | None = None,
    decay: ArrayLike = 3.0,
    share: Callable[[Array, Array], Array] = from_pixels,
    valid: ArrayLike | None = None,
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

    Cost on a sharded batch: none, whichever axes are divided: each device makes whole
    fields of the examples that it has positions of. But for axes of more than 1024
    positions, where the transform is a Fourier transform and the noise of all examples
    is gathered; inside ``per_device`` each makes its own.

    Args:
      key: PRNG key.
      lam: float32 ``[B]``, as the ratio drew it.
      inputs: pytree of arrays with the same spatial sizes.
      partners: whose valid positions count; otherwise not used.
      spatial: the axis numbers of the spatial axes, as in ``grid``; one to three.
      decay: how fast amplitudes fall with frequency, at least 0, may be traced. 3 is
        the paper's; 0 is white noise, single positions.
      share: as in ``box``; here they differ by the rounding to whole positions.
      valid: as in ``box``.

    Raises:
      TypeError: If ``valid`` is not of bools.
      ValueError: If ``decay`` is negative or not a scalar, inputs do not
        say which axes are spatial or have over three, or ``valid`` has other sizes.

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> region = partial(mx.regions.blob, decay=5.0)
      >>> images = jax.numpy.ones((2, 8, 8, 3))
      >>> _, mix = mx.fmix(jax.random.key(0), (images, None), region=region)
      >>> bool((mix.coverage((8, 8)).mean(axis=(1, 2)) == mix.lam).all())
      True

    Source: Harris et al., "FMix", 2020, arXiv:2002.12047.
    """
    advice = "3 is the paper's."
    checks.number(decay, "blob: decay", 0, advice=advice)
    checks.shaped(decay, "blob: decay", [()], advice)
    positions = grid_for(blob, inputs, spatial)
    if len(positions.sizes) > 3:
        raise ValueError(
            f"blob: expected one to three spatial axes; got {len(positions.sizes)} "
            f"(axes {positions.axes}). Name those to cut along with spatial=(...)."
        )
    total = math.prod(positions.sizes)
    like = jnp.asarray(blended(inputs)[0])
    shape = (lam.shape[0], *positions.sizes)
    # The transform and the count need to see all positions of an example.
    noise = examples_whole(normal_rows(key, shape, like), like)
    field = _low_pass(noise, decay).reshape(-1, total)
    theirs = jnp.round((1 - lam) * total).astype(jnp.int32)
    own = above_lowest(field, laid_like(theirs, field))
    own = examples_whole(own.reshape(-1, *positions.sizes), like)
    region = Field(own, positions, of_example=valid is not None)
    seen = of_valid(own_share(theirs, total), region, lam, partners, valid)
    return region, share(lam, seen)


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
