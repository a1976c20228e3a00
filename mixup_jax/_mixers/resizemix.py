"""ResizeMix: the whole partner, resized and pasted into each example."""

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
    """Paste the whole partner, resized, into each example, and mix targets by area.

    ::

        x~[i] = x[partner(i)] resized to tau[i] of each side, inside the box of i
        x~[i] = x[i] outside the box of i
        y~[i] = lam[i] * y[i] + (1 - lam[i]) * y[partner(i)]
        lam[i] = share of the positions outside the box of i

    The box is placed uniformly at random, entirely within the example. Resizing is by
    nearest neighbor in integer arithmetic and keeps the aspect ratio, so integer inputs
    and masks can be mixed the same way. ``lam`` is computed from whole positions.

    On a TPU, resizing is a product with a one-hot matrix per spatial axis, through
    which a NaN or an infinity of the partner may spread over the box.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)`` of pytrees with the examples on axis 0. Inputs
        may have any dtype, integers included, and share their spatial sizes; targets
        are floating-point, or ``None``.
      tau: ratio that draws the size of the pasted partner, as a share of each side, in
        [0, 1]; see ``mixup_jax.ratios``. The default is uniform from 0.1 to 0.8, as in
        the paper.
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
      TypeError: If ``key`` is not a PRNG key, if targets are integers, or if ``tau`` or
        ``pairing`` is not callable.
      ValueError: If the batch is not a pair, is empty, or its leaves disagree on the
        batch size or the spatial sizes. If the shape of the inputs does not determine
        the spatial axes.

    Example:
      >>> import jax, mixup_jax as mx
      >>> images = jax.numpy.zeros((8, 32, 32, 3), "uint8")
      >>> labels = jax.nn.one_hot(jax.numpy.arange(8), 10)
      >>> (images, labels), mix = mx.resizemix(jax.random.key(1), (images, labels))
      >>> images.dtype, bool((mix.lam >= 0.35).all())
      (dtype('uint8'), True)

    References:
      Qin et al., "ResizeMix: Mixing Data with Preserved Object Information and True
      Labels", 2020, https://arxiv.org/abs/2012.11101.
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
