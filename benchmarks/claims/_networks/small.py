"""Small networks that a CPU trains in seconds."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import Array
from jax.typing import DTypeLike

from benchmarks.models import PreActResNet


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


class ProductConv(nn.Module):
    """``nn.Conv`` as a matrix product; convolutions in a loop are slow on CPUs."""

    features: int
    kernel_size: tuple[int, int]
    strides: int = 1
    use_bias: bool = True
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        strides = (self.strides, self.strides)
        pads = jax.lax.padtype_to_pads(x.shape[1:3], self.kernel_size, strides, "SAME")
        height, width = (-(-size // self.strides) for size in x.shape[1:3])
        around = jnp.pad(x, ((0, 0), *pads, (0, 0)))
        shifted = [
            around[:, i:, j:][:, :: self.strides, :: self.strides][:, :height, :width]
            for i in range(self.kernel_size[0])
            for j in range(self.kernel_size[1])
        ]
        x, kernel = promote_dtype(
            jnp.concatenate(shifted, axis=-1), kernel, dtype=self.dtype
        )
        x = x @ kernel.reshape(-1, self.features)
        if not self.use_bias:
            return x
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return x + bias.astype(x.dtype).reshape(1, 1, 1, -1)


class CNN(nn.Module):
    """3x3 convolutions with ReLU, pooling after every other; mean; linear layer."""

    channels: Sequence[int]
    classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        for k, width in enumerate(self.channels):
            x = nn.relu(nn.Conv(width, (3, 3))(x))
            if k % 2:
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.classes)(x.mean(axis=(1, 2)))


class HalvingCNN(nn.Module):
    """Three 3x3 convolutions, the first of stride 2, each pooled; mean; linear."""

    classes: int

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        for features, strides in ((32, 2), (64, 1), (64, 1)):
            x = nn.relu(ProductConv(features, (3, 3), strides)(x))
            count, height, width, _ = x.shape
            x = x[:, : height // 2 * 2, : width // 2 * 2]
            x = x.reshape(count, height // 2, 2, width // 2, 2, features).max((2, 4))
        return nn.Dense(self.classes)(x.mean((1, 2)))


def residual(classes: int) -> nn.Module:
    """Return a PreAct ResNet of 16-32-64 channels, one block each."""
    return PreActResNet(
        *(classes, jnp.float32, (1, 1, 1)), width=16, stem=16, conv=ProductConv
    )
