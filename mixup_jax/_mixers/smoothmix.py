"""SmoothMix: a soft bell of the partner, blended in."""

from jax import Array

from mixup_jax import ratios
from mixup_jax._core.compose import along, compose
from mixup_jax._core.mix import Mix
from mixup_jax._core.mixer import method
from mixup_jax._core.region import SpatialDraw
from mixup_jax._core.types import Batch, Pairing
from mixup_jax.pairings import neighbour
from mixup_jax.regions import bell


@method
def smoothmix(
    key: Array,
    batch: Batch,
    *,
    pairing: Pairing = neighbour,
    region: SpatialDraw = bell,
    spatial: tuple[int, ...] | None = None,
) -> Mix:
    """Blend a bell of the partner into every example; mix targets by its mean.

    ::

        x~[i] = w[i] * x[i] + (1 - w[i]) * x[partner(i)]
        w[i]  = 1 - exp(-|(q - centre[i]) / n|^2 / (2 width[i]^2)), at position q
        y~[i] = lam[i] * y[i] + (1 - lam[i]) * y[partner(i)],  lam[i] = mean of w[i]

    with a centre that is uniform over the positions and a width that is uniform from a
    quarter to half of each side n.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)``; inputs any pytree of floating or complex arrays
        with the same spatial sizes; targets any pytree of floating arrays, or None.
      pairing: draws the partners. The default relies on a shuffled batch.
      region: draws the bells, ``(key, lam, inputs, partners, *, spatial)``. Narrow
        ones: ``partial(regions.bell, min_width=0.1, max_width=0.2)``.
      spatial: axis numbers of the spatial axes, any number of them; None takes all
        between the first and the last, if the shape says that channels are last (see
        ``regions.grid``). NCHW images: ``(2, 3)``; one bell through a video's frames
        ``[B, T, H, W, C]``: ``(2, 3)``; waveforms ``[B, T]``: ``(1,)``.

    Returns:
      The mixed batch, every leaf with its dtype, shape and sharding; and the ``Mix``.

    Raises:
      TypeError: If ``key`` is not a key, a leaf is of integers, or ``region`` is not a
        function of spatial axes.
      ValueError: If the batch is not a pair, is empty, its leaves disagree on its size
        or on the spatial sizes, or do not say which axes are spatial.

    Example:
      >>> import jax, mixup_jax as mx
      >>> images = jax.random.uniform(jax.random.key(0), (8, 32, 32, 3))
      >>> labels = jax.nn.one_hot(jax.numpy.arange(8), 10)
      >>> (images, labels), mix = mx.smoothmix(jax.random.key(1), (images, labels))
      >>> bool(((mix.lam > 0) & (mix.lam < 1)).all())
      True

    References:
      Lee et al., "SmoothMix: A Simple Yet Effective Data Augmentation to Train Robust
      Classifiers", CVPR Workshops 2020.
    """
    return compose(
        key,
        batch,
        ratio=ratios.constant(0.0),
        pairing=pairing,
        region=along(spatial, region),
    )
