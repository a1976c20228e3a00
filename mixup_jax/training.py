"""The train step with Optax, and its drivers: pmap, and jit over a mesh.

    step = train_step(loss, mixer)              # pure: (state, key, batch) -> ...
    run = jax.jit(step, donate_argnums=0)       # one device
    run = pmapped(step)                         # every local device, the old way
    run = sharded(step, mesh)                   # a mesh, Auto or Explicit axes

The state is any object with `params`, `step` and `apply_gradients(grads=...)`: Linen's
`flax.training.train_state.TrainState`, or the `TrainState` below, which knows nothing
of models and so serves NNX. The key is the same for the whole run: it is folded with
`state.step`, so a resumed run draws what the uninterrupted one would have drawn.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

from mixup_jax import _checks, _devices, _versions
from mixup_jax._blend import widened
from mixup_jax._compose import at_step
from mixup_jax._made import made, made_by
from mixup_jax._mix import Mixer
from mixup_jax._mixer import Scheduled, run
from mixup_jax._moves import shards

Metrics = Mapping[str, Any]

_STATEFUL_EXAMPLE = "lambda params, batch, mix, state, key: (value, ({}, {}))"
_STEP_EXAMPLE = "mixup_jax.training.train_step(loss, mixer)"


STATE = ("params", "step", "apply_gradients")

_NOT_TRAINED = (nnx.BatchStat, nnx.RngState, nnx.Cache, nnx.Intermediate)
_COLLECTIONS = ("batch_stats", "cache", "intermediates")  # Linen's, beside "params"
_REST = (
    "Keep them in the model_state that TrainState.create takes, and change them in a "
    "loss marked mixup_jax.training.stateful"
)


class State(Protocol):
    """What a train step needs of a state: Linen's TrainState and ours have it."""

    params: Any
    step: Any

    def apply_gradients(self, *, grads: Any) -> Any: ...


class TrainState(flax.struct.PyTreeNode):
    """Parameters, an Optax state and a step count, for models of any library.

    Attributes:
      step: int32 scalar, the number of updates so far.
      params: any pytree of arrays, an ``nnx.State`` for one.
      opt_state: the state of ``tx``.
      model_state: whatever else the model carries, such as batch statistics; changed
        through ``stateful``.
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
    tx: optax.GradientTransformation = flax.struct.field(
        pytree_node=False, default=optax.identity()
    )

    @classmethod
    def create(
        cls, params: Any, tx: optax.GradientTransformation, *, model_state: Any = None
    ) -> "TrainState":
        """Return the state before the first update.

        Args:
          params: a pytree of floating or complex arrays, all of which are trained.
          tx: the gradient transformation.
          model_state: what else the model carries, such as batch statistics.

        Raises:
          TypeError: If ``params`` holds anything that is not trained: batch statistics
            (``nnx.BatchStat``, Linen's ``batch_stats``), streams of random numbers
            (``nnx.RngState``), keys, integers, functions. Updates and weight decay
            would change them, and nothing else would.

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
        _trainable(params)
        if not hasattr(tx, "init"):
            raise TypeError(
                "tx: expected a gradient transformation; got "
                f"{_checks.describe(tx)}. Pass one such as optax.adamw(1e-3)."
            )
        return cls(jnp.zeros((), jnp.int32), params, tx.init(params), model_state, tx)

    def apply_gradients(self, *, grads: Any) -> "TrainState":
        """Return the state after one update by ``tx``."""
        updates, opt_state = self.tx.update(grads, self.opt_state, self.params)
        params = optax.apply_updates(self.params, updates)
        return self.replace(step=self.step + 1, params=params, opt_state=opt_state)


@dataclasses.dataclass(frozen=True)
class Stateful:
    """A loss that reads the whole state and a key, and may change the state."""

    loss: Callable[..., tuple[Array, tuple[Metrics, Mapping[str, Any]]]]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.loss(*args, **kwargs)


@made
def stateful(loss: Callable[..., Any]) -> Stateful:
    """Mark a loss that needs more than the parameters: batch statistics, a dropout key.

    Args:
      loss: ``(params, batch, mix, state, key) -> (value, (metrics, changes))``, where
        ``state`` is the train state, ``key`` is this step's (and device's) own, and
        ``changes`` names the fields of the state to be replaced, such as
        ``{"batch_stats": ...}``. Under ``pmapped`` floating changes are averaged over
        devices; others (counts, keys) have to be the same on each.
        An NNX model that changes itself is merged with ``nnx.merge(..., copy=True)``.

    Example:
      >>> import jax, jax.numpy as jnp, optax, mixup_jax as mx
      >>> def loss(params, batch, mix, state, key):
      ...     x, _ = batch
      ...     mean = 0.9 * state.model_state + 0.1 * x.mean(axis=0)
      ...     return jnp.mean((x - mean) @ params), ({}, {"model_state": mean})
      >>> step = mx.training.train_step(mx.training.stateful(loss), mx.mixup)
      >>> state = mx.training.TrainState.create(
      ...     jnp.ones(3), optax.sgd(0.1), model_state=jnp.zeros(3)
      ... )
      >>> batch = (jnp.ones((4, 3)), None)
      >>> state, _ = jax.jit(step)(state, jax.random.key(0), batch)
      >>> state.model_state
      Array([0.1, 0.1, 0.1], dtype=float32)
    """
    _checks.function(loss, "stateful: loss", _STATEFUL_EXAMPLE)
    if made_by(loss, stateful):
        raise TypeError(
            f"stateful: loss: expected a function; got {loss!r}, which is marked. "
            "Mark it once."
        )
    if not _takes(loss, 5):
        raise TypeError(
            "stateful: expected a loss of five arguments, (params, batch, mix, state, "
            f"key); got {_called(loss)}. Take all five, or leave out stateful where "
            "the loss needs neither the state nor a key."
        )
    return Stateful(loss)


@made
def train_step(
    loss: Callable[..., Any] | Stateful,
    mixer: Mixer | Scheduled,
    *,
    micro_batches: int = 1,
) -> Callable[..., tuple[Any, Metrics]]:
    """Return the pure step ``(state, key, batch) -> (state, metrics)``.

    The step mixes the batch, differentiates ``loss`` and applies the gradients.

    Args:
      loss: ``(params, batch, mix) -> (value, metrics)``, or one marked ``stateful``.
        ``value`` is a mean over the examples; ``metrics`` a dict of means, of which
        none is called ``"loss"``.
      mixer: any mixer; one marked ``scheduled`` is called with ``state.step``.
      micro_batches: into how many parts the batch is divided; gradients and metrics are
        averaged over them, and each is mixed within itself. Every part takes every
        ``micro_batches``-th example, so that the devices of a mesh keep their shares.
        Sums over parts and devices are in float32 or wider, and rounded once.

    Returns:
      The step. ``metrics`` are those of the loss and its value, ``"loss"``. The keyword
      ``place`` is for drivers.

    Raises:
      TypeError: If ``mixer`` or ``loss`` is not callable, or ``loss`` takes other
        arguments, or ``micro_batches`` is not an integer. When called: if the state
        lacks a name, its ``params`` hold something that is not trained, or the value of
        the loss is not floating.
      ValueError: If ``micro_batches`` is less than 1. When called: if it does not
        divide each device's share of the batch, or ``loss`` returns something else.

    Example:
      >>> from functools import partial
      >>> import jax, jax.numpy as jnp, optax, mixup_jax as mx
      >>> def loss(params, batch, mix):
      ...     x, y = batch
      ...     return jnp.mean((x @ params - y) ** 2), {}
      >>> state = mx.training.TrainState.create(jnp.zeros(3), optax.sgd(0.1))
      >>> step = mx.training.train_step(loss, partial(mx.mixup, alpha=0.2))
      >>> batch = (jnp.ones((4, 3)), jnp.ones(4))
      >>> state, metrics = jax.jit(step)(state, jax.random.key(0), batch)
      >>> float(metrics["loss"])
      1.0
    """
    if not isinstance(micro_batches, int):
        raise TypeError(
            "micro_batches: expected a whole number; got "
            f"{_checks.describe(micro_batches)}. It counts the parts of a batch."
        )
    if micro_batches < 1:
        raise ValueError(f"micro_batches: expected at least 1; got {micro_batches}.")
    _checks.function(mixer, "mixer", "mixup_jax.erm, which mixes nothing")
    marked = made_by(loss, stateful)
    value_of = _stateful(marked.loss) if marked else _plain(_checked(loss))

    def gradients(state, mix_batch, key, batch):
        key_mix, key_loss = key
        batch, mix = run(mix_batch, key_mix, batch)
        value_and_grad = jax.value_and_grad(value_of, has_aux=True)
        (value, (metrics, changes)), grads = value_and_grad(
            state.params, batch, mix, state, key_loss
        )
        return grads, {"loss": value, **metrics}, changes

    def step(
        state: State,
        key: Array,
        batch: Any,
        *,
        place: _devices.Place = _devices.TOGETHER,
    ) -> tuple[Any, Metrics]:
        _checks.key(key)
        missing = [name for name in STATE if not hasattr(state, name)]
        if missing:
            raise TypeError(
                f"state: expected one with {', '.join(STATE)}; got "
                f"{type(state).__name__}, without {', '.join(missing)}. Make one with "
                "mixup_jax.training.TrainState.create(params, tx); of an NNX model "
                "params are what nnx.split(model, nnx.Param, ...) returns second."
            )
        _trainable(state.params)
        mix_batch = place.mixer(at_step(mixer, state.step))
        # One hash each, and none for what is not used.
        key_mix, key_loss = (
            jax.random.fold_in(key, 2 * state.step + purpose) for purpose in (0, 1)
        )
        key_loss = place.key(key_loss)
        if micro_batches == 1:
            grads, metrics, changes = gradients(
                state, mix_batch, (key_mix, key_loss), batch
            )
            each = metrics
        else:
            keys = [jax.random.split(k, micro_batches) for k in (key_mix, key_loss)]
            grads, each, changes = _accumulated(
                functools.partial(gradients, mix_batch=mix_batch),
                state,
                tuple(keys),
                _strided(batch, micro_batches),
            )
            metrics = jax.tree.map(lambda m: jnp.mean(widened(m), axis=0), each)
        grads, metrics = place.average((grads, metrics))
        if changes:
            state = _changed(state, _averaged(place, changes))
        grads, metrics = _narrowed(grads, state.params), _narrowed(metrics, each)
        return state.apply_gradients(grads=grads), metrics

    return step


def pmapped(
    step: Callable[..., tuple[Any, Metrics]],
    *,
    axis_name: str = "data",
    mixing: Callable[[Mixer, str], Mixer] = _devices.per_device,
) -> Callable[[Any, Array, Any], tuple[Any, Metrics]]:
    """Return ``step`` under ``jax.pmap`` over the local devices, the state donated.

    Pairs are found on each device by itself. The state goes in and comes out as it is,
    with no axis for the devices; the batch is divided over them.

    Args:
      step: from ``train_step``.
      axis_name: the name of the pmap axis.
      mixing: ``per_device``, or ``whole_batch`` for the same numbers on any number of
        devices.

    Raises:
      TypeError: If ``step`` is not callable, or takes no ``place``.
      ValueError: When called: if the devices do not divide the batch, or the state was
        donated to an earlier step.

    Example:
      >>> import jax, jax.numpy as jnp, optax, mixup_jax as mx
      >>> def loss(params, batch, mix):
      ...     x, y = batch
      ...     return jnp.mean((x @ params - y) ** 2), {}
      >>> state = mx.training.TrainState.create(jnp.zeros(3), optax.sgd(0.1))
      >>> run = mx.training.pmapped(mx.training.train_step(loss, mx.mixup))
      >>> batch = (jnp.ones((16, 3)), jnp.ones(16))
      >>> state, metrics = run(state, jax.random.key(0), batch)
      >>> float(metrics["loss"])
      1.0
    """
    _checks.function(step, "pmapped: step", _STEP_EXAMPLE)
    if not _takes(step, 3, place=_devices.TOGETHER):
        raise TypeError(
            "pmapped: expected a step (state, key, batch, *, place), which averages "
            f"over the devices of its place; got {_called(step)}. Pass "
            f"{_STEP_EXAMPLE}, or call jax.pmap yourself."
        )
    mapped = jax.pmap(
        functools.partial(step, place=_devices.apart(axis_name, mixing)),
        axis_name=axis_name,
        in_axes=(None, None, 0),
        out_axes=None,
        donate_argnums=(0,),
    )

    def run(state: Any, key: Array, batch: Any) -> tuple[Any, Metrics]:
        devices = jax.local_devices()
        batch = _devices.in_shares(batch, len(devices))
        # Where the step leaves the state; from elsewhere it would be compiled twice.
        mesh = jax.sharding.Mesh(devices, (axis_name,))
        state = returned.or_placed(state, mesh, beside=(key, batch))
        state, metrics = mapped(state, key, batch)
        returned.keep(state)
        return state, metrics

    returned = _devices.Returned()
    return run


def sharded(
    step: Callable[..., tuple[Any, Metrics]],
    mesh: jax.sharding.Mesh,
    *,
    axis_name: str = "data",
) -> Callable[[Any, Array, Any], tuple[Any, Metrics]]:
    """Return ``step`` under ``jax.jit`` over a mesh, the state donated.

    One program over the whole batch, so the numbers do not depend on the mesh. What of
    the state lies on the mesh already stays as it is laid out; the rest is copied to
    each device.

    Args:
      step: from ``train_step``.
      mesh: Auto or Explicit axes; may span processes, each of which then hands in its
        own part of the batch.
      axis_name: the mesh axis that the batch is divided over.

    Raises:
      TypeError: If ``step`` is not callable.
      ValueError: If the mesh has no such axis. When called: if the axis does not divide
        the batch, or the state was donated to an earlier step.

    Example:
      >>> import jax, jax.numpy as jnp, optax, mixup_jax as mx
      >>> def loss(params, batch, mix):
      ...     x, y = batch
      ...     return jnp.mean((x @ params - y) ** 2), {}
      >>> state = mx.training.TrainState.create(jnp.zeros(3), optax.sgd(0.1))
      >>> mesh = jax.make_mesh((jax.device_count(),), ("data",))
      >>> run = mx.training.sharded(mx.training.train_step(loss, mx.mixup), mesh)
      >>> batch = (jnp.ones((16, 3)), jnp.ones(16))
      >>> state, metrics = run(state, jax.random.key(0), batch)
      >>> float(metrics["loss"])
      1.0
    """
    _checks.function(step, "sharded: step", _STEP_EXAMPLE)
    if axis_name not in mesh.axis_names:
        raise ValueError(
            f"axis_name: expected an axis of the mesh, {mesh.axis_names}; got "
            f"{axis_name!r}. Name the one that the batch is divided over."
        )
    jitted = jax.jit(step, donate_argnums=(0,))

    def run(state: Any, key: Array, batch: Any) -> tuple[Any, Metrics]:
        batch = _devices.over_mesh(batch, mesh, axis_name)
        key = _devices.on_mesh(key, mesh)
        state = returned.or_placed(state, mesh, beside=(key, batch))
        with _versions.set_mesh(mesh):
            state, metrics = jitted(state, key, batch)
        returned.keep(state)
        return state, metrics

    returned = _devices.Returned()
    return run


def _plain(loss: Callable[..., tuple[Array, Metrics]]) -> Callable[..., Any]:
    def run(params, batch, mix, state, key):
        del state, key
        found = loss(params, batch, mix)
        value, metrics = _pair(found, "(value, metrics)", "Return (value, {}) for none")
        return _value(value), (_metrics(metrics), {})

    return run


def _stateful(loss: Callable[..., Any]) -> Callable[..., Any]:
    def run(params, batch, mix, state, key):
        wanted = "(value, (metrics, changes))"
        advice = "Return (value, ({}, {})) for none"
        value, rest = _pair(loss(params, batch, mix, state, key), wanted, advice)
        metrics, changes = _pair(rest, f"{wanted}, and so a pair in it", advice)
        if not isinstance(changes, Mapping):
            raise ValueError(
                f"changes: expected a dict; got {_checks.describe(changes)}. Name the "
                'fields of the state that change: {"model_state": ...}.'
            )
        return _value(value), (_metrics(metrics), changes)

    return run


def _pair(found: Any, wanted: str, advice: str) -> tuple[Any, Any]:
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise ValueError(
            f"loss: expected {wanted}; got {_checks.describe(found)}. {advice}."
        )
    first, second = found
    return first, second


def _value(value: Any) -> Any:
    if isinstance(value, nnx.Variable):
        value = value[...]
    if isinstance(value, Array | np.ndarray | np.generic | int | float | complex):
        found = _checks.array(value)
    else:
        found = None
    if found is None or found.shape != ():
        raise ValueError(
            "loss: expected one value, a mean over the examples; got "
            f"{_checks.describe(value)}. Return jnp.mean of it."
        )
    if not jnp.issubdtype(found.dtype, jnp.floating):
        raise TypeError(
            "loss: expected a floating value, which has a gradient; got "
            f"{_checks.describe(value)}. Return what is to be minimised."
        )
    return value


def _metrics(metrics: Any) -> Metrics:
    if not isinstance(metrics, Mapping):
        raise ValueError(
            f"metrics: expected a dict; got {_checks.describe(metrics)}. Give each one "
            "a name; a loss that returns (value, (metrics, changes)) is marked "
            "mixup_jax.training.stateful."
        )
    metrics = dict(metrics)  # of a type that JAX knows
    if "loss" in metrics:
        raise ValueError(
            'metrics: expected names other than "loss", which the value has; got '
            f"{sorted(map(str, metrics))}. Leave it out, or name it otherwise."
        )
    return metrics


def _takes(function: Callable[..., Any], count: int, **keywords: Any) -> bool:
    """Whether ``function`` can be called so, as far as can be told without a call."""
    for signature in _signatures(function):
        try:
            signature.bind(*[None] * count, **keywords)
        except TypeError:
            continue
        return True
    return not _signatures(function)


def _signatures(function: Callable[..., Any]) -> list[inspect.Signature]:
    """Return the signature that is called, and that of what it wraps if it says so."""
    found = []
    for follow in (False, True):
        try:
            found.append(inspect.signature(function, follow_wrapped=follow))
        except (TypeError, ValueError):  # not all that is not Python has one
            continue
    return found


def _called(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    return f"{name}{_signatures(function)[-1]}"


def _checked(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``loss``, a function of three arguments.

    Raises:
      TypeError: If it is anything else.
    """
    _checks.function(loss, "loss", "lambda params, batch, mix: (value, {})")
    if _takes(loss, 3):
        return loss
    advice = "Take the mix as the third argument, even where it is not used"
    if _takes(loss, 5):
        advice = "One that takes the state and a key is marked: stateful(loss)"
    raise TypeError(
        "loss: expected a function of three arguments, (params, batch, mix); got "
        f"{_called(loss)}. {advice}."
    )


def _trainable(params: Any) -> None:
    """Raise TypeError unless every leaf of ``params`` is to be trained."""

    def variable(part: Any) -> bool:
        return isinstance(part, nnx.Variable)

    found = jax.tree_util.tree_leaves_with_path(params, is_leaf=variable)
    paths = [[str(_name_in(key)) for key in path] for path, _ in found]
    nodes = {tuple(path[:k]) for path in paths for k in range(len(path) + 1)}
    wanted = "expected parameters to be trained, floating or complex arrays; got"
    for names, (path, leaf) in zip(paths, found):
        where = "params" + jax.tree_util.keystr(path)
        if isinstance(leaf, _NOT_TRAINED):
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
                    f"{where}: {wanted} {_checks.describe(value)}. Leave it out: of an "
                    "Equinox model params are what eqx.partition(model, "
                    "eqx.is_inexact_array) returns first."
                )
            if not number:
                _checks.array_of_numbers(value, where)
            if not jnp.issubdtype(_checks.array(value).dtype, jnp.inexact):
                raise TypeError(
                    f"{where}: {wanted} {_checks.describe(value)}. Leave keys, counts "
                    "and flags out (of an Equinox model with eqx.partition(model, "
                    f"eqx.is_inexact_array)). {_REST}."
                )


def _name_in(key: Any) -> Any:
    """Return the name in an entry of a path: of a dict, an attribute, or a place."""
    return getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))


def _changed(state: Any, changes: Metrics) -> Any:
    """Return ``state`` with the fields that a stateful loss has changed."""
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
            "into its model_state."
        )
    before = {name: getattr(state, name) for name in changes}
    if jax.tree.structure(before) == jax.tree.structure(dict(changes)):
        changes = _narrowed(dict(changes), before)
    return state.replace(**changes)


def _narrowed(means: Any, like: Any) -> Any:
    """Return ``means`` in the dtypes of ``like``, where that is of no whole numbers."""

    def narrowed(mean: Any, of: Any) -> Any:
        both = _is_inexact(of) and _is_inexact(mean)
        return jnp.asarray(mean, jnp.result_type(of)) if both else mean

    return jax.tree.map(narrowed, means, like)


def _is_inexact(leaf: Any) -> bool:
    kinds = Array | np.ndarray | np.generic | int | float | complex
    number = isinstance(leaf, kinds)
    return number and jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def _averaged(place: _devices.Place, changes: Any) -> Any:
    """Return ``changes``, the floating ones averaged over the devices."""
    means = place.average(
        jax.tree.map(lambda x: x if _is_inexact(x) else None, changes)
    )

    def averaged(x: Any, mean: Any) -> Any:
        return jnp.asarray(mean, jnp.result_type(x)) if _is_inexact(x) else x

    return jax.tree.map(averaged, changes, means)


def _accumulated(gradients, state, keys, batches):
    """Run the micro-batches one after another.

    Returns the mean of the gradients, in float32 or wider, the metrics of each and the
    last changes.
    """

    def one(carry, key_and_batch):
        state, total = carry
        key, batch = key_and_batch
        grads, metrics, changes = gradients(state, key=key, batch=batch)
        state = _changed(state, changes) if changes else state
        total = jax.tree.map(lambda t, g: t + widened(g), total, grads)
        return (state, total), (metrics, changes)

    zeros = jax.tree.map(lambda p: jnp.zeros_like(widened(p)), state.params)
    (_, total), (metrics, changes) = jax.lax.scan(one, (state, zeros), (keys, batches))
    count = len(jax.tree.leaves(keys)[0])
    return (
        jax.tree.map(lambda g: g / count, total),
        metrics,
        jax.tree.map(lambda c: c[-1], changes),
    )


def _strided(batch: Any, parts: int) -> Any:
    size = _checks.examples(batch)
    batch = _devices.fitting(batch)
    for leaf in jax.tree.leaves(batch):
        share = size // shards(leaf)
        if share % parts:
            raise ValueError(
                f"micro_batches: expected a number that divides the {share} examples "
                f"of the batch on each device; got {parts}. Use one that does, or "
                "batches of another size."
            )
    return jax.tree.map(
        lambda x: jnp.moveaxis(x.reshape(size // parts, parts, *x.shape[1:]), 1, 0),
        batch,
    )
