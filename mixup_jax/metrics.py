"""What to watch while training on mixed targets."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._mix import Mix
from mixup_jax.losses import two_term


def accuracy(logits: Array, targets: ArrayLike) -> Array:
    """Return what share of its target each prediction hits.

    ``targets[argmax(logits)]`` for soft targets, 1 or 0 for integer labels. Against
    mixed targets 1 is out of reach: who always names the heavier label has
    ``max(lam, 1 - lam)``.

    Args:
      logits: ``[B, K]``.
      targets: floating ``[B, K]``, mixed or not, or integer labels ``[B]``.

    Returns:
      float32 ``[B]``.

    Raises:
      ValueError: the shapes do not fit.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mx.metrics.accuracy(jnp.eye(3)[:2], jnp.array([[0.7, 0.3, 0], [1.0, 0, 0]]))
      Array([0.7, 0. ], dtype=float32)
    """
    targets = jnp.asarray(targets)
    dense = jnp.issubdtype(targets.dtype, jnp.floating)
    expected = logits.shape if dense else logits.shape[:-1]
    if targets.shape != expected:
        raise ValueError(
            f"accuracy: expected {targets.dtype} targets of shape {expected} for "
            f"logits {logits.shape}; got {targets.shape}. Give floating targets one "
            "value a class, and integer labels none."
        )
    predicted = jnp.argmax(logits, axis=-1)
    if not dense:
        return (predicted == targets).astype(jnp.float32)
    hit = jax.nn.one_hot(predicted, logits.shape[-1], dtype=bool)
    return jnp.sum(jnp.where(hit, targets, 0), axis=-1).astype(jnp.float32)


def two_term_accuracy(logits: Array, labels: ArrayLike, mix: Mix) -> Array:
    """Return ``accuracy`` on the mixed targets of integer labels, without making them.

    ``lam[i]`` if the prediction is the own label, plus ``1 - lam[i]`` if it is the
    partner's.

    Args:
      logits: ``[B, K]``.
      labels: integer ``[B]``.
      mix: what the batch was mixed by.

    Returns:
      float32 ``[B]``.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mix = mx.Mix(lam=jnp.array([0.75, 1.0]), partner=jnp.array([1, 0]))
      >>> mx.metrics.two_term_accuracy(jnp.eye(2)[::-1], jnp.array([0, 1]), mix)
      Array([0.25, 0.  ], dtype=float32)
    """
    return two_term(accuracy)(logits, labels, mix)
