"""Drivers of a train step: a map over devices, and jit over a mesh."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from mixup_jax._combinators.devices import per_device
from mixup_jax._core import checks, layouts
from mixup_jax._core.halves import Mixer
from mixup_jax._core.made import made
from mixup_jax._core.mesh import AxisName, axes
from mixup_jax.training import _place, _placement
from mixup_jax.training._loss import Metrics, called_as, takes
from mixup_jax.training._run import Driven, Layouts, Run
from mixup_jax.training._step import Step

_STEP_EXAMPLE = "mixup_jax.training.train_step(loss, mixer)"


@made
def pmapped(
    step: Step,
    *,
    axis_name: AxisName = "data",
    mixing: Callable[[Mixer, Any], Mixer] = per_device,
    devices: Sequence[Any] | np.ndarray | None = None,
) -> Run:
    """Return ``step`` mapped over devices like ``jax.pmap``, donating the state.

    Each device runs the step on its shard of the batch, and gradients are averaged.
    By default, partners are drawn within each shard. The state is replicated and has no
    device axis. The batch is sharded but not donated: partners read its rows as well,
    so donation would force a copy.

    Like ``jax.pmap`` since JAX 0.8, this is a ``jax.shard_map`` over the devices.
    Unlike ``jax.pmap``, it accepts several axis names.

    Args:
      step: a step from ``train_step``.
      axis_name: the name of the mapped axis, or a tuple of names. Gradients and metrics
        are averaged over all of them, and each device's loss gets its own key. A loss
        may use the names separately.
      mixing: ``per_device``, or ``whole_batch`` for results that do not depend on the
        number of devices.
      devices: the devices to run on: a sequence, placed along the first name, or an
        array with one axis per name. ``None`` takes the devices of all processes, each
        of which passes its own part of the batch.

    Returns:
      The run, ``(state, key, batch) -> (state, metrics)``, with the method ``lower`` of
      a ``jax.jit`` function.

    Raises:
      TypeError: If ``step`` is not callable or does not accept ``place``. If
        ``axis_name`` is not a name or a tuple of names. If ``devices`` contains
        anything other than devices.
      ValueError: If ``axis_name`` is empty or repeats a name. If ``devices`` does not
        have one axis per name, or repeats a device. If, when called, the number of
        devices does not divide the batch size. If the state or the batch is on several
        devices other than these, or in a different order. If the state was donated to
        an earlier step.

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
            f"over the devices by `place`; got {called_as(step)}. Pass "
            f"{_STEP_EXAMPLE}, or call jax.pmap yourself."
        )
    names = _names(axis_name)
    if not names:
        raise ValueError(
            "axis_name: expected at least one name; got none. Name the axis to shard "
            'the batch over, such as "data".'
        )
    grid = None if devices is None else _grid(devices, names)
    on_share = functools.partial(step, place=_place.apart(axis_name, mixing))

    def mesh() -> jax.sharding.Mesh:
        of = _grid(jax.devices(), names) if grid is None else grid
        return jax.sharding.Mesh(of, names)

    def on(mesh: jax.sharding.Mesh) -> Callable[..., Any]:
        return jax.shard_map(
            on_share,
            mesh=mesh,
            in_specs=(jax.P(), jax.P(), jax.P(axis_name)),
            out_specs=jax.P(),
            check_vma=False,  # JAX cannot infer that counts and keys are replicated
        )

    at = Layouts(layouts.whole, layouts.divided(axis_name), _placement.check_here)
    return Driven(on, mesh, at)


def _grid(devices: Any, names: tuple[str, ...]) -> np.ndarray:
    """Return devices as an array with one axis per name."""
    grid = np.asarray(devices)
    if grid.ndim == 1:
        grid = grid.reshape(-1, *[1] * (len(names) - 1))
    if grid.ndim != len(names) or not grid.size:
        raise ValueError(
            f"devices: expected a sequence of devices, or an array with one axis for "
            f"each of {names}; got an array of shape {grid.shape}. Reshape it, for two "
            "names as in numpy.array(jax.devices()).reshape(2, -1)."
        )
    seen = set()
    for device in grid.flat:
        if not hasattr(device, "process_index"):
            raise TypeError(
                f"devices: expected JAX devices; got {device!r} among them. Choose "
                "from jax.devices()."
            )
        if device in seen:
            raise ValueError(
                f"devices: expected each device once; got {device!r} twice. Remove "
                "the duplicates, or pass jax.devices()."
            )
        seen.add(device)
    return grid


def _names(axis_name: AxisName) -> tuple[str, ...]:
    """Return a tuple of distinct axis names."""
    several = isinstance(axis_name, str | tuple | list)
    names = axes(axis_name) if several else ()
    if not several or not all(isinstance(name, str) for name in names):
        raise TypeError(
            "axis_name: expected the name of an axis, or a tuple of names; got "
            f'{axis_name!r}. Pass one such as "data", or ("data", "model").'
        )
    if len(set(names)) < len(names):
        raise ValueError(
            f"axis_name: expected each name once; got {axis_name!r}. Remove the "
            "duplicates."
        )
    return names


@made
def sharded(
    step: Callable[[Any, Array, Any], tuple[Any, Metrics]],
    mesh: jax.sharding.Mesh,
    *,
    axis_name: AxisName = "data",
) -> Run:
    """Return ``step`` under ``jax.jit`` over a mesh, donating the state.

    One program sees the whole batch, so results do not depend on the mesh.

    Leaves that are already on the mesh keep their sharding, and the state is returned
    with the sharding it had. Other leaves of the state are replicated; other leaves of
    the batch are sharded over ``axis_name``. A batch leaf on the mesh whose examples
    are not sharded gets them sharded over those axes of ``axis_name`` that shard none
    of its other dimensions. The batch is not donated: partners read its rows as well,
    so donation would force a copy.

    The state may itself be sharded over axes of the mesh. If these are Explicit, the
    loss gathers what it needs, as with ``jax.sharding.reshard(params, jax.P())``.

    The run may be called inside ``jax.jit``, ``jax.lax.scan`` or ``jax.eval_shape``.
    Shardings are then known only from types: over Explicit axes the rules above apply;
    over Auto axes the shardings of the outer program's arguments are left unchanged.

    Args:
      step: a step from ``train_step``.
      mesh: a mesh with Auto or Explicit axes. It may span several processes, each of
        which passes its own part of the batch, or global arrays.
      axis_name: the mesh axis to shard the batch over, or a tuple of axes.

    Returns:
      The run, ``(state, key, batch) -> (state, metrics)``, with the method ``lower`` of
      a ``jax.jit`` function, which also accepts ``jax.ShapeDtypeStruct``.

    Raises:
      TypeError: If ``step`` is not callable. If ``mesh`` is not a
        ``jax.sharding.Mesh``. If ``axis_name`` is not a name or a tuple of names.
      ValueError: If ``axis_name`` repeats a name, or names an axis that the mesh does
        not have. If, when called, the number of shards does not divide the batch size.
        If the state, the key or the batch is on several devices other than the mesh's,
        or in a different order. If the state is sharded over another mesh, or was
        donated to an earlier step.

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
    if not isinstance(mesh, jax.sharding.Mesh):
        raise TypeError(
            f"mesh: expected a jax.sharding.Mesh, of devices; got {mesh!r}. Make one "
            'with jax.make_mesh((jax.device_count(),), ("data",)).'
        )
    if not set(_names(axis_name)) <= set(mesh.axis_names):
        raise ValueError(
            f"axis_name: expected an axis of the mesh, {mesh.axis_names}; got "
            f"{axis_name!r}. Name the axis to shard the batch over."
        )
    batch = layouts.kept_and_divided(axis_name)
    at = Layouts(layouts.kept, batch, _placement.check_kept)
    return Driven(lambda mesh: step, lambda: mesh, at)
