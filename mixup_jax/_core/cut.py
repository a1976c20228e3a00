"""What depends on how many rows lie on one device, where only the lowering knows it.

Without a mesh a trace sees the devices of its own host, and a program may be for
others: traced ahead of time, exported, or under the ``in_shardings`` of ``jax.jit``
alone. Whoever lowers it is told their number, so there a function of that many rows is
a primitive. Its derivatives, its transpose and what ``jax.vmap`` makes of it are
primitives of the same kind.
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
"""``run(size, *given)``, the same for all sizes that are asked, but for its cost."""

_cut_p = jax.extend.core.Primitive("cut_into_shares")
_cut_p.multiple_results = True


def cut(run: Run, rows: int, block: int, *given: Any) -> list[Array]:
    """Return ``run(size, *given)`` for the share of one device, or ``size = block``.

    Args:
      run: of the share of ``rows`` that lies on one device, where that is a multiple of
        ``block`` and divides them; of ``block`` elsewhere.
      rows: how many lie on all devices.
      block: how many may be looked at together, wherever they lie.
      given: arrays, on no mesh.
    """
    traced = jax.make_jaxpr(functools.partial(run, block))(*given)
    if any(isinstance(each, Tracer) for each in traced.consts):
        return run(block, *given)  # a closure, of what is gone when it is lowered
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
    """Return the values, and how they change as what is given does."""
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
    """Return the slopes of what is given, in which ``run`` is linear."""
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
    """Return ``run`` of some of its arguments, the others being given."""

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
    """Return the values of many, for ``jax.vmap``."""

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
