"""Pairings without randomness, which rely on a shuffled batch."""

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
    """Pair examples 0 and 1, 2 and 3, and so on: ``partner(i) = i ^ 1``.

    In a batch of odd size, the last three examples form a ring.

    On a sharded batch, no communication is needed if each device holds an even number
    of examples. With an odd number, pairs cross devices, and every two devices gather
    their shards. A batch of odd size is gathered.

    Args:
      key: PRNG key; not used.
      batch: pair ``(inputs, targets)``, shuffled.

    Returns:
      The partners.

    Raises:
      ValueError: If the batch is empty or its leaves disagree on the batch size.

    Example:
      >>> import jax, mixup_jax as mx
      >>> batch = (jax.numpy.zeros((5, 3)), None)
      >>> mx.pairings.neighbour(jax.random.key(0), batch).index
      Array([1, 0, 3, 4, 2], dtype=int32)
    """
    return reverse(key, batch, block=2)


@reads(0)
def reverse(key: Array, batch: Batch, *, block: int | None = None) -> Partners:
    """Pair examples in reverse order in blocks: ``partner(i) = n - 1 - i``.

    The index ``i`` counts within each block of ``n`` examples. The three examples in
    the middle of an odd block form a ring. A last block of a single example is joined
    to the block before it.

    On a sharded batch, no communication is needed if each shard consists of whole
    blocks, and one collective-permute of each shard if blocks consist of several
    shards. Otherwise the shards that a block spans are gathered, or the whole batch if
    blocks are odd or do not divide it.

    Args:
      key: PRNG key; not used.
      batch: pair ``(inputs, targets)``, shuffled.
      block: number of examples in a block, at least 2. ``None`` takes the whole batch.

    Returns:
      The partners.

    Raises:
      ValueError: If ``block`` is less than 2. If the batch is empty or its leaves
        disagree on the batch size.

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
            f"reverse: expected a block of at least 2 examples; got {block}. Omit "
            "it to reverse the whole batch; use mixup_jax.erm to disable mixing."
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
    """Pair each example with the one ``shift`` positions before: ``(i - shift) mod B``.

    On a sharded batch, this takes one collective-permute of ``shift`` rows per device,
    or two that move the whole shard if it has fewer rows. Inside ``per_device``, no
    communication is needed.

    Args:
      key: PRNG key; not used.
      batch: pair ``(inputs, targets)``, shuffled.
      shift: number of positions, positive or negative.

    Returns:
      The partners.

    Raises:
      TypeError: If ``shift`` is not an integer.
      ValueError: If ``shift`` is a multiple of the batch size, and that is at least 2.
        If the batch is empty or its leaves disagree on the batch size.

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
            f"roll: expected an integer shift; got {arrays.describe(shift)}. Pass the "
            "number of positions."
        )
    if size == 1:
        return _alone(size)
    shift = int(shift)
    if shift % size == 0:
        raise ValueError(
            f"roll: expected a shift that is not a multiple of the batch size {size}; "
            f"got {shift}. Pass one from 1 to {size - 1}, or use mixup_jax.erm to "
            "disable mixing."
        )
    index = jax.lax.rem(positions(size) + (-shift) % size, jnp.int32(size))
    return Partners(index, Roll(size, shift % size))


@reads(0)
def nth(key: Array, batch: Batch, *, n: int, of: int) -> Partners:
    """Pair each example with the n-th of several partners: ``partner(i) = i ^ n``.

    The pairs are within blocks whose size is the smallest power of two above ``of``, so
    that each ``n`` from 1 to ``of`` gives another example of the block; ``n = 1`` is
    ``neighbour``. If the blocks do not divide the batch, the partner is
    ``(i + n) mod B``, and examples without an n-th partner are their own.

    On a sharded batch, no communication is needed if each shard consists of whole
    blocks, and two collective-permutes of each shard if blocks consist of several
    shards. Otherwise the shards that a block spans are gathered, or the cost is as for
    ``roll``.

    Args:
      key: PRNG key; not used.
      batch: pair ``(inputs, targets)``, shuffled.
      n: number of the partner, from 1 to ``of``.
      of: number of partners of each example, at least 1.

    Returns:
      The partners.

    Raises:
      TypeError: If ``n`` or ``of`` is not an integer.
      ValueError: If ``of`` is less than 1, or ``n`` is not in [1, of]. If the batch is
        empty or its leaves disagree on the batch size.

    Example:
      >>> import jax, mixup_jax as mx
      >>> batch = (jax.numpy.zeros((4, 3)), None)
      >>> [
      ...     mx.pairings.nth(jax.random.key(0), batch, n=n, of=2).index.tolist()
      ...     for n in (1, 2)
      ... ]
      [[1, 0, 3, 2], [2, 3, 0, 1]]
    """
    checks.count(of, "nth: of", "Pass the number of partners.")
    checks.count(n, "nth: n", "Partners are numbered from 1.")
    n, of = int(n), int(of)
    if not 1 <= n <= of:
        raise ValueError(
            f"nth: expected a number from 1 to of={of}; got n={n}. Partners are "
            "numbered from 1."
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
    """Return the pairing ``partner(i) = index[i]``.

    Examples may be paired with themselves. The cost on a sharded batch is as for
    ``permutation``.

    Args:
      index: integer ``[B]`` with entries in [0, B); need not be a permutation.

    Returns:
      The pairing.

    Raises:
      TypeError: If ``index`` is not an array of integers.
      ValueError: If, when called with a batch, the shape of ``index`` is not ``[B]`` or
        a concrete entry is out of range.

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
            "the index of each example's partner in the batch."
        )

    @reads(0)
    def pairing(key: Array, batch: Batch) -> Partners:
        del key
        size = checks.examples(batch)
        checks.shaped(partners, "given", [(size,)], "Each example needs one partner.")
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
