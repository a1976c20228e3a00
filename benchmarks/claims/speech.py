"""Mixup lowers the error of large networks on speech, but not of small ones (Figure 4).

Zhang et al., "mixup", ICLR 2018, arXiv:1710.09412, section 3.3: Google commands, mixed
as spectrograms, after five epochs without mixing. Here: the Free Spoken Digit Dataset,
tested on a speaker who is not in the training set.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax import Array
from jax.typing import ArrayLike
from matplotlib.figure import Figure

import mixup_jax as mx
from benchmarks.claims._engine.claim import Found, Options, Part
from benchmarks.claims._engine.statistics import Interval, interval, paired
from benchmarks.claims._networks import small, training
from examples.datasets.recordings import Recordings, spoken_digits

EPOCHS, WARM_UP, DROP, BATCH, CLASSES = 30, 5, 10, 100, 10
ALPHAS = (0.0, 0.1, 0.2, 1.0)  # 0 is ERM
WINDOW, HOP, FRAMES, MELS = 256, 128, 40, 24  # samples at 8 kHz
PUBLISHED = {  # error on the test set: ERM, alpha 0.1, alpha 0.2
    "small": ("LeNet", (10.3, 10.8, 11.3)),
    "large": ("VGG-11", (4.6, 3.8, 3.4)),
}
# Channels of the convolutions and pooling layers; widths of the dense layers.
NETS: Mapping[str, tuple[tuple[int | str, ...], tuple[int, ...]]] = {
    "small": ((6, "pool", 16, "pool"), (32,)),
    "large": ((48, "pool", 64, "pool", 96, 96, "pool"), (128,)),
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
                x = x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2]).max(axis=2)
        return small.MLP(self.widths, CLASSES)(x.reshape(x.shape[0], -1))


def log_mel(recordings: Recordings) -> np.ndarray:
    """Return standardized log-mel spectrograms, float32 ``[N, FRAMES, MELS]``."""
    size = WINDOW + (FRAMES - 1) * HOP
    waves = np.zeros((len(recordings.waveforms), size), np.float32)
    most = min(size, recordings.waveforms.shape[1])
    waves[:, :most] = recordings.waveforms[:, :most]
    frames = np.lib.stride_tricks.sliding_window_view(waves, WINDOW, axis=1)[:, ::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW))) ** 2
    bands = power @ _mel_bands(recordings.rate).T
    # Clipped at 40 dB below the peak, since recordings differ in their noise.
    mels = np.log(bands / bands.max(axis=(1, 2), keepdims=True) + 1e-4)
    mean, std = (f(mels, axis=(1, 2), keepdims=True) for f in (np.mean, np.std))
    return ((mels - mean) / std).astype(np.float32)


def _mel_bands(rate: int) -> np.ndarray:
    """Return the weights of triangular mel bands for the FFT bins."""
    bins = np.fft.rfftfreq(WINDOW, 1 / rate)
    most = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, most, MELS + 2) / 2595) - 1)
    low, centre, high = (edges[k : k + MELS, None] for k in range(3))
    rise, fall = (bins - low) / (centre - low), (high - bins) / (high - centre)
    return np.clip(np.minimum(rise, fall), 0, None)


def errors(
    setting: Mapping[str, Any],
    spectrograms: np.ndarray,
    recordings: Recordings,
    *,
    net: str,
    epochs: int,
) -> dict[str, Array]:
    """Train without one speaker; return the error on that speaker in percent."""
    key_init, key_fit = jax.random.split(jax.random.key(setting["seed"]))
    x, labels = jnp.asarray(spectrograms), jnp.asarray(recordings.digits)
    left_out = jnp.asarray(recordings.speaker_ids) == setting["speaker"]
    count = np.bincount(recordings.speaker_ids)[0]  # the same for each speaker
    test = jnp.flatnonzero(left_out, size=count)
    train = jnp.flatnonzero(~left_out, size=len(labels) - count)
    model = TimeCNN(*NETS[net])
    steps = -(-train.shape[0] // BATCH)

    def mixer(step: ArrayLike) -> mx.Mixer:
        alpha = jnp.where(jnp.asarray(step) < WARM_UP * steps, 0, setting["alpha"])
        return functools.partial(mx.mixup, alpha=alpha)

    params, _ = training.fit(
        key_fit,
        model.init(key_init, x[:1]),
        (x, mx.losses.one_hot(labels, CLASSES)),
        train,
        loss=training.cross_entropy(model.apply),
        mixer=mx.scheduled(mixer),
        tx=optax.adam(optax.exponential_decay(3e-3, DROP * steps, 0.1, staircase=True)),
        epochs=epochs,
        batch_size=BATCH,
    )
    return {"error": training.error(model.apply(params, x[test]), labels[test])}


Sides = dict[str, dict[float, list[float]]]  # by network and alpha


def run(options: Options) -> Found:
    recordings = spoken_digits(options.folder("fsdd"))
    counts = np.bincount(recordings.speaker_ids)
    if np.unique(counts).size > 1:
        by_name = dict(zip(recordings.speakers, counts.tolist()))
        raise ValueError(
            f"fsdd: expected equally many recordings of each speaker; got {by_name}. "
            "Some are missing: replace the zip file with the original."
        )
    spectrograms = log_mel(recordings)
    length = (WINDOW + (FRAMES - 1) * HOP) / recordings.rate
    cut = 100 * np.mean(recordings.lengths > length * recordings.rate)
    speakers = len(recordings.speakers)
    seeds = options.seed_count(speakers, full=10 * speakers)
    epochs = options.size(EPOCHS, quick=6, full=EPOCHS)
    alphas = options.size(ALPHAS, quick=ALPHAS[::3], full=ALPHAS)
    settings = [
        {"seed": seed, "alpha": alpha, "speaker": seed % speakers}
        for alpha in alphas
        for seed in range(seeds)
    ]
    sides: Sides = {}
    for net in NETS:
        results = options.runs.many(
            net,
            functools.partial(
                errors,
                spectrograms=spectrograms,
                recordings=recordings,
                net=net,
                epochs=epochs,
            ),
            settings,
            chunk=seeds,
        )
        found = [each["error"] for each in results]
        # One value per speaker: runs that leave out the same one are not independent.
        sides[net] = {
            alpha: [
                float(np.mean(found[k * seeds : (k + 1) * seeds][speaker::speakers]))
                for speaker in range(min(seeds, speakers))
            ]
            for k, alpha in enumerate(alphas)
        }
    protocol = [
        f"{len(spectrograms)} recordings of digits by {speakers} speakers, each of "
        f"whom in turn is held out for testing; {seeds} seeds",
        f"log-mel spectrograms {FRAMES} x {MELS} of the first {length:.2f} s ({cut:.0f}"
        "% of the recordings are longer), padded with silence, standardized, then "
        "mixed",
        *(f"{net}: {_words(net, spectrograms)}" for net in NETS),
        f"Adam 3e-3, divided by 10 every {DROP} epochs, {epochs} epochs, batches of "
        f"{BATCH}, the first {WARM_UP} epochs without mixing, as in the paper",
        "error after the last epoch; one lam per example, partners are neighbors in a "
        "shuffled batch",
    ]
    notes = [
        "In the paper: 65 000 recordings of 30 words by many speakers, spectrograms of "
        "160 x 101, two-dimensional convolutions, and much larger networks.",
    ]
    shown = {"test error, %": _rows(sides)}
    return Found(protocol, shown, _parts(sides), _picture(sides), notes)


def _words(net: str, spectrograms: np.ndarray) -> str:
    layers, widths = NETS[net]
    shapes = jax.eval_shape(TimeCNN(*NETS[net]).init, jax.random.key(0), spectrograms)
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    named = "-".join(str(layer) for layer in (*layers, *widths, CLASSES))
    return f"{named}, convolutions over time, {count} parameters"


def _gains(errors: Mapping[float, list[float]]) -> dict[float, Interval]:
    return {a: paired(errors[0.0], each) for a, each in errors.items() if a}


def _parts(sides: Sides) -> list[Part]:
    small, large = sides["small"], sides["large"]
    parts = []
    for alpha in list(small)[1:]:
        erm = paired(small[alpha], small[0.0])
        saved = [np.subtract(net[0.0], net[alpha]).tolist() for net in (large, small)]
        parts += [
            Part(f"large: Mixup {alpha} has less error than ERM", _gains(large)[alpha]),
            Part(f"small: ERM has less error than Mixup {alpha}", erm),
            Part(f"Mixup {alpha} gains more in the large one", paired(*saved)),
        ]
    return parts


def _rows(sides: Sides) -> list[dict[str, Any]]:
    rows = []
    for net, errors in sides.items():
        name, published = PUBLISHED[net]
        row: dict[str, Any] = {"network": net}
        for alpha, values in errors.items():
            row[f"Mixup {alpha}" if alpha else "ERM"] = interval(values)
        row |= {f"gain {alpha}": gain for alpha, gain in _gains(errors).items()}
        row["published: ERM / 0.1 / 0.2"] = f"{name} " + " / ".join(map(str, published))
        rows.append(row)
    return rows


def _picture(sides: Sides) -> Figure:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for k, (net, errors) in enumerate(sides.items()):
        gains = _gains(errors)
        name, (erm, *mixed) = PUBLISHED[net]
        at = np.arange(len(gains)) + 0.06 * (2 * k - 1)
        means = [gain.mean for gain in gains.values()]
        halves = [gain.high - gain.mean for gain in gains.values()]
        axis.errorbar(at, means, halves, fmt="o", capsize=3, color=f"C{k}", label=net)
        places = [list(gains).index(a) for a in ALPHAS[1:3] if a in gains]
        axis.plot(
            np.add(places, 0.06 * (2 * k - 1)),
            [erm - each for each in mixed[: len(places)]],
            "*",
            ms=12,
            color=f"C{k}",
            mec="black",
            label=f"published, {name}",
        )
        axis.set_xticks(range(len(gains)), [f"alpha {alpha}" for alpha in gains])
    axis.axhline(0, color="gray", lw=1)
    axis.set(ylabel="points of test error that Mixup saves", title="spoken digits")
    axis.legend()
    return figure
