"""Blobs of the partner, where a random low-frequency field is lowest."""

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

_LONGEST_PRODUCT = 1024  # positions; the cost of a product grows with their square


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
    """Draw blobs for each example that cover ``1 - lam`` of it (FMix).

    The partner's content is shown where a random low-frequency field is lowest::

        spectrum[f] = normal / max(|f|, 1 / longest axis)^decay
        field       = Hartley transform of the spectrum
        partner's   = the round((1 - lam) * positions) positions with the lowest field
        lam         = 1 - partner's / positions

    The spectrum is isotropic for inputs of any shape. The field has the same
    distribution as with complex normals and a Fourier transform, which XLA would not
    shard.

    The returned ``lam`` is within half a position of the drawn one, and may leave the
    range of ``ratios.folded`` or ``ratios.truncated`` by as much; with
    ``share=as_drawn``, the targets keep to the range. The blobs and the returned
    ``lam`` have a gradient of 0 with respect to the drawn ``lam``.

    On a sharded batch, no communication is needed, whichever axes are sharded: each
    device computes the whole fields of the examples that it has positions of. The
    exception is axes of more than 1024 positions, whose transform is a Fourier
    transform: the noise of all examples is gathered for it. Inside ``per_device``, each
    device computes its own.

    Args:
      key: PRNG key.
      lam: float32 ``[B]``, as drawn by the ratio.
      inputs: pytree of arrays with the same spatial sizes.
      partners: the drawn partners; only used with ``valid``, and may otherwise be
        ``None``.
      spatial: indices of the spatial axes, as for ``grid``; one to three.
      decay: exponent at which amplitudes fall with frequency, a scalar of at least 0;
        may be a traced value. The paper uses 3; 0 is white noise, which selects single
        positions.
      share: as for ``box``. The two differ by the rounding to whole positions.
      valid: as for ``box``.

    Returns:
      The region, and the share of each example's own content, float32 ``[B]``.

    Raises:
      TypeError: If ``valid`` is not an array of bools, or it is given and ``partners``
        is ``None``.
      ValueError: If ``decay`` is not a scalar, or a concrete value is negative. If the
        shape of the inputs does not determine the spatial axes, or there are more than
        three. If ``valid`` has other spatial sizes.

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> region = partial(mx.regions.blob, decay=5.0)
      >>> images = jax.numpy.ones((2, 8, 8, 3))
      >>> _, mix = mx.fmix(jax.random.key(0), (images, None), region=region)
      >>> bool((mix.coverage((8, 8)).mean(axis=(1, 2)) == mix.lam).all())
      True

    References:
      Harris et al., "FMix: Enhancing Mixed Sample Data Augmentation", 2020,
      https://arxiv.org/abs/2002.12047.
    """
    advice = "The paper uses 3."
    checks.number(decay, "blob: decay", 0, advice=advice)
    checks.shaped(decay, "blob: decay", [()], advice)
    positions = grid_for(blob, inputs, spatial)
    if len(positions.sizes) > 3:
        raise ValueError(
            f"blob: expected one to three spatial axes; got {len(positions.sizes)} "
            f"(axes {positions.axes}). Choose up to three with spatial=(...)."
        )
    total = math.prod(positions.sizes)
    like = jnp.asarray(blended(inputs)[0])
    shape = (lam.shape[0], *positions.sizes)
    # The transform and the count need all positions of an example on one device.
    noise = examples_whole(normal_rows(key, shape, like), like)
    field = _low_pass(noise, decay).reshape(-1, total)
    theirs = jnp.round((1 - lam) * total).astype(jnp.int32)
    own = above_lowest(field, laid_like(theirs, field))
    own = examples_whole(own.reshape(-1, *positions.sizes), like)
    region = Field(own, positions, of_example=valid is not None)
    seen = of_valid(own_share(theirs, total), region, lam, partners, valid)
    return region, share(lam, seen)


def _low_pass(noise: Array, decay: ArrayLike) -> Array:
    """Return a field ``[B, *sizes]`` whose amplitudes fall as ``|f|^-decay``."""
    # This follows the formula of the paper, not the authors' code. The latter
    # takes real and imaginary parts from the first two rows of frequencies instead of
    # the last axis, so that only the horizontal frequencies 0 and 1 have power and
    # blobs become vertical stripes. It also rounds lam up or down at random.
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
    """Return the Hartley transform along axis 1, which becomes the last.

    ::

        sum over f of x[f] (cos + sin)(2 pi f q / n), at position q
    """
    n = x.shape[1]
    if n > _LONGEST_PRODUCT:
        fourier = jnp.fft.fft(jnp.moveaxis(x, 1, -1))
        return fourier.real - fourier.imag
    places = jnp.arange(n, dtype=jnp.int32)
    turns = jax.lax.rem(jnp.outer(places, places), jnp.int32(n))
    angles = turns.astype(jnp.float32) * np.float32(2 * np.pi / n)
    waves = jnp.cos(angles) + jnp.sin(angles)
    return jnp.tensordot(x, waves, axes=(1, 0), precision=jax.lax.Precision.HIGHEST)
