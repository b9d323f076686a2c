"""A number with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its confidence interval, in the estimate's own unit."""

    value: float
    low: float
    high: float
    num: int  # how many prompts, or trials, it rests on
