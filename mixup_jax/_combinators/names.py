"""Mixers over batches whose entries have names."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax import Array

from mixup_jax._combinators.entries import entries_of, with_entries
from mixup_jax._combinators.once import each_once, once_per_batch
from mixup_jax._core import arrays, checks
from mixup_jax._core.halves import Combinator, Halves, Mixer, halves, run
from mixup_jax._core.made import made
from mixup_jax._core.mix import Mix
from mixup_jax._core.types import Batch


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
        return with_entries(batch, found)

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

    return Combinator(of_entry, whole, lambda: using(name, each_once(mixer_of)))


def _named(batch: Any, names: Sequence[str], by: str) -> Mapping[str, Any]:
    """Return what a batch has under which name, these names among them."""
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
            "that are in the batch; the others pass through."
        )
    return entries


def _names(wanted: str | Sequence[str]) -> Sequence[str]:
    return (wanted,) if isinstance(wanted, str) else tuple(wanted)


def _picked(batch: Mapping[str, Any], wanted: str | Sequence[str]) -> Any:
    if isinstance(wanted, str):
        return batch[wanted]
    return {name: batch[name] for name in wanted} or None
