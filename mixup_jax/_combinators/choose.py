"""Random choice among mixers for each example."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mixup_jax import ratios
from mixup_jax._combinators.cast import cast_inputs
from mixup_jax._combinators.devices import per_device
from mixup_jax._combinators.merge import (
    Wanted,
    merged,
    of_one_dtype,
    partners_here,
    rows_of,
)
from mixup_jax._combinators.nested import none_within
from mixup_jax._combinators.once import once_per_batch
from mixup_jax._combinators.outermost import turned_out
from mixup_jax._core import arrays, checks
from mixup_jax._core.halves import Combinator, Halves, Mixer, halves, run
from mixup_jax._core.made import holds, made, made_by
from mixup_jax._core.mesh import AxisName
from mixup_jax._core.mix import Mix, unmixed
from mixup_jax._core.types import Batch, Ratio
from mixup_jax._core.words import Plan, divided, drawn, words_of
from mixup_jax._mixers.erm import erm

T = TypeVar("T")
_EACH = ratios.uniform()
_OTHERS = Wanted(
    "choose",
    "of the same structure as other mixers",
    "as from the other mixers",
    "Let all mixers return the same dtypes and shapes.",
)


@made
def choose(
    mixers: Sequence[Mixer],
    probs: Sequence[ArrayLike] | Array | np.ndarray,
    *,
    by: Ratio = _EACH,
) -> Mixer:
    """Return a mixer that chooses at random among ``mixers`` for each example.

    All mixers draw, the draws are merged into one ``Mix``, and the batch is mixed once:
    one fused pass, whatever the number of mixers. Mixers with the same pairing keep its
    move; otherwise partners are gathered.

    A mixer that is a single function (``gaussian``, a user-defined one not made by
    ``mixer``, a jitted one) is run as a whole, and its examples are selected from its
    result: one more pass over the batch for each such mixer. The ``Mix`` then merges
    the mixes of all mixers, and does not contain what such a mixer did beyond its own
    ``Mix``. As with ``jax.numpy.where``, a gradient that is not finite within such a
    mixer is NaN even where it was not chosen.

    Apply ``cast_inputs`` outside of ``choose``; around each of the mixers, with the
    same cast, it is equivalent.

    Every mixer is called with the same key. This is ``key`` itself if this library
    makes all draws, from one call of ``jax.random.bits``. It is the second key of
    ``jax.random.split(key)`` if a part or a mixer is user-defined, is wrapped
    (``until(step, mixer)(now)``, ``on_keys``), or draws many numbers per example
    (``fmix``, ``weighted``). Each example is thus what its mixer returns for that key;
    with ``jax_threefry_partitionable`` off, it is what its mixer might have returned.

    Apply ``until`` and ``scheduled`` outside of ``choose``, since they return no mixer
    but a function from the step to one.

    Inside ``jax.shard_map`` or ``jax.pmap``, apply ``per_device`` outside of
    ``choose``; ``whole_batch`` may be outside or around each mixer, which is
    equivalent.

    Args:
      mixers: callables ``(key, batch) -> (batch, mix)``.
      probs: one probability for each mixer, in [0, 1], with sum 1; may be traced
        values.
      by: draws the uniform number that decides. ``ratios.per_batch(ratios.uniform())``
        chooses one mixer for the whole batch, ``per_pair`` one for each pair.

    Returns:
      The mixer.

    Raises:
      TypeError: If a mixer is not callable. If, when called, a mixer does not return a
        ``Mix``, or returns an array of another dtype than the other mixers.
      ValueError: If there are no mixers, or another number of ``probs``. If concrete
        ``probs`` are outside [0, 1] or do not sum to 1. If a mixer contains
        ``per_device``, since each device would make the same choices. If
        ``cast_inputs`` is around only some of the mixers, or with different casts. If,
        when called, a mixer calls ``per_device`` or ``whole_batch`` in a function that
        hides it, or mixers return different shapes or structures.

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> mix = mx.choose([partial(mx.mixup, alpha=0.8), mx.cutmix], [0.5, 0.5])
      >>> images = jax.numpy.ones((4, 8, 8, 3))
      >>> (mixed, _), drawn = mix(jax.random.key(0), (images, None))
      >>> mixed.shape, drawn.lam.shape
      ((4, 8, 8, 3), (4,))
    """
    found: tuple[Any, ...] = (
        tuple(mixers) if isinstance(mixers, Sequence) else (mixers,)
    )
    listed = isinstance(probs, Sequence) or arrays.array(probs).ndim == 1
    shares: Any = tuple(probs) if listed else (probs,)
    for mixer in found:
        checks.function(mixer, "choose: mixers", "mixup_jax.cutmix")
    _probabilities(shares, len(found))
    if holds(found, per_device):
        raise ValueError(
            "choose: expected mixers that see the batch of the choice; got "
            "per_device within them, so that each device would make the same choices. "
            "Put it outermost: per_device(choose(mixers, probs), axis_name)."
        )
    turned = turned_out(found, lambda inside: choose(inside, probs, by=by))
    return turned or _choice(found, shares, by)


def _choice(mixers: Sequence[Mixer], probs: Sequence[Any], by: Ratio) -> Mixer:
    def planned(batch: Batch, of_drawn: Callable[..., T]) -> Plan[T]:
        """Plan the draws, the results of single functions, and the choice."""
        checks.pair(batch)
        size = checks.examples(batch)
        plans = [own and own.planned(batch) for own in _of_pairs(mixers, batch)]
        counts = [plan.words for plan in plans if plan and plan.words is not None]
        # The maximum; replicated on each device if the words of any mixer are.
        words = max(counts, default=0) + sum(0 * count for count in counts)
        ours = all(plan and plan.words is not None for plan in plans)
        choice = words_of(by) if ours else None

        def of(numbers: Any) -> T:
            # Mixers may share one key or one call, as an example uses the draw of one
            # mixer only; and mixers with the same pairing draw the same partners.
            if choice is None:
                key_choice, key = jax.random.split(numbers)
                shared = drawn(
                    jax.random.clone(key), Plan(words, size, lambda all: all)
                )
            else:
                key, (shared, key_choice) = None, divided(numbers, [words, choice])
            mixes, results = list[Mix](), dict[int, Any]()
            for k, (mixer, plan) in enumerate(zip(mixers, plans)):
                with none_within(_alike):
                    if plan is None:
                        results[k], mix = run(mixer, jax.random.clone(key), batch)
                    else:
                        ready = plan.words is not None
                        mix = plan.of(shared if ready else jax.random.clone(key))
                mixes.append(of_one_dtype(mix, size))
            index = _drawn_index(key_choice, mixes, probs, by)
            return of_drawn(mixes, index, results)

        return Plan(None if choice is None else words + choice, size, of)

    def of_pair(batch: Batch) -> Halves | None:
        if None in _of_pairs(mixers, batch):
            return None

        def plan(batch: Batch) -> Plan[Mix]:
            return planned(batch, lambda mixes, index, _: merged(mixes, index))

        return Halves(lambda key, batch: drawn(key, plan(batch)), Mix.batch, plan)

    def whole(key: Array, batch: Batch) -> tuple[Batch, Mix]:
        def of_drawn(mixes: Any, index: Array, results: dict[int, Any]) -> Any:
            # The examples of a mixer that is a single function are already mixed.
            passed = list(mixes)
            for k in results:
                passed[k] = unmixed(batch)
            mixed = merged(passed, index).batch(batch)
            for k, result in results.items():
                given = checks.pair(result)
                mixed = rows_of(index == k, given, mixed, mixers[k], _OTHERS)
            return mixed, merged(mixes, index)

        return drawn(key, planned(batch, of_drawn))

    def once() -> Mixer:
        inner = [once_per_batch(mixer) for mixer in mixers]
        return choose(inner, probs, by=ratios.per_batch(by))

    return Combinator(of_pair, whole, once)


@made
def with_probability(p: ArrayLike, mixer: Mixer, *, by: Ratio = _EACH) -> Mixer:
    """Return a mixer that mixes each example with probability ``p``.

    The remarks in ``choose`` about mixers that are a single function, and about several
    devices, apply here too.

    Args:
      p: probability in [0, 1]; may be a traced value.
      mixer: the mixer to apply; examples that are left out get ``lam = 1``.
      by: as in ``choose``: per example by default, or per pair, or per batch.

    Returns:
      The mixer.

    Raises:
      TypeError: If ``mixer`` is not callable, or as for ``choose``.
      ValueError: If a concrete ``p`` is outside [0, 1], or as for ``choose``.

    Example:
      >>> from functools import partial
      >>> import mixup_jax as mx
      >>> mix = mx.with_probability(0.5, partial(mx.mixup, alpha=0.2))
    """
    _probability(p, "with_probability: p")
    cast = made_by(mixer, cast_inputs)
    if cast:  # examples that are left out are cast as well
        inner = with_probability(p, cast.arguments["mixer"], by=by)
        return cast_inputs(inner, cast.arguments["cast"])
    return choose((mixer, erm), (p, 1 - p), by=by)


def _alike(name: str, axis_name: AxisName) -> str:
    return (
        "choose: expected mixers that see the batch of the choice; got a mixer that "
        f"calls {name} on {axis_name!r}, so that each device would make the same "
        f"choices. Put it outermost: {name}(choose(mixers, probs), {axis_name!r})."
    )


def _probabilities(probs: Sequence[Any], count: int) -> None:
    """Raise unless there is a valid probability for each of ``count`` mixers."""
    if not count or count != len(probs):
        raise ValueError(
            "choose: expected at least one mixer and a probability for each; got "
            f"{count} mixers and {len(probs)} probabilities. Assign the remainder "
            "to mixup_jax.erm."
        )
    for p in probs:
        _probability(p, "choose: probs")
    if all(map(arrays.is_concrete, probs)):
        total = float(np.sum(np.asarray(probs, np.float64)))
        if not np.isclose(total, 1, atol=1e-5):
            raise ValueError(
                f"choose: expected probabilities that sum to 1; got {total:g}. "
                "Assign the remainder to mixup_jax.erm."
            )


def _probability(p: ArrayLike, name: str) -> None:
    advice = "It is the share of the examples that this mixer mixes."
    checks.number(p, name, 0, 1, advice)
    checks.shaped(p, name, [()], advice)


def _of_pairs(mixers: Sequence[Mixer], batch: Any) -> list[Halves | None]:
    """Return the halves of each mixer whose application is ``Mix.batch``."""
    found = [halves(mixer, batch) for mixer in mixers]
    # A named tuple of two is a pair too, but on_keys mixes only some of its entries.
    return [own if own and own.apply is Mix.batch else None for own in found]


def _drawn_index(
    key: Any, mixes: Sequence[Mix], probs: Sequence[ArrayLike] | Array, by: Ratio
) -> Array:
    """Draw the index of the mixer for each example, int32 ``[B]``."""
    u = by(key, partners_here(mixes))
    index, below = jnp.zeros(u.shape, jnp.int32), jnp.float32(0)
    for k, p in enumerate(list(probs)[:-1], start=1):
        below = below + jnp.asarray(p, jnp.float32)
        index = jnp.where(u >= below, k, index)
    return index
