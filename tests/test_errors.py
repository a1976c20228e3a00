# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
"""Bad input is refused while the program is traced, in full sentences.

Each row is an invalid call, the exception, and the message's fragments about what was
expected, what it got, and what to do.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx

KEY = jax.random.key(0)
IMAGES = np.ones((4, 6, 5, 3), np.float32)
TARGETS = np.eye(4, dtype=np.float32)
LABELS = np.arange(4)
MIXERS = {"mixup": mx.mixup, "cutmix": mx.cutmix, "fmix": mx.fmix}
HALF = mx.ratios.constant(0.5)


def box(**options):
    return partial(mx.cutmix, region=partial(mx.regions.box, **options))


def paired(pairing, **options):
    return partial(mx.mixup, pairing=partial(pairing, **options))


def drawn(key, images, targets):
    return mx.cutmix(key, (images, targets))[1]


def blob(**options):
    return partial(mx.fmix, region=partial(mx.regions.blob, **options))


def own(size):
    return mx.Mix.from_pairs(jnp.ones(size), jnp.arange(size))


# name: (call of key, images and targets; exception; fragments of the message)
BAD = {
    # inputs and targets
    "integer labels": (
        lambda k, x, y: mx.mixup(k, (x, LABELS)),
        TypeError,
        ["targets: expected a floating", "got int", "losses.one_hot", "termwise"],
    ),
    "integer labels, cutmix": (
        lambda k, x, y: mx.cutmix(k, (x, LABELS)),
        TypeError,
        ["targets: expected a floating", "got int", "losses.one_hot", "termwise"],
    ),
    "integer labels in a tree": (
        lambda k, x, y: mx.mixup(k, (x, {"soft": y, "id": LABELS})),
        TypeError,
        ["targets['id']: expected a floating", "one_hot"],
    ),
    "integer labels, by name": (
        lambda k, x, y: mx.on_keys(mx.mixup, inputs="x", targets="y")(
            k, {"x": x, "y": LABELS}
        ),
        TypeError,
        ["targets: expected a floating", "one_hot"],
    ),
    "integer images": (
        lambda k, x, y: mx.mixup(k, (np.ones((4, 3), np.uint8), y)),
        TypeError,
        ["inputs: expected a floating", "got uint8[4, 3]", "Cast or scale"],
    ),
    "boolean inputs": (
        lambda k, x, y: mx.mixup(k, ((x, x > 0), y)),
        TypeError,
        ["inputs: expected a floating", "got bool", "Cast or scale"],
    ),
    "a maker of ratios": (
        lambda k, x, y: mx.mixup(k, (x, y), ratio=mx.ratios.beta),
        TypeError,
        ["beta: expected alpha", "got a key and partners", "ratios.beta(0.2)"],
    ),
    "an affinity for a pairing": (
        lambda k, x, y: paired(mx.pairings.label_kernel(bandwidth=1.0))(k, (x, y)),
        ValueError,
        ["batch: expected a pair", "key<fry>"],
    ),
    "chosen by name": (
        lambda k, x, y: mx.choose([mx.on_keys(mx.mixup, inputs="x")], [1])(k, {"x": x}),
        ValueError,
        ["batch: expected a pair", "Wrap the mixer, outside of choose and the like"],
    ),
    "integer images, chosen": (
        lambda k, x, y: mx.choose([mx.mixup, mx.cutmix], [0.5, 0.5])(
            k, (x.astype("uint8"), y)
        ),
        TypeError,
        ["inputs: expected a floating", "got uint8", "Cast or scale"],
    ),
    # the batch
    "one array": (
        lambda k, x, y: mx.mixup(k, x),
        ValueError,
        ["batch: expected a pair (inputs, targets)", "float32[4, 6, 5, 3]", "None)"],
    ),
    "two rows are no pair": (
        lambda k, x, y: mx.mixup(k, x[:2]),
        ValueError,
        ["batch: expected a pair (inputs, targets)", "float32[2, 6, 5, 3]"],
    ),
    "three halves": (
        lambda k, x, y: mx.mixup(k, (x, x, y)),
        ValueError,
        ["expected a pair", "a tuple of length 3", "into one pytree"],
    ),
    "one half": (
        lambda k, x, y: mx.erm(k, [x]),
        ValueError,
        ["expected a pair", "a list of length 1", "(inputs, None)"],
    ),
    "a dict": (
        lambda k, x, y: mx.mixup(k, {"image": x, "label": y}),
        ValueError,
        ["expected a pair", "a dict with the keys ['image', 'label']", "on_keys"],
    ),
    "no array": (
        lambda k, x, y: mx.mixup(k, (None, {})),
        ValueError,
        ["expected a pytree with at least one array", "got none", "nothing to mix"],
    ),
    "no array, erm": (
        lambda k, x, y: mx.erm(k, ((), None)),
        ValueError,
        ["expected a pytree with at least one array"],
    ),
    "sizes disagree": (
        lambda k, x, y: mx.mixup(k, (x, y[:3])),
        ValueError,
        ["batch[1]: expected 4 examples", "as in batch[0]", "got 3", "to axis 0"],
    ),
    "sizes disagree in a tree": (
        lambda k, x, y: mx.erm(k, ({"a": x, "b": y[:3]}, None)),
        ValueError,
        ["batch[0]['b']: expected 4 examples", "got 3"],
    ),
    "an empty batch": (
        lambda k, x, y: mx.cutmix(k, (x[:0], y[:0])),
        ValueError,
        ["batch[0]: expected at least one example", "got an empty batch", "loader"],
    ),
    "a scalar leaf": (
        lambda k, x, y: mx.mixup(k, ((x, jnp.float32(3)), y)),
        ValueError,
        ["batch[0][1]: expected the examples on axis 0", "got a scalar", "keep it out"],
    ),
    "a Python number": (
        lambda k, x, y: mx.mixup(k, ([1.0, 2.0], y)),
        TypeError,
        ["batch[0][0]: expected an array", "got 1.0 (float)", "jax.numpy.asarray"],
    ),
    "an array of text": (
        lambda k, x, y: mx.mixup(k, (np.array(["a", "b", "c", "d"]), y)),
        TypeError,
        ["batch[0]: expected an array of numbers", "<U1[4]", "Encode it"],
    ),
    # the key
    "no key": (
        lambda k, x, y: mx.mixup(None, (x, y)),
        TypeError,
        ["expected one JAX PRNG key", "got None", "jax.random.key(seed)"],
    ),
    "a seed": (
        lambda k, x, y: mx.cutmix(0, (x, y)),
        TypeError,
        ["expected one JAX PRNG key", "got 0 (int)", "jax.random.key(seed)"],
    ),
    "a float array for a key": (
        lambda k, x, y: mx.erm(y, (x, y)),
        TypeError,
        ["expected one JAX PRNG key", "float32[4, 4]"],
    ),
    "several keys": (
        lambda k, x, y: mx.mixup(jax.random.split(k, 3), (x, y)),
        TypeError,
        ["expected one JAX PRNG key", "[3]", "split it for every use"],
    ),
    "several raw keys": (
        lambda k, x, y: mx.mixup(np.zeros((3, 2), np.uint32), (x, y)),
        TypeError,
        ["expected one JAX PRNG key", "uint32[3, 2]"],
    ),
    "no key, chosen": (
        lambda k, x, y: mx.choose([mx.mixup], [1])(7, (x, y)),
        TypeError,
        ["expected one JAX PRNG key", "got 7"],
    ),
    # ratios
    "negative alpha": (
        lambda k, x, y: mx.mixup(k, (x, y), alpha=-0.1),
        ValueError,
        ["alpha: expected a number of at least 0", "got -0.1", "0 to disable mixing"],
    ),
    "NaN alpha": (
        lambda k, x, y: mx.cutmix(k, (x, y), alpha=float("nan")),
        ValueError,
        ["alpha: expected a number of at least 0", "got nan"],
    ),
    "NaN alpha in an array": (
        lambda k, x, y: mx.fmix(k, (x, y), alpha=np.float32("nan")),
        ValueError,
        ["alpha: expected a number of at least 0", "got nan"],
    ),
    "negative alpha for one example": (
        lambda k, x, y: mx.mixup(k, (x, y), alpha=np.array([1, 2, -3, 4])),
        ValueError,
        ["alpha: expected a number of at least 0", "got -3"],
    ),
    "negative b": (
        lambda k, x, y: mx.ratios.beta(0.2, -1),
        ValueError,
        ["b: expected a number of at least 0", "got -1"],
    ),
    "alpha as text": (
        lambda k, x, y: mx.mixup(k, (x, y), alpha="0.2"),
        TypeError,
        ["alpha: expected a real number", "got '0.2'"],
    ),
    "alpha is None": (
        lambda k, x, y: mx.mixup(k, (x, y), alpha=None),
        TypeError,
        ["alpha: expected a real number", "got None"],
    ),
    "complex alpha": (
        lambda k, x, y: mx.mixup(k, (x, y), alpha=1j),
        TypeError,
        ["alpha: expected a real number", "1j"],
    ),
    "alpha of a wrong shape": (
        lambda k, x, y: mx.mixup(k, (x, y), alpha=np.ones(3)),
        ValueError,
        ["alpha: expected a scalar or shape (4,)", "got shape (3,)", "one for each"],
    ),
    "alpha and ratio": (
        lambda k, x, y: mx.mixup(k, (x, y), alpha=1.0, ratio=HALF),
        ValueError,
        ["expected alpha or ratio", "got both alpha=1.0", "Omit one"],
    ),
    "a number for a ratio": (
        lambda k, x, y: mx.mixup(k, (x, y), ratio=0.5),
        TypeError,
        ["ratio: expected a function", "got 0.5", "ratios.constant(0.5)"],
    ),
    "a ratio that draws too few": (
        lambda k, x, y: mx.mixup(k, (x, y), ratio=lambda k, p: jnp.ones(3)),
        ValueError,
        ["ratio: expected lam with shape (4,)", "got (3,)", "partners.index.shape"],
    ),
    "a ratio that draws a number": (
        lambda k, x, y: mx.mixup(k, (x, y), ratio=lambda k, p: 0.5),
        ValueError,
        ["ratio: expected lam with shape (4,)", "got 0.5 (float)", "partners.index"],
    ),
    "constant over 1": (
        lambda k, x, y: mx.ratios.constant(1.5),
        ValueError,
        ["lam: expected a number in [0, 1]", "got 1.5", "example's own content"],
    ),
    "constants of another size": (
        lambda k, x, y: mx.mixup(k, (x, y), ratio=mx.ratios.constant([0.5, 0.5])),
        ValueError,
        ["lam: expected a scalar or shape (4,)", "got shape (2,)", "one for each"],
    ),
    "an empty range": (
        lambda k, x, y: mx.ratios.truncated(HALF, 0.5, 0.5),
        ValueError,
        ["0 <= low < high <= 1", "got low=0.5, high=0.5", "ratios.constant"],
    ),
    "one lam a pair without pairs": (
        lambda k, x, y: mx.mixup(
            k, (x, y), ratio=mx.ratios.per_pair(HALF), pairing=mx.pairings.roll
        ),
        ValueError,
        ["per_pair: expected a pairing", "Roll", "pairings.neighbour"],
    ),
    # pairings
    "text for a pairing": (
        lambda k, x, y: mx.mixup(k, (x, y), pairing="roll"),
        TypeError,
        ["pairing: expected a function", "got 'roll'", "pairings.roll"],
    ),
    "a pairing that draws indices": (
        lambda k, x, y: mx.mixup(k, (x, y), pairing=lambda k, b: np.arange(4)),
        TypeError,
        ["pairing: expected Partners", "got ndarray int64[4]", "pairings.given(index)"],
    ),
    "a pairing of another batch": (
        lambda k, x, y: mx.mixup(
            k, (x, y), pairing=lambda k, b: mx.pairings.roll(k, (x[:3], None))
        ),
        ValueError,
        ["pairing: index: expected shape (4,)", "got shape (3,)", "given batch"],
    ),
    "a pairing of floats": (
        lambda k, x, y: mx.mixup(
            k, (x, y), pairing=lambda k, b: mx.Partners(np.ones(4), own(4).move)
        ),
        TypeError,
        ["pairing: expected integer partners", "got ndarray float64[4]", "astype(int)"],
    ),
    "a pairing of partners that are not there": (
        lambda k, x, y: mx.mixup(
            k, (x, y), pairing=lambda k, b: mx.Partners(2**32 + LABELS, own(4).move)
        ),
        ValueError,
        ["pairing: index: expected a number in [0, 3]", "got 42949672", "count from 0"],
    ),
    "given partners that would wrap": (
        lambda k, x, y: mx.mixup(
            k, (x, y), pairing=mx.pairings.given([2**32 + 1, 0, 3, 2])
        ),
        ValueError,
        ["given: expected a number in [0, 3]", "got 42949672", "count from 0"],
    ),
    "same_class without labels": (
        lambda k, x, y: paired(mx.pairings.same_class)(k, (x, None)),
        ValueError,
        ["labels: expected an array", "got 0 arrays", "labels=..."],
    ),
    "other_class with two targets": (
        lambda k, x, y: paired(mx.pairings.other_class)(k, (x, (y, y))),
        ValueError,
        ["labels: expected an array", "got 2 arrays", "a single array"],
    ),
    "same_class of real values": (
        lambda k, x, y: paired(mx.pairings.same_class)(k, (x, y[:, 0])),
        ValueError,
        ["labels: expected integer class ids", "float32[4]", "Bin real-valued"],
    ),
    "same_class with too few labels": (
        lambda k, x, y: paired(mx.pairings.same_class, labels=LABELS[:3])(k, (x, y)),
        ValueError,
        ["labels: expected 4 examples", "got 3", "the labels of this batch"],
    ),
    "given partners that are not there": (
        lambda k, x, y: mx.mixup(k, (x, y), pairing=mx.pairings.given([0, 1, 2, 4])),
        ValueError,
        ["given: expected a number in [0, 3]", "got 4", "count from 0"],
    ),
    "given partners of another size": (
        lambda k, x, y: mx.mixup(k, (x, y), pairing=mx.pairings.given([1, 0])),
        ValueError,
        ["given: expected shape (4,)", "got shape (2,)", "one partner"],
    ),
    "given floats": (
        lambda k, x, y: mx.pairings.given([0.5, 1.0]),
        TypeError,
        ["given: expected integer partners", "float64[2]", "example's partner"],
    ),
    "a roll that goes round": (
        lambda k, x, y: paired(mx.pairings.roll, shift=-8)(k, (x, y)),
        ValueError,
        ["not a multiple of the batch size 4", "got -8", "from 1 to 3"],
    ),
    "a block of one": (
        lambda k, x, y: paired(mx.pairings.reverse, block=1)(k, (x, y)),
        ValueError,
        ["a block of at least 2", "got 1", "Omit it"],
    ),
    # regions
    "text for a region": (
        lambda k, x, y: mx.cutmix(k, (x, y), region="box"),
        TypeError,
        ["region: expected a function", "got 'box'", "regions.box"],
    ),
    "text for a region, fmix": (
        lambda k, x, y: mx.fmix(k, (x, y), region="blob"),
        TypeError,
        ["region: expected a function", "got 'blob'", "regions.box"],
    ),
    "text for a region, drawn": (
        lambda k, x, y: mx.compose(
            k, (x, y), ratio=HALF, pairing=mx.pairings.roll, region="everywhere"
        ),
        TypeError,
        ["region: expected a function", "got 'everywhere'", "regions.everywhere"],
    ),
    "a region without axes": (
        lambda k, x, y: mx.cutmix(k, (x, y), region=mx.regions.everywhere),
        TypeError,
        [
            "inputs, partners, *, spatial)",
            "everywhere",
            "'spatial'",
            "regions.box",
        ],
    ),
    "one decay for each": (
        lambda k, x, y: blob(decay=np.ones(5))(k, (x, y)),
        ValueError,
        ["blob: decay: expected a scalar", "got shape (5,)", "The paper uses 3"],
    ),
    "no spatial axes": (
        lambda k, x, y: mx.cutmix(k, (y, y)),
        ValueError,
        ["expected spatial axes between", "got shape (4, 4)", "spatial=(1,)"],
    ),
    "no spatial axes, fmix": (
        lambda k, x, y: mx.fmix(k, (y[:, 0], y)),
        ValueError,
        ["expected spatial axes between", "got shape (4,)", "spatial=(1,)"],
    ),
    "no inputs to cut": (
        lambda k, x, y: mx.cutmix(k, (None, y)),
        ValueError,
        ["inputs: expected an array with positions", "got none", "first half"],
    ),
    "an axis that is not there": (
        lambda k, x, y: mx.cutmix(k, (x, y), spatial=(2, 4)),
        ValueError,
        ["expected spatial axes between", "spatial=(2, 4)", "by their indices"],
    ),
    "the examples as a spatial axis": (
        lambda k, x, y: mx.cutmix(k, (x, y), spatial=(0, 1)),
        ValueError,
        ["expected spatial axes between the first", "spatial=(0, 1)"],
    ),
    "axes out of order": (
        lambda k, x, y: mx.cutmix(k, (x, y), spatial=(2, 1)),
        ValueError,
        ["increasing axes", "got (2, 1)", "(2, 3) for NCHW"],
    ),
    "axes as text": (
        lambda k, x, y: mx.cutmix(k, (x, y), spatial="HW"),
        ValueError,
        ["a tuple of increasing axes", "got 'HW'", "(2, 3) for NCHW"],
    ),
    "one axis number": (
        lambda k, x, y: mx.cutmix(k, (x, y), spatial=2),
        ValueError,
        ["a tuple of increasing axes", "got 2", "(1,) for [B, T]"],
    ),
    "no position to cut": (
        lambda k, x, y: mx.cutmix(k, (x[:, :0], y)),
        ValueError,
        ["at least one position on each spatial axis", "(4, 0, 5, 3)", "loader"],
    ),
    "inputs of different sizes": (
        lambda k, x, y: mx.cutmix(k, ((x, x[:, :3]), y)),
        ValueError,
        ["expected a leaf with the spatial sizes (6, 5)", "(4, 3, 5, 3)", "Resize"],
    ),
    "a mask of another size": (
        lambda k, x, y: drawn(k, x, y).inputs(np.ones((4, 3, 3), np.int32)),
        ValueError,
        ["expected a leaf with the spatial sizes (6, 5)", "(4, 3, 3)", "leave it out"],
    ),
    "a negative smallest side": (
        lambda k, x, y: box(min_size=-0.1)(k, (x, y)),
        ValueError,
        ["0 <= min_size <= max_size <= 1", "min_size=-0.1", "shares of an axis"],
    ),
    "sides over 1": (
        lambda k, x, y: box(max_size=16)(k, (x, y)),
        ValueError,
        ["0 <= min_size <= max_size <= 1", "max_size=16", "shares of an axis"],
    ),
    "sizes the wrong way round": (
        lambda k, x, y: box(min_size=0.6, max_size=0.5)(k, (x, y)),
        ValueError,
        ["0 <= min_size <= max_size <= 1", "min_size=0.6, max_size=0.5"],
    ),
    "a NaN side": (
        lambda k, x, y: box(min_size=float("nan"))(k, (x, y)),
        ValueError,
        ["0 <= min_size <= max_size <= 1", "min_size=nan"],
    ),
    # probabilities
    "a negative probability": (
        lambda k, x, y: mx.choose([mx.mixup, mx.cutmix], [-0.5, 1.5]),
        ValueError,
        ["choose: probs: expected a number in [0, 1]", "got -0.5", "the share"],
    ),
    "a NaN probability": (
        lambda k, x, y: mx.choose([mx.mixup, mx.cutmix], [0.5, float("nan")]),
        ValueError,
        ["choose: probs: expected a number in [0, 1]", "got nan"],
    ),
    "probabilities with another sum": (
        lambda k, x, y: mx.choose([mx.mixup, mx.cutmix], [0.5, 0.4]),
        ValueError,
        ["probabilities that sum to 1", "got 0.9", "mixup_jax.erm"],
    ),
    "too few probabilities": (
        lambda k, x, y: mx.choose([mx.mixup, mx.cutmix], [1.0]),
        ValueError,
        ["a probability for each", "2 mixers and 1 prob", "mixup_jax.erm"],
    ),
    "one probability for two": (
        lambda k, x, y: mx.choose([mx.mixup, mx.cutmix], 0.5),
        ValueError,
        ["a probability for each", "2 mixers and 1 prob"],
    ),
    "nothing to choose from": (
        lambda k, x, y: mx.choose([], []),
        ValueError,
        ["at least one mixer", "0 mixers"],
    ),
    "text for a mixer": (
        lambda k, x, y: mx.choose(["mixup"], [1.0]),
        TypeError,
        ["choose: mixers: expected a function", "got 'mixup'", "mixup_jax.cutmix"],
    ),
    "a probability over 1": (
        lambda k, x, y: mx.with_probability(1.5, mx.mixup),
        ValueError,
        ["with_probability: p: expected a number in [0, 1]", "got 1.5", "the share"],
    ),
    "arguments the wrong way round": (
        lambda k, x, y: mx.with_probability(mx.mixup, 0.5),
        TypeError,
        ["with_probability: p: expected a real number", "function mixup"],
    ),
    "a probability for each example": (
        lambda k, x, y: mx.with_probability(np.ones(4), mx.mixup),
        ValueError,
        ["with_probability: p: expected a scalar", "got shape (4,)"],
    ),
    # dict batches, schedules and devices
    "text for a mixer of entries": (
        lambda k, x, y: mx.on_keys("mixup", inputs="x"),
        TypeError,
        ["on_keys: mixer: expected a function", "got 'mixup'", "mixup_jax.mixup"],
    ),
    "a number for a schedule": (
        lambda k, x, y: mx.scheduled(0.5),
        TypeError,
        ["scheduled: mixer_at: expected a function", "got 0.5", "lambda step"],
    ),
    "an axis for a mixer": (
        lambda k, x, y: mx.per_device("data", mx.mixup),
        TypeError,
        ["per_device: mixer: expected a function", "got 'data'", "mixup_jax.mixup"],
    ),
    "an axis for a mixer, whole_batch": (
        lambda k, x, y: mx.whole_batch("data", mx.mixup),
        TypeError,
        ["whole_batch: mixer: expected a function", "got 'data'", "mixup_jax.mixup"],
    ),
    "an unknown key": (
        lambda k, x, y: mx.on_keys(mx.mixup, inputs="image")(k, {"img": x}),
        ValueError,
        ["with the keys ['image']", "got ['img']", "without ['image']", "Name only"],
    ),
    "a pair for a dict": (
        lambda k, x, y: mx.on_keys(mx.mixup, inputs="image")(k, (x, y)),
        ValueError,
        ["expected a dict batch", "got a tuple", "Call the mixer itself"],
    ),
    "one name for both": (
        lambda k, x, y: mx.on_keys(mx.mixup, inputs="a", targets=["b", "a"]),
        ValueError,
        ["each once", "inputs='a', targets=('b', 'a')", 'inputs="image"'],
    ),
    "no name": (
        lambda k, x, y: mx.on_keys(mx.mixup),
        ValueError,
        ["at least one name", 'inputs="image"'],
    ),
    "a schedule called as a mixer": (
        lambda k, x, y: mx.scheduled(lambda step: mx.mixup)(k, (x, y)),
        TypeError,
        ["expected only the step", "got a key and a batch", "f(step)(key, batch)"],
    ),
    # applying a mix
    "a mix for another batch": (
        lambda k, x, y: own(3).inputs(x),
        ValueError,
        ["inputs: expected 3 examples", "got 4", "the batch that it was drawn for"],
    ),
    "partners of another batch": (
        lambda k, x, y: own(4).partners(LABELS[:2]),
        ValueError,
        ["partners: expected 4 examples", "got 2"],
    ),
    "another number of shares": (
        lambda k, x, y: mx.Mix.from_pairs(np.full(3, 0.5), LABELS),
        ValueError,
        ["expected lam [B] and partner [B]", "shapes (3,) and (4,)"],
    ),
    "partners that are no indices": (
        lambda k, x, y: mx.Mix.from_pairs(jnp.ones(4), jnp.ones(4)).targets(y),
        TypeError,
        ["expected integer partners", "float32[4]", "astype(int)"],
    ),
    "partners that are not there": (
        lambda k, x, y: mx.Mix.from_pairs(1.0, np.array([1, 0, 4, 2])).targets(y),
        ValueError,
        ["mix: partner: expected a number in [0, 3]", "got 4", "count from 0"],
    ),
    "ids that would wrap": (
        lambda k, x, y: own(4).partners({"id": LABELS + 2**40}),
        ValueError,
        [
            "partners['id']: expected integers that fit int32",
            "got 1099511627776.",
            "unique",
        ],
    ),
    "partners that would wrap": (
        lambda k, x, y: mx.Mix.from_pairs(np.ones(4), [1, 0, 2**32 + 3, 2]).partners(y),
        ValueError,
        ["mix: partner: expected a number in [0, 3]", "got 42949672", "count from 0"],
    ),
    "partners counted from behind": (
        lambda k, x, y: mx.Mix.from_pairs(1.0, np.array([1, 0, -1, 2])).partners(y),
        ValueError,
        ["mix: partner: expected a number in [0, 3]", "got -1", "count from 0"],
    ),
    "a share over 1": (
        lambda k, x, y: mx.Mix.from_pairs(np.full(4, 1.5), LABELS).inputs(x),
        ValueError,
        ["mix: lam: expected a number in [0, 1]", "got 1.5", "example's own content"],
    ),
    "a mapped mix": (
        lambda k, x, y: jax.vmap(mx.mixup)(
            jax.random.split(k, 2), (x.reshape(2, 2, 90), None)
        )[1].inputs(x),
        ValueError,
        ["got shapes (2, 2) and (2, 2)", "under vmap or pmap"],
    ),
    # losses and metrics
    "soft targets for two terms": (
        lambda k, x, y: mx.losses.termwise(mx.metrics.accuracy)(y, y, own(4)),
        TypeError,
        ["labels: expected integer class ids", "float32[4, 4]", "mix.targets"],
    ),
    "floats to be one-hot": (
        lambda k, x, y: mx.losses.one_hot(y, 3),
        TypeError,
        ["labels: expected integer class ids", "float32[4, 4]", "already soft"],
    ),
    "a label over the classes": (
        lambda k, x, y: mx.losses.one_hot(LABELS, 3),
        ValueError,
        ["labels: expected a class id in [0, 2]", "got 3.", "Drop or mask", "ignored="],
    ),
    "a label below the classes": (
        lambda k, x, y: mx.losses.one_hot(LABELS - 1, 4),
        ValueError,
        [
            "labels: expected a class id in [0, 3]",
            "got -1.",
            "lambda labels: labels < 0",
        ],
    ),
    "a number of classes that is none": (
        lambda k, x, y: mx.losses.one_hot(LABELS, 4.5),
        TypeError,
        ["num_classes: expected an integer", "got 4.5 (float)", "Count the classes"],
    ),
    "accuracy of no class": (
        lambda k, x, y: mx.metrics.accuracy(y, LABELS + 1),
        ValueError,
        ["accuracy: targets: expected a class id in [0, 3]", "got 4.", "labels >= 4"],
    ),
    "nll of no class": (
        lambda k, x, y: mx.metrics.nll(y, [0, 2**40, 1, -1]),
        ValueError,
        [
            "nll: labels: expected a class id in [0, 3]",
            "got 1099511627776.",
            "ignored=",
        ],
    ),
    "brier of no class": (
        lambda k, x, y: mx.metrics.brier(y, LABELS.astype(np.uint64) + 2**63),
        ValueError,
        ["brier: labels: expected a class id in [0, 3]", "got 9223372036854775808."],
    ),
    "reliability of no class": (
        lambda k, x, y: mx.metrics.reliability(y, np.array([0, 1, 2, 255], np.uint8)),
        ValueError,
        [
            "reliability: labels: expected a class id in [0, 3]",
            "got 255.",
            "labels >= 4",
        ],
    ),
    "labels that JAX would wrap": (
        lambda k, x, y: mx.losses.termwise(mx.metrics.nll)(y, LABELS + 2**32, own(4)),
        ValueError,
        [
            "labels: expected integers that fit int32",
            "got 4294967296.",
            "numpy.unique(labels, return_inverse=True)[1]",
            "jax_enable_x64",
        ],
    ),
    "labels of two signs that JAX would wrap": (
        lambda k, x, y: mx.losses.termwise_mean(mx.metrics.nll)(
            y, np.array([-1, 2**31, 0, 1]), own(4)
        ),
        ValueError,
        ["labels: expected integers that fit int32", "got 2147483648.", "Number"],
    ),
    "a label for a function": (
        lambda k, x, y: mx.metrics.nll(y, LABELS, ignored=255),
        TypeError,
        ["ignored: expected a function", "got 255 (int)", "labels == 255"],
    ),
    "weights for what is ignored": (
        lambda k, x, y: mx.losses.termwise(mx.metrics.nll, ignored=jnp.sign)(
            y, LABELS, own(4)
        ),
        TypeError,
        ["ignored: expected a function from labels to bools", "int32[4]", "labels =="],
    ),
    "ignored, of soft targets": (
        lambda k, x, y: mx.metrics.accuracy(y, y, ignored=mx.losses.negative),
        TypeError,
        ["accuracy: expected integer targets", "float32[4, 4]", "Leave ignored out"],
    ),
    "metrics of no classes": (
        lambda k, x, y: mx.metrics.brier(y[:, :0], LABELS),
        ValueError,
        ["brier: expected logits of at least one class", "(4, 0)", "on the last axis"],
    ),
    "a sum of labels of which some are ignored": (
        lambda k, x, y: mx.losses.termwise_mean(
            lambda logits, labels: logits.sum(axis=1)
        )(y, np.zeros((4, 2), np.int32), own(4)),
        ValueError,
        ["loss: expected one loss per label", "[4, 2, ...]", "shape (4,)", "the sum"],
    ),
    "no classes": (
        lambda k, x, y: mx.losses.one_hot(LABELS, 0),
        ValueError,
        ["num_classes: expected a number of at least 1", "got 0"],
    ),
    "smoothing over 1": (
        lambda k, x, y: mx.losses.one_hot(LABELS, 4, smoothing=1.1),
        ValueError,
        ["smoothing: expected a number in [0, 1]", "got 1.1"],
    ),
    "integers for binary targets": (
        lambda k, x, y: mx.losses.binary_targets(LABELS),
        TypeError,
        ["targets: expected a floating", "got int", "Mix one-hot targets"],
    ),
    "nothing but smoothing": (
        lambda k, x, y: mx.losses.binary_targets(y, smoothing=1.0),
        ValueError,
        ["smoothing: expected a number in [0, ", "got 1", "no label remains"],
    ),
    "a threshold of 1": (
        lambda k, x, y: mx.losses.binary_targets(y, threshold=1.0),
        ValueError,
        ["threshold: expected a number in [0, ", "got 1", "no class is positive"],
    ),
    "accuracy of other shapes": (
        lambda k, x, y: mx.metrics.accuracy(y, LABELS[:3]),
        ValueError,
        ["targets of shape (4,)", "got (3,)", "integer labels do not"],
    ),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "traced"])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name, compiled):
    call, exception, said = BAD[name]
    # Without values, an error can only have been raised by tracing.
    run = partial(jax.eval_shape, call) if compiled else call
    with pytest.raises(exception) as caught:
        run(KEY, IMAGES, TARGETS)
    message = str(caught.value)
    assert type(caught.value) is exception
    assert [part for part in said if part not in message] == [], message
    before, came, after = message.partition("; got ")
    assert "expected " in before, message
    assert came, message
    # A separate sentence says what to do.
    assert ". " in after, message
    assert message.endswith("."), message


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_methods_that_paste_take_integer_images_as_they_are(dtype):
    images = np.arange(4 * 6 * 5 * 3).reshape(4, 6, 5, 3).astype(dtype)
    for mixer in (mx.cutmix, mx.fmix):
        (mixed, _), mix = mixer(KEY, (images, None))
        partners = images[np.asarray(mix.partner)]
        assert mixed.dtype == dtype
        assert np.all((mixed == images) | (mixed == partners))


def test_values_that_are_traced_are_not_looked_at():
    def step(alpha, p):
        mixer = mx.with_probability(p, partial(mx.mixup, alpha=alpha))
        return mixer(KEY, (IMAGES, TARGETS))[1].lam

    lam = jax.jit(step)(-1.0, 2.0)
    np.testing.assert_array_equal(lam, np.ones(4))  # no mixing, and no NaN


PAIRINGS = {
    "neighbour": mx.pairings.neighbour,
    "reverse": mx.pairings.reverse,
    "roll": mx.pairings.roll,
    "permutation": mx.pairings.permutation,
    "derangement": mx.pairings.derangement,
    "given": mx.pairings.given([0]),
    "same_class": mx.pairings.same_class,
    "other_class": mx.pairings.other_class,
}


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_a_batch_of_one_comes_back_unchanged(pairing):
    images, targets = IMAGES[:1], TARGETS[:1]
    for mixer in (
        mx.choose([mx.mixup, mx.cutmix], [0.5, 0.5]),
        partial(mx.mixup, ratio=HALF, pairing=PAIRINGS[pairing]),
        partial(mx.cutmix, ratio=HALF, pairing=PAIRINGS[pairing]),
    ):
        (x, y), mix = jax.jit(mixer)(KEY, (images, targets))
        np.testing.assert_array_equal(x, images)
        np.testing.assert_array_equal(y, targets)
        np.testing.assert_array_equal(mix.lam, np.ones(1))
        np.testing.assert_array_equal(mix.partner, np.zeros(1))


@pytest.mark.parametrize("mixer", MIXERS)
def test_the_batch_of_the_caller_is_never_written_to(mixer):
    batch = {"x": IMAGES.copy(), "y": TARGETS.copy(), "z": ["kept"]}
    entries = dict(batch)
    mixed, mix = mx.on_keys(MIXERS[mixer], inputs="x", targets="y")(KEY, batch)
    mix.inputs(batch["x"])
    assert list(batch) == ["x", "y", "z"]
    assert all(batch[name] is entries[name] for name in entries)
    assert mixed is not batch
    assert mixed["z"] is entries["z"]
    np.testing.assert_array_equal(batch["x"], IMAGES)
    np.testing.assert_array_equal(batch["y"], TARGETS)


@pytest.mark.parametrize("pairing", ["neighbour", "roll", "derangement"])
@pytest.mark.parametrize("mixer", ["mixup", "cutmix"])
def test_what_is_not_finite_stays_with_its_pairs(mixer, pairing):
    @jax.jit
    def mix_with(lam, bad):
        images, targets = (
            jnp.asarray(leaf).at[2].set(bad) for leaf in (IMAGES, TARGETS)
        )
        ratio = mx.ratios.constant(lam)
        return MIXERS[mixer](
            KEY, (images, targets), ratio=ratio, pairing=PAIRINGS[pairing]
        )

    for bad in (np.nan, np.inf):
        for lam in (0.0, 0.5, 1.0):
            (x, y), mix = mix_with(lam, bad)
            lams, partner = np.asarray(mix.lam), np.asarray(mix.partner)
            owner = (np.arange(4) == 2) & (lams > 0)
            reached = owner | ((partner == 2) & (lams < 1))
            for leaf in (x, y):
                finite = np.isfinite(np.asarray(leaf)).reshape(4, -1).all(axis=1)
                np.testing.assert_array_equal(finite, ~reached)
