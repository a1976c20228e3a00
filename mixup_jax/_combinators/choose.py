"""Mixers made of mixers: what other libraries make a knob is here a function."""

import collections
import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mixup_jax import ratios
from mixup_jax._combinators.devices import per_device, whole_batch
from mixup_jax._combinators.once import once_per_batch
from mixup_jax._core import blend, checks
from mixup_jax._core.made import holds, made, made_by
from mixup_jax._core.mix import Mix, Mixer, Source, unmixed
from mixup_jax._core.mixer import Combinator, Halves, Scheduled, halves, run
from mixup_jax._core.moves import Gather, Stay, alike
from mixup_jax._core.region import Untouched, chosen
from mixup_jax._core.types import Batch, Move, Partners, Ratio
from mixup_jax._mixers.erm import erm

_EACH = ratios.uniform()


@made
def choose(
    mixers: Sequence[Mixer],
    probs: Sequence[ArrayLike] | Array,
    *,
    by: Ratio = _EACH,
) -> Mixer:
    """Return a mixer that lets chance choose among ``mixers``, example by example.

    All of them draw, the draws are merged into one ``Mix``, and the batch is mixed
    once: one fused pass, whatever the number of mixers. Mixers that share a pairing
    keep its movement; otherwise partners are gathered.

    A mixer that is one function (``gaussian``, one of your own that is not made by
    ``mixer``, a jitted one) is run as it is, and its examples are taken from what it
    returned: one more pass over the batch for each. The ``Mix`` holds what all of them
    drew, and not what such a mixer did beyond its own. As with ``jax.numpy.where``, a
    gradient that is not finite within such a mixer is NaN where it was not chosen.

    Inside ``jax.shard_map`` or ``jax.pmap``, ``per_device`` goes around ``choose``;
    ``whole_batch`` may go around it or around each mixer, which is the same.

    Args:
      mixers: callables ``(key, batch) -> (batch, mix)``.
      probs: one probability for each mixer, in [0, 1], that sum to 1; may be traced.
      by: draws the uniform number that decides. ``ratios.per_batch(ratios.uniform())``
        chooses one mixer for the whole batch, ``per_pair`` one for each pair.

    Raises:
      TypeError: If a mixer is not callable. When called: if it returns no ``Mix``, or
        an array of another dtype than the other mixers.
      ValueError: If there are no mixers, or another number of ``probs``, or concrete
        ``probs`` lie outside [0, 1] or have another sum than 1; if there is a
        ``per_device`` within a mixer, since each device would choose alike. When
        called: if mixers return arrays of other shapes or in another structure.

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
    listed = isinstance(probs, Sequence) or checks.array(probs).ndim == 1
    shares: Any = tuple(probs) if listed else (probs,)
    for mixer in found:
        checks.function(mixer, "choose: mixers", "mixup_jax.cutmix")
    _probabilities(shares, len(found))
    if holds(found, per_device):
        raise ValueError(
            "choose: expected mixers that see the batch which is chosen for; got "
            "per_device within them, so that each device would make the same choices. "
            "Put it outermost: per_device(choose(mixers, probs), axis_name)."
        )
    turned = _turned_out(found, lambda inside: choose(inside, probs, by=by))
    return turned or _chosen_from(found, shares, by)


def _turned_out(
    mixers: Sequence[Any], choice: Callable[[Sequence[Mixer]], Mixer]
) -> Mixer | None:
    """Return ``choice`` within ``whole_batch`` if that is within the mixers.

    On each device by itself, every device would make the same choices.
    """
    whole = [made_by(mixer, whole_batch) for mixer in mixers]
    for found, mixer in zip(whole, mixers):
        if not found and holds(mixer, whole_batch):
            raise ValueError(
                "choose: expected whole_batch around a mixer, or around choose; got "
                f"{mixer!r}, in which it is hidden, so that each device would make the "
                "same choices. Put it outermost: whole_batch(choose(mixers, probs), "
                "axis_name)."
            )
    axes = {found.arguments["axis_name"] for found in whole if found}
    if not axes:
        return None
    if len(axes) > 1:
        raise ValueError(
            "choose: expected whole_batch over one axis; got several, "
            f"{', '.join(map(repr, axes))}. Put it outermost: "
            "whole_batch(choose(mixers, probs), axis_name)."
        )
    inside = [
        found.arguments["mixer"] if found else mixer
        for found, mixer in zip(whole, mixers)
    ]
    return whole_batch(choice(inside), axes.pop())


def _chosen_from(mixers: Sequence[Mixer], probs: Sequence[Any], by: Ratio) -> Mixer:
    def drawn(key: Array, batch: Batch) -> tuple[list[Mix], dict[int, Any], Array]:
        """Return what each mixer drew, what those of one function made, the choice."""
        checks.key(key)
        checks.pair(batch)
        key_choice, key_mix = jax.random.split(key)
        mixes, results = [], {}
        for k, mixer in enumerate(mixers):
            # One key for all: an example uses the draw of one mixer alone, and mixers
            # that share a pairing draw the same partners.
            own, key_own = _of_pair(mixer, batch), jax.random.clone(key_mix)
            if own is not None:
                mix = own.draw(key_own, batch)
            else:
                results[k], mix = run(mixer, key_own, batch)
            mixes.append(_of_one_dtype(mix, checks.examples(batch)))
        index = _drawn_index(key_choice, _partners_here(mixes), probs, by)
        return mixes, results, index

    def of_pair(batch: Batch) -> Halves | None:
        if any(_of_pair(mixer, batch) is None for mixer in mixers):
            return None

        def draw(key: Array, batch: Batch) -> Mix:
            mixes, _, index = drawn(key, batch)
            return _merged(mixes, index)

        return Halves(draw, Mix.batch)

    def whole(key: Array, batch: Batch) -> tuple[Batch, Mix]:
        mixes, results, index = drawn(key, batch)
        # What a mixer of one function did to its examples is not repeated.
        passed = [
            unmixed(key, batch) if k in results else mix for k, mix in enumerate(mixes)
        ]
        mixed = _merged(passed, index).batch(batch)
        for k, result in results.items():
            mixed = _selected(index == k, result, mixed, mixers[k])
        return mixed, _merged(mixes, index)

    def once() -> Mixer:
        inner = [once_per_batch(mixer) for mixer in mixers]
        return choose(inner, probs, by=ratios.per_batch(by))

    return Combinator(of_pair, whole, once)


@made
def with_probability(p: ArrayLike, mixer: Mixer, *, by: Ratio = _EACH) -> Mixer:
    """Return a mixer that mixes each example with probability ``p``, once.

    What ``choose`` says of mixers that are one function, and of several devices, holds
    here too.

    Args:
      p: probability in [0, 1], may be traced.
      mixer: the mixer to apply; who is left out has ``lam = 1``.
      by: as in ``choose``: per example by default, or per pair, or per batch.

    Raises:
      TypeError: If ``mixer`` is not callable. When called: as ``choose``.
      ValueError: If a concrete ``p`` lies outside [0, 1]; or as ``choose``.

    Example:
      >>> from functools import partial
      >>> import mixup_jax as mx
      >>> mix = mx.with_probability(0.5, partial(mx.mixup, alpha=0.2))
    """
    _probability(p, "with_probability: p")
    return choose((mixer, erm), (p, 1 - p), by=by)


@made
def scheduled(mixer_at: Callable[[ArrayLike], Mixer]) -> Scheduled:
    """Mark ``mixer_at: step -> mixer``, for mixing that warms up or switches off.

    ``mixup_jax.training`` calls it with ``state.step``; a step of your own calls it as
    ``f(step)(key, batch)``. The step is traced, and so is what depends on it.

    Args:
      mixer_at: returns the mixer for a step, an int32 scalar.

    Raises:
      TypeError: ``mixer_at`` is no function.

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
    return Scheduled(mixer_at, lambda: scheduled(_each_once(mixer_at)))


def at_step(mixer: Any, step: ArrayLike) -> Mixer:
    """Return the mixer for this step: ``mixer`` itself, unless it is scheduled."""
    return mixer(step) if made_by(mixer, scheduled) else mixer


@made
def _each_once(mixer_of: Callable[[Any], Mixer]) -> Callable[[Any], Mixer]:
    """Return ``mixer_of`` with a mixer that draws once a batch."""
    return lambda value: once_per_batch(mixer_of(value))


@made
def on_keys(
    mixer: Mixer,
    *,
    inputs: str | Sequence[str] | None = (),
    targets: str | Sequence[str] | None = (),
) -> Mixer:
    """Return a mixer over batches with names that mixes the named entries.

    A batch is a dict or any other mapping, a dataclass (Flax's among them) or a named
    tuple, and comes back as what it was, its keys in their order. Other entries pass
    through untouched. One name hands on the entry itself, several a dict of them.

    Args:
      mixer: a mixer over pairs.
      inputs: the entries to be mixed as inputs.
      targets: the entries to be mixed as targets.

    Raises:
      TypeError: If ``mixer`` is not callable. When called: if the type of the batch
        cannot be made anew.
      ValueError: If neither is given, or a name stands in both. When called: if the
        batch lacks a name.

    Example:
      >>> import jax, mixup_jax as mx
      >>> mix = mx.on_keys(mx.mixup, inputs="image")
      >>> batch = {"image": jax.numpy.ones((4, 3)), "label": jax.numpy.arange(4)}
      >>> batch, _ = mix(jax.random.key(0), batch)
      >>> batch["label"]
      Array([0, 1, 2, 3], dtype=int32)
    """
    checks.function(mixer, "on_keys: mixer", "mixup_jax.mixup")
    halves_named = tuple(() if half is None else half for half in (inputs, targets))
    names = [name for half in halves_named for name in _names(half)]
    if not names or len(set(names)) != len(names):
        raise ValueError(
            "on_keys: expected at least one name, each once; got "
            f"inputs={inputs!r}, targets={targets!r}. Name the entries to be mixed: "
            'inputs="image".'
        )

    def pair_of(batch: Any) -> Batch:
        entries = _named(batch, names, "on_keys")
        inputs, targets = (_picked(entries, wanted) for wanted in halves_named)
        return inputs, targets

    def put_back(batch: Any, mixed: Batch) -> Any:
        found = {}
        for wanted, half in zip(halves_named, mixed):
            found |= {wanted: half} if isinstance(wanted, str) else dict(half or {})
        return _with_entries(batch, found)

    def of_names(batch: Any) -> Halves | None:
        inner = halves(mixer, pair_of(batch))
        if inner is None:
            return None

        def draw(key: Array, batch: Any) -> Mix:
            return inner.draw(key, pair_of(batch))

        def apply(mix: Mix, batch: Any) -> Any:
            return put_back(batch, inner.apply(mix, pair_of(batch)))

        return Halves(draw, apply)

    def whole(key: Array, batch: Any) -> tuple[Any, Mix]:
        mixed, mix = run(mixer, key, pair_of(batch))
        return put_back(batch, mixed), mix

    def once() -> Mixer:
        return on_keys(once_per_batch(mixer), inputs=inputs, targets=targets)

    return Combinator(of_names, whole, once)


@made
def using(name: str, mixer_of: Callable[[Any], Mixer]) -> Mixer:
    """Return a mixer over batches with names that is made of an entry of the batch.

    ``using(name, mixer_of)(key, batch)`` is ``mixer_of(batch[name])(key, batch)``.

    What a method needs beside inputs and targets (labels to pair by, a saliency map)
    so travels in the batch: micro-batches and devices divide it as they divide the
    rest, and ``whole_batch`` shows all of it to the draw. An array that is bound by
    ``functools.partial`` stays as it is.

    Args:
      name: the entry, under which the batch has it afterwards as well.
      mixer_of: returns, for what the batch has there, a mixer over such batches: as a
        rule ``on_keys`` of a mixer over pairs.

    Raises:
      TypeError: If ``mixer_of`` is not callable. When called: if it returns no mixer.
      ValueError: When called: if the batch has no such entry.

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> def of_labels(labels):
      ...     pairing = partial(mx.pairings.same_class, labels=labels)
      ...     return mx.on_keys(partial(mx.mixup, pairing=pairing), inputs="image")
      >>> mixer = mx.using("label", of_labels)
      >>> labels = jax.numpy.array([0, 1, 0, 1])
      >>> batch = {"image": jax.numpy.ones((4, 3)), "label": labels}
      >>> batch, mix = mixer(jax.random.key(0), batch)
      >>> mix.partner
      Array([2, 3, 0, 1], dtype=int32)
    """
    checks.function(mixer_of, "using: mixer_of", "lambda entry: mixup_jax.on_keys(...)")

    def mixer_for(batch: Any) -> Mixer:
        mixer = mixer_of(_named(batch, [name], "using")[name])
        example = "mixup_jax.on_keys(mixup_jax.mixup, inputs=...)"
        checks.function(mixer, "using: what mixer_of returned", example)
        return mixer

    def of_entry(batch: Any) -> Halves | None:
        return halves(mixer_for(batch), batch)

    def whole(key: Array, batch: Any) -> tuple[Any, Mix]:
        return run(mixer_for(batch), key, batch)

    return Combinator(of_entry, whole, lambda: using(name, _each_once(mixer_of)))


def _named(batch: Any, names: Sequence[str], by: str) -> Mapping[str, Any]:
    """Return what a batch has under which name, these names among them."""
    entries = _entries(batch)
    if entries is None:
        raise ValueError(
            f"{by}: expected a dict batch; got {checks.describe(batch)}. Call "
            "the mixer itself on a pair (inputs, targets)."
        )
    missing = [name for name in names if name not in entries]
    if missing:
        raise ValueError(
            f"{by}: expected a batch with the keys {list(names)}; got "
            f"{sorted(map(str, entries))}, without {missing}. Name only entries "
            "that are in the batch; the others pass through."
        )
    return entries


def _entries(batch: Any) -> Mapping[str, Any] | None:
    """Return what a batch has under which name, None where nothing has a name."""
    if isinstance(batch, Mapping):
        return batch
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        return {
            each.name: getattr(batch, each.name) for each in dataclasses.fields(batch)
        }
    if isinstance(batch, tuple) and hasattr(batch, "_asdict"):
        return batch._asdict()  # type: ignore[attr-defined]
    return None


def _with_entries(batch: Any, changed: Mapping[str, Any]) -> Any:
    """Return a batch of the same type in which the entries of ``changed`` are others.

    Raises:
      TypeError: If the type does not let itself be made anew.
    """
    try:
        anew = _made_anew(batch, changed)
        found: Any = _entries(anew)
        kept = list(found) == list(_entries(batch) or ())
        if not kept or any(found[name] is not changed[name] for name in changed):
            raise ValueError("a batch with other entries")
    except Exception as error:
        raise TypeError(
            "on_keys: expected a batch whose type can be made anew from its entries; "
            f"got {type(batch).__name__}: {error!r}. Hand in dict(batch)."
        ) from error
    return anew


def _made_anew(batch: Any, changed: Mapping[str, Any]) -> Any:
    if isinstance(batch, dict | collections.UserDict):
        anew = copy.copy(batch)  # with whatever else it holds: a default, attributes
        for name, value in changed.items():
            anew[name] = value
        return anew
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        # Not `replace`, which would run what a class does when it is made.
        anew = copy.copy(batch)
        for name, value in changed.items():
            object.__setattr__(anew, name, value)
        return anew
    if isinstance(batch, tuple):
        return batch._replace(**changed)  # type: ignore[attr-defined]
    kind, entries = cast(Any, type(batch)), cast(Mapping, batch)
    return kind({**entries, **changed})


def _probabilities(probs: Sequence[Any], count: int) -> None:
    """Raise unless there is a probability for each of ``count`` mixers."""
    if not count or count != len(probs):
        raise ValueError(
            "choose: expected at least one mixer and a probability for each; got "
            f"{count} mixers and {len(probs)} probabilities. Give what is left "
            "to mixup_jax.erm."
        )
    for p in probs:
        _probability(p, "choose: probs")
    if all(map(checks.is_concrete, probs)):
        total = float(np.sum(np.asarray(probs, np.float64)))
        if not np.isclose(total, 1, atol=1e-5):
            raise ValueError(
                f"choose: expected probabilities that sum to 1; got {total:g}. "
                "Give what is left to mixup_jax.erm."
            )


def _probability(p: ArrayLike, name: str) -> None:
    advice = "It is the share of the examples that are to be mixed so."
    checks.number(p, name, 0, 1, advice)
    checks.shaped(p, name, [()], advice)


def _names(wanted: str | Sequence[str]) -> Sequence[str]:
    return (wanted,) if isinstance(wanted, str) else tuple(wanted)


def _picked(batch: Mapping[str, Any], wanted: str | Sequence[str]) -> Any:
    if isinstance(wanted, str):
        return batch[wanted]
    return {name: batch[name] for name in wanted} or None


def _of_pair(mixer: Mixer, batch: Any) -> Halves | None:
    """Return the halves of a mixer that mixes a pair, and all of it."""
    found = halves(mixer, batch)
    # A named tuple of two is a pair as well, of which on_keys mixes some.
    return found if found and found.apply is Mix.batch else None


def _of_one_dtype(mix: Mix, size: int) -> Mix:
    """Return a mix, which may be of a user's mixer, in the dtypes of all others."""
    mix = mix.drawn()
    advice = "Return the mix of the batch that is given."
    checks.shaped(mix.lam, "mix: lam", [(size,)], advice)
    return mix


def _moving(sources: Sequence[Source]) -> Sequence[Source]:
    """Return the sources that have partners, or one where none has."""
    return [each for each in sources if not each.move.stays] or sources[:1]


def _move(sources: Sequence[Source]) -> Move:
    """Return the move that brings whichever source's partners."""
    moves = {source.move for source in _moving(sources)}
    if len(moves) == 1:
        return moves.pop()
    if any(move.crosses for move in moves):
        raise ValueError(
            "choose: expected mixers that find partners in the batch that they are "
            f"given; got the moves {sorted(map(str, moves))}. Put whole_batch and "
            "per_device outermost: whole_batch(choose(...), axis_name)."
        )
    return Gather()


def _partners_here(mixes: Sequence[Mix]) -> Partners:
    """Return partners as ``by`` compares them, with places in the batch at hand."""
    first = [mix.sources[0] for mix in mixes]
    partner, move = _moving(first)[0].partner, _move(first)
    if move.structural:  # those of per_device count over the batches of all devices
        partner = jax.lax.rem(partner, jnp.int32(partner.shape[0]))
    return Partners(partner, move)


def _drawn_index(
    key: Array, partners: Partners, probs: Sequence[ArrayLike] | Array, by: Ratio
) -> Array:
    """Draw for each example the number of the mixer that it gets, int32 ``[B]``."""
    u = by(key, partners)
    index, below = jnp.zeros(u.shape, jnp.int32), jnp.float32(0)
    for k, p in enumerate(list(probs)[:-1], start=1):
        below = below + jnp.asarray(p, jnp.float32)
        index = jnp.where(u >= below, k, index)
    return index


def _merged(mixes: Sequence[Mix], index: Array) -> Mix:
    """Return one mix that is, for each example, the one that ``index`` names."""
    weights = [
        mix.lam if mix.mixes_targets else jnp.ones_like(mix.lam) for mix in mixes
    ]
    depth = max(len(mix.sources) for mix in mixes)
    slots = [[_slot(mix, k) for mix in mixes] for k in range(depth)]
    sources = tuple(_merged_source(slot, index) for slot in slots)
    mixes_targets = any(mix.mixes_targets for mix in mixes)
    return Mix(_select(index, weights), sources, mixes_targets)


def _slot(mix: Mix, k: int) -> Source:
    """Return the k-th source of a mix, or one that shows nothing."""
    if k < len(mix.sources):
        return mix.sources[k]
    return Source(mix.partner, jnp.ones_like(mix.lam), Untouched(), Stay())


def _merged_source(sources: Sequence[Source], index: Array) -> Source:
    # Examples that are not mixed keep a partner, at lam = 1: where they are themselves
    # among all devices' examples is known to per_device and whole_batch alone.
    move, first = _move(sources), _moving(sources)[0].partner
    partners = [first if each.move.stays else each.partner for each in sources]
    return Source(
        first if move.structural else _select(index, partners),
        _select(index, [source.lam for source in sources]),
        chosen(index, [source.region for source in sources]),
        move,
    )


def _select(index: Array, values: Sequence[Array]) -> Array:
    index, selected, *others = alike(index, *values)
    for k, value in enumerate(others, start=1):
        selected = jnp.where(index == k, value, selected)
    return selected


def _selected(own: Array, result: Any, mixed: Batch, mixer: Mixer) -> Batch:
    """Return ``mixed`` with the rows ``own`` from what ``mixer`` returned."""
    result = checks.pair(result)
    found, expected = jax.tree.structure(result), jax.tree.structure(mixed)
    if found != expected:
        raise ValueError(
            f"choose: expected {checks.describe(mixer)} to return a batch of the same "
            f"structure as other mixers, {expected}; got {found}. Return all that was "
            "given."
        )

    def selected(path: Any, row: Any, other: Any) -> Array:
        where = "batch" + jax.tree_util.keystr(path)
        checks.array_of_numbers(row, where)
        row, other = (checks.exact(x, where) for x in (row, other))
        for kind, got, wanted in (
            (TypeError, row.dtype, other.dtype),
            (ValueError, row.shape, other.shape),
        ):
            if got != wanted:
                raise kind(
                    f"choose: {where}: expected an array {other.dtype}"
                    f"{list(other.shape)} from {checks.describe(mixer)}, as from the "
                    f"other mixers; got {checks.describe(row)}. Let all mixers return "
                    "the same dtypes and shapes."
                )
        return blend.selected(own, row, other)

    return jax.tree.map_with_path(selected, result, mixed)
