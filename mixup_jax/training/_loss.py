"""The losses that a train step accepts."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array

from mixup_jax._core import arrays, checks
from mixup_jax._core.made import made, made_by
from mixup_jax._core.mix import Mix
from mixup_jax.training._nodes import of_nnx

Metrics: TypeAlias = Mapping[str, Any]

Loss: TypeAlias = Callable[[Any, Any, Mix], tuple[Any, Metrics]]
"""``(params, batch, mix) -> (value, metrics)``"""

StatefulLoss: TypeAlias = Callable[
    [Any, Any, Mix, Any, Array], tuple[Any, tuple[Metrics, Mapping[str, Any]]]
]
"""``(params, batch, mix, state, key) -> (value, (metrics, changes))``"""

_STATEFUL_EXAMPLE = "lambda params, batch, mix, state, key: (value, ({}, {}))"


@dataclasses.dataclass(frozen=True)
class Stateful:
    """A loss that reads the whole state and a key, and may update the state."""

    loss: StatefulLoss

    def __call__(
        self, *args: Any, **kwargs: Any
    ) -> tuple[Any, tuple[Metrics, Mapping[str, Any]]]:
        return self.loss(*args, **kwargs)


@made
def stateful(loss: StatefulLoss) -> Stateful:
    """Mark a loss that needs the train state and a key, for BatchNorm or Dropout.

    Args:
      loss: ``(params, batch, mix, state, key) -> (value, (metrics, changes))``, where
        ``state`` is the train state, ``key`` is unique to the step, micro-batch and
        (under ``pmapped``) device, and ``changes`` maps fields of the state to their
        new values, such as ``{"batch_stats": ...}``. Under ``pmapped``, floating-point
        and complex changes are averaged over devices; others (counts, keys) must be
        equal on all devices. Merge an NNX model that updates itself with
        ``nnx.merge(..., copy=True)``.

    Returns:
      The marked loss, to be passed to ``train_step``.

    Raises:
      TypeError: If ``loss`` is not callable, does not take five arguments, or is
        already marked.

    Example:
      >>> import jax, jax.numpy as jnp, optax, mixup_jax as mx
      >>> def loss(params, batch, mix, state, key):
      ...     x, _ = batch
      ...     mean = 0.9 * state.model_state + 0.1 * x.mean(axis=0)
      ...     return jnp.mean((x - mean) @ params), ({}, {"model_state": mean})
      >>> step = mx.training.train_step(mx.training.stateful(loss), mx.mixup)
      >>> state = mx.training.TrainState.create(
      ...     jnp.ones(3), optax.sgd(0.1), model_state=jnp.zeros(3)
      ... )
      >>> batch = (jnp.ones((4, 3)), None)
      >>> state, _ = jax.jit(step)(state, jax.random.key(0), batch)
      >>> state.model_state
      Array([0.1, 0.1, 0.1], dtype=float32)
    """
    checks.function(loss, "stateful: loss", _STATEFUL_EXAMPLE)
    if made_by(loss, stateful):
        raise TypeError(
            f"stateful: loss: expected an unmarked function; got {loss!r}. Mark it "
            "only once."
        )
    if not takes(loss, 5):
        raise TypeError(
            "stateful: expected a loss of five arguments, (params, batch, mix, state, "
            f"key); got {called_as(loss)}. Accept all five, or leave out stateful if "
            "the loss needs neither the state nor a key."
        )
    return Stateful(loss)


def plain_value(loss: Loss) -> Callable[..., Any]:
    """Adapt a loss of three arguments to the signature of a stateful one."""

    def run(params, batch, mix, state, key):
        del state, key
        found = loss(params, batch, mix)
        advice = "Return (value, {}) if there are none"
        value, metrics = _pair(found, "(value, metrics)", advice)
        return _value(value), (_metrics(metrics), {})

    return run


def stateful_value(loss: StatefulLoss) -> Callable[..., Any]:
    """Return a stateful loss whose results are checked."""

    def run(params, batch, mix, state, key):
        wanted = "(value, (metrics, changes))"
        advice = "Return (value, ({}, {})) if there are none"
        value, rest = _pair(loss(params, batch, mix, state, key), wanted, advice)
        metrics, changes = _pair(rest, f"{wanted}, with a pair inside", advice)
        if not isinstance(changes, Mapping):
            raise ValueError(
                f"changes: expected a dict; got {arrays.describe(changes)}. Name the "
                'fields of the state that change: {"model_state": ...}.'
            )
        return _value(value), (_metrics(metrics), changes)

    return run


def _pair(found: Any, wanted: str, advice: str) -> tuple[Any, Any]:
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise ValueError(
            f"loss: expected {wanted}; got {arrays.describe(found)}. {advice}."
        )
    first, second = found
    return first, second


def _value(value: Any) -> Any:
    if of_nnx(value, "Variable"):
        value = value[...]
    if isinstance(value, Array | np.ndarray | np.generic | int | float | complex):
        found = arrays.array(value)
    else:
        found = None
    if found is None or found.shape != ():
        raise ValueError(
            "loss: expected one value, the mean over the examples; got "
            f"{arrays.describe(value)}. Apply jnp.mean to it."
        )
    if not jnp.issubdtype(found.dtype, jnp.floating):
        raise TypeError(
            "loss: expected a floating-point value, which has a gradient; got "
            f"{arrays.describe(value)}. Return the value to minimize."
        )
    return value


def _metrics(metrics: Any) -> Metrics:
    if not isinstance(metrics, Mapping):
        raise ValueError(
            f"metrics: expected a dict; got {arrays.describe(metrics)}. Give each one "
            "a name. Mark a loss that returns (value, (metrics, changes)) with "
            "mixup_jax.training.stateful."
        )
    metrics = dict(metrics)  # other mappings need not be pytrees
    if "loss" in metrics:
        raise ValueError(
            'metrics: expected names other than "loss", reserved for the value; got '
            f"{sorted(map(str, metrics))}. Leave it out, or rename it."
        )
    return metrics


def takes(function: Callable[..., Any], count: int, **keywords: Any) -> bool:
    """Return whether a signature of ``function`` accepts these arguments, if known."""
    for signature in _signatures(function):
        try:
            signature.bind(*[None] * count, **keywords)
        except TypeError:
            continue
        return True
    return not _signatures(function)


def _signatures(function: Callable[..., Any]) -> list[inspect.Signature]:
    """Return the signatures of a function and of the one that it wraps, if known."""
    found = []
    for follow in (False, True):
        try:
            found.append(inspect.signature(function, follow_wrapped=follow))
        except (TypeError, ValueError):  # many built-in functions have none
            continue
    return found


def called_as(function: Callable[..., Any]) -> str:
    """Return the name and signature of a function, for error messages."""
    name = getattr(function, "__name__", type(function).__name__)
    return f"{name}{_signatures(function)[-1]}"


def checked_loss(loss: Any) -> Loss:
    """Return ``loss`` if it is a function of three arguments.

    Raises:
      TypeError: If ``loss`` is not callable or does not take three arguments.
    """
    checks.function(loss, "loss", "lambda params, batch, mix: (value, {})")
    if takes(loss, 3):
        return loss
    advice = "Accept the mix as the third argument, even if it is unused"
    if takes(loss, 5):
        advice = "Mark a loss that takes the state and a key: stateful(loss)"
    raise TypeError(
        "loss: expected a function of three arguments, (params, batch, mix); got "
        f"{called_as(loss)}. {advice}."
    )
