"""Mixup in a train step of your own: python -m examples.quickstart"""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from sklearn.datasets import load_digits

import mixup_jax as mx

images, labels = map(jnp.asarray, load_digits(return_X_y=True))
x, x_test = jnp.split(images / 16, [1437])
y, y_test = jnp.split(labels, [1437])

mix = partial(mx.mixup, alpha=0.2)
model = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(10)])
predict = jax.jit(model.apply)
optimizer = optax.adam(3e-3)


@jax.jit
def train_step(params, opt_state, key, batch):
    (images, targets), _ = mix(key, batch)

    def loss(params):
        logits = predict(params, images)
        return optax.losses.softmax_cross_entropy(logits, targets).mean()

    updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state)
    return optax.apply_updates(params, updates), opt_state


key = jax.random.key(0)
params = model.init(key, x[:1])
opt_state = optimizer.init(params)
for _ in range(500):
    key, key_rows, key_mix = jax.random.split(key, 3)
    rows = jax.random.choice(key_rows, len(x), (64,), replace=False)
    batch = x[rows], jax.nn.one_hot(y[rows], 10)
    params, opt_state = train_step(params, opt_state, key_mix, batch)

accuracy = jnp.mean(predict(params, x_test).argmax(-1) == y_test)
print(f"test accuracy {accuracy:.1%}")
