"""SaliencyMix: the most salient box of the partner, pasted into each example."""

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
    """Paste the partner's most salient box into each example, and mix targets by area.

    ::

        x~[i] = x[partner(i)] inside the box of i, x[i] outside
        y~[i] = lam[i] * y[i] + (1 - lam[i]) * y[partner(i)]
        lam[i] = share of the positions outside the box of i

    The box is centered at the peak of the partner's saliency, and is pasted in the same
    place. Before it is clipped at the borders, it covers a share ``1 - lam`` of the
    positions for ``lam ~ Beta(alpha, alpha)``; ``lam`` is then recomputed from the
    positions that were pasted. Each example has its own box.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)`` of pytrees with the examples on axis 0. Inputs
        may have any dtype, integers included, and share their spatial sizes; targets
        are floating-point, or ``None``.
      saliency: floating-point ``[B, *sizes]``, how much each position of each example
        matters, in any units: the norm of a gradient, or the output of a detector. In a
        train step it is an entry of the batch; see ``mixup_jax.using``.
      alpha: concentration of ``Beta(alpha, alpha)``, a scalar or ``[B]``; may be a
        traced value. 0 disables mixing; the default of 1 draws ``lam`` uniformly.
      ratio: draws ``lam`` in place of ``ratios.beta(alpha)``; see ``mixup_jax.ratios``.
      pairing: draws the partners; see ``mixup_jax.pairings``. The default pairs
        neighbors and relies on a shuffled batch.
      spatial: indices of the spatial axes, one or more. ``None`` takes all axes between
        the first and the last, if the shape is recognizably channels-last (see
        ``regions.grid``). Pass ``(2, 3)`` for NCHW images, ``(1,)`` for waveforms
        ``[B, T]``, and ``(2, 3)`` for one box through all frames of a video
        ``[B, T, H, W, C]``.

    Returns:
      The mixed batch, whose leaves keep their dtype, shape and sharding, and the
      ``Mix`` that was applied to it.

    Raises:
      TypeError: If ``key`` is not a PRNG key, if ``saliency`` is not floating-point, or
        if targets are integers.
      ValueError: If the batch is not a pair, is empty, or its leaves disagree on the
        batch size or the spatial sizes. If the shape of the inputs does not determine
        the spatial axes, or ``saliency`` is not of shape ``[B, *sizes]``. If a concrete
        ``alpha`` is negative or NaN, or both ``alpha`` and ``ratio`` are given.

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
      Better Regularization", ICLR 2021, https://arxiv.org/abs/2006.01791.
    """
    return compose(
        key,
        batch,
        ratio=ratio_of(alpha, ratio),
        pairing=pairing,
        region=along(spatial, partial(salient, saliency=saliency)),
    )
