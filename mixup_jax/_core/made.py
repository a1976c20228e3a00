"""Results of factories that pickle, compare equal and print as the call that made them.

Closures do none of this. ``made`` keeps the factory and its arguments beside the
closure: a ``Made`` is unpickled by calling the factory again, compared by factory and
arguments, and printed as that call.
"""

import ast
import functools
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

from mixup_jax._core import arrays

P = ParamSpec("P")
R = TypeVar("R")


class Made:
    """The result of a factory, called like what the factory returned.

    Attributes:
      factory: the function that made it.
      arguments: the arguments by name, without those equal to their defaults.
      run: what the factory returned; its other attributes are attributes of this too.
    """

    __slots__ = ("__weakref__", "arguments", "factory", "run")

    def __init__(self, factory: Any, arguments: Mapping[str, Any], run: Any):
        self.factory, self.arguments, self.run = factory, dict(arguments), run

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in Made.__slots__:
            raise AttributeError(name)
        return getattr(self.run, name)

    def __reduce__(self) -> Any:
        return _again, (self.factory, self.arguments)

    def __deepcopy__(self, memo: Any) -> "Made":
        del memo  # immutable, like a function
        return self

    def __eq__(self, other: object) -> bool:
        if type(other) is not Made:
            return NotImplemented
        return _compared(self) == _compared(other)

    def __hash__(self) -> int:
        return hash(_compared(self))

    def __repr__(self) -> str:
        return _written(self)

    @property
    def __name__(self) -> str:
        return self.factory.__name__

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.run)

    @property
    def __annotations__(self) -> dict[str, Any]:  # pyright: ignore
        function = isinstance(self.run, FunctionType | Made)
        return typing.get_type_hints(self.run if function else type(self.run).__call__)


def made(factory: Callable[P, R]) -> Callable[P, R]:
    """Decorate a factory so that its results pickle, compare and print.

    Lists among the arguments become tuples. Arrays and functions are compared by
    identity, partials by what they bind, all other values by value.

    Example:
      >>> import pickle
      >>> from functools import partial
      >>> import mixup_jax as mx
      >>> mixer = mx.with_probability(0.5, partial(mx.mixup, alpha=0.2))
      >>> mixer
      mixup_jax.with_probability(0.5, functools.partial(mixup_jax.mixup, alpha=0.2))
      >>> mixer == mx.with_probability(0.5, partial(mx.mixup, alpha=0.2))
      True
      >>> pickle.loads(pickle.dumps(mixer)) == mixer
      True
    """
    signature = inspect.signature(factory)

    @functools.wraps(factory)
    def make(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            bound = None
        if bound is None:
            return factory(*args, **kwargs)  # Python's own error names the argument
        bound.arguments.update({n: _fixed(v) for n, v in bound.arguments.items()})
        run = factory(*bound.args, **bound.kwargs)
        if any(run is value for value in bound.arguments.values()):
            return run  # nothing was made
        arguments = {
            name: value
            for name, value in bound.arguments.items()
            if _compared(value) != _compared(signature.parameters[name].default)
        }
        return typing.cast(R, Made(make, arguments, run))

    return make


def made_by(value: Any, factory: Callable[..., Any]) -> Any:
    """Return the result of ``factory`` that ``value`` is, or ``None``.

    If a factory returns the result of another one, that counts as a result of both. A
    partial that binds nothing counts as the function that it wraps.

    Example:
      >>> import mixup_jax as mx
      >>> from mixup_jax._core.made import made_by
      >>> made_by(mx.with_probability(0.5, mx.mixup), mx.choose)
      mixup_jax.choose((mixup_jax.mixup, mixup_jax.erm), (0.5, 0.5))
    """
    found = (v for v in called(value) if type(v) is Made and v.factory is factory)
    return next(found, None)


def holds(value: Any, factory: Callable[..., Any]) -> bool:
    """Return whether ``value`` visibly contains a result of ``factory``."""
    return any(part.factory is factory for part in parts(value))


def called(value: Any) -> Iterator[Any]:
    """Yield ``value`` and each callable that it delegates to, the innermost last."""
    while True:
        yield value
        if type(value) is Made:
            value = value.run
        elif type(value) is functools.partial and not (value.args or value.keywords):
            value = value.func
        else:
            return


def parts(value: Any) -> Iterator[Made]:
    """Yield each result of a factory that ``value`` visibly contains."""
    if type(value) is Made:
        yield value
        inside: Any = value.arguments.values()
    elif type(value) is functools.partial:
        inside = (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, tuple):
        inside = value
    else:  # jax.jit and functools.wraps keep the function that they wrap
        inside = filter(None, [getattr(value, "__wrapped__", None)])
    for part in inside:
        yield from parts(part)


def written(value: Any, name: str) -> str:
    """Return Python code that makes ``value``, or ``name`` if there is none.

    The code uses only ``mixup_jax`` and ``functools``; arrays cannot be written that
    way.

    Example:
      >>> import jax, mixup_jax as mx
      >>> from mixup_jax._core.made import written
      >>> written(mx.pairings.roll, "pairing"), written(jax.numpy.ones(3), "alpha")
      ('mixup_jax.pairings.roll', 'alpha')
    """
    text = _written(value)
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except SyntaxError:
        return name
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return text if names <= {"mixup_jax", "functools", "float"} else name


def options(given: Mapping[str, Any]) -> str:
    """Return options in the form of a call: ``name=value, ...``, see ``written``."""
    return ", ".join(f"{name}={written(value, name)}" for name, value in given.items())


def public_name(value: Any) -> str:
    """Return the public name of a function or a class, whatever file defines it.

    Example:
      >>> import mixup_jax as mx
      >>> from mixup_jax._core.made import public_name
      >>> public_name(mx.pairings.roll), public_name(mx.Mix)
      ('mixup_jax.pairings.roll', 'mixup_jax.Mix')
    """
    module = value.__module__
    if module.startswith("mixup_jax."):
        module, _, _ = module.partition("._")
    return f"{module}.{value.__qualname__}"


def _again(factory: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    return factory(**arguments)


def _fixed(value: Any) -> Any:
    """Return ``value`` with tuples in place of lists."""
    if isinstance(value, list) or type(value) is tuple:
        return tuple(map(_fixed, value))
    return value


class _Same:
    """A value that equals only itself."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _compared(value: Any) -> Any:
    """Return what represents ``value`` in comparisons and hashes."""
    if type(value) is Made:
        pairs = ((name, _compared(v)) for name, v in value.arguments.items())
        return Made, value.factory, frozenset(pairs)
    if type(value) is functools.partial:
        func, args = _compared(value.func), _compared(value.args)
        return functools.partial, func, args, _compared(value.keywords)
    if type(value) in (tuple, list):
        return type(value), *map(_compared, value)
    if type(value) is dict:
        return dict, frozenset((name, _compared(v)) for name, v in value.items())
    if type(value) is set:
        return set, frozenset(value)
    if isinstance(value, jax.Array | np.ndarray):
        return _Same(value)
    try:
        hash(value)
        by_value = bool(value == value)
    except Exception:  # each type may raise its own errors
        by_value = False
    return value if by_value else _Same(value)


def _written(value: Any) -> str:
    """Return Python code that makes ``value``, see ``written``."""
    if type(value) is Made:
        by_place = {
            name
            for name, parameter in inspect.signature(value.factory).parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind is not parameter.KEYWORD_ONLY
        }
        words = [
            _written(v) if name in by_place else f"{name}={_written(v)}"
            for name, v in value.arguments.items()
        ]
        return f"{_written(value.factory)}({', '.join(words)})"
    if type(value) is functools.partial:
        words = [_written(v) for v in (value.func, *value.args)]
        words += [f"{name}={_written(v)}" for name, v in value.keywords.items()]
        return f"functools.partial({', '.join(words)})"
    if type(value) is tuple:
        comma = "," if len(value) == 1 else ""
        return f"({', '.join(map(_written, value))}{comma})"
    if type(value) is list:
        return f"[{', '.join(map(_written, value))}]"
    if type(value) is dict:
        pairs = (f"{_written(k)}: {_written(v)}" for k, v in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, FunctionType):
        return public_name(value)
    if isinstance(value, np.generic):
        return _written(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, jax.Array | np.ndarray):
        return f"<{arrays.describe(value)}>"
    return repr(value)
