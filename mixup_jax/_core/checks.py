"""Checks shared by all parts of the library.

An error says what was expected, what was given and what to do, while the program is
traced. Values are checked only where they are concrete; traced values have none yet.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core.arrays import array, array_of_numbers, describe, exact, is_concrete


def prng_key(key: Any) -> None:
    """Raise TypeError unless ``key`` is one PRNG key, typed or raw uint32."""
    dtype = getattr(key, "dtype", None)
    shape = getattr(key, "shape", None)
    typed = isinstance(key, Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if (typed and shape == ()) or (dtype == np.uint32 and shape in ((2,), (4,))):
        return
    raise TypeError(
        f"key: expected one JAX PRNG key; got {describe(key)}. "
        "Make one with jax.random.key(seed), and split it for every use."
    )


def pair(batch: Any) -> tuple[Any, Any]:
    """Return ``(inputs, targets)``; raise ValueError if ``batch`` is not a pair."""
    if isinstance(batch, Mapping):
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
    no_list(inputs, "inputs", least=1)
    no_list(targets, "targets", least=1)
    return inputs, targets


def no_list(tree: Any, name: str, *, least: int = 2) -> None:
    """Raise TypeError if ``tree`` is or contains a list of examples.

    Images that a loader did not stack would be taken for several inputs, and their rows
    for examples. Lists whose elements cannot be examples of one kind are pytrees and
    pass; so does a list of fewer than ``least`` elements, or of one within a larger
    tree.
    """

    def listed(part: Any) -> bool:
        return isinstance(part, list)

    for path, part in jax.tree_util.tree_leaves_with_path(tree, is_leaf=listed):
        if not listed(part) or len(part) < (2 if path else least):
            continue
        kinds = {_kind_of(element) for element in part}
        if len(kinds) == 1 and any(kinds.pop()[1]):
            stack = "jax.numpy.stack"
            if any(jax.tree.structure(each).num_nodes > 1 for each in part):
                stack = "jax.tree.map(lambda *x: jax.numpy.stack(x), *examples)"
            raise TypeError(
                f"{name}{jax.tree_util.keystr(path)}: expected an array, or a tuple or "
                f"dict of arrays, with the examples on axis 0; got a list of "
                f"{len(part)}. Stack examples, once they have one size, with {stack}; "
                "give several inputs as a tuple or a dict."
            )


def _kind_of(element: Any) -> tuple[Any, tuple[int, ...]]:
    """Return the structure of a list element and the number of axes of its leaves."""
    found, structure = jax.tree.flatten(element)
    return structure, tuple(len(getattr(leaf, "shape", ())) for leaf in found)


def leaves(tree: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield ``(where, leaf)`` for each leaf, with its path as written in Python."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield name + jax.tree_util.keystr(path), leaf


_SYMBOLIC = (
    "Export the function for each size separately, with numbers in place of "
    "jax.export.symbolic_shape."
)


def examples(tree: Any, name: str = "batch") -> int:
    """Return the number of examples that the leaves of ``tree`` hold on axis 0.

    Raises:
      TypeError: If a leaf is not an array of numbers.
      ValueError: If ``tree`` has no leaves or is empty, a leaf is a scalar or disagrees
        with the first one, or the number of examples is symbolic.
    """
    size = rows(tree, name)
    known([size], name, "number of examples, among which partners are drawn")
    return size


def known(sizes: Iterable[int], name: str, what: str) -> None:
    """Raise ValueError if one of ``sizes``, described by ``what``, is symbolic."""
    symbolic = [size for size in sizes if jax.export.is_symbolic_dim(size)]
    if symbolic:
        raise ValueError(
            f"{name}: expected a known {what}; got {symbolic[0]}, which is symbolic. "
            f"{_SYMBOLIC}"
        )


def rows(tree: Any, name: str) -> int:
    """Return the number of examples as ``examples`` does, but allow a symbolic one."""
    size, first = None, ""
    for where, leaf in leaves(tree, name):
        array_of_numbers(leaf, where)
        shape = leaf.shape
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
                f"{shape[0]} (shape {tuple(shape)}). Move the examples to axis 0."
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
    if not jax.tree.leaves(tree):
        return
    found = rows(tree, name)
    if found != size:
        symbolic = jax.export.is_symbolic_dim(found)
        raise ValueError(
            f"{name}: expected {size} examples on axis 0; got {found}. "
            f"{_SYMBOLIC if symbolic else advice}"
        )


def function(value: Any, name: str, example: str) -> None:
    """Raise TypeError unless ``value`` is callable."""
    if not callable(value):
        raise TypeError(
            f"{name}: expected a function; got {describe(value)}. Pass one such as "
            f"{example}."
        )


def blendable(tree: Any, name: str, advice: str | Callable[[Any], str]) -> None:
    """Raise TypeError unless every leaf is floating-point or complex.

    ``advice``, for integers and bools, may be a function of the leaf.
    """
    wanted = "a floating-point or complex dtype, so that values can be blended"
    _of_kind(tree, name, jnp.inexact, wanted, advice)


def floating(tree: Any, name: str, purpose: str, advice: str) -> None:
    """Raise TypeError unless every leaf is floating-point, as ``purpose`` needs."""
    _of_kind(tree, name, jnp.floating, f"a floating-point dtype, {purpose}", advice)


def _of_kind(
    tree: Any,
    name: str,
    kind: Any,
    wanted: str,
    advice: str | Callable[[Any], str],
) -> None:
    for where, leaf in leaves(tree, name):
        leaf = array(leaf)
        if jnp.issubdtype(leaf.dtype, kind):
            continue
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            advice = "Stack the real and imaginary parts on a last axis."
        elif jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            advice = (
                "Keep keys out of the mixed entries: on_keys passes others through."
            )
        raise TypeError(
            f"{where}: expected {wanted}; got {leaf.dtype}{list(leaf.shape)}. "
            f"{advice(leaf) if callable(advice) else advice}"
        )


def class_ids(labels: ArrayLike, name: str, advice: str) -> Array:
    """Return integer ``labels`` unchanged, in 32 bits or more.

    Raises:
      TypeError: If the labels are not integers.
      ValueError: If no available dtype can hold them.
    """
    ids = array(labels)
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise TypeError(
            f"{name}: expected integer class ids; got {describe(ids)}. {advice}"
        )
    ids = exact(ids, name)
    return ids if jnp.iinfo(ids.dtype).bits >= 32 else ids.astype(jnp.int32)


STOPS = "To stop mixing at a step, use mixup_jax.until(step, mixer)."


def real(value: Any, name: str, advice: str) -> None:
    """Raise TypeError unless ``value`` consists of real numbers."""
    found = array(value)
    dtype = found.dtype
    if dtype == np.bool_ and found.shape == ():
        advice = f"{advice} {STOPS}"  # it may be ``step < last``
    if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)):
        raise TypeError(
            f"{name}: expected a real number; got {describe(value)}. {advice}".strip()
        )


def number(
    value: ArrayLike,
    name: str,
    low: float,
    high: float = np.inf,
    advice: str = "",
) -> None:
    """Raise unless ``value`` is real and, if concrete, within ``[low, high]``."""
    real(value, name, advice)
    if not is_concrete(value):
        return
    values = np.asarray(value, np.float64)
    within = (values >= low) & (values <= high)
    if not within.all():
        wrong = np.asarray(value)[~within].flat[0].item()
        got = f"{wrong:g}" if isinstance(wrong, float) else str(wrong)
        bounds = f"in [{low:g}, {high:g}]" if high < np.inf else f"of at least {low:g}"
        raise ValueError(
            f"{name}: expected a number {bounds}; got {got}. {advice}".strip()
        )


def count(value: Any, name: str, advice: str) -> int:
    """Return ``value`` as an int; raise unless it is an integer of at least 1."""
    if not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected an integer; got {describe(value)}. {advice}")
    number(int(value), name, 1, advice=advice)
    return int(value)


def counts(values: Any, name: str, advice: str) -> tuple[int, ...]:
    """Return ``values`` as a tuple; raise ValueError unless all are at least 1."""
    found = tuple(values) if isinstance(values, Sequence | np.ndarray) else ()
    if not found or not all(isinstance(n, int | np.integer) and n > 0 for n in found):
        raise ValueError(
            f"{name}: expected a number of cells on each axis; got {values!r}. {advice}"
        )
    return tuple(map(int, found))


def shaped(
    value: ArrayLike, name: str, shapes: Sequence[tuple[int, ...]], advice: str
) -> None:
    """Raise ValueError unless ``value`` has one of the ``shapes``."""
    shape = array(value).shape
    if shape not in shapes:
        each = dict.fromkeys(shapes)
        wanted = " or ".join(f"shape {s}" if s else "a scalar" for s in each)
        raise ValueError(f"{name}: expected {wanted}; got shape {shape}. {advice}")
