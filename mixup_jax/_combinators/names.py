"""Mixers over batches with named entries."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from jax import Array

from mixup_jax import follow
from mixup_jax._combinators.entries import entries_of, with_entries
from mixup_jax._combinators.once import each_once, once_per_batch
from mixup_jax._core import arrays, checks
from mixup_jax._core.halves import Combinator, Halves, Mixer, halves, run
from mixup_jax._core.made import made
from mixup_jax._core.mix import Mix
from mixup_jax._core.types import Batch

_HALVES = ("inputs", "targets")


@made
def on_keys(
    mixer: Mixer,
    *,
    inputs: str | Sequence[str] | None = (),
    targets: str | Sequence[str] | None = (),
    maps: str | Sequence[str] | None = (),
    masks: str | Sequence[str] | None = (),
    lengths: str | Sequence[str] | None = (),
) -> Mixer:
    """Return a mixer over batches with named entries that mixes some of them.

    A batch is a dict or any other mapping, a dataclass (including Flax's) or a named
    tuple, and is returned as the same type, with its keys in the same order. Other
    entries pass through untouched. A single name passes the entry itself to the mixer,
    several names a dict of entries. Masks and lengths belong to the inputs, maps to the
    targets.

    Args:
      mixer: a mixer over pairs.
      inputs: names of the entries to mix as inputs.
      targets: names of the entries to mix as targets.
      maps: names of the entries that follow position by position, such as label maps:
        ``follow.maps``. They are returned mixed, so pass them to a loss without a mix.
      masks: names of the entries that mark valid positions: ``follow.masks``.
      lengths: names of the entries that hold the number of valid positions:
        ``follow.lengths``.

    Returns:
      The mixer.

    Raises:
      TypeError: If ``mixer`` is not callable. If, when called, the type of the batch
        cannot be rebuilt from its entries.
      ValueError: If no name is given, or a name is given twice. If, when called, the
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
    wanted = {
        "inputs": inputs,
        "targets": targets,
        "maps": maps,
        "masks": masks,
        "lengths": lengths,
    }
    names = [name for each in wanted.values() for name in _names(each)]
    if not names or len(set(names)) != len(names):
        given = {name: each for name, each in wanted.items() if each or name in _HALVES}
        raise ValueError(
            "on_keys: expected at least one name, each once; got "
            f"{', '.join(f'{name}={each!r}' for name, each in given.items())}. Name "
            'the entries to mix: inputs="image".'
        )
    halves_named = (
        _Half(inputs, {follow.masks: masks, follow.lengths: lengths}),
        _Half(targets, {follow.maps: maps}),
    )

    def pair_of(batch: Any) -> Batch:
        entries = _named(batch, names, "on_keys")
        inputs, targets = (half.of(entries) for half in halves_named)
        return inputs, targets

    def put_back(batch: Any, mixed: Batch) -> Any:
        inputs, targets = (
            half.named(each) for half, each in zip(halves_named, mixed, strict=True)
        )
        return with_entries(batch, inputs | targets)

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
        return on_keys(once_per_batch(mixer), **wanted)

    return Combinator(of_names, whole, once)


@made
def using(name: str, mixer_of: Callable[[Any], Mixer]) -> Mixer:
    """Return a mixer over batches with named entries that is built from one of them.

    ``using(name, mixer_of)(key, batch)`` is ``mixer_of(batch[name])(key, batch)``.

    Data that a method needs besides inputs and targets (labels to pair by, a saliency
    map) can thus be part of the batch: micro-batches and devices divide it like the
    rest, and ``whole_batch`` passes all of it to the draw. An array bound by
    ``functools.partial`` is not divided.

    Args:
      name: the name of the entry, which stays in the batch.
      mixer_of: returns, for this entry, a mixer over such batches: typically
        ``on_keys`` of a mixer over pairs.

    Returns:
      The mixer.

    Raises:
      TypeError: If ``mixer_of`` is not callable. If, when called, it does not return a
        mixer.
      ValueError: If, when called, the batch has no such entry.

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

    return Combinator(of_entry, whole, lambda: using(name, each_once(mixer_of)))


def _named(batch: Any, names: Sequence[str], by: str) -> Mapping[str, Any]:
    """Return the entries of a batch, which must include ``names``."""
    entries = entries_of(batch)
    if entries is None:
        raise ValueError(
            f"{by}: expected a dict batch; got {arrays.describe(batch)}. Call "
            "the mixer itself on a pair (inputs, targets)."
        )
    missing = [name for name in names if name not in entries]
    if missing:
        raise ValueError(
            f"{by}: expected a batch with the keys {list(names)}; got "
            f"{sorted(map(str, entries))}, without {missing}. Name only entries "
            "of the batch; all others pass through."
        )
    return entries


def _names(wanted: str | Sequence[str] | None) -> Sequence[str]:
    return (wanted,) if isinstance(wanted, str) else tuple(wanted or ())


class _Half(NamedTuple):
    """The entries of one half of a pair.

    Attributes:
      plain: one name, or several.
      following: names of the entries to wrap, by the wrapping function.
    """

    plain: str | Sequence[str] | None
    following: Mapping[Callable[[Any], Any], str | Sequence[str] | None]

    def of(self, entries: Mapping[str, Any]) -> Any:
        """Return the half: its only entry, a dict of several, or ``None``."""
        found = {name: entries[name] for name in _names(self.plain)}
        for wrapped, names in self.following.items():
            found |= {name: wrapped(entries[name]) for name in _names(names)}
        return found[cast(str, self.plain)] if self._is_one else found or None

    def named(self, half: Any) -> dict[str, Any]:
        """Return the mixed entries of the half by name."""
        if self._is_one:
            return {cast(str, self.plain): half}
        found = dict(half or {})
        for names in self.following.values():
            found |= {name: follow.tree_of(found[name]) for name in _names(names)}
        return found

    @property
    def _is_one(self) -> bool:
        others = any(_names(names) for names in self.following.values())
        return isinstance(self.plain, str) and not others
