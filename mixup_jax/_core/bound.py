"""Bound axes, which have a name: the program sees the rows of one device.

``jax.shard_map``, ``jax.pmap`` and ``jax.vmap`` bind them. All collectives are here.
"""

from typing import Any

import jax
from jax import Array
from jax.core import Tracer

from mixup_jax._core.mesh import AxisName, axes, picked
from mixup_jax._core.versions import varying


def is_bound(axis_name: AxisName) -> bool:
    """Whether the program sees what one device has of an axis."""
    try:
        jax.lax.axis_size(axis_name)
    except NameError:
        return False
    return True


def names_of_shard_map() -> frozenset[str]:
    """Return the axes that ``jax.shard_map`` binds here."""
    return frozenset(jax.sharding.get_abstract_mesh().manual_axes)


def devices_of(axis_name: AxisName) -> int:
    """Return over how many devices a bound axis goes, or several.

    Raises:
      ValueError: If it is not bound.
    """
    if is_bound(axis_name):
        return jax.lax.axis_size(axis_name)
    manual = sorted(names_of_shard_map())
    raise ValueError(
        f"axis_name: expected an axis that is bound here; got {axis_name!r}"
        + (f", and jax.shard_map binds {manual}" if manual else "")
        + ". Call this inside jax.shard_map or jax.pmap over that axis, and apply the "
        "mix there too. Under plain jit no axis is named: a mixer sees the whole "
        "batch, so leave per_device and whole_batch out."
    )


def refuse_unnamed(tree: Any, axis_name: AxisName) -> None:
    """Raise ValueError if examples are divided over further bound axes than are named.

    Types tell over which axes of a ``jax.shard_map`` a leaf varies, not which of its
    axes those divide: examples are what all leaves have. Nothing is known under
    ``jax.pmap``, ``jax.vmap`` and ``check_vma=False``.
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
        f"{axis_name!r}, and every leaf of the batch varies over {sorted(over)}. Where "
        f"these divide the examples of one batch, write {wanted}, in the order of the "
        "batch's jax.P. Where one divides something else, such as channels or batches "
        "that are trained on by themselves, types do not tell: pass check_vma=False to "
        "jax.shard_map, or let the batch have a leaf that it does not divide."
    )


def refuse_alike(tree: Any, axis_name: AxisName) -> None:
    """Raise ValueError if all devices of an axis that is named have the same examples.

    Where types tell nothing, nothing is raised.
    """
    named = {axis for axis in axes(axis_name) if devices_of(axis) > 1}
    told = frozenset[str]().union(*map(_varying, jax.tree.leaves(tree)))
    if told and not named <= told:
        raise ValueError(
            "axis_name: expected axes that the examples are divided over; got "
            f"{axis_name!r}, and they vary over {sorted(told)} alone. Name the axes of "
            "the batch's jax.P, in its order, and apply a mix under the names that it "
            "was drawn under."
        )


def _varying(x: Any) -> frozenset[str]:
    """Return the bound axes over which ``x`` is known to vary; none if not known."""
    if not isinstance(x, Tracer):
        return frozenset()
    return frozenset(filter(is_bound, varying(jax.typeof(x))))


def own_key(key: Array, axis_name: AxisName) -> Array:
    """Return this device's own key, of one for each device of a bound axis."""
    # Not `fold_in`, which is an XOR for keys of `unsafe_rbg`: the device and the step,
    # if that was folded in before, could trade places.
    keys = jax.random.split(key, devices_of(axis_name))
    return keys[jax.lax.axis_index(axis_name)]


def first_row(axis_name: AxisName, rows: int) -> Array:
    """Return where the rows of this device start, of so many on each."""
    return jax.lax.axis_index(axis_name) * rows


def own_rows(tree: Any, axis_name: AxisName, rows: int) -> Any:
    """Return the rows of this device, of a tree that holds those of all."""
    start = first_row(axis_name, rows)
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, rows), tree)


def rows_across(x: Array, index: Array, axis_name: AxisName, size: int) -> Array:
    """Return ``x[index]`` of the ``size`` rows on all devices, laid out as ``x``.

    Costs one all-gather.

    Raises:
      ValueError: If the axis is not the one that ``size`` rows are divided over.
    """
    refuse_alike(x, axis_name)
    devices = devices_of(axis_name)
    if x.shape[0] * devices != size:
        raise ValueError(
            f"mix: expected a share of the {size} examples that it was drawn for, "
            f"divided over {axis_name!r}; got {x.shape[0]} on each of "
            f"{devices} devices. Apply it where it was drawn, under the same names, "
            "or outside to the whole batch."
        )
    return picked(gathered(x, axis_name), index, jax.typeof(x).sharding)


def gathered(tree: Any, axis_name: AxisName) -> Any:
    """Return the rows of all devices of a bound axis: one all-gather a leaf."""
    return jax.tree.map(
        lambda x: jax.lax.all_gather(x, axis_name, axis=0, tiled=True), tree
    )


def averaged(tree: Any, axis_name: AxisName) -> Any:
    """Return the mean over the devices of a bound axis."""
    return jax.lax.pmean(tree, axis_name)
