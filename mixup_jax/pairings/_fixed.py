"""Pairings without randomness, which rely on a loader that shuffles."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import arrays, checks
from mixup_jax._core.made import made
from mixup_jax._core.moves import Flip, Gather, Roll, Stay, Swap
from mixup_jax._core.types import Batch, Pairing, Partners
from mixup_jax._core.words import reads
from mixup_jax.pairings._positions import positions


@reads(0)
def neighbour(key: Array, batch: Batch) -> Partners:
    """Pair examples 0 and 1, 2 and 3, ...: ``partner(i) = i ^ 1``.

    Of an odd batch the last three form a ring.

    Cost on a sharded batch: none, where each device holds an even number. With an odd
    share pairs cross devices, and each two devices gather their shares. An odd batch is
    gathered.

    Example:
      >>> import jax, mixup_jax as mx
      >>> batch = (jax.numpy.zeros((5, 3)), None)
      >>> mx.pairings.neighbour(jax.random.key(0), batch).index
      Array([1, 0, 3, 4, 2], dtype=int32)
    """
    return reverse(key, batch, block=2)


@reads(0)
def reverse(key: Array, batch: Batch, *, block: int | None = None) -> Partners:
    """Pair the first with the last: ``partner(i) = n - 1 - i``, in blocks of ``n``.

    The three in the middle of an odd block form a ring; a last block of one joins the
    block before it.

    Cost on a sharded batch: none, where the blocks end where the shares of the devices
    end; one collective-permute, of a share a device, where blocks are several shares;
    else a gather: of the shares that a block cuts through, or of the batch (odd blocks,
    or a batch that the blocks do not divide).

    Args:
      key: not used; pairs rely on a shuffled loader.
      batch: the batch to be paired.
      block: examples in a block, at least 2; None is the whole batch.

    Raises:
      ValueError: ``block`` is less than 2.

    Example:
      >>> import jax, mixup_jax as mx
      >>> batch = (jax.numpy.zeros((4, 3)), None)
      >>> mx.pairings.reverse(jax.random.key(0), batch).index
      Array([3, 2, 1, 0], dtype=int32)
    """
    del key
    size = checks.examples(batch)
    if block is not None and block < 2:
        raise ValueError(
            f"reverse: expected a block of at least 2 examples; got {block}. Leave "
            "it out to reverse the whole batch, or use mixup_jax.erm to mix nothing."
        )
    if size == 1:
        return _alone(size)
    block = min(block or size, size)
    if block % 2 == 0 and size % block == 0:
        i = positions(size)
        place = jax.lax.rem(i, jnp.int32(block))  # faster to trace than %
        return Partners(i + block - 1 - 2 * place, Flip(block))
    return Partners(jnp.asarray(_reversed_blocks(size, block)), Gather())


@reads(0)
def roll(key: Array, batch: Batch, *, shift: int = 1) -> Partners:
    """Pair everybody with the one ``shift`` places before: ``i - shift mod B``.

    Cost on a sharded batch: one collective-permute of ``shift`` rows a device; two of
    its whole share together if it has fewer. On each device by itself (``per_device``):
    none.

    Raises:
      ValueError: ``shift`` is a multiple of the batch size (of two or more).

    Example:
      >>> import jax, mixup_jax as mx
      >>> batch = (jax.numpy.zeros((4, 3)), None)
      >>> mx.pairings.roll(jax.random.key(0), batch).index
      Array([3, 0, 1, 2], dtype=int32)
    """
    del key
    size = checks.examples(batch)
    if not isinstance(shift, int | np.integer):
        raise TypeError(
            f"roll: expected an integer shift; got {arrays.describe(shift)}. Count by "
            "how many places."
        )
    if size == 1:
        return _alone(size)
    shift = int(shift)
    if shift % size == 0:
        raise ValueError(
            f"roll: expected a shift that is no multiple of the batch size {size}; got "
            f"{shift}. Everybody would be its own partner: shift by less."
        )
    index = jax.lax.rem(positions(size) + (-shift) % size, jnp.int32(size))
    return Partners(index, Roll(size, shift % size))


@reads(0)
def nth(key: Array, batch: Batch, *, n: int, of: int) -> Partners:
    """Pair with the n-th of several partners: ``partner(i) = i ^ n``, n from 1.

    In blocks of the least power of two above ``of``, so that ``n`` from 1 to ``of``
    name other examples of the block; the first is ``neighbour``. Of a batch that the
    blocks do not divide it is ``i + n mod B``, and an example that has no n-th other is
    its own partner.

    Cost on a sharded batch: none, where each device holds whole blocks; two
    collective-permutes of a share a device, where blocks are several shares; else a
    gather of the shares that a block cuts through, or as ``roll``.

    Args:
      key: not used; pairs rely on a shuffled loader.
      batch: the batch to be paired.
      n: which of the partners, in [1, of].
      of: how many partners each example has, at least 1.

    Raises:
      ValueError: If ``n`` is not in [1, of].

    Example:
      >>> import jax, mixup_jax as mx
      >>> batch = (jax.numpy.zeros((4, 3)), None)
      >>> [
      ...     mx.pairings.nth(jax.random.key(0), batch, n=n, of=2).index.tolist()
      ...     for n in (1, 2)
      ... ]
      [[1, 0, 3, 2], [2, 3, 0, 1]]
    """
    checks.count(of, "nth: of", "Count the partners.")
    checks.count(n, "nth: n", "Number the partners from 1.")
    n, of = int(n), int(of)
    if not 1 <= n <= of:
        raise ValueError(
            f"nth: expected a number from 1 to of={of}; got n={n}. Name each partner "
            "once."
        )
    size = checks.examples(batch)
    if of == 1:
        return neighbour(key, batch)
    if n >= size:
        return _alone(size)
    if size % (1 << of.bit_length()):
        return roll(key, batch, shift=-n)
    move = Flip(2) if n == 1 else Swap(n)
    return Partners(jnp.bitwise_xor(positions(size), n), move)


@made
def given(index: ArrayLike | Sequence[int]) -> Pairing:
    """Return the pairing ``partner(i) = index[i]``, which may leave fixed points.

    Cost on a sharded batch: as ``permutation``.

    Args:
      index: integer ``[B]``, each in [0, B); need not be a permutation.

    Raises:
      TypeError: ``index`` is not an integer array.
      ValueError: its shape is not ``[B]``, or a concrete entry is out of range.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.zeros((3, 2))
      >>> pairing = mx.pairings.given([1, 0, 0])
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), pairing=pairing)
      >>> mix.partner
      Array([1, 0, 0], dtype=int32)
    """
    partners = arrays.array(index)
    if not jnp.issubdtype(partners.dtype, jnp.integer):
        raise TypeError(
            f"given: expected integer partners; got {arrays.describe(partners)}. Pass "
            "for each example the place of its partner in the batch."
        )

    @reads(0)
    def pairing(key: Array, batch: Batch) -> Partners:
        del key
        size = checks.examples(batch)
        checks.shaped(partners, "given", [(size,)], "Every example needs one partner.")
        checks.number(partners, "given", 0, size - 1, "Partners count from 0.")
        return Partners(jnp.asarray(partners, jnp.int32), Gather())

    return pairing


def _alone(size: int) -> Partners:
    return Partners(positions(size), Stay())


def _reversed_blocks(size: int, block: int) -> np.ndarray:
    starts = np.arange(0, size, block)
    if size - starts[-1] == 1:
        starts = starts[:-1]
    index = np.empty(size, np.int32)
    for start, stop in zip(starts, [*starts[1:], size]):
        index[start:stop] = np.arange(start, stop)[::-1]
        if (stop - start) % 2:
            middle = (start + stop) // 2
            index[middle - 1 : middle + 2] = middle, middle + 1, middle - 1
    return index
