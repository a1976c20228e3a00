"""Adversarial examples, to evaluate the robustness of a model.

An attack moves each coordinate of the inputs by at most ``epsilon`` to increase a loss.
``epsilon`` is in the units of the inputs: 4 of 255 gray levels are ``4 / 255`` for
images in [0, 1]. A white-box attack uses the loss of the model under test, a black-box
attack that of a separately trained model.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import checks as _checks
from mixup_jax._core.mesh import around, per_example

Bounds = tuple[float, float] | None


def fgsm(
    loss: Callable[[Any], Array], x: Any, *, epsilon: ArrayLike, bounds: Bounds = None
) -> Any:
    """Take one step of size ``epsilon`` along the sign of the gradient.

    ``x' = clip(x + epsilon * sign(d loss / d x), bounds)``

    Args:
      loss: function of the inputs alone that returns the loss of each example, ``[B]``,
        or their sum. Examples must not depend on each other: run batch normalization
        with its running averages.
      x: pytree of floating-point arrays ``[B, ...]``.
      epsilon: size of the step in the units of the inputs, nonnegative; a scalar or
        ``[B]``; may be a traced value.
      bounds: smallest and largest valid input. ``None`` does not clip.

    Returns:
      The adversarial examples, with the structure of ``x``.

    Raises:
      TypeError: If an input leaf is not floating-point.
      ValueError: If ``epsilon`` is neither a scalar nor ``[B]``, or a concrete value is
        negative. If ``bounds`` are not increasing.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> x = jnp.array([[0.95, 0.5]])
      >>> loss = lambda x: (x @ jnp.array([1.0, -1.0])) ** 2
      >>> mx.attacks.fgsm(loss, x, epsilon=0.1, bounds=(0, 1))
      Array([[1. , 0.4]], dtype=float32)

    References:
      Goodfellow et al., "Explaining and Harnessing Adversarial Examples", ICLR 2015,
      https://arxiv.org/abs/1412.6572.
    """
    x = _checked(x, bounds, epsilon=epsilon)
    return _step(loss, x, epsilon, bounds)


def iterated_fgsm(
    loss: Callable[[Any], Array],
    x: Any,
    *,
    epsilon: ArrayLike,
    step: ArrayLike,
    steps: int = 10,
    bounds: Bounds = None,
) -> Any:
    """Take ``steps`` FGSM steps, each clipped to within ``epsilon`` of ``x``.

    ::

        x_0     = x
        x_{t+1} = clip(x_t + step * sign(d loss / d x_t), x -+ epsilon, bounds)

    Args:
      loss: as for ``fgsm``.
      x: pytree of floating-point arrays ``[B, ...]``.
      epsilon: largest distance from ``x`` in each coordinate, otherwise as for
        ``fgsm``.
      step: size of one step, as ``epsilon`` for ``fgsm``.
      steps: number of steps, at least 1.
      bounds: smallest and largest valid input. ``None`` does not clip.

    Returns:
      The adversarial examples, with the structure of ``x``.

    Raises:
      TypeError: If an input leaf is not floating-point.
      ValueError: As for ``fgsm``, also for ``step``. If ``steps`` is less than 1.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> x, loss = jnp.array([[0.5, 0.5]]), lambda x: x @ jnp.array([1.0, -1.0])
      >>> mx.attacks.iterated_fgsm(loss, x, epsilon=0.25, step=0.125, steps=3)
      Array([[0.75, 0.25]], dtype=float32)

    References:
      Kurakin et al., "Adversarial Examples in the Physical World", ICLR Workshops 2017,
      https://arxiv.org/abs/1607.02533.
    """
    x = _checked(x, bounds, epsilon=epsilon, step=step)
    if steps < 1:
        raise ValueError(
            f"iterated_fgsm: expected at least 1 step; got {steps}. For a single step "
            "use mixup_jax.attacks.fgsm."
        )

    def once(adversary: Any, _: None) -> tuple[Any, None]:
        further = _step(loss, adversary, step, bounds)
        return jax.tree.map(within, further, x), None

    def within(adversary: Array, start: Array) -> Array:
        most = _distance(epsilon, adversary)
        return jnp.clip(adversary, start - most, start + most)

    return jax.lax.scan(once, x, length=steps)[0]


def _step(loss: Callable[[Any], Array], x: Any, size: ArrayLike, bounds: Bounds) -> Any:
    with around(jax.tree.leaves(x)[0]):
        gradient = jax.grad(lambda x: jnp.sum(loss(x)))(x)

    def along_gradient(x: Array, g: Array) -> Array:
        stepped = x + _distance(size, x) * jnp.sign(g)
        return jnp.clip(stepped, *bounds) if bounds else stepped

    return jax.tree.map(along_gradient, x, gradient)


def _distance(size: ArrayLike, x: Array) -> Array:
    return per_example(jnp.asarray(size, x.dtype), x)


def _checked(x: Any, bounds: Bounds, **sizes: ArrayLike) -> Any:
    """Return ``x`` as JAX arrays after checking all arguments."""
    _checks.no_list(x, "x")
    advice = "First scale images to the range of the model."
    _checks.floating(x, "x", "to be differentiated by", advice)
    shapes = [(), (_checks.rows(x, "x"),)]
    for name, size in sizes.items():
        advice = "It is a distance in the units of the inputs."
        _checks.number(size, name, 0, advice=advice)
        one_or_each = "Pass a scalar, or one value per example."
        _checks.shaped(size, name, shapes, one_or_each)
    if bounds is not None and not bounds[0] < bounds[1]:
        raise ValueError(
            f"bounds: expected the smallest and the largest value; got {bounds}. "
            "For images in [0, 1] pass bounds=(0, 1)."
        )
    return jax.tree.map(jnp.asarray, x)
