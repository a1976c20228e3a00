"""Mixers that stop at a step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._combinators.once import once_per_batch
from mixup_jax._combinators.scheduled import at_step
from mixup_jax._core import arrays, checks
from mixup_jax._core.halves import Combinator, Halves, Mixer, Scheduled, halves, run
from mixup_jax._core.made import made
from mixup_jax._core.mesh import laid_as
from mixup_jax._core.mix import Mix

_COUNTS = "Count steps from 0: mixup_jax.until(90_000, mixer)."


@made
def until(step: ArrayLike, mixer: Mixer | Scheduled) -> Scheduled:
    """Return ``mixer`` for the steps before ``step``; from then on nothing is mixed.

    ``mixup_jax.training`` calls it with ``state.step``; a step of your own calls it as
    ``until(step, mixer)(state.step)(key, batch)``. One program serves before and after.

    Afterwards ``lam`` is 1 and the batch is as it was, bit for bit. What the mixer
    refuses it refuses then as well (integer targets, where it mixes targets), since it
    is traced before anybody knows the step.

    Cost: none beyond the mixer's own, which is drawn and applied at ``lam = 1``. Of a
    mixer that is one function (``gaussian``, a jitted one), a choice between the batch
    and what it returned; a gradient within it that is not finite stays NaN.

    Args:
      step: integer scalar, the first step that mixes nothing; may be traced.
      mixer: any mixer, over pairs or dicts, or one that depends on the step
        (``scheduled``). It goes within: ``until(step, on_keys(...))``.

    Raises:
      TypeError: If ``step`` is not an integer, or ``mixer`` is not callable. When
        called: if the mixer is one function that returns arrays of another dtype.
      ValueError: If ``step`` is not a scalar. When called: if the mixer is one function
        that returns another structure or other shapes than it was given.

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
        _step_number(now, "until: the step at hand")
        return _while(_before(now, step), at_step(mixer, now))

    return Scheduled(mixer_at, lambda: until(step, once_per_batch(mixer)))


@made
def _while(on: Any, mixer: Mixer) -> Mixer:
    """Return ``mixer``, which mixes nothing where ``on`` is False."""

    def of_halves(batch: Any) -> Halves | None:
        inner = halves(mixer, batch)
        if inner is None:
            return None
        return Halves(
            lambda key, batch: _alone_unless(on, inner.draw(key, batch)), inner.apply
        )

    def whole(key: Array, batch: Any) -> tuple[Any, Mix]:
        mixed, mix = run(mixer, key, batch)
        return _given_unless(on, mixed, batch, mixer), _alone_unless(on, mix)

    return Combinator(of_halves, whole, lambda: _while(on, once_per_batch(mixer)))


def _alone_unless(on: Any, mix: Mix) -> Mix:
    """Return ``mix``, or one of the same structure that leaves all as it is."""
    # Where lam is 1 the weights of every region are 1, so that no choice is needed.
    mix = mix.drawn()
    sources = tuple(
        dataclasses.replace(source, lam=jnp.where(on, source.lam, 1.0))
        for source in mix.sources
    )
    return dataclasses.replace(mix, lam=jnp.where(on, mix.lam, 1.0), sources=sources)


def _given_unless(on: Any, mixed: Any, batch: Any, mixer: Mixer) -> Any:
    """Return ``mixed``, or ``batch`` where not ``on``."""
    mixed, batch = (tuple(x) if type(x) is list else x for x in (mixed, batch))
    found, expected = jax.tree.structure(mixed), jax.tree.structure(batch)
    if found != expected:
        raise ValueError(
            f"until: expected {arrays.describe(mixer)} to return a batch of the "
            f"structure that it was given, {expected}; got {found}. Afterwards the "
            "batch comes back as it is: return all that was given."
        )

    def of_leaf(path: Any, row: Any, other: Any) -> Any:
        where = "batch" + jax.tree_util.keystr(path)
        arrays.array_of_numbers(row, where)
        row, other = (arrays.exact(x, where) for x in (row, other))
        for kind, got, wanted in (
            (TypeError, row.dtype, other.dtype),
            (ValueError, row.shape, other.shape),
        ):
            if got != wanted:
                raise kind(
                    f"until: {where}: expected {arrays.describe(other)} from "
                    f"{arrays.describe(mixer)}, as it was given; got "
                    f"{arrays.describe(row)}. Afterwards the batch comes back as it "
                    "is: convert it before it is mixed."
                )
        return jnp.where(on, laid_as(row, other), other)

    return jax.tree.map_with_path(of_leaf, mixed, batch)


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
            f"{name}: expected an integer, the number of a step; got "
            f"{arrays.describe(value)}. {_COUNTS}"
        )
    checks.shaped(value, name, [()], _COUNTS)
