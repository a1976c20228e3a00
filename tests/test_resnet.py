"""The parts of the image claims: convolutions as products, crops, a ResNet."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx
from benchmarks.claims._networks import resnet, small
from benchmarks.claims._networks.recipes import Recipe, StepSgd
from benchmarks.models import PreActResNet


@pytest.mark.slow
@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("strides", [1, 2])
def test_a_product_is_the_convolution(side, kernel, strides):
    x = jax.random.normal(jax.random.key(0), (2, side, side, 3))
    product = small.ProductConv(4, (kernel, kernel), strides)
    params = product.init(jax.random.key(1), x)
    got: Any = product.apply(params, x)
    expected: Any = nn.Conv(4, (kernel, kernel), strides).apply(params, x)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_crops_are_windows_of_the_image_or_its_mirror():
    image = np.arange(1.0, 65.0, dtype=np.float32).reshape(8, 8, 1)
    got = resnet.crop_and_flip(jax.random.key(0), jnp.tile(image, (500, 1, 1, 1)))
    around = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    windows = [around[i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    allowed = {each.tobytes() for w in windows for each in (w, w[:, ::-1])}
    assert {np.asarray(each).tobytes() for each in got} == allowed


def test_the_network_is_the_published_size():
    model = PreActResNet(10, jnp.float32)
    shape = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), shape)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert round(count / 1e6, 1) == 11.2


@pytest.mark.slow
def test_its_statistics_follow_the_training_and_predictions_do_not_mix_examples():
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), np.uint8)
    model = PreActResNet(10, jnp.float32, (1,), width=4, stem=4)
    apply = resnet.standardised(model, jnp.asarray(images))
    with jax.numpy_dtype_promotion("standard"):  # in Optax's schedule
        variables, seen = resnet.learn(
            jax.random.key(0),
            model,
            apply,
            (images, np.arange(16) % 10),
            jnp.arange(16),
            mixer=mx.mixup,
            recipe=Recipe(StepSgd(0.1), epochs=2, batch=8),
            augmented=True,
            after_epoch=lambda predict: resnet.errors(predict, images, jnp.arange(16)),
        )
    assert seen.shape == (2,)
    means = variables["batch_stats"]["BatchNorm_0"]["mean"]
    assert np.all(np.asarray(means) != 0)
    apply = functools.partial(apply, variables)
    x = resnet.scaled(jnp.asarray(images))
    np.testing.assert_allclose(apply(x)[:3], apply(x[:3]), rtol=1e-4, atol=1e-5)


def test_without_mixup_only_the_mixing_differs():
    images = jnp.arange(4 * 8 * 8, dtype=jnp.uint8).reshape(4, 8, 8, 1)
    batch = images, mx.losses.one_hot(jnp.arange(4), 4)

    def mixed(alpha):
        mixer = functools.partial(mx.mixup, alpha=alpha)
        return resnet.on_images(mixer, augmented=True)(jax.random.key(0), batch)

    (plain, labels), _ = mixed(0.0)
    np.testing.assert_array_equal(labels, batch[1])
    (blended, _), mix = mixed(1.0)
    np.testing.assert_allclose(mix.inputs(plain), blended, rtol=1e-6)
