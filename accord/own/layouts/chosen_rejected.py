"""`chosen` and `rejected`: the preferred image and the other one, beside `prompt`, `caption` or `text`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accord.own.labels import confidence_of
from accord.own.record import Record, Verdict, first_of


def chosen_rejected(row: Mapping[str, Any]) -> Record:
    """Return a row's two images, the first preferred; a column `confidence` is kept."""
    verdict = Verdict(0, 1, 1.0, confidence_of(row.get("confidence")))
    return Record(first_of(row, "prompt", "caption", "text"), (row["chosen"], row["rejected"]), (verdict,))


chosen_rejected.columns = ({"chosen", "rejected"},)  # type: ignore[attr-defined]
