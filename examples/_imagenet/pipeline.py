"""Batches for training and evaluation, by Grain.

Each process reads its own share of the pictures, and gets as many batches as the
others, whatever is skipped: otherwise the devices would wait for each other forever.
"""

from functools import partial
from typing import NamedTuple

import grain
import jax
from absl import flags

from examples._imagenet.faults import OnFault, refuse
from examples._imagenet.pictures import (
    Augment,
    Source,
    nothing,
    test_example,
    train_example,
    unchanged,
)


class Share(NamedTuple):
    """One of several equal shares, one for each process."""

    process: int
    processes: int


def share_of_process() -> Share:
    """Return the share of this process among those of JAX."""
    return Share(jax.process_index(), jax.process_count())


def steps(
    source: Source, *, batch_size: int, epochs: int, share: Share | None = None
) -> int:
    """Return the number of batches that ``batches`` yields, the same in each process.

    Raises:
      ValueError: If there is not one whole batch.
    """
    _, processes = share or share_of_process()
    count = epochs * len(source) // (batch_size * processes)
    if not count:
        raise ValueError(
            f"--batch-size: expected at most {epochs * len(source)}, the number of "
            f"pictures in {epochs} epochs; got {batch_size * processes} in all "
            "processes. Pass a smaller one, or more pictures."
        )
    return count


def batches(
    source: Source,
    *,
    size: int,
    batch_size: int,
    seed: int,
    epochs: int,
    workers: int = 0,
    threads: int = 16,
    augment: Augment = unchanged,
    on_fault: OnFault = refuse,
    share: Share | None = None,
) -> grain.DatasetIterator:
    """Return shuffled training batches: ``image`` uint8 [B, S, S, 3], ``label`` [B].

    Every epoch has another order and other crops. One follows another without a gap, so
    a batch may have pictures of both, and none is left out but for the last few of the
    run. A picture that is skipped is replaced by the next one.

    The state of the iterator (``grain.checkpoint``) fits the same ``workers`` only.
    With Grain 0.2.15 or newer, its method ``close()`` ends them at once.

    Args:
      source: the pictures, such as ``Pictures(index)``.
      size: of the image.
      batch_size: number of examples for this process.
      seed: of the order, crops and flips.
      epochs: number of times to go through the pictures.
      workers: number of worker processes. With 0, threads of this process do the work.
      threads: number of threads of each process that decodes. With 0, it has no buffer.
      augment: ``(rng, picture) -> picture``, applied to the crop, such as RandAugment.
      on_fault: what to do with pictures that cannot be decoded.
      share: of the pictures; by default, that of this process.
    """
    share = share or share_of_process()
    count = steps(source, batch_size=batch_size, epochs=epochs, share=share)
    example = partial(train_example, size=size, augment=augment, on_fault=on_fault)
    data = grain.MapDataset.source(source).seed(seed % 2**32).shuffle()
    # Slice after the repetition: Grain 0.2.12 repeats a slice without reshuffling. And
    # draw crops before both, by the position in all of the data, so that they differ.
    endless = data.random_map(example).repeat()[share.process :: share.processes]
    data = endless.to_iter_dataset(_reading(threads, batch_size))
    data = _by_workers(data.batch(batch_size), workers)
    return iter(grain.experimental.LimitIterDataset(data, count))


def evaluation_batches(
    source: Source,
    *,
    size: int,
    batch_size: int,
    workers: int = 0,
    threads: int = 16,
    on_fault: OnFault = refuse,
    share: Share | None = None,
) -> grain.DatasetIterator:
    """Return batches with each picture once: ``image``, ``label`` and ``weight``.

    The weight, float32 [B], is 1 for a picture, and 0 for what fills the last batches
    and takes the place of pictures that are skipped. The arguments are those of
    ``batches``.
    """
    process, processes = share or share_of_process()
    # Each worker fills batches of its own.
    at_once = batch_size * processes * max(workers, 1)
    count = -(-len(source) // at_once) * at_once
    example = partial(_example_or_nothing, source=source, size=size, on_fault=on_fault)
    data = grain.MapDataset.range(count)[process::processes].map(example)
    data = data.to_iter_dataset(_reading(threads, batch_size)).batch(batch_size)
    return iter(_by_workers(data, workers))


def _example_or_nothing(row: int, *, source: Source, size: int, on_fault: OnFault):
    if row >= len(source):
        return nothing(size)
    return test_example(source[row], size=size, on_fault=on_fault)


def _reading(threads: int, buffer: int) -> grain.ReadOptions:
    # A smaller buffer would leave threads idle.
    return grain.ReadOptions(threads, max(threads, buffer) if threads else 0)


def _by_workers(data: grain.IterDataset, workers: int) -> grain.IterDataset:
    # If most pictures are skipped, the data are not what they should be: raise.
    limits = grain.experimental.DatasetOptions(filter_raise_threshold_ratio=0.5)
    data = grain.experimental.WithOptionsIterDataset(data, limits)
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # Grain reads its own before it starts a worker.
    return data.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
