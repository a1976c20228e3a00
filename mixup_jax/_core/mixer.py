"""Decorators that turn a draw into a mixer."""

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, ParamSpec

import jax

from mixup_jax._core import arrays
from mixup_jax._core.axes import Axes, named_by
from mixup_jax._core.halves import Kept, kept_with
from mixup_jax._core.made import options, written
from mixup_jax._core.mix import Mix
from mixup_jax._core.types import Mixed
from mixup_jax._core.words import LATER, Plan

P = ParamSpec("P")


def mixer(draw: Callable[P, Mix]) -> Callable[P, tuple[Mixed, Mix]]:
    """Decorate a draw, ``(key, batch, ...) -> Mix``, to make it a mixer.

    ``mixer(draw)(key, batch)`` returns ``(mix.batch(batch), mix)`` for the ``mix`` that
    was drawn. The mixer has the name, docstring and signature of the draw. Combinators
    merge its draws with those of other mixers, and apply them in one pass.

    Args:
      draw: a function that returns a ``Mix``, typically the result of ``compose``.

    Returns:
      The mixer.

    Raises:
      TypeError: If ``draw`` is not a function of a key and a batch. If, when called, it
        does not return a ``Mix``.

    Example:
      >>> import jax, mixup_jax as mx
      >>> @mx.mixer
      ... def tiles(key, batch):
      ...     return mx.compose(
      ...         key,
      ...         batch,
      ...         ratio=mx.ratios.uniform(),
      ...         pairing=mx.pairings.roll,
      ...         region=mx.regions.box,
      ...     )
      >>> images = jax.numpy.ones((4, 8, 8, 3))
      >>> (mixed, _), mix = tiles(jax.random.key(0), (images, None))
      >>> mix.partner
      Array([3, 0, 1, 2], dtype=int32)
    """
    names = _first_two(draw)
    if names is None:
        raise TypeError(
            "mixer: expected a function (key, batch, ...) that returns a Mix; got "
            f"{arrays.describe(draw)}. Write it with def, outside of a class, and "
            "return what mixup_jax.compose(key, batch, ...) returns."
        )
    name = draw.__name__

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Mix:
        call_with = functools.partial(_call_with, draw, args, kwargs)

        def named(of: Callable[[], Any]) -> Any:
            with jax.named_scope(name), named_by(call_with):
                return of()

        mix: Any = named(lambda: draw(*args, **kwargs))
        if isinstance(mix, Plan):
            later = mix.of
            return mix._replace(of=lambda numbers: named(lambda: later(numbers)))  # type: ignore[return-value]
        if not isinstance(mix, Mix):
            raise TypeError(
                f"mixer: expected {name} to return a Mix; got "
                f"{arrays.describe(mix)}. Return the mix and not the batch; a function "
                "that returns a mixed batch is a mixer without the decorator."
            )
        return mix

    @functools.wraps(draw)
    def mixing(*args: P.args, **kwargs: P.kwargs) -> tuple[Mixed, Mix]:
        mix = drawn(*args, **kwargs)
        batch: Any = args[1] if len(args) > 1 else kwargs[names[1]]
        with jax.named_scope(name):
            return mix.batch(batch), mix

    returned = tuple[Mixed, Mix]
    mixing.__annotations__ = {**draw.__annotations__, "return": returned}
    signature = inspect.signature(draw).replace(return_annotation=returned)
    typing.cast(Any, mixing).__signature__ = signature
    typing.cast(Any, mixing)._mixup_jax_draw = Kept(drawn, mixing)
    return mixing


def method(draw: Callable[P, Mix]) -> Callable[P, tuple[Mixed, Mix]]:
    """Decorate a draw like ``mixer``; for ``LATER``, the draw returns its plan."""
    mixing = typing.cast(Any, mixer(draw))
    kept: Kept = mixing._mixup_jax_draw
    plan = typing.cast(Any, functools.partial(kept.draw, LATER))
    mixing._mixup_jax_draw = kept._replace(plan=plan)
    return mixing


def derived(
    mixing: Callable[P, tuple[Mixed, Mix]], **defaults: Any
) -> Callable[[Callable[[], None]], Callable[P, tuple[Mixed, Mix]]]:
    """Return a decorator that derives a mixer from ``mixing`` with other defaults.

    The decorated function supplies the name and the docstring.
    """
    draw = typing.cast(Any, inspect.unwrap(mixing))

    def decorate(named: Callable[[], None]) -> Callable[P, tuple[Mixed, Mix]]:
        # The same code under another name, so that errors and traces give that name.
        name, qualname = named.__name__, named.__qualname__
        code = draw.__code__.replace(co_name=name, co_qualname=qualname)
        copy = types.FunctionType(
            code, draw.__globals__, name, draw.__defaults__, draw.__closure__
        )
        copy.__kwdefaults__ = draw.__kwdefaults__ | defaults
        copy.__annotations__ = dict(draw.__annotations__)
        copy.__doc__, copy.__module__ = named.__doc__, named.__module__
        copy.__qualname__ = qualname
        return method(typing.cast(Callable[P, Mix], copy))

    return decorate


def _first_two(draw: Any) -> list[str] | None:
    """Return the names of the parameters for the key and the batch, or ``None``."""
    if not inspect.isfunction(draw) or kept_with(draw) is not None:
        return None
    first = list(inspect.signature(draw).parameters.values())[:2]
    if any(p.default is not p.empty or p.name in ("self", "cls") for p in first):
        return None
    by_place = all(
        p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in first
    )
    return [p.name for p in first] if len(first) == 2 and by_place else None


def _call_with(draw: Any, args: Any, kwargs: Any, axes: Axes) -> str | None:
    """Return Python code for this call of a mixer with ``spatial``, or ``None``."""
    parameters = inspect.signature(draw).parameters
    asked = parameters.get("spatial")
    by_name = asked and asked.kind in (asked.KEYWORD_ONLY, asked.POSITIONAL_OR_KEYWORD)
    key, pair, *_ = parameters
    given = dict(zip(parameters, args)) | kwargs
    named = {name: given[name] for name in given if name not in (key, pair)}
    if not asked or not by_name or named.get("spatial", asked.default) is not None:
        return None
    name = written(draw, draw.__name__)
    return f"{name}(key, batch, {options(named | {'spatial': axes})})"
