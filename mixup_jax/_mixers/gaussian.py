"""Gaussian noise: the vicinal distribution that Mixup is compared to."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import checks
from mixup_jax._core.blend import widened
from mixup_jax._core.follow import blended, is_follower
from mixup_jax._core.mesh import laid_like
from mixup_jax._core.mix import Mix, unmixed
from mixup_jax._core.random import normal_rows
from mixup_jax._core.types import Batch, Mixed


def gaussian(key: Array, batch: Batch, *, sigma: ArrayLike) -> tuple[Mixed, Mix]:
    """Add Gaussian noise to the inputs; targets are unchanged.

    ::

        x~[i] = x[i] + sigma * eps[i],  eps[i] ~ Normal(0, I)

    The ``Mix`` is that of ``erm`` and does not contain the noise. Hence this mixer is a
    single function that cannot be separated into draw and apply, and ``choose`` makes
    an extra pass over the batch for it.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)``; inputs are a pytree of floating-point arrays
        with the examples on axis 0, targets may have any dtype.
      sigma: standard deviation in the units of the inputs, a scalar of at least 0; may
        be a traced value.

    Returns:
      The noisy batch, whose leaves keep their dtype, shape and sharding, and the
      ``Mix``.

    Raises:
      TypeError: If ``key`` is not a PRNG key, or an input leaf is not floating-point.
      ValueError: If the batch is not a pair, is empty, or its leaves disagree on the
        batch size. If ``sigma`` is not a scalar, or a concrete value is negative or
        NaN.

    Example:
      >>> import jax, mixup_jax as mx
      >>> x = jax.numpy.zeros((4, 1000))
      >>> (noisy, _), _ = mx.gaussian(jax.random.key(0), (x, None), sigma=0.1)
      >>> bool(abs(noisy.std() - 0.1) < 0.005)
      True

    References:
      Chapelle et al., "Vicinal Risk Minimization", NeurIPS 2000,
      https://papers.nips.cc/paper/1876-vicinal-risk-minimization.
    """
    with jax.named_scope("gaussian"):
        mix = unmixed(batch)
        inputs, targets = batch
        advice = "It is a standard deviation, in the units of the inputs."
        checks.number(sigma, "gaussian: sigma", 0, advice=advice)
        checks.shaped(sigma, "gaussian: sigma", [()], advice)
        advice = "Cast or scale integers first."
        plain = blended(inputs)
        keys = iter(jax.random.split(key, max(len(plain), 1)))

        def noisy(path: Any, part: Any) -> Any:
            if is_follower(part):
                return part  # The mix leaves containers of ``follow`` unchanged.
            where = "inputs" + jax.tree_util.keystr(path)
            checks.floating(part, where, "so that noise can be added", advice)
            return _noisy(next(keys), jnp.asarray(part), sigma)

        inputs = jax.tree.map_with_path(noisy, inputs, is_leaf=is_follower)
        return (inputs, targets), mix


def _noisy(key: Array, x: Array, sigma: ArrayLike) -> Array:
    noise = laid_like(normal_rows(key, x.shape, x), x)
    wide = widened(x)
    scale = jnp.asarray(sigma, jnp.float32)
    return (wide + (scale * noise).astype(wide.dtype)).astype(x.dtype)
