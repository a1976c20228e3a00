"""FMix: blobs of the partner, pasted into each example."""

from mixup_jax._core.mixer import derived
from mixup_jax._mixers.cutmix import cutmix
from mixup_jax.regions import blob


@derived(cutmix, region=blob)
def fmix() -> None:
    """Paste blobs of the partner into each example, and mix targets by area.

    ::

        x~[i] = x[partner(i)] inside the blobs of i, x[i] outside
        y~[i] = lam[i] * y[i] + (1 - lam[i]) * y[partner(i)]
        lam[i] = share of the positions outside the blobs of i

    The blobs are the positions at which a random low-frequency field is lowest. They
    cover a share ``1 - lam`` of the positions for ``lam ~ Beta(alpha, alpha)``, rounded
    to whole positions. As a consequence, ``lam`` may leave the range of
    ``ratios.folded`` or ``ratios.truncated`` by half a position, and the gradient with
    respect to ``alpha`` is 0. To use the drawn ``lam`` for the targets instead, pass
    ``region=partial(regions.blob, share=regions.as_drawn)``.

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
      region: draws the blobs, called as
        ``region(key, lam, inputs, partners, spatial=...)``. Bind options with
        ``partial``: ``partial(regions.blob, decay=5.0)`` draws coarser blobs. For one
        set of blobs and one ``lam`` shared by the whole batch, see ``once_per_batch``.
      spatial: indices of the spatial axes, one to three. ``None`` takes all axes
        between the first and the last, if the shape is recognizably channels-last (see
        ``regions.grid``). Pass ``(2, 3)`` for NCHW images, ``(1,)`` for waveforms
        ``[B, T]``, and ``(2, 3)`` for one set of blobs through all frames of a video
        ``[B, T, H, W, C]``.

    Returns:
      The mixed batch, whose leaves keep their dtype, shape and sharding, and the
      ``Mix`` that was applied to it.

    Raises:
      TypeError: If ``key`` is not a PRNG key, if targets are integers, or if ``region``
        is not a function that takes ``spatial``.
      ValueError: If the batch is not a pair, is empty, or its leaves disagree on the
        batch size or the spatial sizes. If the shape of the inputs does not determine
        the spatial axes, or there are more than three. If a concrete ``alpha`` is
        negative or NaN, or both ``alpha`` and ``ratio`` are given.

    Example:
      >>> import jax, mixup_jax as mx
      >>> images = jax.numpy.zeros((8, 16, 16, 3), "uint8")
      >>> labels = jax.nn.one_hot(jax.numpy.arange(8), 10)
      >>> (images, labels), mix = mx.fmix(jax.random.key(1), (images, labels))
      >>> images.dtype, mix.lam.shape
      (dtype('uint8'), (8,))

    References:
      Harris et al., "FMix: Enhancing Mixed Sample Data Augmentation", 2020,
      https://arxiv.org/abs/2002.12047.
    """
