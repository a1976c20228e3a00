"""Mixers that depend on the training step."""

from collections.abc import Callable
from typing import Any

from jax import Array
from jax.typing import ArrayLike

from mixup_jax._combinators.once import each_once
from mixup_jax._core import checks
from mixup_jax._core.halves import Mixer, Scheduled, combinator
from mixup_jax._core.made import made


@made
def scheduled(mixer_at: Callable[[Array], Mixer]) -> Scheduled:
    """Mark ``mixer_at: step -> mixer``, for mixing that changes during training.

    ``mixup_jax.training`` calls it with ``state.step``; in your own train step, call
    ``f(step)(key, batch)``. The step is traced, so numbers such as ``alpha`` may depend
    on it, but not the choice of a mixer. To stop mixing at a step, use
    ``until(step, mixer)``; JAX rejects ``mixer if step < last else erm``, and
    ``jax.lax.cond`` over or within mixers.

    Args:
      mixer_at: returns the mixer for a step, an int32 scalar.

    Returns:
      A function from the step to the mixer.

    Raises:
      TypeError: If ``mixer_at`` is not callable.

    Example:
      >>> from functools import partial
      >>> import jax, optax, mixup_jax as mx
      >>> alpha = optax.linear_schedule(0.0, 0.4, transition_steps=1000)
      >>> mixer = mx.scheduled(lambda step: partial(mx.mixup, alpha=alpha(step)))
      >>> x = jax.numpy.ones((4, 3))
      >>> _, mix = mixer(0)(jax.random.key(0), (x, None))
      >>> mix.lam
      Array([1., 1., 1., 1.], dtype=float32)
    """
    checks.function(mixer_at, "scheduled: mixer_at", "lambda step: mixup_jax.mixup")
    return Scheduled(mixer_at, lambda: scheduled(each_once(mixer_at)))


def at_step(mixer: Any, step: ArrayLike) -> Mixer:
    """Return the mixer for this step, which is ``mixer`` unless it is scheduled."""
    return mixer(step) if isinstance(combinator(mixer), Scheduled) else mixer
