"""`image_a`, `image_b` and `label`: a, b or tie, or the share of people who prefer the first (1, 0, 0.5, 0.7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accord.own.labels import confidence_of, share_of
from accord.own.record import Record, Verdict, first_of


def compared(row: Mapping[str, Any]) -> Record:
    """Return a row's two images and their label; a column `confidence` is kept."""
    caption, images = first_of(row, "prompt", "caption", "text"), (row["image_a"], row["image_b"])
    try:
        share = share_of(row["label"])
    except ValueError as error:
        return Record(caption, images, unlabelled=str(error))
    return Record(caption, images, (Verdict(0, 1, share, confidence_of(row.get("confidence"))),))


compared.columns = ({"image_a", "image_b", "label"},)  # type: ignore[attr-defined]
