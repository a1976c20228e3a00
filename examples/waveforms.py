"""Mixup and CutMix of waveforms of several lengths: masks follow, padding has no share.

    python -m examples.waveforms
    python -m examples.waveforms --data-dir DIR    # the zip of the spoken digits, FSDD

A mixture is as long as the longer of two, and a box can leave a hole of padding: masks,
declared as such, say where a mixture has samples, and the model averages over these.
CutMix weighs labels by the samples that are heard (`valid=`), for half of what a box
covers may be padding. Without a folder the script makes chirps in noise. Trained as
briefly as here, ERM errs least on both.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import command_line
import mixup_jax as mx
from examples import _seeds
from examples.datasets.recordings import Recordings, spoken_digits

BATCH, WIDTH, HOP, LONGEST = 64, 32, 100, 6400  # the rest of a longer one is left out
entropy = mx.losses.termwise(optax.losses.softmax_cross_entropy_with_integer_labels)


def cutmix(mask):
    """Return CutMix in time, which counts the samples of this mask alone."""
    region = partial(mx.regions.box, valid=mask)
    mixer = partial(mx.cutmix, spatial=(1,), region=region)
    return mx.on_keys(mixer, inputs="wave", masks="mask")


MIXERS: dict[str, mx.Mixer] = {
    "ERM": mx.on_keys(mx.erm, inputs="wave"),
    "Mixup": mx.on_keys(mx.mixup, inputs="wave", masks="mask"),
    "CutMix": mx.using("mask", cutmix),
}


def powers(frames):
    """Return the log power of frames at pitches from 100 to 3500 Hz."""
    pitches = np.geomspace(100, 3500, WIDTH) / 8000
    phases = 2 * np.pi * pitches * np.arange(2 * HOP)[:, None]
    windowed = np.hanning(2 * HOP)[:, None] * [np.cos(phases), np.sin(phases)]
    real, imaginary = (frames @ jnp.asarray(x, jnp.float32) for x in windowed)
    return jnp.log(real**2 + imaginary**2 + 1e-3)


class Classifier(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, wave, mask):
        hops = wave.reshape(len(wave), -1, HOP)
        has = mask.reshape(hops.shape).any(axis=-1)[:, 1:, None]
        x = powers(jnp.concatenate([hops[:, :-1], hops[:, 1:]], axis=-1))
        for apart in (1, 3):  # a convolution in time of three frames, so far apart
            x = jnp.pad(jnp.where(has, x, 0), ((0, 0), (apart, apart), (0, 0)))
            near = [x[:, k * apart :][:, : has.shape[1]] for k in range(3)]
            x = nn.Dense(WIDTH)(jnp.concatenate(near, axis=-1))
            x = nn.relu(nn.LayerNorm()(x))
        return nn.Dense(self.classes)(jnp.mean(x, axis=1, where=has))


def made() -> Recordings:
    """Return chirps in noise from one of three pitches to one, so of nine classes."""
    draw, index = np.random.default_rng(0), np.arange(1500, dtype=np.int32)
    labels, takes = index % 9, index // 9 % 25
    lengths = draw.integers(LONGEST // 8, LONGEST, len(index), np.int32)
    pitches = np.array([300, 420, 600]) * draw.uniform(0.9, 1.1, (len(index), 3))
    first, last = pitches[index, labels // 3], pitches[index, labels % 3]
    seconds, time = lengths / 8000, np.arange(LONGEST) / 8000
    bend = (last - first) / seconds / 2
    cycles = np.outer(first, time) + np.outer(bend, time**2)
    waves = np.sin(2 * np.pi * (cycles + draw.random((len(index), 1))))
    waves = (waves + draw.normal(0, 2, waves.shape)) * (time < seconds[:, None]) / 8
    waves = waves.astype(np.float32)
    return Recordings(waves, lengths, labels, 0 * index, takes, ("script",), 8000)


def parts(data: Recordings) -> list[_seeds.Batch]:
    """Return what to train on, and what to test with: takes 0 to 4."""
    waves = np.zeros((len(data.digits), LONGEST), np.float32)
    some = data.waveforms[:, :LONGEST]
    waves[:, : some.shape[1]] = some / (np.abs(some).max(axis=1, keepdims=True) + 1e-6)
    mask = np.arange(LONGEST) < data.lengths[:, None]
    arrays = {"wave": waves, "mask": mask, "label": data.digits}
    rows = np.flatnonzero(data.takes >= 5), np.flatnonzero(data.takes < 5)
    return [{name: jnp.asarray(x[i]) for name, x in arrays.items()} for i in rows]


def main(argv=None):
    args, data = _seeds.parsed(argv, "waveforms", spoken_digits, made, epochs=15)
    train, test = parts(data)
    model: Any = Classifier(int(data.digits.max()) + 1)

    def start(key):
        params = model.init(key, test["wave"][:1], test["mask"][:1])
        return mx.training.TrainState.create(params, optax.adam(4e-3))

    def logits(params, batch):
        return model.apply(params, batch["wave"], batch["mask"])

    def loss(params, batch, mix):
        return entropy(logits(params, batch), batch["label"], mix).mean(), {}

    arms = {
        name: _seeds.epoch_of(mx.training.train_step(loss, mixer), logits, BATCH)
        for name, mixer in MIXERS.items()
    }
    _seeds.compare(start, arms, (train, test), args)


if __name__ == "__main__":
    command_line.start(main)
