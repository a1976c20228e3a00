"""Named entries of a batch: of a dict, a dataclass or a named tuple."""

import collections
import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, cast


def entries_of(batch: Any) -> Mapping[str, Any] | None:
    """Return the entries of a batch by name, or ``None`` if it has no names."""
    if isinstance(batch, Mapping):
        return batch
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        return {
            each.name: getattr(batch, each.name) for each in dataclasses.fields(batch)
        }
    if isinstance(batch, tuple) and hasattr(batch, "_asdict"):
        return batch._asdict()  # type: ignore[attr-defined]
    return None


def with_entries(batch: Any, changed: Mapping[str, Any]) -> Any:
    """Return a batch of the same type with the entries in ``changed`` replaced.

    Raises:
      TypeError: If the type cannot be rebuilt from its entries.
    """
    try:
        anew = _made_anew(batch, changed)
        found: Any = entries_of(anew)
        kept = list(found) == list(entries_of(batch) or ())
        if not kept or any(found[name] is not changed[name] for name in changed):
            raise ValueError("a batch with other entries")
    except Exception as error:
        raise TypeError(
            "on_keys: expected a batch whose type can be rebuilt from its entries; "
            f"got {type(batch).__name__}: {error!r}. Pass dict(batch)."
        ) from error
    return anew


def _made_anew(batch: Any, changed: Mapping[str, Any]) -> Any:
    if isinstance(batch, dict | collections.UserDict):
        anew = copy.copy(batch)  # keeps a default factory and attributes
        for name, value in changed.items():
            anew[name] = value
        return anew
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        # Not ``replace``, which would run ``__post_init__`` again.
        anew = copy.copy(batch)
        for name, value in changed.items():
            object.__setattr__(anew, name, value)
        return anew
    if isinstance(batch, tuple):
        return batch._replace(**changed)  # type: ignore[attr-defined]
    kind, entries = cast(Any, type(batch)), cast(Mapping, batch)
    return kind({**entries, **changed})
