"""SmoothMix: a soft bell of the partner, blended into each example."""

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
    """Blend a bell of the partner into each example, and mix targets by its mean.

    ::

        x~[i] = w[i] * x[i] + (1 - w[i]) * x[partner(i)]
        w[i]  = 1 - exp(-|(q - center[i]) / n|^2 / (2 width[i]^2)), at position q
        y~[i] = lam[i] * y[i] + (1 - lam[i]) * y[partner(i)],  lam[i] = mean of w[i]

    The center is uniform over the positions. The width is uniform from a quarter to a
    half of each side ``n``.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)`` of pytrees with the examples on axis 0. Inputs
        are floating-point or complex and share their spatial sizes; targets are
        floating-point, or ``None``.
      pairing: draws the partners; see ``mixup_jax.pairings``. The default pairs
        neighbors and relies on a shuffled batch.
      region: draws the bells, called as
        ``region(key, lam, inputs, partners, spatial=...)``. Bind options with
        ``partial``: ``partial(regions.bell, min_width=0.1, max_width=0.2)`` draws
        narrower bells.
      spatial: indices of the spatial axes, one or more. ``None`` takes all axes between
        the first and the last, if the shape is recognizably channels-last (see
        ``regions.grid``). Pass ``(2, 3)`` for NCHW images, ``(1,)`` for waveforms
        ``[B, T]``, and ``(2, 3)`` for one bell through all frames of a video
        ``[B, T, H, W, C]``.

    Returns:
      The mixed batch, whose leaves keep their dtype, shape and sharding, and the
      ``Mix`` that was applied to it.

    Raises:
      TypeError: If ``key`` is not a PRNG key, if a leaf is neither floating-point nor
        complex, or if ``region`` is not a function that takes ``spatial``.
      ValueError: If the batch is not a pair, is empty, or its leaves disagree on the
        batch size or the spatial sizes. If the shape of the inputs does not determine
        the spatial axes.

    Example:
      >>> import jax, mixup_jax as mx
      >>> images = jax.random.uniform(jax.random.key(0), (8, 32, 32, 3))
      >>> labels = jax.nn.one_hot(jax.numpy.arange(8), 10)
      >>> (images, labels), mix = mx.smoothmix(jax.random.key(1), (images, labels))
      >>> bool(((mix.lam > 0) & (mix.lam < 1)).all())
      True

    References:
      Lee et al., "SmoothMix: A Simple Yet Effective Data Augmentation to Train Robust
      Classifiers", CVPR Workshops 2020,
      https://openaccess.thecvf.com/content_CVPRW_2020/html/w45/Lee_SmoothMix_A_Simple_Yet_Effective_Data_Augmentation_to_Train_Robust_CVPRW_2020_paper.html.
    """
    return compose(
        key,
        batch,
        ratio=ratios.constant(0.0),
        pairing=pairing,
        region=along(spatial, region),
    )
