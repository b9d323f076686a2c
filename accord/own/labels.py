"""Labels as people write them, as the share of people who prefer the first of two images."""

from __future__ import annotations

import math
from typing import Any

WORDS = {"a": 1.0, "b": 0.0, "tie": 0.5}
NO_LABEL = "no label"


def share_of(value: Any) -> float:
    """Return the share in [0, 1] for `a`, `b`, `tie` or a number. Raises ValueError with the reason otherwise.

    >>> share_of("a"), share_of(0.25), share_of("tie"), share_of("0")
    (1.0, 0.25, 0.5, 0.0)
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(NO_LABEL)
    if isinstance(value, str) and value.strip().lower() in WORDS:
        return WORDS[value.strip().lower()]
    try:
        share = float(value)
    except (TypeError, ValueError):
        raise ValueError("the label is none of a, b, tie or a share from 0 to 1") from None
    if math.isnan(share):
        raise ValueError(NO_LABEL)
    if not 0 <= share <= 1:
        raise ValueError("the label is none of a, b, tie or a share from 0 to 1")
    return share


def confidence_of(value: Any) -> float | None:
    """Return a number in [0, 1], or None where there is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 <= number <= 1 else None
