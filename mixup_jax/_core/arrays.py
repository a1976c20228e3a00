"""Validation and conversion of arrays from JAX, NumPy and other libraries."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

_AS_NUMBERS = {  # advice for the NumPy dtype kinds that JAX does not support
    "O": "Stack examples of one size with numpy.stack; pad or resize others first",
    "S": "Encode it as numbers",
    "U": "Encode it as numbers",
    "T": "Encode it as numbers",
    "M": 'Convert times to numbers: x.astype("float64")',
    "m": 'Convert times to numbers: x.astype("float64")',
    "V": "View raw bytes as numbers: x.view(dtype)",
}
_TOO_LONG = {
    np.dtype(long): narrow
    for long, narrow in ((np.longdouble, "float64"), (np.clongdouble, "complex128"))
    if np.dtype(long) != np.dtype(narrow)
}


def is_concrete(value: Any) -> bool:
    """Return whether the values of ``value`` can be read now, in this process."""
    if isinstance(value, Tracer):
        return False
    if not isinstance(value, Array):
        return True
    return value.is_fully_addressable or value.is_fully_replicated


def array_of_numbers(leaf: Any, where: str) -> None:
    """Raise TypeError unless ``leaf`` is an array that JAX can convert without loss."""
    if isinstance(leaf, Array):
        return
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or not hasattr(leaf, "shape"):
        raise TypeError(
            f"{where}: expected an array with the examples on axis 0; got "
            f"{describe(leaf)}. {_as_array(leaf)}, or keep it out of the batch."
        )
    _unmasked(leaf, where)
    if not isinstance(dtype, np.dtype):
        raise TypeError(
            f"{where}: expected an array of NumPy or JAX; got {describe(leaf)}. "
            "Convert it with numpy.asarray, or without a copy with "
            "jax.numpy.from_dlpack."
        )
    if dtype in _TOO_LONG:
        raise TypeError(
            f"{where}: expected numbers of at most 64 bits, or 128 if complex; got "
            f'{describe(leaf)}. Convert it with x.astype("{_TOO_LONG[dtype]}").'
        )
    number = jnp.issubdtype(dtype, jnp.number) and dtype.kind != "m"  # timedelta64
    if not number and dtype != np.bool_:
        advice = _AS_NUMBERS[dtype.kind]
        if dtype.names:
            advice = "Take its fields: {name: x[name] for name in x.dtype.names}"
        raise TypeError(
            f"{where}: expected an array of numbers; got {describe(leaf)}. {advice}, "
            "or keep it out of the batch."
        )


def _as_array(leaf: Any) -> str:
    if dataclasses.is_dataclass(leaf) or hasattr(leaf, "mixed"):  # like a ``Follower``
        return "Register its class as a pytree: jax.tree_util.register_dataclass"
    return (
        "Convert it to an array with a value for each example, for instance with "
        "jax.numpy.asarray"
    )


def _unmasked(value: Any, where: str) -> None:
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{where}: expected an array without a mask; got {describe(value)}. Fill "
            "it with x.filled(value), and pass x.mask as a separate leaf if it is "
            "needed."
        )


def exact(values: Any, name: str) -> Array:
    """Return ``values`` as a JAX array without changing any integer.

    Raises:
      TypeError: If ``values`` is a masked array.
      ValueError: If no available dtype can hold its integers.
    """
    return jnp.asarray(fitting(values, name))


def fitting(values: Any, name: str) -> Any:
    """Return an array of JAX or NumPy whose integers fit a dtype available in JAX.

    Without 64-bit types JAX would wrap larger integers silently.

    Raises:
      TypeError: If ``values`` is a masked array.
      ValueError: If no available dtype can hold its integers.
    """
    _unmasked(values, name)
    if isinstance(values, np.ndarray) and not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    whole = jnp.issubdtype(values.dtype, jnp.integer)
    if not whole or is_native(values) or not is_concrete(values):
        return values
    dtype = holding(values)
    if dtype is None:
        limits = jnp.iinfo(jax.dtypes.canonicalize_dtype(values.dtype))
        host = np.asarray(values)
        wrong = host[(host < limits.min) | (host > limits.max)][0]
        raise ValueError(
            f"{name}: expected integers that fit {limits.dtype}; got {wrong}. Number "
            "distinct values from 0, once for the whole data set, with "
            "numpy.unique(labels, return_inverse=True)[1]; or enable 64-bit types: "
            'jax.config.update("jax_enable_x64", True).'
        )
    return np.asarray(values).astype(dtype)


def holding(values: Any) -> Any:
    """Return the JAX dtype that holds the integers in ``values``, or ``None``."""
    dtype = jax.dtypes.canonicalize_dtype(values.dtype)
    if dtype == values.dtype or not is_concrete(values):
        return dtype
    host = np.asarray(values)
    if not host.size:
        return dtype
    least, most = int(host.min()), int(host.max())
    limits = ((t, jnp.iinfo(t)) for t in (dtype, np.dtype(np.uint32)))
    return next(
        (t for t, info in limits if info.min <= least and most <= info.max), None
    )


def is_native(values: Any) -> bool:
    """Return whether ``values`` is a JAX array of a dtype that is enabled."""
    own = isinstance(values, Array)
    return own and jax.dtypes.canonicalize_dtype(values.dtype) == values.dtype


def array(value: Any) -> Any:
    """Return ``value`` if it has a dtype, otherwise convert it to an array.

    Raises:
      TypeError: If ``value`` is a masked array, whose mask would be lost.
    """
    _unmasked(value, "array")
    if hasattr(value, "dtype"):
        return value
    traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))
    return jnp.asarray(value) if traced else np.asarray(value)


def describe(value: Any) -> str:
    """Describe the dtype and shape of an array, or any other value briefly."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        kind = "array" if isinstance(value, Array) else type(value).__name__
        return f"{kind} {value.dtype}{list(value.shape)}"
    if isinstance(value, tuple | list | dict):
        return f"a {type(value).__name__}"
    return f"{value!r:.60} ({type(value).__name__})"
