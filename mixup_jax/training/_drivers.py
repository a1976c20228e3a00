"""The drivers of a train step: pmap, and jit over a mesh."""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
from jax import Array

from mixup_jax._combinators.devices import per_device
from mixup_jax._core import checks
from mixup_jax._core.halves import Mixer
from mixup_jax._core.mesh import AxisName, axes
from mixup_jax._core.versions import set_mesh
from mixup_jax.training import _place, _placement
from mixup_jax.training._loss import Metrics, called_as, takes
from mixup_jax.training._step import S, Step

_STEP_EXAMPLE = "mixup_jax.training.train_step(loss, mixer)"


class Run(Protocol):
    """A train step on several devices: what ``pmapped`` and ``sharded`` return."""

    def __call__(self, state: S, key: Array, batch: Any) -> tuple[S, Metrics]: ...


def pmapped(
    step: Step,
    *,
    axis_name: str = "data",
    mixing: Callable[[Mixer, str], Mixer] = per_device,
) -> Run:
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
    checks.function(step, "pmapped: step", _STEP_EXAMPLE)
    if not takes(step, 3, place=_place.TOGETHER):
        raise TypeError(
            "pmapped: expected a step (state, key, batch, *, place), which averages "
            f"over the devices of its place; got {called_as(step)}. Pass "
            f"{_STEP_EXAMPLE}, or call jax.pmap yourself."
        )
    mapped = jax.pmap(
        functools.partial(step, place=_place.apart(axis_name, mixing)),
        axis_name=axis_name,
        in_axes=(None, None, 0),
        out_axes=None,
        donate_argnums=(0,),
    )

    def run(state: S, key: Array, batch: Any) -> tuple[S, Metrics]:
        devices = jax.local_devices()
        batch = _placement.stacked(batch, len(devices))
        # Where the step leaves the state; from elsewhere it would be compiled twice.
        mesh = jax.sharding.Mesh(devices, (axis_name,))
        state = returned.or_placed(state, mesh, beside=(key, batch))
        state, metrics = mapped(state, key, batch)
        returned.keep(state)
        return state, metrics

    returned = _placement.Returned()
    return run


def sharded(
    step: Callable[[Any, Array, Any], tuple[Any, Metrics]],
    mesh: jax.sharding.Mesh,
    *,
    axis_name: AxisName = "data",
) -> Run:
    """Return ``step`` under ``jax.jit`` over a mesh, the state donated.

    One program over the whole batch, so the numbers do not depend on the mesh. What of
    the state lies on the mesh already stays as it is laid out; the rest is copied to
    each device.

    Args:
      step: from ``train_step``.
      mesh: Auto or Explicit axes; may span processes, each of which then hands in its
        own part of the batch.
      axis_name: the mesh axis that the batch is divided over, or several.

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
    checks.function(step, "sharded: step", _STEP_EXAMPLE)
    if not set(axes(axis_name)) <= set(mesh.axis_names):
        raise ValueError(
            f"axis_name: expected an axis of the mesh, {mesh.axis_names}; got "
            f"{axis_name!r}. Name the one that the batch is divided over."
        )
    jitted = jax.jit(step, donate_argnums=(0,))

    def run(state: S, key: Array, batch: Any) -> tuple[S, Metrics]:
        batch = _placement.over_mesh(batch, mesh, axis_name)
        key = _placement.on_mesh(key, mesh)
        state = returned.or_placed(state, mesh, beside=(key, batch))
        with set_mesh(mesh):
            state, metrics = jitted(state, key, batch)
        returned.keep(state)
        return state, metrics

    returned = _placement.Returned()
    return run
