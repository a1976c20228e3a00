"""Mixup in a train step, on scikit-learn's digits: python -m examples.quickstart"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from sklearn.datasets import load_digits

import mixup_jax as mx

images, labels = map(jnp.asarray, load_digits(return_X_y=True))
images, targets = images / 16, mx.losses.one_hot(labels, 10)
model: Any = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(10)])


def loss(params, batch, mix):
    images, targets = batch
    logits = model.apply(params, images)
    return optax.losses.softmax_cross_entropy(logits, targets).mean(), {}


step = jax.jit(mx.training.train_step(loss, partial(mx.mixup, alpha=0.2)))
params = model.init(jax.random.key(0), images[:1])
state = mx.training.TrainState.create(params, optax.adam(3e-3))
for i in range(500):
    rows = jax.random.choice(jax.random.key(i), 1437, (64,), replace=False)
    state, _ = step(state, jax.random.key(1), (images[rows], targets[rows]))

wrong = model.apply(state.params, images[1437:]).argmax(-1) != labels[1437:]
print(f"test accuracy {1 - wrong.mean():.1%}")
