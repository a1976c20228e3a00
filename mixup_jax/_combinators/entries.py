"""The named entries of a batch: of a dict, a dataclass or a named tuple."""

import collections
import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, cast


def entries_of(batch: Any) -> Mapping[str, Any] | None:
    """Return what a batch has under which name, None where nothing has a name."""
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
    """Return a batch of the same type in which the entries of ``changed`` are others.

    Raises:
      TypeError: If the type does not let itself be made anew.
    """
    try:
        anew = _made_anew(batch, changed)
        found: Any = entries_of(anew)
        kept = list(found) == list(entries_of(batch) or ())
        if not kept or any(found[name] is not changed[name] for name in changed):
            raise ValueError("a batch with other entries")
    except Exception as error:
        raise TypeError(
            "on_keys: expected a batch whose type can be made anew from its entries; "
            f"got {type(batch).__name__}: {error!r}. Hand in dict(batch)."
        ) from error
    return anew


def _made_anew(batch: Any, changed: Mapping[str, Any]) -> Any:
    if isinstance(batch, dict | collections.UserDict):
        anew = copy.copy(batch)  # with whatever else it holds: a default, attributes
        for name, value in changed.items():
            anew[name] = value
        return anew
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        # Not `replace`, which would run what a class does when it is made.
        anew = copy.copy(batch)
        for name, value in changed.items():
            object.__setattr__(anew, name, value)
        return anew
    if isinstance(batch, tuple):
        return batch._replace(**changed)  # type: ignore[attr-defined]
    kind, entries = cast(Any, type(batch)), cast(Mapping, batch)
    return kind({**entries, **changed})
