"""The claims: that errors are measured on the right labels, images and networks."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.claims import adversarial, speech
from benchmarks.claims._data.problems import Problem
from benchmarks.claims._engine.claim import ERM, Options
from benchmarks.claims._networks import classifiers, small
from benchmarks.claims._networks.recipes import Adam, Recipe

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def promotion():
    """Adam in Optax multiplies integers with floats."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def wrong(predicted: Any, labels: Any) -> float:
    return 100 * float(np.mean(np.asarray(predicted) != np.asarray(labels)))


def test_errors_are_those_of_the_true_labels_except_in_training():
    problem = Problem("made", (40, 20, 30), classes=3)
    data = jnp.asarray(RNG.normal(size=(1797, 4)), jnp.float32), jnp.zeros(1797, int)

    @jax.jit
    def run(data):
        numbers = {"seed": 0, "alpha": 0.0, "noise": 0.6}
        learned = classifiers.learn(
            problem, data, numbers, recipe=Recipe(Adam(1e-2), 2, 20), widths=(8,)
        )
        x, true = data
        measures = learned.measures(x, true, problem.classes)
        parts = learned.train, learned.validation, learned.test
        return measures, parts, learned.labels, learned.predict(x).argmax(axis=-1)

    found, (train, validation, test), given, predicted = run(data)
    assert 0 < np.mean(given != 0) < 1
    np.testing.assert_allclose(found["train"], wrong(predicted[train], given[train]))
    np.testing.assert_allclose(found["error"], wrong(predicted[test], 0 * test))
    np.testing.assert_allclose(
        found["validation"], wrong(predicted[validation], 0 * validation), rtol=1e-6
    )
    counts = np.bincount(np.asarray(given)[np.asarray(train)])
    np.testing.assert_allclose(found["constant"], 100 - 100 * counts.max() / 40)
    assert len({*np.concatenate([train, validation, test]).tolist()}) == 90


def test_the_excess_is_over_the_clean_error_of_the_same_network():
    size = adversarial.Size(40, 20, 10, 1, Recipe(Adam(1e-2), 4, 20))
    images = RNG.integers(0, 256, (60, 8, 8, 1), np.uint8)
    labels = (images.mean(axis=(1, 2, 3)) > 127).astype(np.int32)
    run = functools.partial(
        adversarial.errors,
        model=small.CNN((4,), 10),
        size=size,
        epsilons=(4, 64),
        augmented=False,
    )
    found = jax.jit(run)(
        {"seed": 0, "alpha": 1.0}, (images[:40], labels[:40], images[40:], labels[40:])
    )
    assert set(found) == {ERM, "Mixup"}
    for measures in found.values():
        for name in [name for name in measures if name.startswith("excess ")]:
            raw = measures[name.removeprefix("excess ")]
            np.testing.assert_allclose(
                measures[name], raw - measures["error"], atol=1e-4
            )
        assert measures["white FGSM largest"] >= measures["white FGSM 4"]


def test_the_speaker_of_a_seed_is_its_block():
    sampling = speech.claim(Options()).protocol.sampling
    assert sampling.count == speech.SPEAKERS  # type: ignore[attr-defined]
