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

from mixup_jax import _checks, ratios
from mixup_jax._erm import erm
from mixup_jax._mix import Mix, Mixer
from mixup_jax._moves import Gather, Stay
from mixup_jax._types import Batch, Move, Partners, Ratio, Region
from mixup_jax.regions import Beyond, Chosen, Everywhere, Noisy, Untouched

_EACH = ratios.uniform()


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

    Only the ``Mix`` of each mixer counts: whatever a mixer of your own does beyond it
    (noise, a crop) is lost. Do that to what the chosen mixer returns.

    Inside ``jax.shard_map`` or ``jax.pmap`` put ``per_device`` or ``whole_batch``
    outermost, around ``choose``: within it every device would make the same choices.

    Args:
      mixers: callables ``(key, batch) -> (batch, mix)``.
      probs: one probability for each mixer, in [0, 1], that sum to 1; may be traced.
      by: draws the uniform number that decides. ``ratios.per_batch(ratios.uniform())``
        chooses one mixer for the whole batch, ``per_pair`` one for each pair.

    Raises:
      TypeError: a mixer that is no function.
      ValueError: no mixers, another number of ``probs``, or concrete ``probs`` outside
        [0, 1] or with another sum than 1; (when called) ``gaussian`` among the mixers,
        or ``whole_batch`` among others.

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> mix = mx.choose([partial(mx.mixup, alpha=0.8), mx.cutmix], [0.5, 0.5])
      >>> images = jax.numpy.ones((4, 8, 8, 3))
      >>> (mixed, _), drawn = mix(jax.random.key(0), (images, None))
      >>> mixed.shape, drawn.lam.shape
      ((4, 8, 8, 3), (4,))
    """
    mixers = tuple(mixers) if isinstance(mixers, Sequence) else (mixers,)
    listed = isinstance(probs, Sequence) or _checks.array(probs).ndim == 1
    each: Any = tuple(probs) if listed else (probs,)
    for mixer in mixers:
        _checks.function(mixer, "choose: mixers", "mixup_jax.cutmix")
    if not mixers or len(mixers) != len(each):
        raise ValueError(
            "choose: expected at least one mixer and a probability for each; got "
            f"{len(mixers)} mixers and {len(each)} probabilities. Give what is left "
            "to mixup_jax.erm."
        )
    for p in each:
        _probability(p, "choose: probs")
    if all(_checks.is_concrete(p) for p in each):
        total = float(np.sum(np.asarray(each, np.float64)))
        if not np.isclose(total, 1, atol=1e-5):
            raise ValueError(
                f"choose: expected probabilities that sum to 1; got {total:g}. "
                "Give what is left to mixup_jax.erm."
            )

    def chosen(key: Array, batch: Batch) -> tuple[Batch, Mix]:
        _checks.key(key)
        inputs, targets = _checks.pair(batch)
        key_choice, key_mix = jax.random.split(key)
        # One key for all: an example uses the draw of one mixer alone, and mixers that
        # share a pairing draw the same partners.
        drawn = [mixer(jax.random.clone(key_mix), batch) for mixer in mixers]
        mixes = [_of_one_dtype(mix) for _, mix in drawn]
        index = _drawn_index(key_choice, _partners_here(mixes), each, by)
        merged = _merged(mixes, index)
        # Targets that nobody mixes may have any dtype.
        if any(mixed[1] is not targets for mixed, _ in drawn):
            targets = merged.targets(targets)
        return (merged.inputs(inputs), targets), merged

    return chosen


def with_probability(p: ArrayLike, mixer: Mixer, *, by: Ratio = _EACH) -> Mixer:
    """Return a mixer that mixes each example with probability ``p``, once.

    What ``choose`` says of mixers of your own and of several devices holds here too.

    Args:
      p: probability in [0, 1], may be traced.
      mixer: the mixer to apply; who is left out has ``lam = 1``.
      by: as in ``choose``: per example by default, or per pair, or per batch.

    Raises:
      TypeError: ``mixer`` is no function.
      ValueError: a concrete ``p`` outside [0, 1]; (when called) as ``choose``.

    Example:
      >>> from functools import partial
      >>> import mixup_jax as mx
      >>> mix = mx.with_probability(0.5, partial(mx.mixup, alpha=0.2))
    """
    _probability(p, "with_probability: p")
    return choose((mixer, erm), (p, 1 - p), by=by)


@dataclasses.dataclass(frozen=True)
class Scheduled:
    """A mixer that depends on the step: ``scheduled(f)(step)`` is the mixer."""

    mixer_at: Callable[[ArrayLike], Mixer]

    def __call__(self, step: ArrayLike, *batch: Any) -> Mixer:
        if batch:
            raise TypeError(
                "scheduled: expected the step alone; got a key and a batch. Call it as "
                "f(step)(key, batch), or let mixup_jax.training call it, and schedule "
                "outermost: scheduled(lambda step: on_keys(mixer_at(step), ...))."
            )
        return self.mixer_at(step)


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
    _checks.function(mixer_at, "scheduled: mixer_at", "lambda step: mixup_jax.mixup")
    return Scheduled(mixer_at)


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
    _checks.function(mixer, "on_keys: mixer", "mixup_jax.mixup")
    halves = tuple(() if half is None else half for half in (inputs, targets))
    names = [name for half in halves for name in _names(half)]
    if not names or len(set(names)) != len(names):
        raise ValueError(
            "on_keys: expected at least one name, each once; got "
            f"inputs={inputs!r}, targets={targets!r}. Name the entries to be mixed: "
            'inputs="image".'
        )

    def on_names(key: Array, batch: Any) -> tuple[Any, Mix]:
        entries = _entries(batch)
        if entries is None:
            raise ValueError(
                f"on_keys: expected a dict batch; got {_checks.describe(batch)}. Call "
                "the mixer itself on a pair (inputs, targets)."
            )
        missing = [name for name in names if name not in entries]
        if missing:
            raise ValueError(
                f"on_keys: expected a batch with the keys {names}; got "
                f"{sorted(map(str, entries))}, without {missing}. Name only entries "
                "that are in the batch; the others pass through."
            )
        pair = tuple(_picked(entries, wanted) for wanted in halves)
        mixed, mix = mixer(key, pair)
        found = {}
        for wanted, half in zip(halves, mixed):
            found |= {wanted: half} if isinstance(wanted, str) else dict(half or {})
        return _with_entries(batch, found), mix

    return on_names


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


def _probability(p: ArrayLike, name: str) -> None:
    advice = "It is the share of the examples that are to be mixed so."
    _checks.number(p, name, 0, 1, advice)
    _checks.shaped(p, name, [()], advice)


def _names(wanted: str | Sequence[str]) -> Sequence[str]:
    return (wanted,) if isinstance(wanted, str) else tuple(wanted)


def _picked(batch: Mapping[str, Any], wanted: str | Sequence[str]) -> Any:
    if isinstance(wanted, str):
        return batch[wanted]
    return {name: batch[name] for name in wanted} or None


def _of_one_dtype(mix: Mix) -> Mix:
    """Return a mix, which may be of a user's mixer, in the dtypes of all others."""
    lam, partner = (
        jnp.asarray(mix.lam, jnp.float32),
        jnp.asarray(mix.partner, jnp.int32),
    )
    return dataclasses.replace(mix, lam=lam, partner=partner)


def _moving(mixes: Sequence[Mix]) -> Sequence[Mix]:
    """Return the mixes that have partners, or one where none has."""
    return [mix for mix in mixes if mix.move != Stay()] or mixes[:1]


def _move(mixes: Sequence[Mix]) -> Move:
    """Return the move that brings whichever mix's partners."""
    moves = {mix.move for mix in _moving(mixes)}
    if len(moves) == 1:
        return moves.pop()
    if any(not move.structural and move != Gather() for move in moves):
        raise ValueError(
            "choose: expected mixers that find partners in the batch that they are "
            f"given; got the moves {sorted(map(str, moves))}. Put whole_batch and "
            "per_device outermost: whole_batch(choose(...), axis_name)."
        )
    return Gather()


def _partners_here(mixes: Sequence[Mix]) -> Partners:
    """Return partners as ``by`` compares them, with places in the batch at hand."""
    partner, move = _moving(mixes)[0].partner, _move(mixes)
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
    lam, move = _select(index, [mix.lam for mix in mixes]), _move(mixes)
    # Who is not mixed keeps a partner, at lam = 1: where it is itself among all
    # devices' examples is known to per_device and whole_batch alone.
    first = _moving(mixes)[0].partner
    partners = [first if mix.move == Stay() else mix.partner for mix in mixes]
    partner = first if move.structural else _select(index, partners)
    return Mix(lam, partner, _region(mixes, index), move)


def _region(mixes: Sequence[Mix], index: Array) -> Region:
    if any(_holds(Noisy, mix.region) for mix in mixes):
        raise ValueError(
            "choose: expected mixers whose mix says all that they did; got gaussian, "
            "whose noise it does not hold. Add the noise to what was chosen: call "
            "gaussian on the batch that the chosen mixer returns."
        )
    # Who is not mixed has lam = 1, which every region leaves as it is; but for Beyond,
    # whose labels always do.
    mixing = [mix.region for mix in mixes if not isinstance(mix.region, Untouched)]
    if not mixing:
        return Untouched()
    alone = len(mixing) == 1 and not _holds(Beyond, mixing[0])
    if alone or all(isinstance(region, Everywhere) for region in mixing):
        return mixing[0]
    return Chosen(index, tuple(mix.region for mix in mixes))


def _holds(kind: type, region: Region) -> bool:
    """Whether there is one of this kind in ``region``, itself or chosen from."""

    def found(part: Any) -> bool:
        return isinstance(part, kind)

    return any(map(found, jax.tree.leaves(region, is_leaf=found)))


def _select(index: Array, values: Sequence[Array]) -> Array:
    chosen = values[0]
    for k, value in enumerate(values[1:], start=1):
        chosen = jnp.where(index == k, value, chosen)
    return chosen
