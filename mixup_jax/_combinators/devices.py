"""Mixers on the devices of a mesh or a pmap axis.

Under plain jit nothing here is needed: a mixer sees the whole batch, and its result
never depends on the mesh. Inside ``jax.shard_map`` or ``jax.pmap``, where the program
sees the shard of one device, there are two ways to mix.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import jax.numpy as jnp
from jax import Array

from mixup_jax._combinators.nested import none_within, noted
from mixup_jax._combinators.once import once_per_batch
from mixup_jax._core import bound, checks
from mixup_jax._core.halves import Combinator, Halves, Mixer, halves, run
from mixup_jax._core.made import holds, made
from mixup_jax._core.mesh import AxisName
from mixup_jax._core.mix import Mix
from mixup_jax._core.move import Move, RowFunction
from mixup_jax._core.moves import Gather
from mixup_jax._core.source import Source

Name = TypeVar("Name", bound=AxisName)  # ``key_of`` takes the same kind of name


def own_key(key: Array, axis_name: AxisName) -> Array:
    """Return a distinct key for each device.

    As the ``key_of`` of ``per_device``, it makes each device draw on its own.

    Args:
      key: PRNG key.
      axis_name: the mesh or pmap axis that the batch is divided over, or the axes, in
        the order of the batch's ``jax.P``.

    Example:
      >>> import functools, jax, mixup_jax as mx
      >>> own_key = functools.partial(mx.own_key, axis_name="data")
      >>> on_each = jax.vmap(own_key, in_axes=None, axis_name="data", axis_size=2)
      >>> first, second = on_each(jax.random.key(0))
      >>> bool(first == second)
      False
    """
    return bound.own_key(key, axis_name)


def common_key(key: Array, axis_name: AxisName) -> Array:
    """Return the same key on every device.

    As the ``key_of`` of ``per_device``, it makes all devices draw the same.

    Args:
      key: PRNG key.
      axis_name: not used.

    Example:
      >>> import functools, jax, mixup_jax as mx
      >>> mixer = mx.per_device(mx.mixup, "data", key_of=mx.common_key)
      >>> on_shares = jax.vmap(mixer, in_axes=(None, 0), axis_name="data")
      >>> _, mix = on_shares(jax.random.key(0), (jax.numpy.ones((2, 4, 3)), None))
      >>> bool((mix.lam[0] == mix.lam[1]).all())
      True
    """
    del axis_name
    return key


@made
def per_device(
    mixer: Mixer, axis_name: Name, *, key_of: Callable[[Array, Name], Array] = own_key
) -> Mixer:
    """Return a mixer that mixes each device's shard on its own, without collectives.

    Use it inside ``jax.shard_map`` or ``jax.pmap``. Partners are on the same device;
    ``mix.partner`` counts over the whole batch, in the order of the shards. Apply it
    outside of ``choose`` and ``with_probability``, which reject it inside.

    Args:
      mixer: any mixer, over pairs or dicts.
      axis_name: the mesh or pmap axis that the batch is divided over, or the axes, in
        the order of the batch's ``jax.P``.
      key_of: returns the key of a device: ``own_key`` (distinct draws) or
        ``common_key`` (the same draws on each device; with ``ratios.per_batch``, one
        ``lam`` for the whole mesh).

    Returns:
      The mixer.

    Raises:
      TypeError: If ``mixer`` is not callable. If, when called, it does not return a
        ``Mix``.
      ValueError: If ``mixer`` contains ``per_device`` or ``whole_batch``. If, when
        called, it calls one of them, the axis is not bound, or the types show that
        other axes divide the examples too.

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> mesh = jax.make_mesh((1,), ("data",))
      >>> mix = mx.per_device(partial(mx.mixup, alpha=0.2), "data")
      >>> specs = dict(in_specs=(jax.P(), jax.P("data")), out_specs=jax.P("data"))
      >>> on_shares = jax.jit(jax.shard_map(mix, mesh=mesh, **specs))
      >>> images = jax.device_put(
      ...     jax.numpy.ones((8, 3)), jax.NamedSharding(mesh, jax.P("data"))
      ... )
      >>> (images, _), drawn = on_shares(jax.random.key(0), (images, None))
      >>> drawn.partner
      Array([1, 0, 3, 2, 5, 4, 7, 6], dtype=int32)
    """
    checks.function(mixer, "per_device: mixer", "mixup_jax.mixup")
    _not_within(mixer, "per_device")

    def placed(mix: Mix) -> Mix:
        offset = bound.first_row(axis_name, mix.lam.shape[0])

        def of_whole(source: Source) -> Source:
            partner = jnp.asarray(source.partner, jnp.int32)  # user-defined: any dtype
            return dataclasses.replace(source, partner=partner + offset)

        return _each_source(of_whole, mix)

    def own(key: Array, batch: Any) -> Array:
        checks.prng_key(key)
        noted("per_device", axis_name)
        bound.refuse_unnamed(batch, axis_name)
        return key_of(key, axis_name)

    def of_device(batch: Any) -> Halves | None:
        inner = halves(mixer, batch)
        if inner is None:
            return None

        def draw(key: Array, batch: Any) -> Mix:
            key_own = own(key, batch)
            with _none_hidden("per_device"):
                return placed(inner.draw(key_own, batch))

        return Halves(draw, inner.apply)

    def whole(key: Array, batch: Any) -> tuple[Any, Mix]:
        key_own = own(key, batch)
        with _none_hidden("per_device"):
            mixed, mix = run(mixer, key_own, batch)
        _of_as_many(mixed, mix, checks.examples(batch))
        return mixed, placed(mix)

    def once() -> Mixer:
        return per_device(once_per_batch(mixer), axis_name, key_of=key_of)

    return Combinator(of_device, whole, once)


@made
def whole_batch(mixer: Mixer, axis_name: AxisName) -> Mixer:
    """Return a mixer that draws, on each device, what one device would have drawn.

    Use it inside ``jax.shard_map`` or ``jax.pmap``: the result does not depend on the
    number of devices, and is the same as under plain jit. Inside ``choose`` it behaves
    as if it were outside.

    It costs a gather of what the draw reads from the batch (labels for ``same_class``),
    and an all-gather of the batch where pairs cross devices; neighboring pairs on
    shards of even size do not. A mixer that is a single function (``gaussian``, a
    jitted mixer) is run on the whole batch, on each device.

    Args:
      mixer: any mixer, over pairs or dicts.
      axis_name: the mesh or pmap axis that the batch is divided over, or the axes, in
        the order of the batch's ``jax.P``.

    Returns:
      The mixer.

    Raises:
      TypeError: If ``mixer`` is not callable. If, when called, it does not return a
        ``Mix``.
      ValueError: If ``mixer`` contains ``per_device`` or ``whole_batch``. If, when
        called, it calls one of them, the axis is not bound, or the types show that
        other axes divide the examples too. If, when applied, the mix was drawn for
        other shards or under another axis.

    Example:
      >>> import jax, mixup_jax as mx
      >>> mixer = mx.whole_batch(mx.mixup, "data")
      >>> on_shares = jax.vmap(mixer, in_axes=(None, 0), axis_name="data")
      >>> key, x = jax.random.key(0), jax.numpy.ones((4, 3))
      >>> _, on_two = on_shares(key, (x.reshape(2, 2, 3), None))
      >>> _, on_one = mx.mixup(key, (x, None))
      >>> bool((on_two.lam.reshape(4) == on_one.lam).all())
      True
    """
    checks.function(mixer, "whole_batch: mixer", "mixup_jax.mixup")
    _not_within(mixer, "whole_batch")

    def all_of(batch: Any) -> Any:
        noted("whole_batch", axis_name)
        bound.refuse_unnamed(batch, axis_name)
        bound.refuse_alike(batch, axis_name)
        return bound.gathered(batch, axis_name)

    def cut(mix: Mix, size: int) -> Mix:
        across = _Across(axis_name, mix.lam.shape[0])

        def here(source: Source) -> Source:
            if source.move.within(size):
                return source
            return dataclasses.replace(source, move=across)

        return _each_source(here, bound.own_rows(mix, axis_name, size))

    def of_share(batch: Any) -> Halves | None:
        inner = halves(mixer, batch)
        if inner is None:
            return None

        def draw(key: Array, batch: Any) -> Mix:
            whole = all_of(batch)
            of_whole = halves(mixer, whole)
            assert of_whole is not None
            with _none_hidden("whole_batch"):
                mix = of_whole.draw(key, whole)
            return cut(mix, checks.examples(batch))

        return Halves(draw, inner.apply)

    def whole(key: Array, batch: Any) -> tuple[Any, Mix]:
        size, gathered = checks.examples(batch), all_of(batch)
        with _none_hidden("whole_batch"):
            mixed, mix = run(mixer, key, gathered)
        _of_as_many(mixed, mix, checks.examples(gathered))
        return bound.own_rows(mixed, axis_name, size), cut(mix, size)

    def once() -> Mixer:
        return whole_batch(once_per_batch(mixer), axis_name)

    return Combinator(of_share, whole, once)


def _each_source(change: Callable[[Source], Source], mix: Mix) -> Mix:
    return dataclasses.replace(mix, sources=tuple(map(change, mix.sources)))


def _of_as_many(mixed: Any, mix: Mix, size: int) -> None:
    """Raise ValueError unless a mixer returned as many examples as it was given."""
    advice = "Return as many examples as were given, and their mix."
    checks.sized(mixed, size, "mixer: batch", advice)
    checks.shaped(mix.lam, "mixer: mix.lam", [(size,)], advice)


def _not_within(mixer: Mixer, name: str) -> None:
    for factory in (per_device, whole_batch):
        if holds(mixer, factory):
            inside = f"{factory.__name__} in it; got {mixer!r}"
            raise ValueError(_one_of_the_two(name, inside))


def _none_hidden(name: str) -> contextlib.AbstractContextManager[None]:
    return none_within(
        lambda inner, axis_name: _one_of_the_two(
            name, f"{inner} in it; got one that calls it on {axis_name!r}"
        )
    )


def _one_of_the_two(name: str, inside: str) -> str:
    return (
        f"{name}: expected a mixer without {inside}. Each device mixes its shard "
        "either on its own or as a part of the whole batch: leave one out, and name "
        'several axes in one call: axis_name=("data", "fsdp").'
    )


@dataclasses.dataclass(frozen=True)
class _Across(Move):
    """Rows gathered by index from the shards of all devices: one all-gather.

    If all ``size`` examples are available, rows are gathered from them: on one device,
    or outside, where the shards form one array.
    """

    axis_name: AxisName
    size: int
    crosses: ClassVar[bool] = True

    def map(self, function: RowFunction, x: Array, partner: Array, w: Any) -> Array:
        """Return ``function(w, x, x[partner])``."""
        if x.shape[0] == self.size:
            return Gather().bring(function, x, partner, w)
        return function(w, x, bound.rows_across(x, partner, self.axis_name, self.size))
