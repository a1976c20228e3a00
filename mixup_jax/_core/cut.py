"""Functions of the number of rows on one device, which only the lowering knows.

Without a mesh a trace sees the devices of its own host, but the program may be for
others: traced ahead of time, exported, or sharded only by the ``in_shardings`` of
``jax.jit``. A lowering rule is given their number, so a function of the number of rows
on a device is a primitive. Its derivatives, transpose and batching rule bind primitives
of the same kind.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.extend
from jax import Array
from jax.core import Tracer
from jax.interpreters import ad, batching, mlir

from mixup_jax._core.mesh import devices_lowered_for

Run: TypeAlias = Callable[..., list[Array]]
"""``run(size, *given)``: its result is the same for all sizes, only its cost varies."""

_cut_p = jax.extend.core.Primitive("cut_into_shares")
_cut_p.multiple_results = True


def cut(run: Run, rows: int, block: int, *given: Any) -> list[Array]:
    """Return ``run(size, *given)`` for the shard of one device, or ``size = block``.

    Args:
      run: called with the number of rows on one device if that is a whole number and a
        multiple of ``block``, otherwise with ``block``.
      rows: number of rows on all devices.
      block: number of rows that may be processed together however they are sharded.
      *given: arrays that are on no mesh.
    """
    traced = jax.make_jaxpr(functools.partial(run, block))(*given)
    if any(isinstance(each, Tracer) for each in traced.consts):
        return run(block, *given)  # closed-over tracers are dead when it is lowered
    kinds = tuple(traced.out_avals)
    return _cut_p.bind(*given, run=run, rows=rows, block=block, kinds=kinds)


def _lowered(
    ctx: mlir.LoweringRuleContext,
    *given: Any,
    run: Run,
    rows: int,
    block: int,
    **_: Any,
) -> Any:
    devices = devices_lowered_for(ctx)
    even = devices and rows % (devices * block) == 0
    size = rows // devices if devices and even else block
    return mlir.lower_fun(functools.partial(run, size))(ctx, *given)


def _with_slopes(
    given: Sequence[Any], slopes: Sequence[Any], *, run: Run, **options: Any
) -> tuple[list[Array], list[Array]]:
    """Return the values of ``run`` and their tangents."""
    live = [k for k, slope in enumerate(slopes) if not isinstance(slope, ad.Zero)]

    def pushed(size: int, *both: Array) -> list[Array]:
        given, slopes = both[: -len(live)], both[-len(live) :]
        of_live = _of_some(functools.partial(run, size), live, given)
        return jax.jvp(of_live, [given[k] for k in live], [*slopes])[1]

    values = _cut_p.bind(*given, run=run, **options)
    rows, block = options["rows"], options["block"]
    return values, cut(pushed, rows, block, *given, *(slopes[k] for k in live))


def _transposed(
    slopes: Sequence[Any], *given: Any, run: Run, rows: int, block: int, **_: Any
) -> list[Array | None]:
    """Return the cotangents of the arguments in which ``run`` is linear."""
    live = [k for k, each in enumerate(given) if ad.is_undefined_primal(each)]
    avals = [given[k].aval for k in live]
    like = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals]

    def pulled(size: int, *both: Array) -> list[Array]:
        known, slopes = both[:-count], both[-count:]
        of_live = _of_some(functools.partial(run, size), live, known)
        return [*jax.linear_transpose(of_live, *like)([*slopes])]

    count = len(slopes)
    known = [0.0 if k in live else each for k, each in enumerate(given)]
    slopes = [ad.instantiate_zeros(slope) for slope in slopes]
    found = dict(zip(live, cut(pulled, rows, block, *known, *slopes)))
    return [found.get(k) for k in range(len(given))]


def _of_some(
    run: Callable[..., Any], live: Sequence[int], given: Sequence[Any]
) -> Callable[..., Any]:
    """Return ``run`` as a function of its ``live`` arguments, with the others fixed."""

    def of_live(*new: Any) -> Any:
        found = dict(zip(live, new))
        return run(*(found.get(k, each) for k, each in enumerate(given)))

    return of_live


def _of_many(
    given: Sequence[Any],
    axes: Sequence[int | None],
    *,
    run: Run,
    rows: int,
    block: int,
    **_: Any,
) -> tuple[list[Array], list[int]]:
    """Return the batched values, for ``jax.vmap``."""

    def each(size: int, *given: Array) -> list[Array]:
        return jax.vmap(functools.partial(run, size), tuple(axes))(*given)

    found = cut(each, rows, block, *given)
    return found, [0] * len(found)


@functools.partial(jax.jit, static_argnames=("run", "rows", "block", "kinds"))
def _at_once(*given: Array, **options: Any) -> list[Array]:
    return _cut_p.bind(*given, **options)


_cut_p.def_impl(_at_once)
_cut_p.def_abstract_eval(lambda *_, kinds, **__: [*kinds])
ad.primitive_jvps[_cut_p] = _with_slopes
ad.primitive_transposes[_cut_p] = _transposed
batching.primitive_batchers[_cut_p] = _of_many
mlir.register_lowering(_cut_p, _lowered)
