"""The table of all methods: every law in the shared tests holds for every row.

A new method is a new row here, and a test file of its own for what it alone promises.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import mixup_jax as mx


@dataclasses.dataclass(frozen=True)
class Method:
    """A mixer, and what is to be known of it before it is given a batch.

    Attributes:
      of: returns the mixer for an ``alpha``, which may be traced.
      default: the alpha of `mixer`; None where the method has none.
      pastes: moves whole positions, so that inputs may have any dtype.
      corrected: ``lam`` is the mean of the weight field.
      deranged: of two examples or more, nobody is its own partner.
      even: only for batches of an even number of examples.
      classes: takes the classes from a single array of targets.
      keeps_labels: mixes inputs alone, so that ``lam`` is 1 throughout.
    """

    of: Callable[[Any], mx.Mixer]
    default: float | None = 1.0
    pastes: bool = False
    corrected: bool = True
    deranged: bool = True
    even: bool = False
    classes: bool = False
    keeps_labels: bool = False

    @property
    def mixer(self) -> mx.Mixer:
        return self.of(self.default)


def fixed(mixer: mx.Mixer, **facts: bool) -> Method:
    """Return the row of a mixer that has no alpha."""
    return Method(lambda alpha: mixer, default=None, **facts)


def mixup(**options: Any) -> Callable[[Any], mx.Mixer]:
    return lambda alpha: partial(mx.mixup, alpha=alpha, **options)


def cutmix(**options: Any) -> Callable[[Any], mx.Mixer]:
    return lambda alpha: partial(mx.cutmix, alpha=alpha, **options)


def ratio(of: Callable[[Any], mx.Ratio]) -> Callable[[Any], mx.Mixer]:
    return lambda alpha: partial(mx.mixup, ratio=of(alpha))


def shifted(key, batch):
    """Mix with a partner that is given, whatever the batch size: one function."""
    size = len(jax.tree.leaves(batch)[0])
    pairing = mx.pairings.given((np.arange(size) + 2) % size)
    return mx.mixup(key, batch, pairing=pairing)


@mx.mixer
def constant_each(key, batch):
    """Mix with a lam of its own for each, 1 and 0 among them: a draw of a user's."""
    size = len(jax.tree.leaves(batch)[0])
    lam = np.linspace(0, 1, size, dtype=np.float32)
    return mx.draw_of(partial(mx.mixup, ratio=mx.ratios.constant(lam)))(key, batch)


PER_BATCH = mx.ratios.per_batch(mx.ratios.uniform())
PER_PAIR = mx.ratios.per_pair(mx.ratios.uniform())

METHODS: dict[str, Method] = {
    "erm": fixed(mx.erm, pastes=True, deranged=False),
    "mixup": Method(mixup()),
    # how much
    "mixup-beta": Method(ratio(lambda a: mx.ratios.beta(a, 2 * a))),
    "mixup-uniform": fixed(partial(mx.mixup, ratio=mx.ratios.uniform())),
    "mixup-constant": fixed(partial(mx.mixup, ratio=mx.ratios.constant(0.25))),
    "mixup-constant-each": fixed(constant_each),
    "mixup-truncated": fixed(
        partial(mx.mixup, ratio=mx.ratios.truncated(mx.ratios.beta(0.4), 0.2, 0.7))
    ),
    "mixup-folded": Method(ratio(lambda a: mx.ratios.folded(mx.ratios.beta(a)))),
    "mixup-per-pair": Method(
        ratio(lambda a: mx.ratios.per_pair(mx.ratios.beta(a))), even=True
    ),
    "mixup-per-batch": Method(ratio(lambda a: mx.ratios.per_batch(mx.ratios.beta(a)))),
    # with whom
    "mixup-reverse": Method(mixup(pairing=mx.pairings.reverse)),
    "mixup-reverse-4": Method(mixup(pairing=partial(mx.pairings.reverse, block=4))),
    "mixup-roll": Method(mixup(pairing=mx.pairings.roll)),
    "mixup-roll-back": Method(mixup(pairing=partial(mx.pairings.roll, shift=-1))),
    "mixup-permutation": Method(mixup(pairing=mx.pairings.permutation), deranged=False),
    "mixup-derangement": Method(mixup(pairing=mx.pairings.derangement)),
    "mixup-given": fixed(shifted, deranged=False),
    "mixup-same-class": Method(
        mixup(pairing=mx.pairings.same_class), deranged=False, classes=True
    ),
    "mixup-other-class": Method(
        mixup(pairing=mx.pairings.other_class), deranged=False, classes=True
    ),
    "mixup-label-kernel": Method(
        mixup(pairing=mx.pairings.weighted(mx.pairings.label_kernel(bandwidth=1.0))),
        classes=True,
    ),
    "mixup-nearest": Method(
        mixup(
            pairing=mx.pairings.weighted(
                mx.pairings.nearest(2, among=mx.pairings.of_same_class)
            )
        ),
        deranged=False,
        classes=True,
    ),
    # where
    "cutmix": Method(cutmix(), pastes=True),
    "cutmix-one-box": Method(
        lambda a: mx.once_per_batch(partial(mx.cutmix, alpha=a)), pastes=True
    ),
    "cutmix-as-drawn": Method(
        cutmix(region=partial(mx.regions.box, share=mx.regions.as_drawn)),
        pastes=True,
        corrected=False,
    ),
    "cutmix-sizes": Method(
        cutmix(region=partial(mx.regions.box, min_size=0.3, max_size=0.8)), pastes=True
    ),
    "cutmix-roll": Method(cutmix(pairing=mx.pairings.roll), pastes=True),
    "cutmix-permutation": Method(
        cutmix(pairing=mx.pairings.permutation), pastes=True, deranged=False
    ),
    "manifold": Method(
        lambda a: partial(mx.manifold, alpha=a, layers=(0, 1)), corrected=False
    ),
    "extrapolate": fixed(
        partial(mx.extrapolate, by=0.25, pairing=mx.pairings.neighbour),
        corrected=False,
        keeps_labels=True,
    ),
    "fmix": Method(lambda a: partial(mx.fmix, alpha=a), pastes=True),
    # one of several
    "choose": Method(
        lambda a: mx.choose(
            [partial(mx.mixup, alpha=a), partial(mx.cutmix, alpha=a)], [0.5, 0.5]
        )
    ),
    "choose-per-batch": Method(
        lambda a: mx.choose(
            [partial(mx.mixup, alpha=a), partial(mx.cutmix, alpha=a)],
            [0.5, 0.5],
            by=PER_BATCH,
        )
    ),
    "choose-per-pair": Method(
        lambda a: mx.choose(
            [partial(mx.mixup, alpha=a), partial(mx.cutmix, alpha=a)],
            [0.5, 0.5],
            by=PER_PAIR,
        ),
        even=True,
    ),
    "choose-erm": Method(
        lambda a: mx.choose(
            [mx.erm, partial(mx.mixup, alpha=a), partial(mx.cutmix, alpha=a)],
            [0.2, 0.4, 0.4],
        ),
        deranged=False,
    ),
    "choose-two-pairings": Method(
        lambda a: mx.choose(
            [
                partial(mx.mixup, alpha=a, pairing=mx.pairings.derangement),
                partial(mx.cutmix, alpha=a, pairing=mx.pairings.roll),
            ],
            [0.5, 0.5],
        )
    ),
    "choose-two-boxes": Method(
        lambda a: mx.choose(
            [
                partial(mx.cutmix, alpha=a),
                partial(mx.cutmix, alpha=a, pairing=mx.pairings.reverse),
            ],
            [0.5, 0.5],
        ),
        pastes=True,
    ),
    "choose-manifold": Method(
        lambda a: mx.choose(
            [partial(mx.manifold, alpha=a, layers=(0, 1)), partial(mx.cutmix, alpha=a)],
            [0.5, 0.5],
        ),
        corrected=False,
    ),
    "choose-extrapolate": fixed(
        mx.choose(
            [
                partial(mx.extrapolate, pairing=mx.pairings.neighbour),
                mx.mixup,
                mx.erm,
            ],
            [0.3, 0.3, 0.4],
        ),
        corrected=False,
        deranged=False,
    ),
    "choose-box-or-blob": Method(
        lambda a: mx.choose(
            [partial(mx.cutmix, alpha=a), partial(mx.fmix, alpha=a)], [0.5, 0.5]
        ),
        pastes=True,
    ),
    "with-probability": Method(
        lambda a: mx.with_probability(0.5, partial(mx.mixup, alpha=a)),
        deranged=False,
    ),
    "with-probability-per-batch": Method(
        lambda a: mx.with_probability(0.5, partial(mx.cutmix, alpha=a), by=PER_BATCH),
        pastes=True,
        deranged=False,
    ),
    "with-probability-choose": Method(
        lambda a: mx.with_probability(
            0.7,
            mx.choose(
                [partial(mx.mixup, alpha=a), partial(mx.cutmix, alpha=a)], [0.5, 0.5]
            ),
        ),
        deranged=False,
    ),
    "with-probability-choose-extrapolate": fixed(
        mx.with_probability(
            0.7,
            mx.choose(
                [partial(mx.extrapolate, pairing=mx.pairings.neighbour), mx.mixup],
                [0.5, 0.5],
            ),
        ),
        corrected=False,
        deranged=False,
    ),
    "choose-with-probability-extrapolate": fixed(
        mx.choose(
            [
                mx.with_probability(
                    0.5, partial(mx.extrapolate, pairing=mx.pairings.neighbour)
                ),
                partial(mx.cutmix, pairing=mx.pairings.roll),
            ],
            [0.6, 0.4],
        ),
        corrected=False,
        deranged=False,
    ),
    "scheduled": Method(
        lambda a: mx.scheduled(
            lambda step: partial(
                mx.mixup, alpha=a * jnp.asarray(step, jnp.float32) / 10
            )
        )(jnp.int32(10))
    ),
}

# One row of each kind: of sampler, move, region and combinator, of what reads the batch
# and of what is one function. The other rows are the same parts in other compositions;
# what is tested on all rows runs on these by default, on the others when slow tests do.
KINDS = [
    "erm",
    "mixup",
    "mixup-beta",
    "mixup-per-pair",
    "mixup-roll",
    "mixup-permutation",
    "mixup-given",
    "mixup-same-class",
    "cutmix",
    "fmix",
    "manifold",
    "extrapolate",
    "choose-two-pairings",
    "with-probability-choose-extrapolate",
]
