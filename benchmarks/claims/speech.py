"""Mixup lowers the error of large networks on speech, but not of small ones (Figure 4).

Zhang et al., "mixup", ICLR 2018, arXiv:1710.09412, section 3.3: Google commands, mixed
as spectrograms, after five epochs without mixing; LeNet and VGG-11. Here:
the Free Spoken Digit Dataset, tested on a speaker who is not in the training set.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.typing import ArrayLike
from scipy import signal

import mixup_jax as mx
from benchmarks.claims._engine.claim import (
    ERM,
    Claim,
    Numbers,
    Options,
    Program,
    Protocol,
    Published,
    Statement,
    less,
    more,
    titled,
)
from benchmarks.claims._engine.statistics import Blocks
from benchmarks.claims._networks import small, training
from benchmarks.claims._networks.recipes import DroppingAdam, Recipe
from examples.datasets.recordings import Recordings, spoken_digits

RECORDINGS, SPEAKERS, CLASSES = 3000, 6, 10
WINDOW, HOP, FRAMES, MELS, RATE = 256, 128, 40, 24, 8000  # samples at 8 kHz
RECIPE = Recipe(DroppingAdam(3e-3, parts=3), epochs=30, batch=100)
WARM_UP = 5  # epochs without mixing
ARMS = {
    ERM: {"alpha": 0.0},
    **{f"Mixup {alpha:g}": {"alpha": alpha} for alpha in (0.1, 0.2, 1.0)},
}
LARGE, SMALL = "large", "small"
# Channels of the convolutions and pooling layers; widths of the dense layers.
NETS: Mapping[str, tuple[tuple[int | str, ...], tuple[int, ...]]] = {
    SMALL: ((6, "pool", 16, "pool"), (32,)),
    LARGE: ((48, "pool", 64, "pool", 96, 96, "pool"), (128,)),
}
PUBLISHED = {  # error on the test set
    SMALL: {ERM: 10.3, "Mixup 0.1": 10.8, "Mixup 0.2": 11.3},
    LARGE: {ERM: 4.6, "Mixup 0.1": 3.8, "Mixup 0.2": 3.4},
}


class TimeCNN(nn.Module):
    """Convolutions over three frames, max-pooling by two, then fully connected."""

    layers: Sequence[int | str]
    widths: Sequence[int]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for layer in self.layers:
            if isinstance(layer, int):
                # As a matrix product, since convolutions under vmap are slow on CPUs.
                around = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
                shifted = [around[:, k : k + x.shape[1]] for k in range(3)]
                x = nn.relu(nn.Dense(layer)(jnp.concatenate(shifted, axis=2)))
            else:
                # The gradient of a pooling operation is slow on CPUs.
                x = x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2]).max(axis=2)
        return small.MLP(self.widths, CLASSES)(x.reshape(x.shape[0], -1))


def log_mel(waveforms: np.ndarray) -> np.ndarray:
    """Return standardized log-mel spectrograms, float32 ``[N, FRAMES, MELS]``."""
    stft = signal.ShortTimeFFT(np.hanning(WINDOW), HOP, RATE)
    # Frame 0 is centered at the first sample, and frame 1 starts there.
    power = stft.spectrogram(waveforms, p0=1, p1=FRAMES + 1)
    bands = power.swapaxes(1, 2) @ _mel_bands(stft.f).T
    # Clipped at 40 dB below the peak, since recordings differ in their noise.
    mels = np.log(bands / bands.max(axis=(1, 2), keepdims=True) + 1e-4)
    mean, std = (f(mels, axis=(1, 2), keepdims=True) for f in (np.mean, np.std))
    return ((mels - mean) / std).astype(np.float32)


def _mel_bands(bins: np.ndarray) -> np.ndarray:
    """Return the weights of triangular mel bands for the frequencies of an FFT."""
    most = 2595 * np.log10(1 + bins[-1] / 700)
    edges = 700 * (10 ** (np.linspace(0, most, MELS + 2) / 2595) - 1)
    return np.stack([np.interp(bins, edges[k : k + 3], (0, 1, 0)) for k in range(MELS)])


def errors(
    numbers: Numbers, data: Any, *, net: str, recipe: Recipe
) -> dict[str, jax.Array]:
    """Train without one speaker; return the errors in percent."""
    x, labels, speakers = data
    key_init, key_fit = jax.random.split(jax.random.key(numbers["seed"]))
    held_out = speakers == numbers["seed"] % SPEAKERS
    count = len(labels) // SPEAKERS
    test = jnp.flatnonzero(held_out, size=count)
    train = jnp.flatnonzero(~held_out, size=len(labels) - count)
    model = TimeCNN(*NETS[net])
    mixed_from = WARM_UP * recipe.steps(len(train)) // recipe.epochs

    def mixer(step: ArrayLike) -> mx.Mixer:
        alpha = jnp.where(jnp.asarray(step) < mixed_from, 0, numbers["alpha"])
        return functools.partial(mx.mixup, alpha=alpha)

    params, _ = training.fit(
        key_fit,
        model.init(key_init, x[:1]),
        (x, mx.losses.one_hot(labels, CLASSES)),
        train,
        loss=training.cross_entropy(model.apply),
        mixer=mx.scheduled(mixer),
        recipe=recipe,
    )
    return {
        "error": training.error(model.apply(params, x[test]), labels[test]),
        "train": training.error(model.apply(params, x[train]), labels[train]),
        "constant": training.constant_error(labels[train], CLASSES),
    }


def claim(options: Options) -> Claim:
    recipe = options.size(
        RECIPE, quick=dataclasses.replace(RECIPE, epochs=3), full=RECIPE
    )
    length = (WINDOW + (FRAMES - 1) * HOP) / RATE
    protocol = Protocol(
        data=f"{RECORDINGS:,} recordings of spoken digits; log-mel spectrograms of "
        f"{FRAMES} x {MELS} of the first {length:.2f} s, padded with silence, "
        "standardized, then mixed",
        networks="; ".join(f"{net}: {_words(net)}" for net in NETS),
        recipe=str(recipe),
        arms=ARMS,
        seeds=options.count(SPEAKERS, full=10 * SPEAKERS),
        sampling=Blocks(SPEAKERS, "speakers"),
        remarks=[
            f"seed k holds out speaker k mod {SPEAKERS} for testing; the first "
            f"{WARM_UP} epochs are without mixing, as in the paper",
            "other seeds hold out the same speakers, with other initial parameters and "
            "batches",
            "error after the last epoch; one lam per example, partners are neighbors "
            "in a shuffled batch",
        ],
    )
    return Claim(
        *titled(__doc__),
        protocol=protocol,
        programs=functools.partial(_programs, protocol, recipe),
        statements=[each for arm in ARMS if arm != ERM for each in _statements(arm)],
        notes=[
            "Published, error in percent: "
            + "; ".join(
                f"{net}, " + ", ".join(f"{arm} {x}" for arm, x in found.items())
                for net, found in PUBLISHED.items()
            )
            + ".",
            "In the paper: 65,000 recordings of 30 words by many speakers, "
            "spectrograms of 160 x 101, two-dimensional convolutions, and much larger "
            "networks.",
        ],
    )


def _statements(arm: str) -> list[Statement]:
    """Return the statements about an arm with mixing."""
    gains = {
        net: found[ERM] - found[arm] for net, found in PUBLISHED.items() if arm in found
    }

    large, little = gains.get(LARGE, 0.0), gains.get(SMALL, 0.0)

    def published(gain: float) -> Published | None:
        return Published(round(gain, 1)) if gains else None

    return [
        less(
            f"large: {arm} has a lower error than ERM",
            arm,
            ERM,
            LARGE,
            published=published(large),
            primary=arm == "Mixup 0.2",
        ),
        more(
            f"small: ERM has a lower error than {arm}",
            arm,
            ERM,
            SMALL,
            published=published(-little),
            favors=-1,
        ),
        Statement(
            f"{arm} gains more with the large network than with the small",
            of="error",
            contrast={
                (ERM, LARGE): 1.0,
                (arm, LARGE): -1.0,
                (ERM, SMALL): -1.0,
                (arm, SMALL): 1.0,
            },
            published=published(large - little),
            favors=0,
        ),
    ]


def _programs(protocol: Protocol, recipe: Recipe, options: Options) -> list[Program]:
    found = spoken_digits(options.folder("fsdd"))
    _check(found)
    data = log_mel(found.waveforms), found.digits, found.speaker_ids
    return [
        Program(
            net,
            functools.partial(errors, net=net, recipe=recipe),
            protocol.runs(options, {net: {}}),
            data,
            together=options.size(SPEAKERS, quick=4, full=SPEAKERS),
        )
        for net in NETS
    ]


def _check(found: Recordings) -> None:
    """Raise if not all recordings are there."""
    counts = np.bincount(found.speaker_ids)
    if counts.tolist() != SPEAKERS * [RECORDINGS // SPEAKERS]:
        raise ValueError(
            f"fsdd: expected {RECORDINGS // SPEAKERS} recordings of each of {SPEAKERS} "
            f"speakers; got {dict(zip(found.speakers, counts.tolist()))}. Replace the "
            "zip file with the original."
        )


def _words(net: str) -> str:
    layers, widths = NETS[net]
    x = jax.ShapeDtypeStruct((1, FRAMES, MELS), jnp.float32)
    shapes = jax.eval_shape(TimeCNN(layers, widths).init, jax.random.key(0), x)
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    named = "-".join(str(layer) for layer in (*layers, *widths, CLASSES))
    return f"{named}, convolutions over time, {count:,} parameters"
