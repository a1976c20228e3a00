"""Targets for mixing and of mixing: one-hot, binary, real and fake."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from mixup_jax._core import checks
from mixup_jax._core.follow import Labels, content, held_as
from mixup_jax._core.labels import Ignored, classes_of

_BELOW_ONE = 1 - 1e-6


def one_hot(
    labels: Labels,
    num_classes: int,
    *,
    smoothing: ArrayLike = 0.0,
    dtype: DTypeLike = jnp.float32,
    ignored: Ignored | None = None,
) -> Any:
    """Return soft targets for integer labels, ready to be mixed.

    ``target[k] = (1 - smoothing) * [k == label] + smoothing / num_classes``

    Args:
      labels: integer ``[B, ...]`` in [0, num_classes); of ``follow.maps`` the targets
        are such a container as well.
      num_classes: K.
      smoothing: in [0, 1], may be traced.
      dtype: floating dtype of the targets.
      ignored: tells from the labels which to ignore, such as ``negative``; None
        ignores nothing.

    Returns:
      ``[B, ..., K]``. The row of an ignored label is 0, without smoothing: a loss that
      is linear in the target drops the term. A traced label outside of [0, K) gives a
      row of NaN.

    Raises:
      TypeError: If ``labels`` or ``num_classes`` are not integers, or ``dtype`` is not
        floating.
      ValueError: If ``smoothing``, or a concrete label that is not ignored, is out of
        range.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.losses.one_hot(jnp.array([0, 2]), 4, smoothing=0.5)
      Array([[0.625, 0.125, 0.125, 0.125],
             [0.125, 0.125, 0.625, 0.125]], dtype=float32)
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"dtype: expected a floating dtype, which can hold shares; got "
            f"{jnp.dtype(dtype)}. Cast what is not to be mixed afterwards."
        )
    count = checks.count(num_classes, "num_classes", "Count the classes.")
    soft = "Floating targets are soft already: mix them."
    classes = classes_of(content(labels, "labels"), count, "labels", soft, ignored)
    checks.number(smoothing, "smoothing", 0, 1, "0 is none.")
    smoothing = jnp.asarray(smoothing, dtype)
    hot = jax.nn.one_hot(classes.ids, count, dtype=dtype)
    return held_as(labels, classes.worth((1 - smoothing) * hot + smoothing / count))


def negative(labels: Array) -> Array:
    """Return which labels are below 0: those that ``termwise_mean`` ignores.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.losses.one_hot(jnp.array([1, -1]), 2, ignored=mx.losses.negative)
      Array([[0., 1.],
             [0., 0.]], dtype=float32)
    """
    return labels < 0


def binary_targets(
    targets: ArrayLike, *, threshold: ArrayLike = 0.0, smoothing: ArrayLike = 0.0
) -> Array:
    """Return 1 for each class with more than ``threshold`` of the mixed label, else 0.

    For binary cross-entropy on mixed labels. ``smoothing`` is the amount that the
    targets carry, which makes no class positive: ``target > s / K + (1 - s) threshold``
    by more than rounding.

    Args:
      targets: floating ``[B, K]``, mixed.
      threshold: share of the label, in [0, 1).
      smoothing: s, in [0, 1), as given to ``one_hot``.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> targets = jnp.array([[0.825, 0.125, 0.025, 0.025]])
      >>> mx.losses.binary_targets(targets, smoothing=0.1)
      Array([[1., 1., 0., 0.]], dtype=float32)
    """
    targets = jnp.asarray(targets)
    checks.blendable(targets, "targets", "Mix one-hot targets.")
    checks.number(threshold, "threshold", 0, _BELOW_ONE, "At 1 no class is left.")
    checks.number(smoothing, "smoothing", 0, _BELOW_ONE, "At 1 no label is left.")
    s, t = jnp.asarray(smoothing, jnp.float32), jnp.asarray(threshold, jnp.float32)
    # What is compared was rounded twice: as a target, and to float32.
    rounding = max(float(jnp.finfo(d).eps) for d in (targets.dtype, jnp.float32))
    least = s / targets.shape[-1] + (1 - s) * t + rounding
    return (targets.astype(jnp.float32) > least).astype(targets.dtype)


def real_and_fake(real: Any, fake: Any) -> tuple[Any, Array]:
    """Return the discriminator's batch: what is real, then what is made; targets 1, 0.

    The discriminator of a GAN is then trained on ``mixer(key, real_and_fake(x, g(z)))``
    with a binary cross-entropy that takes soft targets. The authors' code mixes the
    pool with itself, real with real too: ``pairing=pairings.permutation,
    ratio=ratios.uniform(low=0.8)``; their generator's loss is of unmixed examples. The
    paper's formula mixes each real example with a made one, in the loss of both
    networks: ``pairing=partial(pairings.roll, shift=B)``, ``alpha=0.2``.

    Args:
      real: pytree of floating arrays ``[B, ...]``.
      fake: the same, made by the generator.

    Returns:
      ``(inputs, targets)``: ``[2 B, ...]`` and float32 ``[2 B]``.

    Raises:
      ValueError: the two differ in structure or shapes.

    Example:
      >>> import jax, optax, mixup_jax as mx
      >>> real, fake = jax.numpy.ones((4, 2)), jax.numpy.zeros((4, 2))
      >>> batch = mx.losses.real_and_fake(real, fake)
      >>> (x, y), _ = mx.mixup(
      ...     jax.random.key(0),
      ...     batch,
      ...     ratio=mx.ratios.uniform(low=0.8),
      ...     pairing=mx.pairings.permutation,
      ... )
      >>> loss = optax.sigmoid_binary_cross_entropy(x.sum(axis=1), y).mean()

    Source: Zhang et al., "mixup", section 3.7, arXiv:1710.09412, and its authors' code.
    """
    checks.no_list(real, "real")
    checks.no_list(fake, "fake")
    shapes = [jax.tree.map(jnp.shape, half) for half in (real, fake)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"real_and_fake: expected as many made examples as real ones, in the same "
            f"shapes; got {shapes[0]} and {shapes[1]}. Draw one latent per example."
        )
    size = checks.rows(real, "real")
    inputs = jax.tree.map(lambda *halves: jnp.concatenate(halves), real, fake)
    return inputs, (jnp.arange(2 * size) < size).astype(jnp.float32)
