"""`images`, a list of images of one prompt, or `image`, a single one: nobody has judged them; scorers will."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accord.own.record import Record, first_of


def unlabelled(row: Mapping[str, Any]) -> Record:
    """Return a row's images, without verdicts."""
    found = row["images"] if "images" in row else [row["image"]]
    if not isinstance(found, list | tuple):
        raise ValueError("'images' is not a list")
    return Record(first_of(row, "prompt", "caption", "text"), tuple(found))


unlabelled.columns = ({"images"}, {"image"})  # type: ignore[attr-defined]
