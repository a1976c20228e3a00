"""With whom: pairings draw the partner of every example.

A pairing is any callable `(key, batch) -> Partners`. What it returns is a description
of a movement; it becomes a gather only where it has to. Where the batch has two or
more, nobody is its own partner, unless the docstring says so. An example that is its
own partner is not mixed: its `lam` is 1.

The pairings without randomness (`neighbour`, `reverse`, `roll`) rely on a loader that
shuffles: pairs are then random, and cost nothing to draw.
"""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import checks
from mixup_jax._core.made import made
from mixup_jax._core.moves import Flip, Gather, Roll, Stay, Swap, laid_like, laid_out
from mixup_jax._core.types import Batch, Pairing, Partners

_MOST_DIFFERENCES = 2**24  # a product is faster for more, and less exact


def neighbour(key: Array, batch: Batch) -> Partners:
    """Pair examples 0 and 1, 2 and 3, ...: ``partner(i) = i ^ 1``.

    Of an odd batch the last three form a ring.

    Cost on a sharded batch: none, where each device holds an even number. With an odd
    share pairs cross devices: one collective on the batch. An odd batch is gathered.

    Example:
      >>> import jax, mixup_jax as mx
      >>> batch = (jax.numpy.zeros((5, 3)), None)
      >>> mx.pairings.neighbour(jax.random.key(0), batch).index
      Array([1, 0, 3, 4, 2], dtype=int32)
    """
    return reverse(key, batch, block=2)


def reverse(key: Array, batch: Batch, *, block: int | None = None) -> Partners:
    """Pair the first with the last: ``partner(i) = n - 1 - i``, in blocks of ``n``.

    The three in the middle of an odd block form a ring; a last block of one joins the
    block before it.

    Cost on a sharded batch: none, where the blocks end where the shares of the devices
    end; else one collective-permute of the batch (blocks of a whole batch), or a
    gather (odd blocks, or a batch that the blocks do not divide).

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
        i = _positions(size)
        place = jax.lax.rem(i, jnp.int32(block))  # faster to trace than %
        return Partners(i + block - 1 - 2 * place, Flip(block))
    return Partners(jnp.asarray(_reversed_blocks(size, block)), Gather())


def roll(key: Array, batch: Batch, *, shift: int = 1) -> Partners:
    """Pair everybody with the one ``shift`` places before: ``i - shift mod B``.

    Cost on a sharded batch: one collective-permute, on an Explicit mesh a gather of the
    batch. On each device by itself (``per_device``): none.

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
            f"roll: expected an integer shift; got {checks.describe(shift)}. Count by "
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
    index = jax.lax.rem(_positions(size) + (-shift) % size, jnp.int32(size))
    return Partners(index, Roll(size, shift % size))


def nth(key: Array, batch: Batch, *, n: int, of: int) -> Partners:
    """Pair with the n-th of several partners: ``partner(i) = i ^ n``, n from 1.

    In blocks of the least power of two above ``of``, so that ``n`` from 1 to ``of``
    name other examples of the block; the first is ``neighbour``. Of a batch that the
    blocks do not divide it is ``i + n mod B``, and an example that has no n-th other is
    its own partner.

    Cost on a sharded batch: none, where each device holds whole blocks; else as
    ``roll``.

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
    return Partners(jnp.bitwise_xor(_positions(size), n), move)


def permutation(key: Array, batch: Batch) -> Partners:
    """Pair by a uniformly random permutation, which may leave fixed points.

    One example in a batch is its own partner on average, and is not mixed. This is the
    pairing of the paper's code; ``derangement`` leaves nobody out.

    Cost on a sharded batch: the whole batch is gathered. On each device by itself
    (``per_device``): none.

    Example:
      >>> import jax, mixup_jax as mx
      >>> batch = (jax.numpy.zeros((4, 3)), None)
      >>> jax.numpy.sort(mx.pairings.permutation(jax.random.key(0), batch).index)
      Array([0, 1, 2, 3], dtype=int32)
    """
    size = checks.examples(batch)
    index = jax.random.permutation(key, _positions(size))
    return Partners(index, Gather())


def derangement(key: Array, batch: Batch) -> Partners:
    """Pair along one random ring through the whole batch, so without fixed points.

    Everybody else is equally likely to be the partner.

    Cost on a sharded batch: as ``permutation``.

    Example:
      >>> import jax, mixup_jax as mx
      >>> batch = (jax.numpy.zeros((4, 3)), None)
      >>> jax.numpy.sort(mx.pairings.derangement(jax.random.key(0), batch).index)
      Array([0, 1, 2, 3], dtype=int32)
    """
    size = checks.examples(batch)
    ring = jax.random.permutation(key, _positions(size))
    index = jnp.zeros_like(ring).at[ring].set(jnp.roll(ring, 1))
    return Partners(index, Gather())


@made
def given(index: ArrayLike) -> Pairing:
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
    partners = checks.array(index)
    if not jnp.issubdtype(partners.dtype, jnp.integer):
        raise TypeError(
            f"given: expected integer partners; got {checks.describe(partners)}. Pass "
            "for each example the place of its partner in the batch."
        )

    def pairing(key: Array, batch: Batch) -> Partners:
        del key
        size = checks.examples(batch)
        checks.shaped(partners, "given", [(size,)], "Every example needs one partner.")
        checks.number(partners, "given", 0, size - 1, "Partners count from 0.")
        return Partners(jnp.asarray(partners, jnp.int32), Gather())

    return pairing


def same_class(
    key: Array, batch: Batch, *, labels: ArrayLike | None = None
) -> Partners:
    """Pair everybody with a random other example of its own class.

    Each other example of the class is equally likely, so the map need not be a
    permutation. The only example of a class keeps itself, with ``lam = 1``.

    Cost on a sharded batch: the labels and the batch are gathered, the labels sorted.

    Args:
      key: PRNG key.
      batch: the batch; its targets give the classes unless ``labels`` does.
      labels: ``[B]`` integer class ids of any size and sign, or ``[B, K]`` floats (the
        largest counts; with a NaN among them the example is of a class of its own), K
        at least 2.

    Raises:
      ValueError: If there are neither ``labels`` nor a single array of targets to take
        them from, or if they have another shape.

    Example:
      >>> import jax, mixup_jax as mx
      >>> labels = jax.numpy.array([0, 1, 0, 2, 1])
      >>> batch = (jax.numpy.zeros((5, 3)), labels)
      >>> mx.pairings.same_class(jax.random.key(0), batch).index
      Array([2, 4, 0, 3, 1], dtype=int32)
    """
    start, stop, order, rank = _classes(_ordered(_class_ids(batch, labels)))
    others = stop - start - 1
    step = 1 + _pick(key, others)
    position = start + (rank - start + step) % jnp.maximum(stop - start, 1)
    return Partners(order[jnp.where(others > 0, position, rank)], Gather())


def other_class(
    key: Array, batch: Batch, *, labels: ArrayLike | None = None
) -> Partners:
    """Pair everybody with a random example of another class.

    Each example of another class is equally likely, so the map need not be a
    permutation. In a batch of one class everybody keeps itself, with ``lam = 1``.

    Arguments, cost and errors: as ``same_class``.

    Example:
      >>> import jax, mixup_jax as mx
      >>> labels = jax.numpy.array([0, 0, 0, 1])
      >>> batch = (jax.numpy.zeros((4, 3)), labels)
      >>> partners = mx.pairings.other_class(jax.random.key(0), batch)
      >>> labels[partners.index]
      Array([1, 1, 1, 0], dtype=int32)
    """
    start, stop, order, rank = _classes(_ordered(_class_ids(batch, labels)))
    size = order.shape[0]
    others = size - (stop - start)
    position = (stop + _pick(key, others)) % size
    return Partners(order[jnp.where(others > 0, position, rank)], Gather())


class Affinity(Protocol):
    """Scores partners by log weights: -inf for who is none.

    ``weighted`` draws from the batch. To draw from a pool (C-Mixup: from the whole
    training set), put what was drawn behind the batch, and pair the halves:

    Example:
      >>> from functools import partial
      >>> import jax, jax.numpy as jnp, mixup_jax as mx
      >>> near = mx.pairings.label_kernel(bandwidth=0.1)
      >>> pool = (jnp.ones((100, 3)), jnp.linspace(0, 1, 100))
      >>> batch = jax.tree.map(lambda leaf: leaf[::25], pool)
      >>> key_pool, key = jax.random.split(jax.random.key(0))
      >>> drawn = jax.random.categorical(key_pool, near(batch, pool), axis=1)
      >>> both = jax.tree.map(
      ...     lambda own, rest: jnp.concatenate([own, rest[drawn]]), batch, pool
      ... )
      >>> halves = partial(mx.pairings.roll, shift=4)
      >>> (x, y), mix = mx.mixup(key, both, pairing=halves)
      >>> mix.partner
      Array([4, 5, 6, 7, 0, 1, 2, 3], dtype=int32)
    """

    def __call__(self, batch: Batch, candidates: Batch | None = None) -> Array:
        """Return float32 ``[A, B]`` for A examples and B candidates.

        Without candidates they are the batch itself, and nobody is its own neighbour.
        """
        ...


@made
def weighted(affinity: Callable[[Batch], Array]) -> Pairing:
    """Return the pairing that draws partners in proportion to a weight.

    ``P(partner(i) = j) = exp(affinity[i, j]) / sum_k exp(affinity[i, k])``, k != i

    The map need not be a permutation. Who has no candidate of weight above 0 keeps
    itself, with ``lam = 1``: so does who is infinitely far from everybody, because what
    is compared of it holds a NaN or an infinity, and nobody draws it. A score of NaN is
    a weight of 0.

    Cost: scores of every pair, B x B. On a sharded batch what the affinity compares and
    the batch are gathered; on each device by itself (``per_device``) nothing is.

    Args:
      affinity: ``batch -> [B, B]``, floating, -inf for a weight of 0:
        ``label_kernel``, ``nearest``, ``of_same_class``, or a sum of such.

    Raises:
      ValueError: the scores are not ``[B, B]``.

    Example:
      >>> import jax, mixup_jax as mx
      >>> pairing = mx.pairings.weighted(mx.pairings.label_kernel(bandwidth=0.1))
      >>> y = jax.numpy.array([0.0, 5.0, 0.1, 5.2])
      >>> pairing(jax.random.key(0), (jax.numpy.ones((4, 3)), y)).index
      Array([2, 3, 0, 1], dtype=int32)

    Source: Yao et al., "C-Mixup", NeurIPS 2022, arXiv:2210.05775.
    """
    checks.function(affinity, "weighted: affinity", "label_kernel(bandwidth=1.0)")

    def pairing(key: Array, batch: Batch) -> Partners:
        size = checks.examples(batch)
        scores = affinity(batch)
        checks.shaped(scores, "affinity", [(size, size)], "Score every pair.")
        none = jnp.eye(size, dtype=bool) | jnp.isnan(scores)
        scores = jnp.where(none, -jnp.inf, scores)
        drawn = jax.random.categorical(key, scores, axis=1).astype(jnp.int32)
        anybody = jnp.max(scores, axis=1) > -jnp.inf
        return Partners(jnp.where(anybody, drawn, _positions(size)), Gather())

    return pairing


@made
def label_kernel(*, bandwidth: ArrayLike) -> Affinity:
    """Return the affinity of near targets: a Gaussian of their distance (C-Mixup).

    ``affinity[i, j] = -|y_i - y_j|^2 / (2 bandwidth^2)``

    Who holds a NaN or an infinity is infinitely far from everybody: -inf. Integers and
    float64 are subtracted as they are, and only the difference is rounded to float32.

    Args:
      bandwidth: scalar above 0, in the units of the targets, may be traced.

    Raises:
      ValueError: If ``bandwidth`` is no scalar, or a concrete one not above 0; (when
        called) if there are no targets.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> batch = (None, jnp.array([0.0, 2.0]))
      >>> mx.pairings.label_kernel(bandwidth=1.0)(batch)
      Array([[-0., -2.],
             [-2., -0.]], dtype=float32)
    """
    advice = "A wide one is a random permutation; give the spread of a neighbourhood."
    smallest = float(np.finfo(np.float32).tiny)
    checks.number(bandwidth, "label_kernel: bandwidth", smallest, advice=advice)
    one = "One serves all; divide targets of different spread by theirs."
    checks.shaped(bandwidth, "label_kernel: bandwidth", [()], one)

    def affinity(batch: Batch, candidates: Batch | None = None) -> Array:
        width = jnp.asarray(bandwidth, jnp.float32)
        own, others = (checks.pair(b)[1] for b in (batch, candidates or batch))
        distances = _squared_distances(own, others, "targets")
        return -distances / (2 * width**2)

    return affinity


@made
def nearest(k: int, *, among: Affinity | None = None) -> Affinity:
    """Return the affinity of the ``k`` nearest inputs: 0 for them, -inf for others.

    By Euclidean distance over all leaves, in float32; integers and float64 are
    subtracted as they are. Nobody is its own neighbour; who is as far as the k-th
    counts too. Who holds a NaN or an infinity is nobody's neighbour, and has none.

    Of a large leaf, more than 2^24 numbers to be subtracted (examples x candidates x
    features), distances come from a matrix product. Its error is that of the squared
    distance from the mean: neighbours much nearer to each other than to the mean, 1000
    times and more, are then told apart badly.

    Args:
      k: how many, at least 1. With fewer candidates all are taken.
      among: only candidates to which this gives a weight: ``of_same_class``.

    Raises:
      ValueError: If ``k`` is less than 1.

    Example:
      >>> import jax, mixup_jax as mx
      >>> nearest = mx.pairings.nearest(1, among=mx.pairings.of_same_class)
      >>> x = jax.numpy.array([[0.0], [1.0], [3.0], [4.5]])
      >>> batch = (x, jax.numpy.array([0, 1, 0, 1]))
      >>> mx.pairings.weighted(nearest)(jax.random.key(0), batch).index
      Array([2, 3, 0, 1], dtype=int32)
    """
    if k < 1:
        raise ValueError(
            f"nearest: expected at least 1 neighbour; got {k}. Mix nothing with "
            "mixup_jax.erm."
        )

    def affinity(batch: Batch, candidates: Batch | None = None) -> Array:
        own, others = (checks.pair(b)[0] for b in (batch, candidates or batch))
        distances = _squared_distances(own, others, "inputs")
        if candidates is None:
            itself = jnp.eye(distances.shape[0], dtype=bool)
            distances = jnp.where(itself, jnp.inf, distances)
        if among is not None:
            included = among(batch, candidates) > -jnp.inf
            distances = jnp.where(included, distances, jnp.inf)
        last = min(k, distances.shape[1]) - 1
        kth = jnp.sort(distances, axis=1)[:, last][:, None]
        near = (distances <= kth) & (distances < jnp.inf)
        return _log(near)

    return affinity


def of_same_class(batch: Batch, candidates: Batch | None = None) -> Array:
    """Return 0 for candidates of the same class, -inf for others, float32 ``[A, B]``.

    Targets tell the class, as for ``same_class``, those of the candidates in any dtype.
    To be added to another affinity, or handed to ``nearest``.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> batch = (None, jnp.array([0, 1, 0]))
      >>> mx.pairings.of_same_class(batch)[0]
      Array([  0., -inf,   0.], dtype=float32)
    """
    own = other = _class_ids(batch, None)
    if candidates is not None:
        other = _class_ids(candidates, None, nobody=-1 - own.shape[0])
    a, b = _aligned(_parts(own), _parts(other))
    return _log(_differences(a, b)[:, :, 0] == 0)


def _log(allowed: Array) -> Array:
    """Return log weights: 0 where allowed, -inf elsewhere."""
    return jnp.where(allowed, jnp.float32(0), jnp.float32(-jnp.inf))


def _squared_distances(own: Any, others: Any, name: str) -> Array:
    """Return the squared Euclidean distances over all leaves, float32 ``[A, B]``.

    Infinite from and to who holds what is not finite, itself included.
    """
    size, count = checks.examples(own, name), checks.examples(others, name)

    def between(a: Any, b: Any) -> Array:
        a, b = _aligned(_parts(a), _parts(b))
        features = a[0].shape[1]
        few = features == 1 or size * count * features <= _MOST_DIFFERENCES
        squares = _by_differences(a, b) if few else _by_product(a, b)
        return jnp.where(jnp.isnan(squares), jnp.inf, squares)

    return jax.tree.reduce(jnp.add, jax.tree.map(between, own, others))


def _by_differences(a: list[Array], b: list[Array]) -> Array:
    """Return ``|a[i] - b[j]|^2``, as exact as the numbers are."""
    return jnp.sum(_differences(a, b) ** 2, axis=2)


def _by_product(a_parts: list[Array], b_parts: list[Array]) -> Array:
    """Return ``|a[i]|^2 + |b[j]|^2 - 2 a[i] b[j]``, whose work a matrix unit does."""
    a, b = _near_zero(a_parts, b_parts)
    # Of numbers far from 0 the products would cancel badly.
    finite = jnp.all(jnp.isfinite(b), axis=1, keepdims=True)
    total = jnp.sum(jnp.where(finite, b, 0), axis=0, keepdims=True)
    centre = total / jnp.maximum(jnp.sum(finite, dtype=jnp.float32), 1)
    a, b = a - centre, b - centre
    both = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.sum(a * a, axis=1)[:, None] + jnp.sum(b * b, axis=1)[None]
    return jnp.maximum(squares - 2 * both, 0)


def _near_zero(a: list[Array], b: list[Array]) -> tuple[Array, Array]:
    """Return both less one of the rows of ``b``, float32, as exact as they are."""
    if len(b) == 1 and b[0].dtype == jnp.float32:
        return a[0], b[0]
    finite = jnp.all(jnp.isfinite(functools.reduce(jnp.add, b)), axis=1)
    chosen = _positions(finite.shape[0]) == jnp.argmax(finite).astype(jnp.int32)
    row = [jnp.sum(jnp.where(chosen[:, None], x, 0), axis=0, keepdims=True) for x in b]
    return _difference(a, row), _difference(b, row)


def _parts(leaf: Any) -> list[Array]:
    """Return arrays ``[B, F]``, the largest numbers first, that add up to the leaf.

    Together they are exact. In float32, but for a float64 where JAX has those.
    """
    if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        raise TypeError(
            f"affinity: expected numbers to compare; got {checks.describe(leaf)}. "
            "Keep keys out of what the affinity compares."
        )
    native = checks.is_native(leaf)
    flat: Any = laid_out(leaf, leaf, jax.P()) if native else np.asarray(leaf)
    flat = flat.reshape(leaf.shape[0], -1)
    if jnp.issubdtype(flat.dtype, jnp.complexfloating):
        along = jnp.concatenate if native else np.concatenate
        flat = along([flat.real, flat.imag], axis=1)
    if jnp.issubdtype(flat.dtype, jnp.integer):
        bits = jnp.iinfo(flat.dtype).bits
        # Digits of 16 bits, whose differences are exact too; the first has the sign.
        digits = (
            (flat >> at if at + 16 >= bits else (flat >> at) & 0xFFFF, at)
            for at in reversed(range(0, bits, 16))
        )
        return [jnp.asarray(d.astype(np.float32)) * 2.0**at for d, at in digits]
    if flat.dtype != np.float64:
        return [jnp.asarray(flat).astype(jnp.float32)]
    if jax.dtypes.canonicalize_dtype(np.float64) == np.float64:
        return [jnp.asarray(flat)]
    parts = []
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(3):
            parts.append(flat.astype(np.float32))
            flat = flat - parts[-1]
    return [jnp.asarray(part) for part in parts]


def _aligned(a: list[Array], b: list[Array]) -> tuple[list[Array], list[Array]]:
    """Return both with as many parts, and those in one dtype."""
    count = max(len(a), len(b))
    wide = any(part.dtype == jnp.float64 for part in a + b)
    dtype = jnp.float64 if wide else jnp.float32

    def padded(parts: list[Array]) -> list[Array]:
        zeros = [jnp.zeros_like(parts[0])] * (count - len(parts))
        return [part.astype(dtype) for part in zeros + parts]

    return padded(a), padded(b)


def _differences(a: list[Array], b: list[Array]) -> Array:
    """Return ``a[i] - b[j]``, float32 ``[A, B, F]``."""
    return _difference([part[:, None] for part in a], [part[None] for part in b])


def _difference(a: list[Array], b: list[Array]) -> Array:
    """Return ``a - b``, float32, as precise as float32 is.

    But for 2^-47 of a float64 in three parts, whose differences may be rounded.
    """
    # In this order a sum that had to be rounded outweighs all that is to come.
    parts = [x - y for x, y in zip(a, b)]
    return functools.reduce(jnp.add, parts).astype(jnp.float32)


def _positions(size: int) -> Array:
    return jnp.arange(size, dtype=jnp.int32)


def _alone(size: int) -> Partners:
    return Partners(_positions(size), Stay())


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


def _class_ids(batch: Batch, labels: ArrayLike | None, *, nobody: int = -1) -> Any:
    """Return integers ``[B]`` that tell the classes, of JAX or NumPy, as they came.

    Of floats ``[B, K]`` with a NaN a class of its own: ``nobody`` and below.
    """
    size = checks.examples(batch)
    found: list[Any] = jax.tree.leaves(batch[1]) if labels is None else [labels]
    if len(found) != 1:
        raise ValueError(
            f"labels: expected an array that tells the classes; got {len(found)} "
            "arrays of targets. Pass partial(pairing, labels=...), or a single array "
            "of targets."
        )
    ids = checks.array(found[0])
    checks.sized(ids, size, "labels", "Pass the labels of this batch.")
    if jnp.issubdtype(ids.dtype, jnp.floating) and ids.ndim == 2:
        if ids.shape[1] == 1:  # the largest of one is always the same
            raise ValueError(
                "labels: expected weights of at least 2 classes, floating [B, K]; got "
                f"{checks.describe(ids)}. Give the ids as integers [B]."
            )
        weights = jnp.asarray(ids)
        largest = jnp.argmax(weights, axis=1).astype(jnp.int32)
        own = laid_like(nobody - _positions(size), largest)
        return jnp.where(jnp.any(jnp.isnan(weights), axis=1), own, largest)
    if ids.ndim != 1 or not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(
            "labels: expected integer class ids [B] or floating class weights [B, K]; "
            f"got {checks.describe(ids)}. Bin real-valued targets into classes first."
        )
    return ids


def _ordered(ids: Any) -> Array:
    """Return integers ``[B]`` in the order of ``ids``, equal where those are."""
    if checks.holding(ids) is None:
        ids = np.unique(np.asarray(ids), return_inverse=True)[1]
    ids = checks.class_ids(ids, "labels", "Number the classes.")
    # Sorting needs to see all of them.
    return laid_out(ids, ids, jax.P())


def _classes(ids: Array) -> tuple[Array, Array, Array, Array]:
    """Return where each example's class starts and stops in class order, and the order.

    ``order[rank[i]] == i``, and ``rank[i]`` lies in ``[start[i], stop[i])``.
    """
    order = jnp.argsort(ids).astype(jnp.int32)
    rank = jnp.zeros_like(order).at[order].set(_positions(ids.shape[0]))
    # The default method of searchsorted is a loop.
    start, stop = (
        jnp.searchsorted(ids[order], ids, side=side, method="sort").astype(jnp.int32)
        for side in ("left", "right")
    )
    return start, stop, order, rank


def _pick(key: Array, count: Array) -> Array:
    """Draw one of ``count`` integers from 0 for each example (0 where count is 0)."""
    u = jax.random.uniform(key, count.shape, jnp.float32)
    drawn = jnp.floor(u * count.astype(jnp.float32)).astype(jnp.int32)
    return jnp.clip(drawn, 0, jnp.maximum(count - 1, 0))
