"""SaliencyMix: the box of the partner that matters, pasted."""

from functools import partial

from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core.compose import along, compose
from mixup_jax._core.mix import Mix
from mixup_jax._core.mixer import method
from mixup_jax._core.types import Batch, Pairing, Ratio
from mixup_jax.pairings import neighbour
from mixup_jax.ratios._known import DEFAULT_ALPHA, ratio_of
from mixup_jax.regions import salient


@method
def saliencymix(
    key: Array,
    batch: Batch,
    *,
    saliency: ArrayLike,
    alpha: ArrayLike = DEFAULT_ALPHA,
    ratio: Ratio | None = None,
    pairing: Pairing = neighbour,
    spatial: tuple[int, ...] | None = None,
) -> Mix:
    """Paste the partner's box around its most salient position; mix targets by area.

    ::

        x~[i] = x[partner(i)] inside the box of i, x[i] outside
        y~[i] = lam[i] * y[i] + (1 - lam[i]) * y[partner(i)]
        lam[i] = share of the positions outside the box of i

    The box covers ``1 - lam`` of the positions for ``lam ~ Beta(alpha, alpha)`` around
    the peak of the partner's saliency, in the same place, before it is clipped at the
    borders; ``lam`` is then counted anew from whole positions. Each example has a box
    of its own.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)``; inputs any pytree of arrays, integers included,
        with the same spatial sizes; targets any pytree of floating arrays, or None.
      saliency: floating ``[B, *sizes]``, how much each position of each example
        matters, in any units: the norm of a gradient, a detector's map. In a train step
        it travels in the batch: ``mixup_jax.using``.
      alpha: parameter of the Beta distribution, may be traced; 0 is no mixing.
      ratio: draws ``lam`` in place of ``beta(alpha)``.
      pairing: draws the partners. The default relies on a shuffled batch.
      spatial: axis numbers of the spatial axes, any number of them; None takes all
        between the first and the last, if the shape says that channels are last (see
        ``regions.grid``). NCHW images: ``(2, 3)``; one box through a video's frames
        ``[B, T, H, W, C]``: ``(2, 3)``; waveforms ``[B, T]``: ``(1,)``.

    Returns:
      The mixed batch, every leaf with its dtype, shape and sharding; and the ``Mix``.

    Raises:
      TypeError: If ``key`` is not a key, ``saliency`` is not floating, or targets are
        integers.
      ValueError: If the batch is not a pair, is empty, its leaves disagree on its size
        or on the spatial sizes, or do not say which axes are spatial; if ``saliency``
        has another shape; if ``alpha`` is negative or NaN, or both ``alpha`` and
        ``ratio`` are given.

    Example:
      >>> import jax, mixup_jax as mx
      >>> images = jax.numpy.zeros((8, 32, 32, 3), "uint8")
      >>> labels = jax.nn.one_hot(jax.numpy.arange(8), 10)
      >>> saliency = jax.random.uniform(jax.random.key(0), (8, 32, 32))
      >>> (images, labels), mix = mx.saliencymix(
      ...     jax.random.key(1), (images, labels), saliency=saliency
      ... )
      >>> images.dtype, mix.lam.shape
      (dtype('uint8'), (8,))

    References:
      Uddin et al., "SaliencyMix: A Saliency Guided Data Augmentation Strategy for
      Better Regularization", ICLR 2021, arXiv:2006.01791.
    """
    return compose(
        key,
        batch,
        ratio=ratio_of(alpha, ratio),
        pairing=pairing,
        region=along(spatial, partial(salient, saliency=saliency)),
    )
