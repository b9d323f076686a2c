"""Networks that several scorers of a process use: opened once, freed when the last scorer that holds one is gone."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")

_open: WeakValueDictionary[Hashable, object] = WeakValueDictionary()


def shared(key: Hashable, make: Callable[[], T]) -> T:
    """Return the object that is open under this key, or make it.

    The key says all that decides the object: its class, checkpoint, revision, dtype and device.
    """
    found = _open.get(key)
    if found is None:
        found = _open[key] = make()
    return found  # type: ignore[return-value]
