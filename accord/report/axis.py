"""The horizontal axis that the rows of a table share, so that their dots and whiskers line up as one plot."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from accord.report.records import Estimate

STEP = 0.1


@dataclass(frozen=True)
class Axis:
    """A range of shares, 0..1, and where to mark it."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, share: float) -> str:
        """Return the place of a share on the axis, for an SVG attribute.

        >>> Axis(0.4, 0.6, ()).at(0.45)
        '25.00%'
        """
        return f"{100 * (share - self.low) / (self.high - self.low):.2f}%"


def win_rate_axis(estimates: Iterable[Estimate]) -> Axis:
    """Return the axis around 50 % that holds all intervals, at least 40 to 60 %, at most 0 to 100 %."""
    away = max((abs(end - 0.5) for end in _ends(estimates)), default=0.0)
    half = min(0.5, max(0.1, math.ceil(away / STEP - 1e-9) * STEP))
    return Axis(0.5 - half, 0.5 + half, tuple(0.5 + half * i / 2 for i in range(-2, 3)))


def share_axis(estimates: Iterable[Estimate]) -> Axis:
    """Return the axis that holds all intervals, its ends at whole 10 %."""
    ends = list(_ends(estimates))
    low = math.floor(10 * min(ends, default=0.0) + 1e-9) / 10
    high = math.ceil(10 * max(ends, default=1.0) - 1e-9) / 10
    low, high = (low, high) if high > low else (max(0.0, low - 0.1), min(1.0, high + 0.1))
    num = max(1, round(10 * (high - low)))
    stride = math.ceil(num / 5)
    return Axis(low, high, tuple(low + i / 10 for i in range(0, num + 1, stride)))


def _ends(estimates: Iterable[Estimate]) -> Iterable[float]:
    return (end for e in estimates for end in (e.value, e.low, e.high) if not math.isnan(end))
