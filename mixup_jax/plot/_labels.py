"""The text of labels: those of examples, of their partners and of mixtures."""

import reprlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mixup_jax._core import arrays
from mixup_jax._core.mix import Mix

_LEAST = 0.02  # the smallest share that is named
_MOST = 3  # the most shares that are named
_LETTERS = 18  # of a class name
_LINE = 26


def checked(label: Any) -> Any:
    """Return labels that can be mixed: integer ids ``[B]``, or floating-point.

    Raises:
      TypeError: If the labels are complex.
      ValueError: If their shape is neither ``[B]`` nor ``[B, K]``.
    """
    label = arrays.array(label)
    if len(label.shape) not in (1, 2):
        raise ValueError(
            "plot: targets: expected class ids or numbers of shape [B], weights of "
            f"shape [B, K], or mixup_jax.follow.maps; got {arrays.describe(label)}. "
            "Pass (inputs, None) to leave them out."
        )
    if jnp.issubdtype(label.dtype, jnp.complexfloating):
        raise TypeError(
            f"plot: targets: expected real labels; got {arrays.describe(label)}. Pass "
            "(inputs, None) to leave them out."
        )
    if label.shape[1:] == (1,):
        label = label.reshape(label.shape[0])
    if len(label.shape) == 2:
        return (
            label
            if jnp.issubdtype(label.dtype, jnp.floating)
            else label.astype(np.float32)
        )
    return label.astype(np.int32) if label.dtype == bool else label


def names(classes: Any) -> list[str] | None:
    """Return the names of the classes as a list.

    Raises:
      TypeError: If they are not a sequence of strings.
    """
    if classes is None:
        return None
    is_listed = isinstance(classes, Sequence | np.ndarray)
    found: list[Any] = list(classes) if is_listed else [None]
    if isinstance(classes, str) or not all(isinstance(name, str) for name in found):
        raise TypeError(
            "plot: classes: expected a sequence of strings, the name of each class; "
            f"got {reprlib.repr(classes)}. Give the names in the order of the ids."
        )
    return found


def words(label: Any, rows: Sequence[int], classes: Sequence[str] | None) -> list[str]:
    """Return the label of each of these rows as text."""
    values = np.asarray(label)[list(rows)]
    if _are_ids(label):
        _named(values, classes)
        return [_said({int(k): 1.0}, classes) for k in values]
    return _rows_said(label, values, classes)


def mixed_words(
    mix: Mix, label: Any, rows: Sequence[int], classes: Sequence[str] | None
) -> list[str]:
    """Return the mixed label of each of these rows as text."""
    if not _are_ids(label):
        mixed = np.asarray(mix.targets(label))[list(rows)]
        return _rows_said(label, mixed, classes)
    found = [defaultdict(float) for _ in rows]
    for share, ids in mix.terms(label):
        share, ids = np.asarray(share), np.asarray(ids)
        for shares, row in zip(found, rows):
            shares[int(ids[row])] += float(share[row])
    return [_said(shares, classes) for shares in found]


def name_of(k: int, classes: Sequence[str] | None) -> str:
    """Return the name of a class, or its number if it has no name."""
    if classes is None or not 0 <= k < len(classes):  # label maps ignore such ids
        return f"class {k}"
    name = classes[k]
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"


def _named(ids: np.ndarray, classes: Sequence[str] | None) -> None:
    """Raise ValueError if a class id has no name, unless it is negative."""
    if classes is not None and ids.max() >= len(classes):
        raise ValueError(
            f"plot: classes: expected a name for each class; got {len(classes)} names, "
            f"and labels of class {ids.max()}. Give the names in the order of the ids."
        )


def _are_ids(label: Any) -> bool:
    return len(label.shape) == 1 and jnp.issubdtype(label.dtype, jnp.integer)


def _rows_said(
    label: Any, values: np.ndarray, classes: Sequence[str] | None
) -> list[str]:
    """Return each of these rows as text: weights if all of ``label`` is in [0, 1]."""
    if values.ndim == 1:
        return [f"{float(value):.3g}" for value in values]
    weights = np.asarray(label).astype(np.float64)
    if (abs(weights - 0.5) <= 0.501).all():  # sums of mixed weights are rounded
        return [_said(_shares(value, classes), classes) for value in values]
    return [_numbers(value) for value in values]


def _numbers(values: np.ndarray) -> str:
    said = [f"{float(value):.3g}" for value in values[:_MOST]]
    return f"[{', '.join(said + ['...'] * (len(values) > _MOST))}]"


def _shares(weights: np.ndarray, classes: Sequence[str] | None) -> dict[int, float]:
    if classes is not None and len(classes) != len(weights):
        raise ValueError(
            f"plot: classes: expected {len(weights)} names, one for each class of "
            f"labels [B, {len(weights)}]; got {len(classes)}. Give the names in the "
            "order of the ids."
        )
    weights = weights.astype(np.float64)
    return {k: float(w) for k, w in enumerate(weights) if w}


def _said(shares: Mapping[int, float], classes: Sequence[str] | None) -> str:
    """Return a label as ``0.62 cat + 0.38 dog``, or as the name of its only class."""
    order = sorted(shares, key=lambda k: -shares[k])
    if not order:
        return "no class"
    named = [k for k in order if shares[k] >= _LEAST][:_MOST] or order[:1]
    rest = sum(shares[k] for k in order if k not in named)
    if len(named) == 1 and rest < 0.005 and abs(shares[named[0]] - 1) < 0.005:
        return name_of(named[0], classes)
    parts = [f"{shares[k]:.2f} {name_of(k, classes)}" for k in named]
    parts[-1] += " + ..." if rest >= 0.005 else ""
    line = " + ".join(parts)
    return line if len(line) <= _LINE else " +\n".join(parts)
