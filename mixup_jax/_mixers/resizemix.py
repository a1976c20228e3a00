"""ResizeMix: the whole partner, resized and pasted."""

import jax.numpy as jnp
from jax import Array

from mixup_jax import ratios
from mixup_jax._core import checks
from mixup_jax._core.compose import along, compose
from mixup_jax._core.mix import Mix
from mixup_jax._core.mixer import method
from mixup_jax._core.types import Batch, Pairing, Partners, Ratio
from mixup_jax._core.words import reads, words_of
from mixup_jax.pairings import neighbour
from mixup_jax.regions import grid, resized

_TAU = ratios.uniform(low=0.1, high=0.8)


@method
def resizemix(
    key: Array,
    batch: Batch,
    *,
    tau: Ratio = _TAU,
    pairing: Pairing = neighbour,
    spatial: tuple[int, ...] | None = None,
) -> Mix:
    """Paste the whole partner, resized, into every example; mix targets by area.

    ::

        x~[i] = x[partner(i)] resized to tau[i] of each side, inside the box of i
        x~[i] = x[i] outside the box of i
        y~[i] = lam[i] * y[i] + (1 - lam[i]) * y[partner(i)]
        lam[i] = share of the positions outside the box of i

    The box lies wholly inside, each place alike, so that objects keep their
    proportions. Resizing is by the nearest position, in whole numbers, so integers and
    masks follow; ``lam`` is counted from whole positions.

    Cost on a TPU: a product with a one-hot matrix for each spatial axis, through which
    what is not finite in a partner may spread over its box.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)``; inputs any pytree of arrays, integers included,
        with the same spatial sizes; targets any pytree of floating arrays, or None.
      tau: draws the share of each side that the partner is resized to, in [0, 1];
        uniform from 0.1 to 0.8 as in the paper.
      pairing: draws the partners. The default relies on a shuffled batch.
      spatial: axis numbers of the spatial axes, any number of them; None takes all
        between the first and the last, if the shape says that channels are last (see
        ``regions.grid``). NCHW images: ``(2, 3)``; one box through a video's frames
        ``[B, T, H, W, C]``: ``(2, 3)``; waveforms ``[B, T]``: ``(1,)``.

    Returns:
      The mixed batch, every leaf with its dtype, shape and sharding; and the ``Mix``.

    Raises:
      TypeError: If ``key`` is not a key, targets are integers, or ``tau`` or
        ``pairing`` is not a function.
      ValueError: If the batch is not a pair, is empty, its leaves disagree on its size
        or on the spatial sizes, or do not say which axes are spatial.

    Example:
      >>> import jax, mixup_jax as mx
      >>> images = jax.numpy.zeros((8, 32, 32, 3), "uint8")
      >>> labels = jax.nn.one_hot(jax.numpy.arange(8), 10)
      >>> (images, labels), mix = mx.resizemix(jax.random.key(1), (images, labels))
      >>> images.dtype, bool((mix.lam >= 0.35).all())
      (dtype('uint8'), True)

    References:
      Qin et al., "ResizeMix: Mixing Data with Preserved Object Information and True
      Labels", 2020, arXiv:2012.11101.
    """
    checks.function(tau, "tau", "mixup_jax.ratios.uniform(low=0.1, high=0.8)")
    checks.examples(batch)
    axes = len(grid(checks.pair(batch)[0], spatial=spatial).sizes)

    @reads(words_of(tau))
    def ratio(key: Array, partners: Partners) -> Array:
        drawn = tau(key, partners)
        checks.number(drawn, "tau", 0, 1, "It is a share of each side.")
        return 1 - jnp.asarray(drawn, jnp.float32) ** axes

    return compose(
        key,
        batch,
        ratio=ratio,
        pairing=pairing,
        region=along(spatial, resized),
    )
