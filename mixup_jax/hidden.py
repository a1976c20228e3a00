"""Mixing in hidden layers of Flax models, without changes to the model.

::

    (x, y), mix = manifold(key, (x, y), layers=(0, 1, 2))
    with hidden.linen(mix, after=["Conv_0", "Block_1"]):
        logits = model.apply(variables, x)

Layer k is the output of the k-th module named in ``after``, counted from 1; layer 0 is
the inputs. Modules are named by their path from the model, with parts joined by ``/``.
In models of other libraries, call ``mix.at(k).inputs(hidden)`` in the model.

There must be no ``jax.jit`` between the ``with`` and the model: jit the function that
contains both. JAX caches traces. A separately jitted model that is first called within
the ``with`` would stay mixed by that same mix forever; one that is first called outside
would not be mixed within. Both raise an error.

JAX also caches traces of the functions passed to ``jax.checkpoint``, ``scan`` and
``cond``: create these within the ``with``, as models that call ``nn.remat`` do. One
created outside, where nothing is jitted, is mixed in its first call at most; then it
raises an error. In JAX 0.7, one that is first called within the ``with`` stays mixed.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.core import Tracer

from mixup_jax._core import versions
from mixup_jax._core.mix import Mix

try:
    import flax.linen
    from flax import nnx as flax_nnx
except ModuleNotFoundError as error:
    if error.name != "flax":
        raise
    message = "mixup_jax.hidden needs Flax: pip install flax"
    raise ModuleNotFoundError(message, name="flax") from error


_JIT = (
    "Jit the function that contains both the `with` and the model, and call a model "
    "there that is not jitted separately: JAX caches traces, mixed or not. It also "
    "caches those of functions passed to `jax.checkpoint`, `scan` and `cond`: create "
    "these within the `with`."
)

# The functions that trace a jitted function when it is called, and when it is lowered
# or its jaxpr or shapes are computed.
_TRACERS = frozenset({"cache_miss", "jit_trace"})

_apart = versions.make_user_context()


@contextlib.contextmanager
def linen(mix: Mix, after: Sequence[str]) -> Iterator[None]:
    """Mix the outputs of Linen modules within this context.

    Outputs may be any pytree with the examples on axis 0. A module that is called twice
    is mixed twice; so are the layers of ``nn.scan``, which share one name. There must
    be no ``jax.jit`` between the ``with`` and the model: jit the function that contains
    both. Create functions passed to ``jax.checkpoint``, ``scan`` and ``cond`` within
    the ``with``.

    Args:
      mix: the mix that was drawn for the batch, typically by ``manifold``.
      after: paths of modules, such as ``"Conv_0"`` or ``"encoder/Block_3"``, one for
        each layer up to the last that may be drawn.

    Raises:
      ValueError: If a name occurs twice, or a layer has none. If the model is jitted
        separately. If, on leaving, a name belongs to no module that was called.

    Example:
      >>> import jax, mixup_jax as mx
      >>> from flax import linen as nn
      >>> model = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(2)])
      >>> x, y = jax.numpy.ones((4, 3)), jax.numpy.ones((4, 2))
      >>> variables = model.init(jax.random.key(0), x)
      >>> (x, y), mix = mx.manifold(jax.random.key(1), (x, y), layers=(0, 1))
      >>> with mx.hidden.linen(mix, after=["layers_0"]):
      ...     logits = model.apply(variables, x)
    """
    layer_of, seen, jits = _numbered(mix, after), set(), _jits()

    def intercepted(
        call: Callable[..., Any], args: Any, kwargs: Any, context: Any
    ) -> Any:
        out = call(*args, **kwargs)
        path = "/".join(context.module.path)
        if context.method_name != "__call__":
            return out
        seen.add(path)
        if path not in layer_of:
            return out
        _refuse_jit(path, jits)
        return mix.at(layer_of[path]).inputs(out)

    with _traced_apart(mix), flax.linen.intercept_methods(intercepted):
        yield
    missed = [name for name in after if name not in seen]
    if missed:
        said = f"after: expected paths of modules that are called; got {missed}. "
        if not seen:
            raise ValueError(
                f"{said}No module was called at all: call the model within the `with`. "
                f"{_JIT}"
            )
        raise ValueError(
            f"{said}The called modules are {sorted(filter(None, seen))}. {_JIT}"
        )


@contextlib.contextmanager
def nnx(model: flax_nnx.Module, mix: Mix, after: Sequence[str]) -> Iterator[None]:
    """Mix the outputs of submodules of an NNX model within this context.

    Outputs may be any pytree with the examples on axis 0. A module that is called twice
    is mixed twice. There must be no ``jax.jit`` between the ``with`` and the model: jit
    the function that contains both. Create functions passed to ``jax.checkpoint``,
    ``scan`` and ``cond`` within the ``with``.

    Args:
      model: the model that is called within the context, typically merged in the loss.
      mix: the mix that was drawn for the batch, typically by ``manifold``.
      after: paths of submodules, such as ``"conv"`` or ``"blocks/0"``, one for each
        layer up to the last that may be drawn.

    Raises:
      ValueError: If a name occurs twice or belongs to no submodule, or a layer has no
        name. If the model is jitted separately. If, on leaving, a submodule was not
        called.

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> from flax import nnx
      >>> linear = partial(nnx.Linear, rngs=nnx.Rngs(0))
      >>> model = nnx.Sequential(linear(3, 8), linear(8, 2))
      >>> batch = (jax.numpy.ones((4, 3)), jax.numpy.ones((4, 2)))
      >>> (x, y), mix = mx.manifold(jax.random.key(1), batch, layers=(0, 1))
      >>> with mx.hidden.nnx(model, mix, after=["layers/0"]):
      ...     logits = model(x)
    """
    seen, jits = set(), _jits()

    def mix_output(name: str, layer: int, out: Any) -> Any:
        seen.add(name)
        _refuse_jit(name, jits)
        return mix.at(layer).inputs(out)

    with contextlib.ExitStack() as stack:
        modules = {
            "/".join(map(str, path)): module
            for path, module in flax_nnx.iter_graph(model)
            if isinstance(module, flax_nnx.Module)
        }
        for name, layer in _numbered(mix, after).items():
            if name not in modules:
                raise ValueError(
                    f"after: expected paths of submodules; got {name!r}. The "
                    f"submodules are {sorted(filter(None, modules))}."
                )
            change = functools.partial(mix_output, name, layer)
            stack.enter_context(_calling(modules[name], change))
        stack.enter_context(_traced_apart(mix))
        yield
    missed = [name for name in after if name not in seen]
    if missed:
        raise ValueError(
            f"after: expected paths of submodules that are called; got {missed}. "
            f"The called submodules are {sorted(seen)}. Call the model within the "
            f"`with`. {_JIT}"
        )


def _traced_apart(mix: Mix) -> contextlib.AbstractContextManager[Any]:
    """Return a context whose traces JAX does not share with code outside of it."""
    # A traced mix must not leak into another trace. Outside jit each operation is
    # compiled separately, which should happen once rather than for every batch.
    leaves = jax.tree.leaves(mix)
    traced = any(isinstance(leaf, Tracer) for leaf in leaves)
    return _apart(object() if traced else "hidden")


def _jits() -> int:
    """Return the number of nested jitted functions that are being traced."""
    # No public API distinguishes a trace of jit from one of scan or remat, which models
    # contain. If a release renames these functions, no error is raised.
    frame, found, inner = sys._getframe(), 0, ""
    while frame:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        found += name in _TRACERS and "jax" in file
        # ``nnx.fori_loop`` computes the shapes of a body that it creates in each call.
        found -= (name, inner) == ("fori_loop", "eval_shape") and "flax" in file
        inner = inner if name == "reraise_with_filtered_traceback" else name
        frame = frame.f_back
    return found


def _refuse_jit(name: str, jits: int) -> None:
    """Raise ValueError if more functions are being jitted than at the ``with``."""
    if _jits() > jits:
        raise ValueError(
            f"after: expected no jit between the `with` and the model; got {name!r} "
            f"called within a function that is jitted separately. {_JIT}"
        )


@contextlib.contextmanager
def _calling(module: flax_nnx.Module, change: Callable[[Any], Any]) -> Iterator[None]:
    """Apply ``change`` to the outputs of ``module`` within this context.

    The module keeps its place and its state.
    """
    kind = type(module)
    call = kind.__call__

    @functools.wraps(call)
    def changed(self: Any, *args: Any, **kwargs: Any) -> Any:
        return change(call(self, *args, **kwargs))

    # Python looks ``__call__`` up in the class, so the class has to change.
    object.__setattr__(
        module, "__class__", type(kind.__name__, (kind,), {"__call__": changed})
    )
    try:
        yield
    finally:
        object.__setattr__(module, "__class__", kind)


def _numbered(mix: Mix, after: Sequence[str]) -> dict[str, int]:
    """Return the layer of each module; raise if a layer that may be drawn has none."""
    if isinstance(after, str) or len(set(after)) < len(after):
        raise ValueError(
            f"after: expected a sequence of paths, each once; got {after!r}. Layer k "
            "is the output of the k-th."
        )
    last = max((k for each in mix.sources for k in each.region.layers), default=0)
    if last > len(after):
        raise ValueError(
            f"after: expected a module for each layer up to {last}, the last that may "
            f"be drawn; got {len(after)}: {list(after)}. Name the modules that are "
            "missing, or leave their layers out of manifold(layers=...)."
        )
    return {name: layer for layer, name in enumerate(after, start=1)}
