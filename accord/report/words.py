"""Numbers in words: as people read them, with a dash for what is not known."""

from __future__ import annotations

import math
from collections.abc import Sequence

from accord.report.records import Estimate

UNKNOWN = "–"
THIN = "\u202f"  # a narrow space that does not break, between a number and its per cent sign


def percent(share: float) -> str:
    """Return a share 0..1 in per cent.

    >>> percent(0.6308), percent(float("nan"))
    ('63.1\\u202f%', '–')
    """
    return UNKNOWN if math.isnan(share) else f"{100 * share:.1f}{THIN}%"


def percent_range(estimate: Estimate) -> str:
    """Return the interval of a share in per cent.

    >>> percent_range(Estimate(0.5, 0.4, 0.625))
    '40.0 to 62.5\\u202f%'
    """
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return UNKNOWN
    return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}{THIN}%"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign.

    >>> points(0.031), points(-0.031)
    ('+3.1', '−3.1')
    """
    return UNKNOWN if math.isnan(difference) else signed(100 * difference, 1)


def points_range(estimate: Estimate) -> str:
    """Return the interval of a difference of shares in percentage points."""
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return UNKNOWN
    return f"{points(estimate.low)} to {points(estimate.high)}"


def number(value: float, decimals: int = 3) -> str:
    """Return a number with a true minus sign."""
    return UNKNOWN if not math.isfinite(value) else f"{value:.{decimals}f}".replace("-", "−")


def signed(value: float, decimals: int = 3) -> str:
    """Return a number with its sign, zero without one."""
    if not math.isfinite(value):
        return UNKNOWN
    text = f"{value:+.{decimals}f}"
    return (text if float(text) else text[1:]).replace("-", "−")


def signed_range(estimate: Estimate, decimals: int) -> str:
    """Return the interval of a difference in its own unit."""
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return UNKNOWN
    return f"{signed(estimate.low, decimals)} to {signed(estimate.high, decimals)}"


def decimals_for(*widths: float) -> int:
    """Return how many decimals show two digits of the smallest of these widths, 0 to 6; 3 if none is known.

    >>> decimals_for(0.034), decimals_for(12.0), decimals_for(float("nan"))
    (3, 0, 3)
    """
    known = [abs(width) for width in widths if math.isfinite(width) and width]
    return 3 if not known else min(6, max(0, 1 - math.floor(math.log10(min(known)))))


def compact(value: float, digits: int = 3) -> str:
    """Return a number of any size in so many digits.

    >>> compact(0.81234), compact(21.456), compact(-3e-05), compact(1234.5)
    ('0.812', '21.5', '−3e-05', '1234')
    """
    if not math.isfinite(value):
        return UNKNOWN
    text = f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
    return "−" + text[1:] if text.startswith("-") else text


def compact_pair(a: float, b: float) -> tuple[str, str]:
    """Return two numbers in three digits, or in as many (up to eight) as it takes to tell them apart.

    >>> compact_pair(6.7812, 6.7789), compact_pair(0.5, 0.5), compact_pair(0.25, 0.75)
    (('6.781', '6.779'), ('0.5', '0.5'), ('0.25', '0.75'))
    """
    pairs = ((compact(a, digits), compact(b, digits)) for digits in range(3, 9))
    return next((pair for pair in pairs if pair[0] != pair[1] or a == b), (compact(a, 8), compact(b, 8)))


def count(value: int | float | None) -> str:
    """Return a count with its thousands set apart.

    >>> count(1234567), count(None)
    ('1\\u202f234\\u202f567', '–')
    """
    return UNKNOWN if value is None else f"{value:,}".replace(",", THIN)


def plural(value: int, noun: str) -> str:
    """Return `1 prompt`, `2 prompts`."""
    return f"{count(value)} {noun}{'' if value == 1 else 's'}"


def listed(items: Sequence[str]) -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    return " and ".join([*([", ".join(items[:-1])] if len(items) > 1 else []), *items[-1:]])
