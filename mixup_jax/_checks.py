"""The few questions that every part asks of what it is given.

A refusal says what was expected, what came and what to do, while the program is
traced. Values are looked at only where they are concrete: a traced value has none yet.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike

_NOT_NUMBERS = "OSUMm"  # NumPy's kinds: objects, text, dates


def is_concrete(value: Any) -> bool:
    """Whether ``value`` has numbers that can be looked at now."""
    return not isinstance(value, Tracer)


def key(key: Any) -> None:
    """Raise TypeError unless ``key`` is one PRNG key, typed or raw uint32."""
    dtype = getattr(key, "dtype", None)
    shape = getattr(key, "shape", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if (typed and shape == ()) or (dtype == np.uint32 and len(shape or ()) == 1):
        return
    raise TypeError(
        f"key: expected one JAX PRNG key; got {describe(key)}. "
        "Make one with jax.random.key(seed), and split it for every use."
    )


def pair(batch: Any) -> tuple[Any, Any]:
    """Return ``(inputs, targets)``, or raise ValueError if ``batch`` is no pair."""
    if isinstance(batch, dict):
        raise ValueError(
            f"batch: expected a pair (inputs, targets); got a dict with the keys "
            f"{sorted(map(str, batch))}. Wrap the mixer, outside "
            "of choose and the like: mixup_jax.on_keys(mixer, inputs=..., targets=...)."
        )
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        length = f" of length {len(batch)}" if isinstance(batch, tuple | list) else ""
        raise ValueError(
            f"batch: expected a pair (inputs, targets); got {describe(batch)}{length}. "
            "Pass (inputs, None) where there are no targets, and put several inputs "
            "into one pytree: ((image, text), labels)."
        )
    inputs, targets = batch
    return inputs, targets


def leaves(tree: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield ``(where, leaf)`` for each leaf, ``where`` as a user would write it."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield name + jax.tree_util.keystr(path), leaf


def examples(tree: Any, name: str = "batch") -> int:
    """Return how many examples the leaves of ``tree`` hold on axis 0.

    Raises ValueError where there is no array, no example, a scalar, or a leaf that
    disagrees with the first one; TypeError where a leaf is no array.
    """
    size, first = None, ""
    for where, leaf in leaves(tree, name):
        shape = getattr(leaf, "shape", None)
        if shape is None:
            raise TypeError(
                f"{where}: expected an array with the examples on axis 0; got "
                f"{describe(leaf)}. Convert it with jax.numpy.asarray, or keep it out "
                "of the batch."
            )
        if getattr(leaf.dtype, "kind", "") in _NOT_NUMBERS:
            raise TypeError(
                f"{where}: expected an array of numbers; got {describe(leaf)}. Encode "
                "it as numbers, or keep it out of the batch."
            )
        if not shape:
            raise ValueError(
                f"{where}: expected the examples on axis 0; got a scalar. "
                "Give every example its own value, or keep it out of the batch."
            )
        if size is None:
            size, first = shape[0], where
        elif shape[0] != size:
            raise ValueError(
                f"{where}: expected {size} examples on axis 0, as in {first}; got "
                f"{shape[0]} (shape {tuple(shape)}). Bring the examples to axis 0."
            )
    if size is None:
        raise ValueError(
            f"{name}: expected a pytree with at least one array; got none. "
            "There is nothing to mix."
        )
    if size == 0:
        raise ValueError(
            f"{first}: expected at least one example on axis 0; got an empty batch. "
            "Skip empty batches in the loader."
        )
    return size


def sized(tree: Any, size: int, name: str, advice: str) -> None:
    """Raise ValueError unless every leaf of ``tree`` holds ``size`` examples."""
    if jax.tree.leaves(tree) and examples(tree, name) != size:
        raise ValueError(
            f"{name}: expected {size} examples on axis 0; got {examples(tree, name)}. "
            f"{advice}"
        )


def function(value: Any, name: str, example: str) -> None:
    """Raise TypeError unless ``value`` can be called."""
    if not callable(value):
        raise TypeError(
            f"{name}: expected a function; got {describe(value)}. Pass one such as "
            f"{example}."
        )


def blendable(tree: Any, name: str, advice: str) -> None:
    """Raise TypeError unless every leaf is floating or complex."""
    wanted = "a floating or complex dtype, so that values can be blended"
    _of_kind(tree, name, jnp.inexact, wanted, advice)


def floating(tree: Any, name: str, purpose: str, advice: str) -> None:
    """Raise TypeError unless every leaf is floating, which ``purpose`` asks for."""
    _of_kind(tree, name, jnp.floating, f"a floating dtype, {purpose}", advice)


def _of_kind(tree: Any, name: str, kind: Any, wanted: str, advice: str) -> None:
    for where, leaf in leaves(tree, name):
        leaf = array(leaf)
        if not jnp.issubdtype(leaf.dtype, kind):
            raise TypeError(
                f"{where}: expected {wanted}; got {leaf.dtype}{list(leaf.shape)}. "
                f"{advice}"
            )


def class_ids(labels: ArrayLike, name: str, advice: str) -> Array:
    """Return integer ``labels`` as they are, in 32 bits or more.

    Raises TypeError unless they are integers, and ValueError where JAX would wrap them.
    """
    ids = array(labels)
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise TypeError(
            f"{name}: expected integer class ids; got {describe(ids)}. {advice}"
        )
    ids = exact(ids, name)
    return ids if jnp.iinfo(ids.dtype).bits >= 32 else ids.astype(jnp.int32)


def exact(values: Any, name: str) -> Array:
    """Return an array as JAX's, its integers as they are.

    Raises ValueError where no dtype that JAX has at hand holds them: without 64-bit
    types it would wrap them, silently.
    """
    whole = jnp.issubdtype(values.dtype, jnp.integer)
    if not whole or is_native(values) or not is_concrete(values):
        return jnp.asarray(values)
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
    return jnp.asarray(np.asarray(values).astype(dtype))


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
    return next((t for t, at in limits if at.min <= least and most <= at.max), None)


def is_native(values: Any) -> bool:
    """Whether this is an array of JAX's, of a dtype that JAX has at hand."""
    own = isinstance(values, Array)
    return own and jax.dtypes.canonicalize_dtype(values.dtype) == values.dtype


def number(
    value: ArrayLike,
    name: str,
    low: float,
    high: float = np.inf,
    advice: str = "",
) -> None:
    """Raise unless ``value`` is real and, where concrete, within ``[low, high]``."""
    dtype = array(value).dtype
    if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)):
        raise TypeError(
            f"{name}: expected a real number; got {describe(value)}. {advice}".strip()
        )
    if not is_concrete(value):
        return
    values = np.asarray(value, np.float64)
    wrong = values[~((values >= low) & (values <= high))]
    if wrong.size:
        bounds = f"in [{low:g}, {high:g}]" if high < np.inf else f"of at least {low:g}"
        raise ValueError(
            f"{name}: expected a number {bounds}; got {wrong[0]:g}. {advice}".strip()
        )


def shaped(
    value: ArrayLike, name: str, shapes: Sequence[tuple[int, ...]], advice: str
) -> None:
    """Raise ValueError unless ``value`` has one of the ``shapes``."""
    shape = array(value).shape
    if shape not in shapes:
        wanted = " or ".join(f"shape {s}" if s else "a scalar" for s in shapes)
        raise ValueError(f"{name}: expected {wanted}; got shape {shape}. {advice}")


def array(value: Any) -> Any:
    """Return ``value`` if it has a dtype and a shape, else as a NumPy array."""
    if hasattr(value, "dtype"):
        return value
    traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))
    return jnp.asarray(value) if traced else np.asarray(value)


def describe(value: Any) -> str:
    """Return the shape of an array, or the value of anything small, in words."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{type(value).__name__} {value.dtype}{list(value.shape)}"
    if isinstance(value, tuple | list | dict):
        return f"a {type(value).__name__}"
    return f"{value!r:.60} ({type(value).__name__})"
