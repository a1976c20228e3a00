"""Targets before and after mixing: one-hot, binary, real and fake."""

from typing import Any, TypeVar, overload

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from mixup_jax._core import checks
from mixup_jax._core.follow import Follower, Labels, content, held_as
from mixup_jax._core.labels import Ignored, classes_of

F = TypeVar("F", bound=Follower)
_BELOW_ONE = 1 - 1e-6


@overload
def one_hot(
    labels: ArrayLike,
    num_classes: int,
    *,
    smoothing: ArrayLike = 0.0,
    dtype: DTypeLike = jnp.float32,
    ignored: Ignored | None = None,
) -> Array: ...


@overload
def one_hot(
    labels: F,
    num_classes: int,
    *,
    smoothing: ArrayLike = 0.0,
    dtype: DTypeLike = jnp.float32,
    ignored: Ignored | None = None,
) -> F: ...


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
      labels: integer ``[B, ...]`` in [0, num_classes), or ``follow.maps`` of such an
        array; the targets are then wrapped in the same way.
      num_classes: number of classes, K.
      smoothing: amount of label smoothing, in [0, 1]; may be a traced value.
      dtype: floating-point dtype of the targets.
      ignored: function from labels to a mask of those to ignore, such as ``negative``;
        ``None`` ignores none.

    Returns:
      ``[B, ..., K]``. The row of an ignored label is 0, without smoothing, so that a
      loss that is linear in the target drops its term. A traced label outside [0, K)
      gives a row of NaN.

    Raises:
      TypeError: If ``labels`` or ``num_classes`` are not integers, or ``dtype`` is not
        floating-point.
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
            f"dtype: expected a floating-point dtype, which can hold shares; got "
            f"{jnp.dtype(dtype)}. Cast targets that are not mixed afterwards."
        )
    count = checks.count(num_classes, "num_classes", "Count the classes.")
    soft = "Floating-point targets are already soft: mix them."
    classes = classes_of(content(labels, "labels"), count, "labels", soft, ignored)
    checks.number(smoothing, "smoothing", 0, 1, "0 disables it.")
    smoothing = jnp.asarray(smoothing, dtype)
    hot = jax.nn.one_hot(classes.ids, count, dtype=dtype)
    return held_as(labels, classes.worth((1 - smoothing) * hot + smoothing / count))


def negative(labels: Array) -> Array:
    """Return a mask of negative labels, which ``termwise_mean`` ignores by default.

    Args:
      labels: integer ``[B, ...]``.

    Returns:
      bool ``[B, ...]``.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.losses.one_hot(jnp.array([1, -1]), 2, ignored=mx.losses.negative)
      Array([[0., 1.],
             [0., 0.]], dtype=float32)
    """
    return labels < 0


@overload
def binary_targets(
    targets: ArrayLike, *, threshold: ArrayLike = 0.0, smoothing: ArrayLike = 0.0
) -> Array: ...


@overload
def binary_targets(
    targets: F, *, threshold: ArrayLike = 0.0, smoothing: ArrayLike = 0.0
) -> F: ...


def binary_targets(
    targets: Labels, *, threshold: ArrayLike = 0.0, smoothing: ArrayLike = 0.0
) -> Any:
    """Return 1 for classes with more than ``threshold`` of the label, otherwise 0.

    ``target > s / K + (1 - s) * threshold``

    by more than rounding. These are targets for binary cross-entropy. Label smoothing
    alone does not make a class positive.

    Args:
      targets: mixed targets, floating-point ``[B, ..., K]``, or ``follow.maps`` of such
        an array; the result is then wrapped in the same way.
      threshold: share of the label, in [0, 1).
      smoothing: the smoothing ``s`` that was passed to ``one_hot``, in [0, 1).

    Returns:
      ``[B, ..., K]``, with the dtype of ``targets``.

    Raises:
      TypeError: If ``targets`` are integers or bools.
      ValueError: If ``threshold`` or ``smoothing`` is out of range.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> targets = jnp.array([[0.825, 0.125, 0.025, 0.025]])
      >>> mx.losses.binary_targets(targets, smoothing=0.1)
      Array([[1., 1., 0., 0.]], dtype=float32)
    """
    given, targets = targets, jnp.asarray(content(targets, "targets"))
    checks.blendable(targets, "targets", "Mix one-hot targets.")
    checks.number(threshold, "threshold", 0, _BELOW_ONE, "At 1 no class is positive.")
    checks.number(smoothing, "smoothing", 0, _BELOW_ONE, "At 1 no label remains.")
    s, t = jnp.asarray(smoothing, jnp.float32), jnp.asarray(threshold, jnp.float32)
    # The targets were rounded twice: to their dtype, and to float32.
    rounding = max(float(jnp.finfo(d).eps) for d in (targets.dtype, jnp.float32))
    least = s / targets.shape[-1] + (1 - s) * t + rounding
    return held_as(given, (targets.astype(jnp.float32) > least).astype(targets.dtype))


def real_and_fake(real: Any, fake: Any) -> tuple[Any, Array]:
    """Return a discriminator batch: real examples with target 1, then fake with 0.

    The discriminator of a GAN is trained on ``mixer(key, real_and_fake(x, g(z)))`` with
    a binary cross-entropy that accepts soft targets. The authors' code mixes the
    concatenated batch with itself, so that real examples also meet real ones:
    ``pairing=pairings.permutation, ratio=ratios.uniform(low=0.8)``; its generator loss
    uses unmixed examples. The formula in the paper mixes each real example with a fake
    one, in the losses of both networks: ``pairing=partial(pairings.roll, shift=B)``,
    ``alpha=0.2``.

    Args:
      real: pytree of floating-point arrays ``[B, ...]``.
      fake: generated examples, with the structure and shapes of ``real``.

    Returns:
      ``(inputs, targets)``: ``[2 * B, ...]`` and float32 ``[2 * B]``.

    Raises:
      TypeError: If ``real`` or ``fake`` is a list of examples rather than an array.
      ValueError: If the two differ in structure or shapes.

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

    References:
      Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, section 3.7,
      https://arxiv.org/abs/1710.09412, and the authors' code.
    """
    checks.no_list(real, "real")
    checks.no_list(fake, "fake")
    shapes = [jax.tree.map(jnp.shape, half) for half in (real, fake)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"real_and_fake: expected fake examples with the structure and shapes of "
            f"the real ones; got {shapes[0]} and {shapes[1]}. Draw one latent per "
            "example."
        )
    size = checks.rows(real, "real")
    inputs = jax.tree.map(lambda *halves: jnp.concatenate(halves), real, fake)
    return inputs, (jnp.arange(2 * size) < size).astype(jnp.float32)
