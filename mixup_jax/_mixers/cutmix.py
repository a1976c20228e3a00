"""CutMix: a box of the partner, pasted."""

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
    """Paste a box of the partner into every example; mix targets by what is left.

    ::

        x~[i] = x[partner(i)] inside the box of i, x[i] outside
        y~[i] = lam[i] * y[i] + (1 - lam[i]) * y[partner(i)]
        lam[i] = share of the positions outside the box of i

    The box covers ``1 - lam`` of the positions for ``lam ~ Beta(alpha, alpha)`` before
    it is clipped at the borders; ``lam`` is then counted anew from whole pixels. So it
    may leave the range of a ``ratios.folded`` or ``ratios.truncated`` ratio, and the
    gradient by ``alpha`` is 0; neither is so for labels by ``share=regions.as_drawn``.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)``; inputs any pytree of arrays, integers included,
        with the same spatial sizes; targets any pytree of floating arrays, or None.
      alpha: parameter of the Beta distribution, may be traced; 0 is no mixing.
      ratio: draws ``lam`` in place of ``beta(alpha)``.
      pairing: draws the partners. The default relies on a shuffled batch.
      region: draws the boxes, ``(key, lam, inputs, partners, *, spatial)``. Sizes and
        correction: ``partial(regions.box, min_size=0.1, share=regions.as_drawn)``. One
        box for all: ``once_per_batch``.
      spatial: axis numbers of the spatial axes, any number of them; None takes all
        between the first and the last, if the shape says that channels are last (see
        ``regions.grid``). NCHW images: ``(2, 3)``; one box through a video's frames
        ``[B, T, H, W, C]``: ``(2, 3)``; waveforms ``[B, T]``: ``(1,)``.

    Returns:
      The mixed batch, every leaf with its dtype, shape and sharding; and the ``Mix``.

    Raises:
      TypeError: ``key`` is no key, targets are integers, or ``region`` is none of
        spatial axes.
      ValueError: the batch is no pair, is empty, its leaves disagree on its size or on
        the spatial sizes, or do not say which axes are spatial; ``alpha`` is negative
        or NaN; both ``alpha`` and ``ratio`` are given.

    Example:
      >>> import jax, mixup_jax as mx
      >>> images = jax.numpy.zeros((8, 32, 32, 3), "uint8")
      >>> labels = jax.nn.one_hot(jax.numpy.arange(8), 10)
      >>> (images, labels), mix = mx.cutmix(jax.random.key(1), (images, labels))
      >>> images.dtype, mix.lam.shape
      (dtype('uint8'), (8,))

    Source: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers
    with Localizable Features", ICCV 2019, arXiv:1905.04899.
    """
    return compose(
        key,
        batch,
        ratio=ratio_of(alpha, ratio),
        pairing=pairing,
        region=along(spatial, region),
    )
