"""CutMix: a box of the partner, pasted into each example."""

from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core.compose import along, compose
from mixup_jax._core.mix import Mix
from mixup_jax._core.mixer import method
from mixup_jax._core.region import SpatialDraw
from mixup_jax._core.types import Batch, Pairing, Ratio
from mixup_jax.pairings import neighbour
from mixup_jax.ratios._known import DEFAULT_ALPHA, ratio_of
from mixup_jax.regions import box


@method
def cutmix(
    key: Array,
    batch: Batch,
    *,
    alpha: ArrayLike = DEFAULT_ALPHA,
    ratio: Ratio | None = None,
    pairing: Pairing = neighbour,
    region: SpatialDraw = box,
    spatial: tuple[int, ...] | None = None,
) -> Mix:
    """Paste a box of the partner into each example, and mix targets by area.

    ::

        x~[i] = x[partner(i)] inside the box of i, x[i] outside
        y~[i] = lam[i] * y[i] + (1 - lam[i]) * y[partner(i)]
        lam[i] = share of the positions outside the box of i

    Before it is clipped at the borders, the box covers a share ``1 - lam`` of the
    positions for ``lam ~ Beta(alpha, alpha)``; ``lam`` is then recomputed from the
    positions that were pasted. As a consequence, ``lam`` may leave the range of
    ``ratios.folded`` or ``ratios.truncated``, and the gradient with respect to
    ``alpha`` is 0. To use the drawn ``lam`` for the targets instead, pass
    ``region=partial(regions.box, share=regions.as_drawn)``.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)`` of pytrees with the examples on axis 0. Inputs
        may have any dtype, integers included, and share their spatial sizes; targets
        are floating-point, or ``None``.
      alpha: concentration of ``Beta(alpha, alpha)``, a scalar or ``[B]``; may be a
        traced value. 0 disables mixing; the default of 1 draws ``lam`` uniformly.
      ratio: draws ``lam`` in place of ``ratios.beta(alpha)``; see ``mixup_jax.ratios``.
      pairing: draws the partners; see ``mixup_jax.pairings``. The default pairs
        neighbors and relies on a shuffled batch.
      region: draws the boxes, called as
        ``region(key, lam, inputs, partners, spatial=...)``. Bind options with
        ``partial(regions.box, min_size=0.1)``. For one box shared by the whole batch,
        see ``once_per_batch``.
      spatial: indices of the spatial axes, one or more. ``None`` takes all axes between
        the first and the last, if the shape is recognizably channels-last (see
        ``regions.grid``). Pass ``(2, 3)`` for NCHW images, ``(1,)`` for waveforms
        ``[B, T]``, and ``(2, 3)`` for one box through all frames of a video
        ``[B, T, H, W, C]``.

    Returns:
      The mixed batch, whose leaves keep their dtype, shape and sharding, and the
      ``Mix`` that was applied to it.

    Raises:
      TypeError: If ``key`` is not a PRNG key, if targets are integers, or if ``region``
        is not a function that takes ``spatial``.
      ValueError: If the batch is not a pair, is empty, or its leaves disagree on the
        batch size or the spatial sizes. If the shape of the inputs does not determine
        the spatial axes. If a concrete ``alpha`` is negative or NaN, or both ``alpha``
        and ``ratio`` are given.

    Example:
      >>> import jax, mixup_jax as mx
      >>> images = jax.numpy.zeros((8, 32, 32, 3), "uint8")
      >>> labels = jax.nn.one_hot(jax.numpy.arange(8), 10)
      >>> (images, labels), mix = mx.cutmix(jax.random.key(1), (images, labels))
      >>> images.dtype, mix.lam.shape
      (dtype('uint8'), (8,))

    References:
      Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with
      Localizable Features", ICCV 2019, https://arxiv.org/abs/1905.04899.
    """
    return compose(
        key,
        batch,
        ratio=ratio_of(alpha, ratio),
        pairing=pairing,
        region=along(spatial, region),
    )
