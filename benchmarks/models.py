"""The models that the benchmarks train, as published, in Flax Linen."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import DTypeLike

import mixup_jax as mx
from examples.networks import ResNet50, ViT

EntropyOf = Callable[[Array, Any, mx.Mix], Array]


class MLP(nn.Module):
    """An MLP with two hidden layers of 256 units."""

    classes: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Return logits ``[B, K]``, float32."""
        x = x.reshape(x.shape[0], -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(256, dtype=self.dtype)(x))
        return nn.Dense(self.classes, dtype=jnp.float32)(x)


class CNN(nn.Module):
    """A CNN of six convolutions in three stages of 64, 128 and 256 channels."""

    classes: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Return logits ``[B, K]``, float32."""
        for features in (64, 128, 256):
            for strides in (1, 2):
                x = nn.Conv(features, (3, 3), strides, dtype=self.dtype)(x)
                x = nn.relu(x)
        return nn.Dense(self.classes, dtype=jnp.float32)(x.mean((1, 2)))


class PreActResNet(nn.Module):
    """PreAct ResNet-18 for small images; 11.2 million parameters.

    With three stages of three blocks, width 96 and a stem of 16, it is WRN-22-6.

    References:
      He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016,
      https://arxiv.org/abs/1603.05027.
    """

    classes: int
    dtype: DTypeLike
    blocks: Sequence[int] = (2, 2, 2, 2)
    width: int = 64
    stem: int = 64
    conv: Callable[..., nn.Module] = nn.Conv

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Return logits ``[B, K]``, float32."""
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=self.dtype,
        )
        x = conv(self.stem, (3, 3))(x)
        for stage, blocks in enumerate(self.blocks):
            for block in range(blocks):
                features, strides = (
                    self.width * 2**stage,
                    2 if stage and not block else 1,
                )
                y = nn.relu(norm()(x))
                if x.shape[-1] != features:
                    x = conv(features, (1, 1), strides)(y)
                y = nn.relu(norm()(conv(features, (3, 3), strides)(y)))
                x = x + conv(features, (3, 3))(y)
        x = nn.relu(norm()(x)).mean((1, 2))
        return nn.Dense(self.classes, dtype=jnp.float32)(x)


class Model(NamedTuple):
    """A model and the sizes of its training data.

    Attributes:
      module: builds the model, ``(classes, dtype) -> nn.Module``.
      image: shape of one image, ``(H, W, C)``.
      classes: number of classes.
      batch: batch size on one accelerator.
    """

    module: Callable[..., nn.Module]
    image: tuple[int, int, int]
    classes: int
    batch: int


MODELS = {
    "mlp": Model(MLP, (28, 28, 1), 10, 1024),
    "cnn": Model(CNN, (32, 32, 3), 10, 512),
    "resnet50": Model(ResNet50, (224, 224, 3), 1000, 128),
    "vit_s16": Model(ViT, (224, 224, 3), 1000, 128),
}


def initial_state(model: Model, dtype: DTypeLike, key: Array) -> mx.training.TrainState:
    """Return the train state before the first step, SGD with momentum."""
    module = model.module(model.classes, dtype)
    variables = dict(module.init(key, jnp.zeros((1, *model.image), dtype)))
    return mx.training.TrainState.create(
        variables.pop("params"), optax.sgd(0.1, momentum=0.9), model_state=variables
    )


def loss_of(model: Model, dtype: DTypeLike, entropy: EntropyOf) -> mx.training.Stateful:
    """Return the loss for ``train_step``, on batches with ``image`` and ``label``.

    Args:
      model: one of ``MODELS``.
      dtype: dtype that the model computes in.
      entropy: ``(logits, labels, mix) -> [B]``, ``dense`` or ``termwise``.
    """
    module = model.module(model.classes, dtype)

    def loss(params, batch, mix, state, key):
        del key
        variables = {"params": params, **state.model_state}
        logits, changed = module.apply(
            variables, batch["image"], mutable=list(state.model_state)
        )
        value = jnp.mean(entropy(logits, batch["label"], mix))
        return value, ({}, {"model_state": dict(changed)})

    return mx.training.stateful(loss)


def dense(logits: Array, labels: Array, mix: mx.Mix) -> Array:
    """Return the cross-entropy against already mixed soft labels ``[B, K]``."""
    del mix
    return optax.losses.softmax_cross_entropy(logits, labels)


termwise: EntropyOf = mx.losses.termwise(
    optax.losses.softmax_cross_entropy_with_integer_labels
)


def parameters(model: Model) -> int:
    """Return the number of parameters of ``model``."""
    state = jax.eval_shape(lambda key: initial_state(model, jnp.float32, key), KEY)
    return sum(leaf.size for leaf in jax.tree.leaves(state.params))


KEY = jax.eval_shape(lambda: jax.random.key(0))
