"""The drivers of a train step: over all devices as pmap does, and jit over a mesh."""

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
    """Return ``step`` mapped over devices as ``jax.pmap`` does, the state donated.

    Each device runs the step on its share of the batch, and gradients are averaged.
    Pairs are found on each device by itself. The state goes in and comes out as it is,
    with no axis for the devices, whole on each of them; the batch is divided over them,
    and not donated: its rows are read by their partners too, so that would be a copy.

    As ``jax.pmap`` since JAX 0.8, it is a ``jax.shard_map`` over those devices, which
    serves several names too.

    Args:
      step: from ``train_step``.
      axis_name: the name of the mapped axis, or several. Gradients, metrics and keys
        are of all devices together; a loss may use the names one by one.
      mixing: ``per_device``, or ``whole_batch`` for the same numbers on any number of
        devices.
      devices: those to run on, in a row, or in an array with an axis for each name; in
        a row they lie along the first name. By default the devices of all processes,
        of which each hands in its own part of the batch.

    Returns:
      The run, ``(state, key, batch) -> (state, metrics)``. ``run.lower`` is that of
      ``jax.jit``.

    Raises:
      TypeError: If ``step`` is not callable, or takes no ``place``; ``axis_name`` is no
        name; or ``devices`` has anything else in it.
      ValueError: If ``axis_name`` has a name twice, or none; or ``devices`` has other
        axes, or a device twice. When called: if the devices do not divide the batch,
        the state or the batch lies on several other devices, or in another order, or
        the state was donated to an earlier step.

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
    names = _names(axis_name)
    if not names:
        raise ValueError(
            "axis_name: expected at least one name; got none. Name the axis that the "
            'batch is divided over, such as "data".'
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
            check_vma=False,  # counts and keys in a state are the same on each, untold
        )

    at = Layouts(layouts.whole, layouts.divided(axis_name), _placement.check_here)
    return Driven(on, mesh, at)


def _grid(devices: Any, names: tuple[str, ...]) -> np.ndarray:
    """Return devices in an array with an axis for each name."""
    grid = np.asarray(devices)
    if grid.ndim == 1:
        grid = grid.reshape(-1, *[1] * (len(names) - 1))
    if grid.ndim != len(names) or not grid.size:
        raise ValueError(
            f"devices: expected devices in a row, or in an array with an axis for each "
            f"of {names}; got an array of shape {grid.shape}. Bring them to one, as "
            "numpy.array(jax.devices()).reshape(2, -1) does for two names."
        )
    seen = set()
    for device in grid.flat:
        if not hasattr(device, "process_index"):
            raise TypeError(
                f"devices: expected devices of JAX; got {device!r} among them. Pass "
                "some of jax.devices()."
            )
        if device in seen:
            raise ValueError(
                f"devices: expected each device once; got {device!r} twice. Leave out "
                "what repeats, or pass jax.devices()."
            )
        seen.add(device)
    return grid


def _names(axis_name: AxisName) -> tuple[str, ...]:
    """Return the names of one axis or several, none of them twice."""
    several = isinstance(axis_name, str | tuple | list)
    names = axes(axis_name) if several else ()
    if not several or not all(isinstance(name, str) for name in names):
        raise TypeError(
            "axis_name: expected the name of an axis, or a tuple of names; got "
            f'{axis_name!r}. Pass one such as "data", or ("data", "model").'
        )
    if len(set(names)) < len(names):
        raise ValueError(
            f"axis_name: expected each name once; got {axis_name!r}. Leave out what "
            "repeats."
        )
    return names


@made
def sharded(
    step: Callable[[Any, Array, Any], tuple[Any, Metrics]],
    mesh: jax.sharding.Mesh,
    *,
    axis_name: AxisName = "data",
) -> Run:
    """Return ``step`` under ``jax.jit`` over a mesh, the state donated.

    One program over the whole batch, so the numbers do not depend on the mesh. What
    lies on the mesh already stays as it is laid out, and the state comes back laid out
    as it went in. The rest of the state is copied to each device, the rest of the batch
    divided over ``axis_name``. Examples that lie on the mesh undivided are divided over
    those of ``axis_name`` that divide no other axis of their array. The batch is not
    donated: its rows are read by their partners too, so that would be a copy.

    A state may be divided over axes of the mesh. Over Explicit ones a loss then gathers
    what it needs of it: ``jax.sharding.reshard(params, jax.P())``.

    It may be a part of another program (``jax.jit``, ``jax.lax.scan``,
    ``jax.eval_shape``). There types alone tell how arrays lie: over Explicit axes the
    same holds, over Auto axes they are left as the outer program's arguments lie.

    Args:
      step: from ``train_step``.
      mesh: Auto or Explicit axes; may span processes, each of which then hands in its
        own part of the batch, or arrays of the whole.
      axis_name: the mesh axis that the batch is divided over, or several.

    Returns:
      The run, ``(state, key, batch) -> (state, metrics)``. ``run.lower`` is that of
      ``jax.jit``, and takes ``jax.ShapeDtypeStruct`` as well.

    Raises:
      TypeError: If ``step`` is not callable, ``mesh`` is no ``jax.sharding.Mesh``, or
        ``axis_name`` no name.
      ValueError: If ``axis_name`` has a name twice, or the mesh has no such axis. When
        called: if the axis does not divide the batch; the state, the key or the batch
        lies on several other devices, or on the mesh's in another order; the state is
        divided over another mesh; or it was donated to an earlier step.

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
            f"mesh: expected a jax.sharding.Mesh, of devices; got {mesh!r}. Make one, "
            'as with jax.make_mesh((jax.device_count(),), ("data",)).'
        )
    if not set(_names(axis_name)) <= set(mesh.axis_names):
        raise ValueError(
            f"axis_name: expected an axis of the mesh, {mesh.axis_names}; got "
            f"{axis_name!r}. Name the one that the batch is divided over."
        )
    batch = layouts.kept_and_divided(axis_name)
    at = Layouts(layouts.kept, batch, _placement.check_kept)
    return Driven(lambda mesh: step, lambda: mesh, at)
