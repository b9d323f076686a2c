"""HPDv3: `path1` is preferred over `path2` (arXiv 2508.03789); `confidence` says how sure the annotators were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accord.own.labels import confidence_of
from accord.own.record import Record, Verdict, first_of


def hpdv3(row: Mapping[str, Any]) -> Record:
    """Return a row's two images, the first preferred."""
    confidence = confidence_of(row.get("confidence"))
    images = (row["path1"], row["path2"])
    return Record(first_of(row, "prompt", "caption", "text"), images, (Verdict(0, 1, 1.0, confidence),))


hpdv3.columns = ({"path1", "path2"},)  # type: ignore[attr-defined]
