"""Mixers that stop at a training step."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._combinators.merge import Wanted, rows_of
from mixup_jax._combinators.once import once_per_batch
from mixup_jax._combinators.scheduled import at_step
from mixup_jax._core import arrays, checks
from mixup_jax._core.halves import Combinator, Halves, Mixer, Scheduled, halves, run
from mixup_jax._core.made import made
from mixup_jax._core.mix import Mix

_GIVEN = Wanted(
    "until",
    "of the given structure",
    "as it was given",
    "From that step on the batch is returned as is: convert it before mixing.",
)
_COUNTS = "Count steps from 0: mixup_jax.until(90_000, mixer)."


@made
def until(step: ArrayLike, mixer: Mixer | Scheduled) -> Scheduled:
    """Return ``mixer`` for the steps before ``step``; from then on nothing is mixed.

    ``mixup_jax.training`` calls it with ``state.step``; in your own train step, call
    ``until(step, mixer)(state.step)(key, batch)``. The same compiled program is used
    before and after.

    From ``step`` on, ``lam`` is 1 and the batch is returned unchanged, bit for bit.
    Batches that the mixer rejects are then still rejected (integer targets, where it
    mixes targets), since it is traced before the step is known.

    It costs nothing beyond the mixer, which still draws and is applied with
    ``lam = 1``. For a mixer that is a single function (``gaussian``, a jitted one) it
    adds a selection between the batch and its result; a gradient within it that is not
    finite stays NaN.

    Args:
      step: integer scalar, the first step that mixes nothing; may be a traced value.
      mixer: any mixer, over pairs or dicts, or one that depends on the step
        (``scheduled``). Wrap it first, as in ``until(step, on_keys(...))``.

    Returns:
      A function from the step to the mixer.

    Raises:
      TypeError: If ``step`` is not an integer, or ``mixer`` is not callable. If, when
        called, the mixer is a single function that changes a dtype of the batch.
      ValueError: If ``step`` is not a scalar. If, when called, the mixer is a single
        function that changes the structure or a shape of the batch.

    Example:
      >>> import jax, mixup_jax as mx
      >>> mixer = mx.until(90_000, mx.mixup)
      >>> x = jax.numpy.arange(4.0)
      >>> (same, _), mix = mixer(90_000)(jax.random.key(0), (x, None))
      >>> same, mix.lam
      (Array([0., 1., 2., 3.], dtype=float32), Array([1., 1., 1., 1.], dtype=float32))
    """
    checks.function(mixer, "until: mixer", "mixup_jax.mixup")
    _step_number(step, "until: step")

    def mixer_at(now: Array) -> Mixer:
        _step_number(now, "until: the current step")
        return _while(_before(now, step), at_step(mixer, now))

    return Scheduled(mixer_at, lambda: until(step, once_per_batch(mixer)))


@made
def _while(on: Any, mixer: Mixer) -> Mixer:
    """Return ``mixer``, but mix nothing where ``on`` is False."""

    def of_halves(batch: Any) -> Halves | None:
        inner = halves(mixer, batch)
        if inner is None:
            return None
        return Halves(
            lambda key, batch: _alone_unless(on, inner.draw(key, batch)), inner.apply
        )

    def whole(key: Array, batch: Any) -> tuple[Any, Mix]:
        mixed, mix = run(mixer, key, batch)
        mixed, batch = (tuple(x) if type(x) is list else x for x in (mixed, batch))
        rows = rows_of(jnp.asarray(on), mixed, batch, mixer, _GIVEN)
        return rows, _alone_unless(on, mix)

    return Combinator(of_halves, whole, lambda: _while(on, once_per_batch(mixer)))


def _alone_unless(on: Any, mix: Mix) -> Mix:
    """Return ``mix`` where ``on``, otherwise one that leaves the batch unchanged."""
    # Where ``lam`` is 1 the weights of every region are 1, so no selection is needed.
    mix = mix.drawn()
    sources = tuple(
        dataclasses.replace(source, lam=jnp.where(on, source.lam, 1.0))
        for source in mix.sources
    )
    return dataclasses.replace(mix, lam=jnp.where(on, mix.lam, 1.0), sources=sources)


def _before(now: ArrayLike, step: ArrayLike) -> Array:
    """Return whether ``now`` is below ``step``, whatever their dtypes."""
    now = jnp.asarray(now)
    if not arrays.is_concrete(step):
        return now < jnp.asarray(step).astype(now.dtype)
    limits = jnp.iinfo(now.dtype)
    return now < min(max(int(step), limits.min), limits.max)  # type: ignore[arg-type]


def _step_number(value: ArrayLike, name: str) -> None:
    if not jnp.issubdtype(arrays.array(value).dtype, jnp.integer):
        raise TypeError(
            f"{name}: expected an integer, the index of a step; got "
            f"{arrays.describe(value)}. {_COUNTS}"
        )
    checks.shaped(value, name, [()], _COUNTS)
