"""Arrays of JAX, of NumPy or of anything else, as JAX takes them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

_AS_NUMBERS = {  # advice on NumPy's kinds that JAX does not take
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
    """Whether ``value`` has numbers that can be looked at now, in this process."""
    if isinstance(value, Tracer):
        return False
    if not isinstance(value, Array):
        return True
    return value.is_fully_addressable or value.is_fully_replicated


def array_of_numbers(leaf: Any, where: str) -> None:
    """Raise TypeError unless JAX can take ``leaf`` for what it is."""
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
    number = jnp.issubdtype(dtype, jnp.number) and dtype.kind != "m"  # NumPy says so
    if not number and dtype != np.bool_:
        advice = _AS_NUMBERS[dtype.kind]
        if dtype.names:
            advice = "Take its fields: {name: x[name] for name in x.dtype.names}"
        raise TypeError(
            f"{where}: expected an array of numbers; got {describe(leaf)}. {advice}, "
            "or keep it out of the batch."
        )


def _as_array(leaf: Any) -> str:
    if dataclasses.is_dataclass(leaf) or hasattr(leaf, "mixed"):  # a container's rule
        return "Register its class as a pytree: jax.tree_util.register_dataclass"
    return (
        "Make it an array with a value for each example, as jax.numpy.asarray does of "
        "a list"
    )


def _unmasked(value: Any, where: str) -> None:
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{where}: expected an array without a mask of its own; got "
            f"{describe(value)}. Fill it with x.filled(value), and put x.mask beside "
            "it if it is needed."
        )


def exact(values: Any, name: str) -> Array:
    """Return an array as JAX's, its integers as they are.

    Raises ValueError as ``fitting`` does.
    """
    return jnp.asarray(fitting(values, name))


def fitting(values: Any, name: str) -> Any:
    """Return an array, of JAX or NumPy, its integers in a dtype that JAX has at hand.

    Raises ValueError where none holds them: without 64-bit types JAX would wrap them,
    silently.
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
            f"{name}: expected integers that {limits.dtype} holds; got {wrong}. Number "
            "what they stand for from 0, once for the whole data set, as "
            "numpy.unique(labels, return_inverse=True)[1] does; or enable wider types: "
            'jax.config.update("jax_enable_x64", True).'
        )
    return np.asarray(values).astype(dtype)


def holding(values: Any) -> Any:
    """Return the dtype in which JAX holds integers as they are, None if it has none."""
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
    """Whether this is an array of JAX's, of a dtype that JAX has at hand."""
    own = isinstance(values, Array)
    return own and jax.dtypes.canonicalize_dtype(values.dtype) == values.dtype


def array(value: Any) -> Any:
    """Return ``value`` if it has a dtype and a shape, else as a NumPy array.

    Raises TypeError if it has a mask, which would be lost.
    """
    _unmasked(value, "array")
    if hasattr(value, "dtype"):
        return value
    traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))
    return jnp.asarray(value) if traced else np.asarray(value)


def describe(value: Any) -> str:
    """Return the shape of an array, or the value of anything small, in words."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        kind = "array" if isinstance(value, Array) else type(value).__name__
        return f"{kind} {value.dtype}{list(value.shape)}"
    if isinstance(value, tuple | list | dict):
        return f"a {type(value).__name__}"
    return f"{value!r:.60} ({type(value).__name__})"
