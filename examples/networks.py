"""ResNet-50 and ViT-S/16 in Flax Linen."""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike


class ResNet50(nn.Module):
    """ResNet-50 with the stride in the 3x3 convolution; 25.6 million parameters.

    References:
      He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
      https://arxiv.org/abs/1512.03385.
    """

    classes: int
    dtype: DTypeLike
    width: int = 64
    blocks: Sequence[int] = (3, 4, 6, 3)

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True) -> Array:
        """Return logits ``[B, K]``, float32."""
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype)
        norm = partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=self.dtype,
        )
        x = nn.relu(norm()(conv(self.width, (7, 7), 2)(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        for stage, blocks in enumerate(self.blocks):
            for block in range(blocks):
                features = self.width * 2**stage
                strides = 2 if stage and not block else 1
                y = nn.relu(norm()(conv(features, (1, 1))(x)))
                y = nn.relu(norm()(conv(features, (3, 3), strides)(y)))
                y = norm(scale_init=nn.initializers.zeros)(
                    conv(4 * features, (1, 1))(y)
                )
                if not block:
                    x = norm()(conv(4 * features, (1, 1), strides)(x))
                x = nn.relu(x + y)
        return nn.Dense(self.classes, dtype=jnp.float32)(x.mean((1, 2)))


class ViT(nn.Module):
    """ViT-S/16 with a class token; 22.1 million parameters.

    References:
      Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image
      Recognition at Scale", ICLR 2021, https://arxiv.org/abs/2010.11929.
      Touvron et al., "Training data-efficient image transformers & distillation through
      attention", ICML 2021, https://arxiv.org/abs/2012.12877 (size S).
    """

    classes: int
    dtype: DTypeLike
    patch: int = 16
    width: int = 384
    depth: int = 12
    heads: int = 6

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True) -> Array:
        """Return logits ``[B, K]``, float32."""
        del train  # as without dropout
        width, normal = self.width, nn.initializers.normal(0.02)
        patch = self.patch, self.patch
        x = nn.Conv(width, patch, patch, "VALID", dtype=self.dtype)(x)
        x = x.reshape(x.shape[0], -1, width)
        token = self.param("token", nn.initializers.zeros, (1, 1, width))
        token = jnp.tile(token.astype(x.dtype), (x.shape[0], 1, 1))
        x = jnp.concatenate([token, x], axis=1)
        x = x + self.param("place", normal, (1, x.shape[1], width)).astype(x.dtype)
        norm = partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
        for _ in range(self.depth):
            y = norm()(x)
            x = x + nn.MultiHeadDotProductAttention(self.heads, dtype=self.dtype)(y)
            y = nn.gelu(nn.Dense(4 * width, dtype=self.dtype)(norm()(x)))
            x = x + nn.Dense(width, dtype=self.dtype)(y)
        return nn.Dense(self.classes, dtype=jnp.float32)(norm()(x)[:, 0])
