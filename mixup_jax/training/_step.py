"""The pure train step: mix, differentiate, update."""

import functools
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._combinators.scheduled import at_step
from mixup_jax._core import arrays, checks
from mixup_jax._core.blend import widened
from mixup_jax._core.halves import NO_MIXER, Mixer, Scheduled, run
from mixup_jax._core.made import made, made_by
from mixup_jax._core.mesh import around, shards
from mixup_jax.training import _place, _placement
from mixup_jax.training._loss import (
    Loss,
    Metrics,
    Stateful,
    checked_loss,
    plain_value,
    stateful,
    stateful_value,
)
from mixup_jax.training._state import (
    STATE,
    State,
    _narrowed,
    changed,
    is_inexact,
    trainable,
)

S = TypeVar("S", bound=State)


class Step(Protocol):
    """A pure train step, as returned by ``train_step``."""

    def __call__(
        self,
        state: S,
        key: Array,
        batch: Any,
        *,
        place: _place.Place = _place.TOGETHER,
    ) -> tuple[S, Metrics]: ...


@made
def train_step(
    loss: Loss | Stateful, mixer: Mixer | Scheduled, *, micro_batches: int = 1
) -> Step:
    """Return the pure step ``(state, key, batch) -> (state, metrics)``.

    The step mixes the batch, differentiates ``loss`` and applies the gradients.

    Args:
      loss: ``(params, batch, mix) -> (value, metrics)``, or a loss marked with
        ``stateful``. ``value`` is a mean over the examples, and ``metrics`` is a dict
        of means, none of them named ``"loss"``.
      mixer: any mixer. A mixer that depends on the step (``scheduled``, ``until``) is
        called with ``state.step``.
      micro_batches: number of parts to split the batch into. Each part is mixed within
        itself, and gradients and metrics are averaged over the parts. A part takes
        every ``micro_batches``-th example, so examples stay on their devices. Sums over
        parts and devices are accumulated in float32 or wider and rounded once.

    Returns:
      The step. Its ``metrics`` are those of the loss, plus the value as ``"loss"``. The
      keyword ``place`` is for drivers.

    Raises:
      TypeError: If ``mixer`` or ``loss`` is not callable, ``loss`` takes other
        arguments, or ``micro_batches`` is not an integer. If, when called, the state
        lacks an attribute, its ``params`` contain values that are not trained, or the
        value of the loss is not floating-point.
      ValueError: If ``micro_batches`` is less than 1. If, when called, it does not
        divide each device's shard of the batch, or ``loss`` returns a malformed result.

    Example:
      >>> from functools import partial
      >>> import jax, jax.numpy as jnp, optax, mixup_jax as mx
      >>> def loss(params, batch, mix):
      ...     x, y = batch
      ...     return jnp.mean((x @ params - y) ** 2), {}
      >>> state = mx.training.TrainState.create(jnp.zeros(3), optax.sgd(0.1))
      >>> step = mx.training.train_step(loss, partial(mx.mixup, alpha=0.2))
      >>> batch = (jnp.ones((4, 3)), jnp.ones(4))
      >>> state, metrics = jax.jit(step)(state, jax.random.key(0), batch)
      >>> float(metrics["loss"])
      1.0
    """
    if not isinstance(micro_batches, int):
        raise TypeError(
            "micro_batches: expected an integer; got "
            f"{arrays.describe(micro_batches)}. It counts the parts of a batch."
        )
    if micro_batches < 1:
        raise ValueError(
            f"micro_batches: expected at least 1; got {micro_batches}. Pass 1 to keep "
            "the batch whole."
        )
    checks.function(mixer, "mixer", NO_MIXER)
    marked = made_by(loss, stateful)
    value_of = (
        stateful_value(marked.loss) if marked else plain_value(checked_loss(loss))
    )

    def gradients(state, mix_batch, key, batch):
        key_mix, key_loss = key
        batch, mix = run(mix_batch, key_mix, batch)
        value_and_grad = jax.value_and_grad(value_of, has_aux=True)
        with around(next(iter(jax.tree.leaves(batch)), None)):
            (value, (metrics, changes)), grads = value_and_grad(
                state.params, batch, mix, state, key_loss
            )
        return grads, {"loss": value, **metrics}, changes

    def step(
        state: S,
        key: Array,
        batch: Any,
        *,
        place: _place.Place = _place.TOGETHER,
    ) -> tuple[S, Metrics]:
        checks.prng_key(key)
        missing = [name for name in STATE if not hasattr(state, name)]
        if missing:
            raise TypeError(
                f"state: expected one with {', '.join(STATE)}; got "
                f"{type(state).__name__}, without {', '.join(missing)}. Make one with "
                "mixup_jax.training.TrainState.create(params, tx); for an NNX model, "
                "params are the second result of nnx.split(model, nnx.Param, ...)."
            )
        trainable(state.params)
        mix_batch = place.mixer(at_step(mixer, state.step))
        # Costs one hash per key, and none for a key that is unused.
        key_mix, key_loss = (
            jax.random.fold_in(key, 2 * state.step + purpose) for purpose in (0, 1)
        )
        key_loss = place.key(key_loss)
        if micro_batches == 1:
            grads, metrics, changes = gradients(
                state, mix_batch, (key_mix, key_loss), batch
            )
            each = metrics
        else:
            keys = [jax.random.split(k, micro_batches) for k in (key_mix, key_loss)]
            grads, each, changes = _accumulated(
                functools.partial(gradients, mix_batch=mix_batch),
                state,
                tuple(keys),
                _strided(batch, micro_batches),
            )
            metrics = jax.tree.map(lambda m: jnp.mean(widened(m), axis=0), each)
        grads, metrics = place.average((grads, metrics))
        if changes:
            state = changed(state, _averaged(place, changes))
        grads, metrics = _narrowed(grads, state.params), _narrowed(metrics, each)
        return state.apply_gradients(grads=grads), metrics

    return step


def _averaged(place: _place.Place, changes: Any) -> Any:
    """Return ``changes`` with inexact leaves averaged over devices."""
    means = place.average(jax.tree.map(lambda x: x if is_inexact(x) else None, changes))

    def averaged(x: Any, mean: Any) -> Any:
        return jnp.asarray(mean, jnp.result_type(x)) if is_inexact(x) else x

    return jax.tree.map(averaged, changes, means)


def _accumulated(gradients, state, keys, batches):
    """Run the micro-batches one after another.

    Returns:
      The mean of the gradients in float32 or wider, the metrics of each micro-batch,
      and the last changes.
    """

    def one(carry, key_and_batch):
        state, total = carry
        key, batch = key_and_batch
        grads, metrics, changes = gradients(state, key=key, batch=batch)
        state = changed(state, changes) if changes else state
        total = jax.tree.map(lambda t, g: t + widened(g), total, grads)
        return (state, total), (metrics, changes)

    zeros = jax.tree.map(lambda p: jnp.zeros_like(widened(p)), state.params)
    (_, total), (metrics, changes) = jax.lax.scan(one, (state, zeros), (keys, batches))
    count = len(jax.tree.leaves(keys)[0])
    return (
        jax.tree.map(lambda g: g / count, total),
        metrics,
        jax.tree.map(lambda c: c[-1], changes),
    )


def _strided(batch: Any, parts: int) -> Any:
    size = checks.examples(batch)
    batch = _placement.fitting(batch)
    for leaf in jax.tree.leaves(batch):
        own = size // shards(leaf)
        if own % parts:
            raise ValueError(
                f"micro_batches: expected a number that divides the {own} examples "
                f"on each device; got {parts}. Use a divisor of {own}, or change the "
                "batch size."
            )
    return jax.tree.map(
        lambda x: jnp.moveaxis(x.reshape(size // parts, parts, *x.shape[1:]), 1, 0),
        batch,
    )
