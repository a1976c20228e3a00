"""FMix: a blob of the partner, pasted."""

from mixup_jax._core.mixer import derived
from mixup_jax._mixers.cutmix import cutmix
from mixup_jax.regions import blob


@derived(cutmix, region=blob)
def fmix() -> None:
    """Paste blobs of the partner into every example; mix targets by what is left.

    ::

        x~[i] = x[partner(i)] inside the blobs of i, x[i] outside
        y~[i] = lam[i] * y[i] + (1 - lam[i]) * y[partner(i)]
        lam[i] = share of the positions outside the blobs of i

    The blobs are where a random field of low frequencies is lowest, and cover a share
    ``1 - lam`` of the positions, ``lam ~ Beta(alpha, alpha)``, rounded to whole ones.
    So ``lam`` may leave the range of a ``ratios.folded`` or ``ratios.truncated`` ratio,
    by half a position, and the gradient by ``alpha`` is 0; neither is so for labels by
    ``region=partial(regions.blob, share=regions.as_drawn)``.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)``; inputs any pytree of arrays, integers included,
        with the same spatial sizes; targets any pytree of floating arrays, or None.
      alpha: parameter of the Beta distribution, may be traced; 0 is no mixing.
      ratio: draws ``lam`` in place of ``beta(alpha)``.
      pairing: draws the partners. The default relies on a shuffled batch.
      region: draws the blobs, ``(key, lam, inputs, partners, *, spatial)``. Coarser
        ones: ``partial(regions.blob, decay=5.0)``. One blob and one ``lam`` for all:
        ``once_per_batch``.
      spatial: axis numbers of the spatial axes, one to three of them; None takes all
        between the first and the last, if the shape says that channels are last (see
        ``regions.grid``). NCHW images: ``(2, 3)``; one blob through a video's frames
        ``[B, T, H, W, C]``: ``(2, 3)``; waveforms ``[B, T]``: ``(1,)``.

    Returns:
      The mixed batch, every leaf with its dtype, shape and sharding; and the ``Mix``.

    Raises:
      TypeError: ``key`` is no key, targets are integers, or ``region`` is none of
        spatial axes.
      ValueError: the batch is no pair, is empty, its leaves disagree on its size or on
        the spatial sizes, or do not say which axes are spatial, or these are more than
        three; ``alpha`` is negative or NaN; both ``alpha`` and ``ratio`` are given.

    Example:
      >>> import jax, mixup_jax as mx
      >>> images = jax.numpy.zeros((8, 16, 16, 3), "uint8")
      >>> labels = jax.nn.one_hot(jax.numpy.arange(8), 10)
      >>> (images, labels), mix = mx.fmix(jax.random.key(1), (images, labels))
      >>> images.dtype, mix.lam.shape
      (dtype('uint8'), (8,))

    Source: Harris et al., "FMix: Enhancing Mixed Sample Data Augmentation", 2020,
    arXiv:2002.12047.
    """
