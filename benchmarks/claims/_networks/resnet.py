"""Training of residual and other networks on CIFAR-10 and other small images.

Images stay uint8 until they are batched; each is cropped and flipped before mixing.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

import mixup_jax as mx
from benchmarks.claims._networks import training
from benchmarks.claims._networks.recipes import Recipe, StepSgd

AT_ONCE = 500  # images per prediction
MARGIN = 1 / 8  # maximum shift of a crop, as a fraction of the side
PAPER = Recipe(StepSgd(0.1, 1e-4), epochs=200, batch=128)


def scaled(images: Array) -> Array:
    """Return uint8 images as float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255


def standardised(model: nn.Module, images: Array) -> Callable[..., Any]:
    """Return ``model.apply`` on inputs standardized with statistics of ``images``."""
    some = scaled(images)
    mean, std = (f(some, axis=(0, 1, 2), keepdims=True) for f in (jnp.mean, jnp.std))

    def apply(variables: Any, x: Array, **how: Any) -> Any:
        return model.apply(variables, (x - mean) / std, **how)

    return apply


def crop_and_flip(key: Array, images: Array) -> Array:
    """Shift each image by up to ``MARGIN``, zero-padded; mirror half of them."""
    key_place, key_flip = jax.random.split(key)
    count, height, width, channels = images.shape
    margin = int(MARGIN * height)
    places = jax.random.randint(key_place, (count, 2), 0, 2 * margin + 1)
    flips = jax.random.bernoulli(key_flip, shape=(count, 1, 1, 1))
    sides = ((0, 0), (margin, margin), (margin, margin), (0, 0))

    def crop(image: Array, place: Array) -> Array:
        start = (place[0], place[1], 0)
        return jax.lax.dynamic_slice(image, start, (height, width, channels))

    cropped = jax.vmap(crop)(jnp.pad(images, sides), places)
    return jnp.where(flips, cropped[:, :, ::-1], cropped)


def on_images(mixer: mx.Mixer, *, augmented: bool) -> mx.Mixer:
    """Return ``mixer`` for uint8 images, which are optionally augmented first."""

    def mixed(key: Array, batch: Any) -> tuple[Any, mx.Mix]:
        key_augment, key_mix = jax.random.split(key)
        inputs, targets = batch
        inputs = scaled(inputs)
        if augmented:
            inputs = crop_and_flip(key_augment, inputs)
        return mixer(key_mix, (inputs, targets))

    return mixed


def loss_of(apply: Callable[..., Any]) -> mx.training.Stateful:
    """Return the loss on soft targets of a model with batch normalization."""

    def loss(params: Any, batch: Any, mix: mx.Mix, state: Any, key: Array) -> Any:
        x, y = batch
        variables = {"params": params, **state.model_state}
        logits, changed = apply(
            variables, x, train=True, mutable=list(state.model_state)
        )
        value = optax.softmax_cross_entropy(logits, y).mean()
        return value, ({}, {"model_state": dict(changed)})

    return mx.training.stateful(loss)


def errors(predict: Callable[[Array], Any], images: Any, labels: Any) -> Array:
    """Return the error on uint8 images in percent, in parts that fit in memory."""
    logits = training.in_parts(
        lambda some: predict(scaled(some)), jnp.asarray(images), AT_ONCE
    )
    return training.error(logits, jnp.asarray(labels))


def learn(
    key: Array,
    model: nn.Module,
    apply: Callable[..., Any],
    data: tuple[Any, Any],
    rows: Array,
    *,
    mixer: mx.Mixer,
    recipe: Recipe,
    augmented: bool,
    smoothing: Any = 0.0,
    after_epoch: Callable[[Callable[[Array], Any]], Any] = lambda predict: None,
) -> tuple[Any, Any]:
    """Train ``model``; return its variables, and the results of ``after_epoch``.

    Args:
      key: PRNG key.
      model: a model with ``classes`` whose call takes ``train``.
      apply: ``model.apply``, on standardized inputs.
      data: uint8 images and integer class ids.
      rows: rows to train on.
      mixer: mixes images in [0, 1] and soft targets.
      recipe: the optimizer, epochs and batches.
      augmented: whether images are cropped and flipped.
      smoothing: label smoothing; may be traced.
      after_epoch: called with a function from images in [0, 1] to logits.
    """
    key_init, key_fit = jax.random.split(key)
    images, labels = (jnp.asarray(each) for each in data)
    model_state = dict(model.init(key_init, scaled(images[:1])))
    params = model_state.pop("params")

    def variables(state: mx.training.TrainState) -> Any:
        return {"params": state.params, **state.model_state}

    state, seen = training.fit_state(
        jax.random.split(key_fit),
        mx.training.TrainState.create(
            params, recipe.tx(len(rows)), model_state=model_state
        ),
        (
            images,
            mx.losses.one_hot(labels, model.classes, smoothing=smoothing),  # type: ignore
        ),
        rows,
        loss=loss_of(apply),
        mixer=on_images(mixer, augmented=augmented),
        recipe=recipe,
        after_epoch=lambda state: after_epoch(
            functools.partial(apply, variables(state))
        ),
    )
    return variables(state), seen
