"""Bound axes, over which the program sees the rows of one device.

``jax.shard_map``, ``jax.pmap`` and ``jax.vmap`` bind them. All collectives are here.
"""

from typing import Any

import jax
from jax import Array
from jax.core import Tracer

from mixup_jax._core.mesh import AxisName, axes, picked
from mixup_jax._core.versions import varying


def is_bound(axis_name: AxisName) -> bool:
    """Return whether one axis or several are bound here."""
    try:
        jax.lax.axis_size(axis_name)
    except NameError:
        return False
    return True


def names_of_shard_map() -> frozenset[str]:
    """Return the names of the axes that ``jax.shard_map`` binds here."""
    return frozenset(jax.sharding.get_abstract_mesh().manual_axes)


def devices_of(axis_name: AxisName) -> int:
    """Return the number of devices along a bound axis, or several.

    Raises:
      ValueError: If the axis is not bound.
    """
    if is_bound(axis_name):
        return jax.lax.axis_size(axis_name)
    manual = sorted(names_of_shard_map())
    raise ValueError(
        f"axis_name: expected an axis that is bound here; got {axis_name!r}"
        + (f", and jax.shard_map binds {manual}" if manual else "")
        + ". Call this inside jax.shard_map or jax.pmap over that axis, and apply the "
        "mix there too. Plain jit binds no axis: there a mixer sees the whole batch, "
        "so leave per_device and whole_batch out."
    )


def refuse_unnamed(tree: Any, axis_name: AxisName) -> None:
    """Raise ValueError if further bound axes than the named ones divide the examples.

    The type of a leaf lists the axes of ``jax.shard_map`` over which it varies, but not
    which array axis each of them divides, so only axes over which all leaves vary are
    taken to divide the examples. Nothing is known under ``jax.pmap``, ``jax.vmap`` and
    ``check_vma=False``.
    """
    devices_of(axis_name)
    told = [found for leaf in jax.tree.leaves(tree) if (found := _varying(leaf))]
    alike = frozenset.intersection(*told) if told else frozenset[str]()
    over = {axis for axis in alike if jax.lax.axis_size(axis) > 1}
    if over <= set(axes(axis_name)):
        return
    mesh = jax.sharding.get_abstract_mesh()
    wanted = tuple(
        axis for axis in mesh.axis_names if axis in over | set(axes(axis_name))
    )
    raise ValueError(
        "axis_name: expected all axes that the examples are divided over; got "
        f"{axis_name!r}, and every leaf of the batch varies over {sorted(over)}. If "
        f"these divide the examples of one batch, pass {wanted}, in the order of the "
        "batch's jax.P. If one divides something else, such as channels or batches "
        "that are trained on separately, pass check_vma=False to jax.shard_map, or "
        "include a leaf in the batch that it does not divide."
    )


def refuse_alike(tree: Any, axis_name: AxisName) -> None:
    """Raise ValueError if all devices along a named axis hold the same examples.

    Nothing is raised where the types do not carry this information.
    """
    named = {axis for axis in axes(axis_name) if devices_of(axis) > 1}
    told = frozenset[str]().union(*map(_varying, jax.tree.leaves(tree)))
    if told and not named <= told:
        raise ValueError(
            "axis_name: expected axes that the examples are divided over; got "
            f"{axis_name!r}, but they vary over {sorted(told)} only. Name the axes of "
            "the batch's jax.P, in its order, and apply a mix under the same names "
            "that it was drawn under."
        )


def _varying(x: Any) -> frozenset[str]:
    """Return the bound axes over which ``x`` is known to vary."""
    if not isinstance(x, Tracer):
        return frozenset()
    return frozenset(filter(is_bound, varying(jax.typeof(x))))


def own_key(key: Array, axis_name: AxisName) -> Array:
    """Return a distinct key for this device of a bound axis."""
    # Not ``fold_in``, which is an XOR for ``unsafe_rbg`` keys: device and step, if
    # that was folded in before, would be interchangeable.
    keys = jax.random.split(key, devices_of(axis_name))
    return keys[jax.lax.axis_index(axis_name)]


def first_row(axis_name: AxisName, rows: int) -> Array:
    """Return the index in the whole batch of this device's first row."""
    return jax.lax.axis_index(axis_name) * rows


def own_rows(tree: Any, axis_name: AxisName, rows: int) -> Any:
    """Return this device's rows of a tree that holds those of all devices."""
    start = first_row(axis_name, rows)
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, rows), tree)


def rows_across(x: Array, index: Array, axis_name: AxisName, size: int) -> Array:
    """Return ``x[index]`` for ``size`` rows on all devices, sharded like ``x``.

    It costs one all-gather.

    Raises:
      ValueError: If the axis is not the one that divides the ``size`` rows.
    """
    refuse_alike(x, axis_name)
    devices = devices_of(axis_name)
    if x.shape[0] * devices != size:
        raise ValueError(
            f"mix: expected a shard of the {size} examples that it was drawn for, "
            f"divided over {axis_name!r}; got {x.shape[0]} on each of "
            f"{devices} devices. Apply it where it was drawn, under the same names, "
            "or outside to the whole batch."
        )
    return picked(gathered(x, axis_name), index, jax.typeof(x).sharding)


def gathered(tree: Any, axis_name: AxisName) -> Any:
    """Return the rows of all devices of a bound axis: one all-gather per leaf."""
    return jax.tree.map(
        lambda x: jax.lax.all_gather(x, axis_name, axis=0, tiled=True), tree
    )


def averaged(tree: Any, axis_name: AxisName) -> Any:
    """Return the mean over the devices of a bound axis."""
    return jax.lax.pmean(tree, axis_name)
