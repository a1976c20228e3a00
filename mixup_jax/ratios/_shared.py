"""Ratios that are shared by several examples."""

import jax.numpy as jnp
from jax import Array

from mixup_jax._core import checks
from mixup_jax._core.made import made
from mixup_jax._core.mesh import alike
from mixup_jax._core.moves import Stay
from mixup_jax._core.types import Partners, Ratio
from mixup_jax._core.words import Whole, words_of
from mixup_jax.ratios._known import RATIO, Known, is_symmetric
from mixup_jax.ratios._ranges import truncated


@made
def per_pair(ratio: Ratio) -> Ratio:
    """Return ``ratio`` drawn once per pair, for both of its examples.

    Args:
      ratio: the ratio to draw from.

    Returns:
      The shared ratio.

    Raises:
      TypeError: If ``ratio`` is not callable.
      ValueError: If, when called, the examples do not come in pairs: if the pairing is
        a roll or a permutation, or the batch size is odd.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.zeros((4, 3))
      >>> ratio = mx.ratios.per_pair(mx.ratios.uniform())
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), ratio=ratio)
      >>> bool((mix.lam[::2] == mix.lam[1::2]).all())
      True
    """
    checks.function(ratio, "per_pair: ratio", RATIO)

    def sample(key: Array, partners: Partners) -> Array:
        if not partners.move.pairs_off:
            raise ValueError(
                "per_pair: expected a pairing in which each example is the partner of "
                f"its partner; got {partners.move}. Use pairings.neighbour or "
                "pairings.reverse on a batch of even size, or draw one lam per example."
            )
        lam = ratio(key, partners)
        first = jnp.arange(lam.shape[0], dtype=jnp.int32) <= partners.index
        first, lam = alike(first, lam)
        return jnp.where(first, lam, partners.move.take(lam, partners.index))

    def within(low: float, high: float) -> Ratio:
        return per_pair(truncated(ratio, low, high))

    return Known(sample, within, is_symmetric(ratio), words_of(ratio))


@made
def per_batch(ratio: Ratio) -> Ratio:
    """Return ``ratio`` drawn once per batch, for all examples.

    To share the region or a choice of mixers as well, see ``once_per_batch``.

    Args:
      ratio: the ratio to draw from.

    Returns:
      The shared ratio.

    Raises:
      TypeError: If ``ratio`` is not callable.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.zeros((4, 3))
      >>> ratio = mx.ratios.per_batch(mx.ratios.uniform())
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), ratio=ratio)
      >>> bool((mix.lam == mix.lam[0]).all())
      True
    """
    checks.function(ratio, "per_batch: ratio", RATIO)

    def sample(key: Array, partners: Partners) -> Array:
        alone = Partners(jnp.zeros(1, jnp.int32), Stay())
        lam = ratio(key, alone)
        return jnp.broadcast_to(lam, partners.index.shape)

    def within(low: float, high: float) -> Ratio:
        return per_batch(truncated(ratio, low, high))

    words = words_of(ratio)
    words = words if words is None else Whole(words)
    return Known(sample, within, is_symmetric(ratio), words)
