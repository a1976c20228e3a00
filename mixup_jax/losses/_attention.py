"""The weight of the own label by what the model attends to."""

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import arrays, checks
from mixup_jax._core.blend import widened
from mixup_jax._core.mesh import alike
from mixup_jax._core.mix import Mix
from mixup_jax.losses._termwise import or_one


def mean(area: Array, attention: Array) -> Array:
    """Return the mean of both: how ``by_attention`` combines them by default.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.losses.mean(jnp.array([0.5]), jnp.array([0.25]))
      Array([0.375], dtype=float32)
    """
    return (area + attention) / 2


def by_attention(
    mix: Mix,
    attention: ArrayLike,
    sizes: Sequence[int],
    *,
    combine: Callable[[Array, Array], Array] = mean,
) -> Mix:
    """Return the mix whose own label weighs what the model attends to (TransMix).

    ::

        lam[i] = combine(lam[i], sum_q a[i, q] * s[i, q] / sum_q a[i, q])

    where ``a`` is the attention to each patch of the mixed input and ``s`` the own
    share of the patch, by area. No gradient passes through ``lam``. Examples without
    attention keep their ``lam``. Inputs stay as they were mixed.

    Args:
      mix: what the batch was mixed by.
      attention: floating ``[B, P]`` or ``[B, heads, P]``, at least 0: what the model
        attends to, such as from the class token to the P patches in the last block.
        The mean is taken over heads.
      sizes: patches on each spatial axis, ``(14, 14)``; their product is P.
      combine: ``(area, attention) -> lam``, each ``[B]`` in [0, 1]. The default is that
        of the authors' code; their paper takes the attention alone:
        ``lambda area, attention: attention``.

    Raises:
      TypeError: If ``attention`` is not floating.
      ValueError: If ``attention`` is for another batch size or number of patches, or
        ``sizes`` do not fit the inputs.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> grid = mx.regions.grid(jnp.zeros((1, 4, 4, 1)))
      >>> box = mx.regions.Box(jnp.array([[0, 0]]), jnp.array([[2, 3]]), grid)
      >>> mix = mx.Mix.from_pairs(0.625, jnp.array([0]), region=box)
      >>> attention = jnp.array([[0.4, 0.3, 0.2, 0.1]])
      >>> mx.losses.by_attention(mix, attention, (2, 2)).lam
      Array([0.5375], dtype=float32)

    References:
      Chen et al., "TransMix: Attend to Mix for Vision Transformers", CVPR 2022,
      arXiv:2111.09833.
    """
    advice = "Give the weights that the model attends with."
    checks.floating(attention, "attention", "to weigh patches by", advice)
    checks.number(attention, "attention", 0, advice=advice)
    checks.function(combine, "combine", "mixup_jax.losses.mean")
    weights = jnp.asarray(attention)
    advice = "Count the patches along each axis: (14, 14)."
    sizes = checks.counts(sizes, "by_attention: sizes", advice)
    batch, patches = mix.lam.shape[0], math.prod(sizes)
    if weights.ndim not in (2, 3) or (weights.shape[0], weights.shape[-1]) != (
        batch,
        patches,
    ):
        raise ValueError(
            f"attention: expected shape [{batch}, {patches}] or [{batch}, heads, "
            f"{patches}], for patches {sizes}; got {arrays.describe(weights)}. "
            "Drop the class token's own place, and take one block."
        )
    a = widened(weights)
    if a.ndim == 3:
        a = jnp.mean(a, axis=1)
    own = mix.coverage(sizes, like=a).reshape(a.shape).astype(a.dtype)
    total = jnp.sum(a, axis=1)
    attended = jnp.sum(a * own, axis=1) / or_one(total)
    # A mean is no more than the largest, but for rounding.
    attended = jnp.clip(attended, jnp.min(own, axis=1), jnp.max(own, axis=1))
    lam, attended = alike(jnp.asarray(mix.lam, jnp.float32), attended)
    combined = combine(lam, attended.astype(jnp.float32))
    advice = "Return the weight of the own label of each example."
    checks.shaped(combined, "combine", [lam.shape], advice)
    total, combined, lam = alike(total, jnp.asarray(combined), lam)
    return mix.with_label_weight(jnp.where(total > 0, combined, lam))
