"""The code blocks of the README run unchanged, in order, on eight devices."""

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import linen as nn
from flax.training.train_state import TrainState

import mixup_jax as mx

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)
DEVICES = 8


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Conv(4, (3, 3))(x))


class Model(nn.Module):
    @nn.compact
    def __call__(self, x):
        for layer in (nn.Conv(4, (3, 3)), Block(), Block()):
            x = layer(x)
        return nn.Dense(10)(x.mean(axis=(1, 2)))


def surroundings():
    """Return the names that each block may use, beside those of the blocks before."""
    key = jax.random.key(0)
    images = jnp.ones((DEVICES, 6, 6, 3))
    ids = jnp.arange(DEVICES)
    variables = Model().init(key, images)

    def apply(x):
        return Model().apply(variables, x)

    def loss(params, batch, mix):
        logits: Any = Model().apply(params, batch["image"])
        return jnp.mean(logits**2), {}

    # The same arrays work with the examples on axis 0 and with the devices there.
    spread = jnp.ones((DEVICES, 4, 6, 6, 3)), jnp.ones((DEVICES, 4, 10))
    given = [
        {},
        {"key": key, "batch": spread, "mesh": jax.make_mesh((DEVICES,), ("data",))},
        {
            "depth": images[..., 0],
            "masks": images,
            "soft_labels": mx.losses.one_hot(ids, 10),
            "ids": ids,
        },
        {
            "images": images,
            "mask": images[..., 0] > 0,
            "label_map": images[..., 0].astype(int),
        },
        {"batch": {"image": images, "label": ids}, "model": apply, "optax": optax},
        {
            "batch": {"image": images, "label": ids},
            "loss": loss,
            "state": TrainState.create(
                apply_fn=None,
                params=jax.tree.map(jnp.copy, variables),  # the step donates them
                tx=optax.sgd(0.1),
            ),
        },
        {"mixer": mx.mixup, "schedule": optax.linear_schedule(0.1, 0.4, 100)},
        {"key": key, "batch": (images, mx.losses.one_hot(ids, 10))},
        {},
        {
            "model": Model(),
            "variables": variables,
            "x": images,
            "y": mx.losses.one_hot(ids, 10),
        },
    ]
    assert len(BLOCKS) == len(given)
    return given


@pytest.mark.filterwarnings("ignore:.*donated")
def test_the_blocks_run():
    names = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block, given in zip(BLOCKS, surroundings(), strict=True):
            names.update(given)
            exec(block, names)
    assert callable(names["train_step"])
    assert names["drawn"].lam.shape == (DEVICES,)
    assert jnp.isfinite(names["metrics"]["loss"])
    assert names["logits"].shape == (DEVICES, 10)
