"""Adversarial examples: what a model does where its loss rises fastest.

An attack moves inputs within ``epsilon`` of where they were, in every coordinate, so as
to raise a loss. The units are those of the inputs: 4 of 255 grey levels are ``4 / 255``
for images in [0, 1]. White box: the loss of the model under test. Black box: that of
another model, trained apart.
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
      loss: of the inputs alone, per example ``[B]`` or their sum. Examples must not
        depend on each other: run batch normalisation with its averages.
      x: pytree of floating arrays ``[B, ...]``.
      epsilon: at least 0, in the units of the inputs, may be traced; a scalar, or
        ``[B]`` one per example.
      bounds: the least and the largest value that an input can have.

    Raises:
      TypeError: an input leaf is not floating.
      ValueError: ``epsilon`` is negative or of another shape, or ``bounds`` are the
        wrong way round.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> x = jnp.array([[0.95, 0.5]])
      >>> loss = lambda x: (x @ jnp.array([1.0, -1.0])) ** 2
      >>> mx.attacks.fgsm(loss, x, epsilon=0.1, bounds=(0, 1))
      Array([[1. , 0.4]], dtype=float32)

    Source: Goodfellow et al., "Explaining and Harnessing Adversarial Examples",
    ICLR 2015, arXiv:1412.6572.
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
    """Take ``steps`` steps of size ``step``, each clipped to within ``epsilon`` of x.

    ::

        x_0     = x
        x_{t+1} = clip(x_t + step * sign(d loss / d x_t), x -+ epsilon, bounds)

    Args:
      loss: as for ``fgsm``.
      x: pytree of floating arrays ``[B, ...]``.
      epsilon: how far an input may move, as for ``fgsm``.
      step: how far at once, as ``epsilon``.
      steps: how many, at least 1.
      bounds: the least and the largest value that an input can have.

    Raises:
      TypeError: an input leaf is not floating.
      ValueError: as ``fgsm``, of ``step`` too; or there are no steps.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> x, loss = jnp.array([[0.5, 0.5]]), lambda x: x @ jnp.array([1.0, -1.0])
      >>> mx.attacks.iterated_fgsm(loss, x, epsilon=0.25, step=0.125, steps=3)
      Array([[0.75, 0.25]], dtype=float32)

    Source: Kurakin et al., "Adversarial examples in the physical world", 2016,
    arXiv:1607.02533.
    """
    x = _checked(x, bounds, epsilon=epsilon, step=step)
    if steps < 1:
        raise ValueError(f"iterated_fgsm: expected at least 1 step; got {steps}.")

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
    """Return ``x`` as JAX arrays, once all is as it must be."""
    _checks.no_list(x, "x")
    advice = "Scale images to floats within the model's range first."
    _checks.floating(x, "x", "to be differentiated by", advice)
    shapes = [(), (_checks.rows(x, "x"),)]
    for name, size in sizes.items():
        advice = "It is a distance in the units of the inputs."
        _checks.number(size, name, 0, advice=advice)
        one_or_each = "Give one for all examples, or one for each."
        _checks.shaped(size, name, shapes, one_or_each)
    if bounds is not None and not bounds[0] < bounds[1]:
        raise ValueError(
            f"bounds: expected the least value, then the largest; got {bounds}. "
            "Images scaled to [0, 1]: bounds=(0, 1)."
        )
    return jax.tree.map(jnp.asarray, x)
