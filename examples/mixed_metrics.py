"""Report what was mixed among the metrics of a train step.

    python -m examples.mixed_metrics

The loss receives the mix, so its metrics can include the mean ``lam`` and the share of
examples that were mixed: those with ``lam < 1``, since an example that is its own
partner keeps ``lam = 1``. The region of ``choose`` also tells which method each example
was given to. What to watch for: not every example given to a method is mixed, since a
box may be empty, a small alpha rounds ``lam`` to 1, and ``until`` mixes nothing after
its last step; and accuracy on mixed labels cannot reach 1, so report its limit too.
"""

import argparse
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import command_line
import mixup_jax as mx
from examples import datasets

BATCH = 64
METHODS = {"mixup": partial(mx.mixup, alpha=0.2), "cutmix": mx.cutmix, "erm": mx.erm}
PROBS = 0.4, 0.4, 0.2
entropy = mx.losses.termwise(optax.losses.softmax_cross_entropy_with_integer_labels)
model: Any = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(10)])


def mix_metrics(mix, labels):
    mixed = mix.lam < 1
    found = {"lam": mix.lam, "mixed": mixed}
    for k, name in enumerate(METHODS):
        given = mix.region.index == k
        found |= {f"given to {name}": given, f"mixed by {name}": given & mixed}
    one_class = mix.partners(labels) == labels
    found["limit"] = jnp.where(one_class, 1, jnp.maximum(mix.lam, 1 - mix.lam))
    return {name: each.mean() for name, each in found.items()}


def loss(params, batch, mix):
    images, labels = batch["image"], batch["label"]
    logits = model.apply(params, images.reshape(len(images), -1))
    accuracy = mx.metrics.accuracy(logits, labels, mix=mix).mean()
    value = entropy(logits, labels, mix).mean()
    return value, {"accuracy": accuracy, **mix_metrics(mix, labels)}


def main(argv=None):
    parser = argparse.ArgumentParser(description="Report what was mixed.")
    parser.add_argument("--steps", type=command_line.whole(2), default=400)
    steps = parser.parse_args(argv).steps
    last = steps * 3 // 4
    data, draw = datasets.digits(), np.random.default_rng(0)
    images = data.train_images.astype(np.float32) / 255

    chosen = mx.on_keys(mx.choose([*METHODS.values()], PROBS), inputs="image")
    step = jax.jit(mx.training.train_step(loss, mx.until(last, chosen)))
    params = model.init(jax.random.key(0), jnp.zeros((1, 64)))
    state = mx.training.TrainState.create(params, optax.adam(1e-3))
    every = []
    for _ in range(steps):
        rows = draw.choice(len(images), BATCH, replace=False)
        batch = {"image": images[rows], "label": data.train_labels[rows]}
        state, metrics = step(state, jax.random.key(1), batch)
        every.append(metrics)

    print(f"means over {last} steps that mix, and {steps - last} after them")
    for name in sorted(every[0]):
        each = np.array([metrics[name] for metrics in every])
        print(f"{name:16} {each[:last].mean():.3f} {each[last:].mean():.3f}")


if __name__ == "__main__":
    command_line.start(main)
