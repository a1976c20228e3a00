"""Label weights from the attention of the model."""

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
    """Return the mean of both weights, the default ``combine`` of ``by_attention``.

    Args:
      area: float32 ``[B]``, each example's own share by area.
      attention: float32 ``[B]``, each example's own share by attention.

    Returns:
      The mean of the two, float32 ``[B]``.

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
    """Return the mix with labels weighted by the model's attention (TransMix).

    ::

        lam[i] = combine(lam[i], sum_q a[i, q] * s[i, q] / sum_q a[i, q])

    where ``a`` is the attention to each patch of the mixed input and ``s`` is the share
    of the patch, by area, that is the example's own content. No gradient passes through
    ``lam``. Examples whose attention is 0 everywhere keep their ``lam``. Inputs are not
    affected.

    Args:
      mix: the mix of the batch.
      attention: floating-point ``[B, P]`` or ``[B, heads, P]``, nonnegative: attention
        weights, such as those from the class token to the P patches in the last block.
        Heads are averaged.
      sizes: number of patches along each spatial axis, such as ``(14, 14)``; their
        product is P.
      combine: function ``(area, attention) -> lam``, each float32 ``[B]`` in [0, 1].
        The default is that of the authors' code. Their paper uses the attention only:
        ``lambda area, attention: attention``.

    Returns:
      The mix with the new ``lam``.

    Raises:
      TypeError: If ``attention`` is not floating-point, or ``combine`` is not callable.
      ValueError: If ``attention`` is negative, or is for another batch size or number
        of patches. If ``sizes`` do not fit the inputs.

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
      https://arxiv.org/abs/2111.09833.
    """
    advice = "Pass the attention weights of the model."
    checks.floating(attention, "attention", "to weight patches by", advice)
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
            "Drop the entry of the class token, and use a single block."
        )
    a = widened(weights)
    if a.ndim == 3:
        a = jnp.mean(a, axis=1)
    own = mix.coverage(sizes, like=a).reshape(a.shape).astype(a.dtype)
    total = jnp.sum(a, axis=1)
    attended = jnp.sum(a * own, axis=1) / or_one(total)
    # Rounding could move the mean out of this range.
    attended = jnp.clip(attended, jnp.min(own, axis=1), jnp.max(own, axis=1))
    lam, attended = alike(jnp.asarray(mix.lam, jnp.float32), attended)
    combined = combine(lam, attended.astype(jnp.float32))
    advice = "Return the weight of each example's own label."
    checks.shaped(combined, "combine", [lam.shape], advice)
    total, combined, lam = alike(total, jnp.asarray(combined), lam)
    return mix.with_label_weight(jnp.where(total > 0, combined, lam))
