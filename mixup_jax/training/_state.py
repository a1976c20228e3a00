"""The state of a train step, and checks that its parameters are trainable."""

from collections.abc import Mapping
from typing import Any, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from mixup_jax._core import arrays
from mixup_jax.training._nodes import PyTreeNode, field, of_nnx

STATE = ("params", "step", "apply_gradients")
_NOT_TRAINED = ("BatchStat", "RngState", "Cache", "Intermediate")  # NNX classes
_COLLECTIONS = ("batch_stats", "cache", "intermediates")  # of Linen
_REST = (
    "Pass them to TrainState.create as model_state, and update them in a loss marked "
    "with mixup_jax.training.stateful"
)


class State(Protocol):
    """The interface that a train step requires of a state, whatever its class."""

    @property
    def params(self) -> Any: ...

    @property
    def step(self) -> Any: ...

    def apply_gradients(self, *, grads: Any) -> Any: ...


class TrainState(PyTreeNode):
    """Parameters, an Optax state and a step count, for models of any library.

    ``tx`` holds functions and is part of the pytree structure. To serialize a function
    of a ``TrainState`` with ``jax.export``, first register a serialization for it with
    ``jax.export.register_pytree_node_serialization``.

    Attributes:
      step: int32 scalar, the number of updates so far.
      params: pytree of arrays, such as an ``nnx.State``.
      opt_state: the state of ``tx``.
      model_state: the rest of the model's state, such as batch statistics; updated by
        a ``stateful`` loss.
      tx: the gradient transformation.

    Example:
      >>> import jax.numpy as jnp, optax, mixup_jax as mx
      >>> state = mx.training.TrainState.create({"w": jnp.ones(3)}, optax.sgd(0.5))
      >>> state = state.apply_gradients(grads={"w": jnp.ones(3)})
      >>> int(state.step), state.params["w"]
      (1, Array([0.5, 0.5, 0.5], dtype=float32))
    """

    step: Array
    params: Any
    opt_state: optax.OptState
    model_state: Any = None
    tx: optax.GradientTransformation = field(
        pytree_node=False, default=optax.identity()
    )

    @classmethod
    def create(
        cls, params: Any, tx: optax.GradientTransformation, *, model_state: Any = None
    ) -> Self:
        """Return the state before the first update.

        Args:
          params: pytree of floating-point or complex arrays, all of them trained.
          tx: the gradient transformation.
          model_state: the rest of the model's state, such as batch statistics.

        Returns:
          The state, with ``step`` 0.

        Raises:
          TypeError: If ``params`` holds anything that is not trained: batch statistics
            (``nnx.BatchStat``, Linen's ``batch_stats``), random number streams
            (``nnx.RngState``), keys, integers or functions. Weight decay would alter
            them, and nothing would update them. If ``tx`` is not a gradient
            transformation.

        Example:
          >>> import jax, optax, mixup_jax as mx
          >>> from flax import nnx
          >>> model = nnx.BatchNorm(3, rngs=nnx.Rngs(0))
          >>> graph, params, rest = nnx.split(model, nnx.Param, ...)
          >>> state = mx.training.TrainState.create(
          ...     params, optax.adamw(1e-3), model_state=rest
          ... )
          >>> len(jax.tree.leaves(state.params)), len(jax.tree.leaves(rest))
          (2, 2)
        """
        trainable(params)
        if not hasattr(tx, "init"):
            raise TypeError(
                "tx: expected a gradient transformation; got "
                f"{arrays.describe(tx)}. Pass one such as optax.adamw(1e-3)."
            )
        return cls(jnp.zeros((), jnp.int32), params, tx.init(params), model_state, tx)

    def apply_gradients(self, *, grads: Any) -> Self:
        """Return the state after one update by ``tx``."""
        updates, opt_state = self.tx.update(grads, self.opt_state, self.params)
        params = optax.apply_updates(self.params, updates)
        return self.replace(step=self.step + 1, params=params, opt_state=opt_state)


def trainable(params: Any) -> None:
    """Raise TypeError unless every leaf of ``params`` can be trained."""

    def variable(part: Any) -> bool:
        return of_nnx(part, "Variable")

    found = jax.tree_util.tree_leaves_with_path(params, is_leaf=variable)
    paths = [[str(_name_in(key)) for key in path] for path, _ in found]
    nodes = {tuple(path[:k]) for path in paths for k in range(len(path) + 1)}
    wanted = "expected trainable parameters, floating-point or complex arrays; got"
    for names, (path, leaf) in zip(paths, found):
        where = "params" + jax.tree_util.keystr(path)
        if of_nnx(leaf, *_NOT_TRAINED):
            raise TypeError(
                f"{where}: {wanted} nnx.{type(leaf).__name__}. Split it off: graph, "
                f"params, rest = nnx.split(model, nnx.Param, ...). {_REST}."
            )
        for k, name in enumerate(names):
            beside = (*names[:k], "params") in nodes or name == "batch_stats"
            if name in _COLLECTIONS and beside and not variable(leaf):
                raise TypeError(
                    f"{where}: {wanted} Linen's collection {name!r}. Split it off: "
                    f'rest, params = flax.core.pop(variables, "params"). {_REST}.'
                )
        for value in jax.tree.leaves(leaf):
            number = isinstance(value, int | float | complex)
            if not number and not hasattr(value, "dtype"):
                raise TypeError(
                    f"{where}: {wanted} {arrays.describe(value)}. Leave it out. For an "
                    "Equinox model, params are the first result of "
                    "eqx.partition(model, eqx.is_inexact_array)."
                )
            if not number:
                arrays.array_of_numbers(value, where)
            if not jnp.issubdtype(arrays.array(value).dtype, jnp.inexact):
                raise TypeError(
                    f"{where}: {wanted} {arrays.describe(value)}. Leave keys, counts "
                    "and flags out (for an Equinox model with eqx.partition(model, "
                    f"eqx.is_inexact_array)). {_REST}."
                )


def _name_in(key: Any) -> Any:
    """Return the dict key, attribute name or index in an entry of a path."""
    return getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))


def changed(state: Any, changes: Mapping[str, Any]) -> Any:
    """Return ``state`` with the changes of a stateful loss applied."""
    if not hasattr(state, "replace"):
        raise TypeError(
            "state: expected one with replace(**changes), since the loss changes "
            f"{sorted(changes)}; got {type(state).__name__}. Derive it from "
            "flax.struct.PyTreeNode, or use mixup_jax.training.TrainState."
        )
    unknown = [name for name in changes if not hasattr(state, name)]
    if unknown:
        raise ValueError(
            f"changes: expected names of fields of the state; got {unknown}, which "
            f"{type(state).__name__} does not have. Add them to the state, or put them "
            "in its model_state."
        )
    before = {name: getattr(state, name) for name in changes}
    if jax.tree.structure(before) == jax.tree.structure(dict(changes)):
        changes = _narrowed(dict(changes), before)
    return state.replace(**changes)


def _narrowed(means: Any, like: Any) -> Any:
    """Return ``means`` with inexact leaves cast to the dtypes of ``like``."""

    def narrowed(mean: Any, of: Any) -> Any:
        both = is_inexact(of) and is_inexact(mean)
        return jnp.asarray(mean, jnp.result_type(of)) if both else mean

    return jax.tree.map(narrowed, means, like)


def is_inexact(leaf: Any) -> bool:
    """Return whether a leaf is floating-point or complex."""
    kinds = Array | np.ndarray | np.generic | int | float | complex
    number = isinstance(leaf, kinds)
    return number and jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
