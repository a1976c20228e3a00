"""The training loop of the claims: epochs of shuffled batches in one program."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import Array
from jax.typing import ArrayLike

import mixup_jax as mx
from benchmarks.claims._networks.recipes import Recipe


def fit(
    key: Array,
    params: Any,
    data: Any,
    rows: Array,
    *,
    loss: Callable[..., Any],
    mixer: Any,
    recipe: Recipe,
    after_epoch: Callable[[Any], Any] = lambda params: None,
) -> tuple[Any, Any]:
    """Train ``params``; return them, and the results of ``after_epoch``.

    Every epoch uses each of ``rows`` once, in a new order; the last batch is filled
    from the start of that order. The order depends only on ``key``, not on the mixer.

    Args:
      key: PRNG key.
      params: initial parameters.
      data: ``(inputs, targets)``, examples on axis 0.
      rows: int32 ``[N]``, the rows of ``data`` to train on.
      loss: as for ``mixup_jax.training.train_step``.
      mixer: a mixer, scheduled or not.
      recipe: the optimizer, epochs and batches.
      after_epoch: called with the parameters; returns a pytree of arrays.
    """
    state, seen = fit_state(
        jax.random.split(key),
        mx.training.TrainState.create(params, recipe.tx(len(rows))),
        data,
        rows,
        loss=loss,
        mixer=mixer,
        recipe=recipe,
        after_epoch=lambda state: after_epoch(state.params),
    )
    return state.params, seen


def fit_state(
    keys: Sequence[Array] | Array,
    state: mx.training.TrainState,
    data: Any,
    rows: Array,
    *,
    loss: Any,
    mixer: Any,
    recipe: Recipe,
    after_epoch: Callable[[Any], Any] = lambda state: None,
) -> tuple[Any, Any]:
    """Train as ``fit`` does, for models that have more state than parameters.

    The first of ``keys`` is for the order, the second for the steps.
    """
    step = mx.training.train_step(loss, mixer)
    size = rows.shape[0]
    steps = math.ceil(size / recipe.batch)
    key_order, key_step = keys

    def one(state: Any, taken: Array) -> tuple[Any, None]:
        batch = jax.tree.map(lambda x: x[taken], data)
        state, _ = step(state, key_step, batch)
        return state, None

    def epoch(state: Any, key: Array) -> tuple[Any, Any]:
        order = jnp.resize(jax.random.permutation(key, rows), (steps, recipe.batch))
        state, _ = jax.lax.scan(one, state, order)
        return state, after_epoch(state)

    return jax.lax.scan(epoch, state, jax.random.split(key_order, recipe.epochs))


def cross_entropy(apply: Callable[..., Any]) -> Callable[..., Any]:
    """Return the loss of ``apply(params, x)`` on soft targets, for ``fit``."""

    def loss(params: Any, batch: Any, mix: mx.Mix) -> tuple[Array, dict[str, Array]]:
        x, y = batch
        return optax.softmax_cross_entropy(apply(params, x), y).mean(), {}

    return loss


def cross_entropy_of(model: nn.Module) -> Any:
    """Return the loss of ``model`` with dropout on soft targets, for ``fit``."""

    def loss(params: Any, batch: Any, mix: mx.Mix, state: Any, key: Array) -> Any:
        x, y = batch
        logits: Any = model.apply(params, x, train=True, rngs={"dropout": key})
        return optax.softmax_cross_entropy(logits, y).mean(), ({}, {})

    return mx.training.stateful(loss)


def mixup(alpha: Any) -> mx.Mixer:
    """Return Mixup with one lam per example and random partners."""
    return functools.partial(mx.mixup, alpha=alpha, pairing=mx.pairings.permutation)


def gaussian(sigma: Any) -> mx.Mixer:
    """Return the Gaussian vicinity: noise is added to inputs, labels stay."""
    return functools.partial(mx.gaussian, sigma=sigma)


def inputs_only(mixer: mx.Mixer, hard: ArrayLike) -> mx.Mixer:
    """Return ``mixer``; if ``hard``, targets are those of the larger weight."""

    def mixed(key: Array, batch: Any) -> tuple[Any, mx.Mix]:
        (inputs, soft), mix = mixer(key, batch)
        own = mix.lam[:, None] >= 0.5
        heavier = jnp.where(own, batch[1], mix.partners(batch[1]))
        return (inputs, jnp.where(hard, heavier, soft)), mix

    return mixed


def error(logits: Any, labels: Array) -> Array:
    """Return the percentage of wrong predictions."""
    return 100 * jnp.mean(jnp.argmax(logits, axis=-1) != labels)


def constant_error(labels: Array, classes: int) -> Array:
    """Return the error in percent of the best constant prediction of ``labels``."""
    return 100 - 100 * jnp.bincount(labels, length=classes).max() / labels.shape[0]


def in_parts(predict: Callable[[Array], Any], x: Array, at_once: int) -> Any:
    """Return ``predict(x)``, computed ``at_once`` examples at a time."""
    return jax.lax.map(lambda one: predict(one[None])[0], x, batch_size=at_once)
