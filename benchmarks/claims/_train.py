"""Training as the claims do it: epochs over shuffled batches, traced as one."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import Array

import mixup_jax as mx


class MLP(nn.Module):
    """ReLU layers of the given widths, then one linear layer."""

    widths: Sequence[int]
    classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        for width in self.widths:
            x = nn.relu(nn.Dense(width)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.classes)(x)


def fit(
    key: Array,
    params: Any,
    data: Any,
    rows: Array,
    *,
    loss: Callable[..., Any],
    mixer: Any,
    tx: optax.GradientTransformation,
    epochs: int,
    batch_size: int,
    after_epoch: Callable[[Any], Any] = lambda params: None,
) -> tuple[Any, Any]:
    """Train ``params``; return them, and what ``after_epoch`` says after each epoch.

    Every epoch takes each of ``rows`` once, in a new order; the last batch is filled up
    from the front. The order depends on ``key`` alone, not on the mixer.

    Args:
      key: PRNG key.
      params: where to start.
      data: ``(inputs, targets)``, examples on axis 0.
      rows: int32 ``[N]``, the rows of ``data`` to train on.
      loss: as for `mixup_jax.training.train_step`.
      mixer: the mixer, scheduled or not.
      tx: the optimiser.
      epochs: how many.
      batch_size: examples a step.
      after_epoch: called with the parameters; returns a pytree of arrays.
    """
    step = mx.training.train_step(loss, mixer)
    size = rows.shape[0]
    steps = math.ceil(size / batch_size)
    key_order, key_step = jax.random.split(key)

    def one(state: Any, taken: Array) -> tuple[Any, None]:
        batch = jax.tree.map(lambda x: x[taken], data)
        state, _ = step(state, key_step, batch)
        return state, None

    def epoch(state: Any, key: Array) -> tuple[Any, Any]:
        order = jnp.resize(jax.random.permutation(key, rows), (steps, batch_size))
        state, _ = jax.lax.scan(one, state, order)
        return state, after_epoch(state.params)

    state = mx.training.TrainState.create(params, tx)
    state, seen = jax.lax.scan(epoch, state, jax.random.split(key_order, epochs))
    return state.params, seen


def cross_entropy(apply: Callable[..., Any]) -> Callable[..., Any]:
    """Return the loss of ``apply(params, x)`` on soft targets, for `fit`."""

    def loss(params: Any, batch: Any, mix: mx.Mix) -> tuple[Array, dict[str, Array]]:
        x, y = batch
        return optax.softmax_cross_entropy(apply(params, x), y).mean(), {}

    return loss


def error(logits: Any, labels: Array) -> Array:
    """Return the share of wrong predictions, in percent."""
    return 100 * jnp.mean(jnp.argmax(logits, axis=-1) != labels)


def split(key: Array, size: int, train: float) -> tuple[Array, Array]:
    """Return the rows to train on, the share ``train`` of them, and the others."""
    order = jax.random.permutation(key, size)
    cut = round(train * size)
    return order[:cut], order[cut:]
