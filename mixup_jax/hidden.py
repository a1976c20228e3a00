"""Mixing in hidden layers of Flax models, whose code stays as it is.

    (x, y), mix = manifold(key, (x, y), layers=(0, 1, 2))
    with hidden.linen(mix, after=["Conv_0", "Block_1"]):
        logits = model.apply(variables, x)

Layer k is what comes out of the k-th module named in ``after``, counted from 1; layer 0
is the inputs. Modules are named by their path from the model, parts joined by ``/``.
In models of other libraries, call ``mix.at(k).inputs(hidden)`` in the model.

No ``jax.jit`` may stand between the ``with`` and the model: jit what contains both. JAX
keeps what it once traced. A model that was jitted by itself and is first called within
the ``with`` would stay mixed by that same mix ever after; one first called outside
would not be mixed within. Both are refused.

JAX keeps what it traced of the functions that ``jax.checkpoint``, ``scan`` and ``cond``
are given, too: make them within the ``with``, as models that call ``nn.remat`` do. One
that was made outside is mixed once at most where nothing is jitted, then refused.
In JAX 0.7 one that is first called within the ``with`` stays mixed.
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
    "Jit what contains both the `with` and the model, and call the model there as it "
    "is, not jitted by itself: JAX keeps what it once traced, mixed or not. What "
    "`jax.checkpoint`, `scan` and `cond` are given is kept as well: make it within the "
    "`with`."
)

# What traces a jitted function when it is called, and when it is lowered or asked for
# its jaxpr or shapes.
_TRACERS = frozenset({"cache_miss", "jit_trace"})

_apart = versions.make_user_context()


@contextlib.contextmanager
def linen(mix: Mix, after: Sequence[str]) -> Iterator[None]:
    """Within it, Linen modules hand on what comes out of them mixed.

    Outputs may be any pytree with the examples on axis 0. A module that is called twice
    is mixed twice; so are the layers of ``nn.scan``, which share one name. No
    ``jax.jit`` may stand between the ``with`` and the model: jit what contains both.
    Make what ``jax.checkpoint``, ``scan`` and ``cond`` are given within the ``with``.

    Args:
      mix: what was drawn for the batch, as a rule by ``manifold``.
      after: paths of modules, such as ``"Conv_0"`` or ``"encoder/Block_3"``, one for
        each layer up to the last that may be drawn.

    Raises:
      ValueError: a name twice, a layer that has none; a model that is jitted by
        itself; or (on leaving) a name that no called module had.

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
        raise ValueError(f"{said}Called were {sorted(filter(None, seen))}. {_JIT}")


@contextlib.contextmanager
def nnx(model: flax_nnx.Module, mix: Mix, after: Sequence[str]) -> Iterator[None]:
    """Within it, submodules of an NNX model hand on what comes out of them mixed.

    Outputs may be any pytree with the examples on axis 0. A module that is called twice
    is mixed twice. No ``jax.jit`` may stand between the ``with`` and the model: jit
    what contains both. Make what ``jax.checkpoint``, ``scan`` and ``cond`` are given
    within the ``with``.

    Args:
      model: the model that is called within, as a rule merged in the loss.
      mix: what was drawn for the batch, as a rule by ``manifold``.
      after: paths of submodules, such as ``"conv"`` or ``"blocks/0"``, one for each
        layer up to the last that may be drawn.

    Raises:
      ValueError: a name twice, one that no submodule has, a layer that has none; a
        model that is jitted by itself; or (on leaving) a submodule that was not called.

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
                    f"after: expected paths of submodules; got {name!r}. There are "
                    f"{sorted(filter(None, modules))}."
                )
            change = functools.partial(mix_output, name, layer)
            stack.enter_context(_calling(modules[name], change))
        stack.enter_context(_traced_apart(mix))
        yield
    missed = [name for name in after if name not in seen]
    if missed:
        raise ValueError(
            f"after: expected paths of submodules that are called; got {missed}. "
            f"Called were {sorted(seen)}. Call the model within the `with`. {_JIT}"
        )


def _traced_apart(mix: Mix) -> contextlib.AbstractContextManager[Any]:
    """Within it, JAX takes up nothing that it traced elsewhere, nor elsewhere this."""
    # A mix that is traced must not be met in another trace. Outside jit each operation
    # is compiled by itself: that is to happen once, not for every batch.
    leaves = jax.tree.leaves(mix)
    traced = any(isinstance(leaf, Tracer) for leaf in leaves)
    return _apart(object() if traced else "hidden")


def _jits() -> int:
    """Return how many jitted functions are being traced, one within the other."""
    # Nothing public tells a trace of jit from one of scan or remat, which models have
    # inside. Where a release names these functions otherwise, nothing is refused.
    frame, found, inner = sys._getframe(), 0, ""
    while frame:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        found += name in _TRACERS and "jax" in file
        # nnx.fori_loop asks for the shapes of a body that it makes anew for each call.
        found -= (name, inner) == ("fori_loop", "eval_shape") and "flax" in file
        inner = inner if name == "reraise_with_filtered_traceback" else name
        frame = frame.f_back
    return found


def _refuse_jit(name: str, jits: int) -> None:
    """Raise ValueError if a further function is jitted than where the ``with`` is."""
    if _jits() > jits:
        raise ValueError(
            f"after: expected no jit between the `with` and the model; got {name!r} "
            f"called within a function that is jitted by itself. {_JIT}"
        )


@contextlib.contextmanager
def _calling(module: flax_nnx.Module, change: Callable[[Any], Any]) -> Iterator[None]:
    """Within it, what ``module`` returns is changed; its place and state stay."""
    kind = type(module)
    call = kind.__call__

    @functools.wraps(call)
    def changed(self: Any, *args: Any, **kwargs: Any) -> Any:
        return change(call(self, *args, **kwargs))

    # Python looks a call up in the class, so that is what has to differ.
    object.__setattr__(
        module, "__class__", type(kind.__name__, (kind,), {"__call__": changed})
    )
    try:
        yield
    finally:
        object.__setattr__(module, "__class__", kind)


def _numbered(mix: Mix, after: Sequence[str]) -> dict[str, int]:
    """Return the layer that each module is, after checking that all drawn have one."""
    if isinstance(after, str) or len(set(after)) < len(after):
        raise ValueError(
            f"after: expected a sequence of paths, each once; got {after!r}. Layer k "
            "is what comes out of the k-th."
        )
    last = max((k for each in mix.sources for k in each.region.layers), default=0)
    if last > len(after):
        raise ValueError(
            f"after: expected a module for each layer up to {last}, the last that may "
            f"be drawn; got {len(after)}: {list(after)}. Name the modules that are "
            "missing, or leave their layers out of manifold(layers=...)."
        )
    return {name: layer for layer, name in enumerate(after, start=1)}
