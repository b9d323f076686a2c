"""The colours of the page: told apart with any colour vision (Okabe and Ito 2008), and never the only sign."""

from __future__ import annotations

import math

BASE = "#5f6b7a"
TUNED = "#0072b2"
CHOSEN = "#0072b2"
REJECTED = "#d55e00"
LEVELS = ("#9ecae1", "#6baed6", "#3182bd", "#08519c", "#08214f")  # little noise to much, told apart by lightness too
SCORERS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6d1f", "#5f6b7a")


def scorer_colour(position: int) -> str:
    """Return the colour of the scorer at this position."""
    return SCORERS[position % len(SCORERS)]


def diverging(value: float) -> str:
    """Return a background for a number in [-1, 1]: blue above 0, orange below, white at 0 and for NaN."""
    if math.isnan(value):
        return "#ffffff"
    end = (0x56, 0xB4, 0xE9) if value >= 0 else (0xE6, 0x9F, 0x00)
    strength = min(1.0, abs(value))
    return "#" + "".join(f"{round(255 + strength * (channel - 255)):02x}" for channel in end)
