"""Unsupported batches: each refusal advises what to do, and the advice works."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx

KEY = jax.random.key(0)
SIZE = 4
X = np.arange(SIZE * 6, dtype=np.float32).reshape(SIZE, 6)
Y = np.eye(SIZE, 3, dtype=np.float32)
LABELS = np.array([0, 2, 1, 1])
LAM = np.array([0.25, 1.0, 0.5, 0.75], np.float32)
PARTNER = np.array([1, 0, 3, 2])
MIX = mx.Mix.from_pairs(jnp.asarray(LAM), jnp.asarray(PARTNER))


class Tensor:
    """An array of another framework, with dtypes of that framework."""

    def __init__(self, values: np.ndarray):
        self._values = values
        self.shape = values.shape
        self.dtype = "framework.float32"

    def __array__(self, dtype=None, copy=None):
        return np.array(self._values, dtype)

    def __dlpack__(self, **options):
        return self._values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._values.__dlpack_device__()


def blended(x: Any, lam: Any = LAM, partner: Any = PARTNER) -> np.ndarray:
    x = np.asarray(x, np.float64)
    w = np.asarray(lam, np.float64).reshape(-1, *[1] * (x.ndim - 1))
    return w * x + (1 - w) * x[np.asarray(partner)]


@dataclasses.dataclass
class Refusal:
    """Something that is refused, and the same thing after following the advice.

    Attributes:
      bad: what is refused.
      good: applies the advice of ``said`` to ``bad``.
      said: fragments of the message, including the advice.
      half: the half of the batch that holds it: 0 for inputs, 1 for targets.
      mixed: the expected result of mixing by ``MIX``; None for ``blended(good)``.
    """

    bad: Any
    good: Callable[[Any], Any]
    said: list[str]
    half: int = 0
    mixed: Any = None


RAGGED = np.empty(SIZE, object)
RAGGED[:] = list(X)
DATES = np.array(["2020-01-01", "2020-01-03", "2021-01-01", "2020-01-01"], "M8[D]")
FIELDS = np.zeros(SIZE, [("height", np.float32), ("weight", np.float64)])
FIELDS["height"] = LAM
MULTI = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0]])

REFUSALS = {
    "a list of examples": Refusal(
        [*X],
        jnp.stack,
        ["inputs: expected an array", "got a list of 4", "jax.numpy.stack"],
    ),
    "a list of square images, as many as rows": Refusal(
        [*X.reshape(SIZE, 3, 2), X.reshape(SIZE, 3, 2)[0]][:3],
        lambda bad: jnp.stack([*bad, bad[0]]),
        ["inputs: expected an array", "got a list of 3", "jax.numpy.stack"],
    ),
    "a list of soft labels": Refusal(
        [jnp.asarray(y) for y in Y],
        jnp.stack,
        ["targets: expected an array", "got a list of 4", "jax.numpy.stack"],
        half=1,
    ),
    "a list in a dict": Refusal(
        {"image": [*X]},
        lambda bad: {"image": jnp.stack(bad["image"])},
        ["inputs['image']: expected an array", "got a list of 4"],
        mixed={"image": blended(X)},
    ),
    "a list of several inputs": Refusal(
        [X, X[:, :2]],
        tuple,
        ["inputs: expected an array", "a tuple or a dict"],
        mixed=(blended(X), blended(X[:, :2])),
    ),
    "a list of numbers": Refusal(
        [0.0, 1.0, 2.0, 4.0],
        jnp.asarray,
        ["[0]: expected an array", "got 0.0 (float)", "jax.numpy.asarray"],
    ),
    "a number": Refusal(
        3.0,
        lambda bad: jnp.full(SIZE, bad),
        ["expected an array", "got 3.0 (float)", "a value for each example"],
    ),
    "an array of arrays": Refusal(
        RAGGED,
        np.stack,
        ["expected an array of numbers", "object[4]", "numpy.stack"],
        mixed=blended(X),
    ),
    "text": Refusal(
        np.array(["a", "b", "c", "b"]),
        lambda bad: np.unique(bad, return_inverse=True)[1].astype(np.float32),
        ["expected an array of numbers", "<U1[4]", "Encode it as numbers"],
    ),
    "dates": Refusal(
        DATES,
        lambda bad: bad.astype("float64"),
        ["expected an array of numbers", "datetime64[D][4]", 'x.astype("float64")'],
    ),
    "time spans": Refusal(
        DATES - DATES[0],
        lambda bad: bad.astype("float64"),
        ["timedelta64[D][4]", 'x.astype("float64")'],
    ),
    "named fields": Refusal(
        FIELDS,
        lambda bad: {name: bad[name] for name in bad.dtype.names},
        ["expected an array of numbers", "for name in x.dtype.names"],
        mixed={"height": blended(LAM), "weight": np.zeros(SIZE)},
    ),
    "raw bytes": Refusal(
        LAM.view("V4"),
        lambda bad: bad.view(np.float32),
        ["expected an array of numbers", "|V4[4]", "x.view(dtype)"],
        mixed=blended(LAM),
    ),
    "a masked array": Refusal(
        np.ma.masked_greater(X, 10),
        lambda bad: bad.filled(0.0),
        ["without a mask", "MaskedArray float32[4, 6]", "x.filled(value)"],
        mixed=blended(np.where(X > 10, 0, X)),
    ),
    "a masked array of targets": Refusal(
        np.ma.masked_less(Y, 1),
        lambda bad: (bad.filled(0.5), bad.mask.astype(np.float32)),
        ["without a mask", "pass x.mask as"],
        half=1,
        mixed=(blended(np.where(Y < 1, 0.5, Y)), blended(Y < 1)),
    ),
    "a tensor, copied": Refusal(
        Tensor(X),
        np.asarray,
        ["an array of NumPy or JAX", "Tensor framework.float32[4, 6]", "numpy.asarray"],
    ),
    "a tensor, as it is": Refusal(
        Tensor(Y),
        jnp.from_dlpack,
        ["an array of NumPy or JAX", "jax.numpy.from_dlpack"],
        half=1,
    ),
    "a scalar": Refusal(
        jnp.float32(2),
        lambda bad: jnp.full(SIZE, bad),
        ["expected the examples on axis 0", "got a scalar", "its own value"],
    ),
    "integer inputs": Refusal(
        X.astype(np.uint8),
        lambda bad: bad.astype(np.float32),
        ["inputs: expected a floating", "uint8[4, 6]", "Cast or scale"],
    ),
    "flags as inputs": Refusal(
        X > 5,
        lambda bad: bad.astype(np.float32),
        ["inputs: expected a floating", "bool[4, 6]", "Cast or scale"],
    ),
    "keys as inputs": Refusal(
        {"x": X, "key": jax.random.split(KEY, SIZE)},
        lambda bad: {"x": bad["x"]},
        ["inputs: expected a floating", "key<fry>[4]", "Keep keys out"],
        mixed={"x": blended(X)},
    ),
    "labels": Refusal(
        LABELS,
        lambda bad: mx.losses.one_hot(bad, 3),
        ["targets: expected a floating", "[4]. One-hot encode integer labels with"],
        half=1,
    ),
    "labels of 0 and 1 for each class": Refusal(
        MULTI,
        lambda bad: bad.astype(np.float32),
        ["targets: expected a floating", "[4, 3]. Cast labels of 0 and 1"],
        half=1,
    ),
    "flags for each class": Refusal(
        MULTI > 0,
        lambda bad: bad.astype(np.float32),
        ["targets: expected a floating", "bool[4, 3]. Cast", "labels.astype(float)"],
        half=1,
    ),
    "one flag each": Refusal(
        MULTI[:, 0] > 0,
        lambda bad: bad.astype(np.float32),
        ["targets: expected a floating", "bool[4]. Cast labels of 0 and 1"],
        half=1,
    ),
}
if np.dtype(np.longdouble) != np.dtype(np.float64):
    REFUSALS["long doubles"] = Refusal(
        X.astype(np.longdouble),
        lambda bad: bad.astype("float64"),
        ["at most 64 bits", '[4, 6]. Convert it with x.astype("float64")'],
    )


def with_mix(key, batch):
    """Mix by ``MIX``, ignoring the key."""
    pairing = mx.pairings.given(PARTNER)
    return mx.mixup(key, batch, ratio=mx.ratios.constant(LAM), pairing=pairing)


def calls(half: int) -> dict[str, Callable[[Any], Any]]:
    """Return ways to mix one half of a batch."""
    name = ("inputs", "targets")[half]
    on_keys: Any = partial(mx.on_keys, with_mix)(**{name: "it"})
    rest = (X, Y)[1 - half]

    def in_a_batch(tree):
        batch = (rest, tree) if half else (tree, rest)
        return with_mix(KEY, batch)[0][half]

    return {
        "mixer": in_a_batch,
        "mix": MIX.targets if half else MIX.inputs,
        "on_keys": lambda tree: on_keys(KEY, {"it": tree, "rest": rest})[0]["it"],
    }


@pytest.mark.parametrize("call", calls(0))
@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_refused_and_what_to_do(name, call):
    refusal = REFUSALS[name]
    run = calls(refusal.half)[call]
    with pytest.raises((TypeError, ValueError)) as caught:
        run(refusal.bad)
    message = str(caught.value)
    assert [part for part in refusal.said if part not in message] == [], message
    followed = refusal.good(refusal.bad)
    expected = blended(followed) if refusal.mixed is None else refusal.mixed
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        run(followed),
        expected,
    )


def test_images_with_as_many_rows_as_there_are_images():
    # Taken for inputs, the rows of each image would be mixed without any error.
    images = [np.full((2, 2, 1), k, np.float32) for k in range(2)]
    for mixer in (mx.mixup, mx.erm, mx.choose([mx.mixup, mx.cutmix], [0.5, 0.5])):
        with pytest.raises(TypeError, match=r"got a list of 2\. Stack"):
            mixer(KEY, (images, None))
    with pytest.raises(TypeError, match=r"real: .* got a list of 2"):
        mx.losses.real_and_fake(images, images)
    with pytest.raises(TypeError, match=r"x: .* got a list of 2"):
        mx.attacks.fgsm(lambda x: x[0], images, epsilon=0.1)
    with pytest.raises(TypeError, match=r"partners: .* got a list of 2"):
        mx.Mix.from_pairs(MIX.lam[:2], MIX.partner[:2]).partners(images)
    mixed, mix = mx.mixup(KEY, (jnp.stack(images), None))
    np.testing.assert_allclose(mixed[0][0], 1 - mix.lam[0], rtol=1e-6)


def test_samples_that_were_not_put_together():
    samples = [(x.reshape(3, 2), x[:3]) for x in X]
    for mixer in (mx.mixup, mx.erm):
        with pytest.raises(TypeError, match=r"Stack examples.* with jax\.tree\.map"):
            mixer(KEY, (samples, None))
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *samples)
    (images, _), _ = with_mix(KEY, (stacked, None))[0]
    np.testing.assert_allclose(images, blended(X.reshape(SIZE, 3, 2)), rtol=1e-6)


def test_a_mask_is_not_lost_on_labels_and_partners():
    labels = np.ma.masked_equal(LABELS, 2)
    logits = jnp.zeros((SIZE, 3))

    def loss(logits, labels):
        return mx.metrics.nll(logits, labels)

    for call in (
        lambda y: mx.losses.one_hot(y, 3),
        lambda y: mx.metrics.nll(logits, y),
        lambda y: mx.metrics.accuracy(logits, y),
        lambda y: mx.losses.termwise(loss)(logits, y, MIX),
        lambda y: mx.Mix.from_pairs(MIX.lam, y).inputs(X),
        lambda y: mx.pairings.given(y)(KEY, (X, None)),
        lambda y: mx.pairings.same_class(KEY, (X, y)),
    ):
        with pytest.raises(TypeError, match=r"without a mask.* Fill it with x\.filled"):
            call(labels)
        call(labels.filled(1))


@pytest.mark.parametrize("dtype", [">i8", ">i4", ">u2"])
def test_arrays_in_the_byte_order_of_another_machine(dtype):
    labels, logits = LABELS.astype(dtype), jnp.asarray(Y)
    hot = mx.losses.one_hot(labels, 3)
    np.testing.assert_array_equal(hot, np.eye(3)[LABELS])
    np.testing.assert_array_equal(MIX.partners(labels), LABELS[PARTNER])
    same = mx.pairings.same_class(KEY, (X, labels)).index
    np.testing.assert_array_equal(same, mx.pairings.same_class(KEY, (X, LABELS)).index)
    found = mx.metrics.nll(logits, labels)
    np.testing.assert_array_equal(found, mx.metrics.nll(logits, LABELS))
    np.testing.assert_allclose(MIX.inputs(X.astype(">f4")), blended(X), rtol=1e-6)


def test_keys_are_not_compared():
    keys = jax.random.split(KEY, SIZE)
    for affinity, batch in (
        (mx.pairings.label_kernel(bandwidth=1.0), (X, keys)),
        (mx.pairings.nearest(1), (keys, Y)),
    ):
        with pytest.raises(TypeError, match=r"got .*key<fry>\[4\]\. Keep keys out"):
            affinity(batch)


def test_a_list_of_what_cannot_be_examples_is_a_tree():
    (x, (a, b)), _ = with_mix(KEY, (X, [Y, LAM]))
    for found, given in ((x, X), (a, Y), (b, LAM)):
        np.testing.assert_allclose(found, blended(given), rtol=1e-6)


def test_a_loader_may_hand_in_the_pair_as_a_list():
    (x, y), _ = with_mix(KEY, [X, Y])
    np.testing.assert_allclose(x, blended(X), rtol=1e-6)
    np.testing.assert_allclose(y, blended(Y), rtol=1e-6)


# Keys, whose dtype NumPy does not have.


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("compiled", [False, True])
def test_keys_follow_where_nothing_is_blended(kind, compiled):
    keys = jax.random.split(jax.random.key(1, impl=kind), SIZE)
    words = np.asarray(jax.random.key_data(keys))

    def run(keys):
        (inputs, targets), _ = mx.erm(KEY, (keys, {"key": keys, "x": jnp.asarray(X)}))
        moves = {
            name: mx.mixup(KEY, (jnp.asarray(X), None), pairing=pairing)[1]
            for name, pairing in {
                "neighbour": mx.pairings.neighbour,
                "roll": mx.pairings.roll,
                "given": mx.pairings.given(PARTNER),
            }.items()
        }
        taken = {name: (m.partners(keys), m.partner) for name, m in moves.items()}
        return inputs, targets["key"], taken

    same, targets, taken = (jax.jit(run) if compiled else run)(keys)
    for found in (same, targets):
        np.testing.assert_array_equal(jax.random.key_data(found), words)
    for found, partner in taken.values():
        assert found.dtype == keys.dtype
        np.testing.assert_array_equal(jax.random.key_data(found), words[partner])


def test_keys_are_pasted():
    keys = jax.random.split(KEY, (SIZE, 5, 5))
    (pasted, _), mix = mx.cutmix(KEY, ((keys, np.ones((SIZE, 5, 5, 1))), None))
    words = np.asarray(jax.random.key_data(keys))
    own = mix.region.weights(mix.lam, keys)[..., None]
    expected = np.where(own, words, words[np.asarray(mix.partner)])
    np.testing.assert_array_equal(jax.random.key_data(pasted[0]), expected)
    assert 0 < np.mean(own) < 1


def test_no_classes_at_all():
    for empty in (np.ones((SIZE, 0), np.float32), jnp.ones((SIZE, 0), jnp.bfloat16)):
        for mixer in (mx.mixup, mx.erm, mx.choose([mx.mixup, mx.erm], [0.5, 0.5])):
            (_, y), _ = mixer(KEY, (X, empty))
            assert (y.shape, y.dtype) == (empty.shape, empty.dtype)
