"""The table of all methods: every law in the shared tests holds for every row.

A new method is a new row here, and a test file for the properties specific to it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import mixup_jax as mx
from tests import oracle
from tests.oracle import Expected


@dataclasses.dataclass(frozen=True)
class Method:
    """A mixer, and its properties that are known independently of a batch.

    Attributes:
      of: returns the mixer for an ``alpha``, which may be traced.
      expected: returns the expected mixture, given the mix that the mixer drew, the key
        and the batch; written from the paper.
      default: the alpha of ``mixer``; None where the method has none.
      pastes: moves whole positions, so that inputs may have any dtype.
      corrected: ``lam`` is the mean of the weight field.
      deranged: in a batch of two or more, no example is its own partner.
      even: only for batches of an even number of examples.
      classes: takes the classes from a single array of targets.
      keeps_labels: mixes only inputs, so that ``lam`` is 1 throughout.
    """

    of: Callable[[Any], mx.Mixer]
    expected: Callable[[Any, jax.Array, Any], Expected] = oracle.blend
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


def fixed(mixer: mx.Mixer, expected: Any = oracle.blend, **facts: bool) -> Method:
    """Return the row of a mixer that has no alpha."""
    return Method(lambda alpha: mixer, expected, default=None, **facts)


def mixup(**options: Any) -> Callable[[Any], mx.Mixer]:
    return lambda alpha: partial(mx.mixup, alpha=alpha, **options)


def cutmix(region: Any = None, corrected: bool = True, **options: Any) -> Method:
    """Return a row of boxes."""
    if region is not None:
        options["region"] = region
    deranged = options.get("pairing") is not mx.pairings.permutation
    return Method(
        lambda alpha: partial(mx.cutmix, alpha=alpha, **options),
        oracle.box,
        pastes=True,
        corrected=corrected,
        deranged=deranged,
    )


def ratio(of: Callable[[Any], mx.Ratio]) -> Callable[[Any], mx.Mixer]:
    return lambda alpha: partial(mx.mixup, ratio=of(alpha))


def shifted(key, batch):
    """Mix with a given partner, for any batch size; has no separate halves."""
    size = len(jax.tree.leaves(batch)[0])
    pairing = mx.pairings.given((np.arange(size) + 2) % size)
    return mx.mixup(key, batch, pairing=pairing)


@mx.mixer
def constant_each(key, batch):
    """Mix with a fixed lam for each example, from 0 to 1: a user-defined draw."""
    size = len(jax.tree.leaves(batch)[0])
    lam = np.linspace(0, 1, size, dtype=np.float32)
    return mx.draw_of(partial(mx.mixup, ratio=mx.ratios.constant(lam)))(key, batch)


def around_the_peak(alpha: Any) -> mx.Mixer:
    """Return SaliencyMix by the mean magnitude of an image: a user-defined draw."""

    @mx.mixer
    def saliencymix(key, batch):
        saliency = jnp.mean(jnp.abs(image_of(batch)), axis=-1)
        mixer = partial(mx.saliencymix, alpha=alpha, saliency=saliency)
        return mx.draw_of(mixer)(key, batch)

    return saliencymix


def image_of(batch: Any) -> Any:
    """Return the images of either of the two batches that methods are tested on."""
    inputs, _ = batch
    return inputs["x"] if isinstance(inputs, dict) else inputs


def salient(mix: Any, key: jax.Array, batch: Any) -> Expected:
    """Paste a box around the partner's peak, unless it is empty (SaliencyMix)."""
    theirs = np.abs(np.asarray(image_of(batch)))[np.asarray(mix.partner)].mean(axis=-1)
    start, stop = np.asarray(mix.region.start), np.asarray(mix.region.stop)
    for i, saliency in enumerate(theirs):
        if np.isfinite(saliency).all() and (start[i] < stop[i]).all():
            peak = np.unravel_index(saliency.argmax(), saliency.shape)
            assert ((start[i] <= peak) & (peak < stop[i])).all()
    return oracle.box(mix, key, batch)


# Chance with known outcomes


def spread(size: int) -> np.ndarray:
    """Return numbers in [0, 1), with neighbors far apart."""
    return (0.31 + 0.618 * np.arange(size)) % 1


def decided(key: jax.Array, partners: mx.Partners) -> jax.Array:
    """Return ``spread`` in place of uniform numbers."""
    del key
    return jnp.asarray(spread(partners.index.shape[0]), jnp.float32)


class By(NamedTuple):
    """The ratio that decides among mixers, for the library and in NumPy."""

    ratio: mx.Ratio
    of: Callable[[np.ndarray], np.ndarray]


EACH = By(decided, lambda u: u)
PER_BATCH = By(mx.ratios.per_batch(decided), lambda u: np.full_like(u, u[0]))
# Each pair of neighbors shares the number of its first example.
PER_PAIR = By(mx.ratios.per_pair(decided), lambda u: u[np.arange(len(u)) // 2 * 2])


def handed_on(key: jax.Array) -> jax.Array:
    """Return the key that ``choose`` passes to each mixer, the same one for all."""
    seen = []

    def spy(key, batch):
        seen.append(key)
        return mx.erm(key, batch)

    mx.choose([spy, spy], [0.5, 0.5])(key, (np.zeros((2, 1), np.float32), None))
    assert seen[0] == seen[1]
    return seen[0]


@dataclasses.dataclass(frozen=True)
class Choice:
    """For each example, the result of the row chosen for it.

    Attributes:
      parts: the rows.
      probs: their probabilities.
      by: the ratio that decides.
    """

    parts: tuple[Method, ...]
    probs: tuple[float, ...]
    by: By

    def __call__(self, mix: Any, key: jax.Array, batch: Any) -> Expected:
        del mix  # it is already merged
        key = handed_on(key)
        size = len(jax.tree.leaves(batch)[0])
        return oracle.picked(
            self.index(size), [expected_alone(part, key, batch) for part in self.parts]
        )

    def index(self, size: int) -> np.ndarray:
        """Return the index of the row that is chosen for each example."""
        below = np.cumsum(self.probs)[:-1]
        return (self.by.of(spread(size))[:, None] >= below).sum(axis=1)


def expected_alone(method: Method, key: jax.Array, batch: Any) -> Expected:
    """Return the expected mixture of a method by itself, from a fresh draw."""
    nested = isinstance(method.expected, Choice)
    mix = None if nested else mx.draw_of(method.mixer)(key, batch)
    return method.expected(mix, key, batch)


def chosen(
    parts: Sequence[Method],
    probs: Sequence[float],
    by: By = EACH,
    around: Callable[..., mx.Mixer] = mx.choose,
    **facts: bool,
) -> Method:
    """Return the row of a choice among other rows."""
    alphas = [part.default is not None for part in parts]
    same = {
        fact: all(getattr(part, fact) for part in parts)
        for fact in ("pastes", "corrected", "deranged")
    }

    def of(alpha: Any) -> mx.Mixer:
        mixers = [part.of(alpha) for part in parts]
        return around(mixers, probs, by=by.ratio)

    return Method(
        of,
        Choice(tuple(parts), tuple(probs), by),
        default=1.0 if any(alphas) else None,
        **(same | facts),
    )


def some(p: float, part: Method, by: By = EACH) -> Method:
    """Return the row of a method that mixes each example with probability ``p``."""

    def with_probability(mixers, probs, by):
        return mx.with_probability(probs[0], mixers[0], by=by)

    return chosen([part, ERM], [p, 1 - p], by, with_probability)


ERM = fixed(mx.erm, oracle.untouched, pastes=True, deranged=False)
MIXUP, CUTMIX = Method(mixup()), cutmix()
MANIFOLD = Method(
    lambda a: partial(mx.manifold, alpha=a, layers=(0, 1)),
    oracle.layer,
    corrected=False,
)
FMIX = Method(lambda a: partial(mx.fmix, alpha=a), oracle.field, pastes=True)
AWAY, NEAR = (
    fixed(
        partial(mx.extrapolate, by=by, pairing=mx.pairings.neighbour),
        oracle.extrapolation(by),
        corrected=False,
        keeps_labels=True,
    )
    for by in (0.5, 0.25)
)

METHODS: dict[str, Method] = {
    "erm": ERM,
    "mixup": MIXUP,
    # ratios
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
    # pairings
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
    # several partners
    "dirichlet": Method(lambda a: partial(mx.dirichlet, alpha=a), oracle.broken_stick),
    "dirichlet-3": Method(
        lambda a: partial(mx.dirichlet, alpha=a, partners=3), oracle.broken_stick
    ),
    # regions
    "cutmix": CUTMIX,
    "cutmix-one-box": Method(
        lambda a: mx.once_per_batch(partial(mx.cutmix, alpha=a)),
        oracle.box,
        pastes=True,
    ),
    "cutmix-as-drawn": cutmix(
        partial(mx.regions.box, share=mx.regions.as_drawn), corrected=False
    ),
    "cutmix-sizes": cutmix(partial(mx.regions.box, min_size=0.3, max_size=0.8)),
    "cutmix-roll": cutmix(pairing=mx.pairings.roll),
    "cutmix-permutation": cutmix(pairing=mx.pairings.permutation),
    "saliencymix": Method(around_the_peak, salient, pastes=True),
    "resizemix": fixed(mx.resizemix, oracle.window, pastes=True),
    "smoothmix": fixed(mx.smoothmix, oracle.bell),
    "fmix": FMIX,
    "manifold": MANIFOLD,
    "extrapolate": NEAR,
    # combinators
    "choose": chosen([MIXUP, CUTMIX], [0.5, 0.5]),
    "choose-per-batch": chosen([MIXUP, CUTMIX], [0.3, 0.7], PER_BATCH),
    "choose-per-pair": chosen([MIXUP, CUTMIX], [0.5, 0.5], PER_PAIR, even=True),
    "choose-erm": chosen([ERM, MIXUP, CUTMIX], [0.2, 0.4, 0.4]),
    "choose-two-pairings": chosen(
        [
            Method(mixup(pairing=mx.pairings.derangement)),
            cutmix(pairing=mx.pairings.roll),
        ],
        [0.5, 0.5],
    ),
    "choose-two-boxes": chosen(
        [CUTMIX, cutmix(pairing=mx.pairings.reverse)], [0.5, 0.5]
    ),
    "choose-manifold": chosen([MANIFOLD, CUTMIX], [0.5, 0.5]),
    "choose-extrapolate": chosen([AWAY, fixed(mx.mixup), ERM], [0.3, 0.3, 0.4]),
    "choose-box-or-blob": chosen([CUTMIX, FMIX], [0.5, 0.5]),
    "with-probability": some(0.5, MIXUP),
    "with-probability-per-batch": some(0.5, CUTMIX, PER_BATCH),
    "with-probability-choose": some(0.7, chosen([MIXUP, CUTMIX], [0.5, 0.5])),
    "with-probability-choose-extrapolate": some(
        0.7, chosen([AWAY, fixed(mx.mixup)], [0.5, 0.5])
    ),
    "choose-with-probability-extrapolate": chosen(
        [
            some(0.5, AWAY),
            fixed(partial(mx.cutmix, pairing=mx.pairings.roll), oracle.box),
        ],
        [0.6, 0.4],
    ),
    "scheduled": Method(
        lambda a: mx.scheduled(
            lambda step: partial(
                mx.mixup, alpha=a * jnp.asarray(step, jnp.float32) / 10
            )
        )(jnp.int32(10))
    ),
}

# One row of each kind: each sampler, move, region and combinator, each method that
# reads the batch, and each one without halves. The other rows compose the same parts in
# other ways: tests of all rows run on these by default, and on the others when marked
# slow.
KINDS = [
    "smoothmix",
    "erm",
    "mixup",
    "mixup-per-pair",
    "mixup-roll",
    "mixup-permutation",
    "mixup-given",
    "mixup-same-class",
    "dirichlet",
    "cutmix",
    "resizemix",
    "fmix",
    "manifold",
    "extrapolate",
    "choose-two-pairings",
    "with-probability-choose-extrapolate",
]

# One row for each way of moving rows to their partners, and for each kind of region.
FEW = [
    "erm",
    "mixup",
    "mixup-roll",
    "mixup-permutation",
    "cutmix",
    "choose-two-pairings",
]
