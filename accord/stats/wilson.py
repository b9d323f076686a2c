"""An interval for a share of independent trials."""

from __future__ import annotations

from statistics import NormalDist

from accord.errors import EvaluationError
from accord.stats.interval import Interval


def wilson(successes: float, total: int, level: float = 0.95) -> Interval:
    """Return `successes / total` with its score interval (Wilson 1927), inside [0, 1] and sound near both ends.

    successes: a tie may count one half. total: trials, which must be independent; images of one prompt are not.

    >>> interval = wilson(8, 10)
    >>> round(interval.low, 3), interval.value, round(interval.high, 3)
    (0.49, 0.8, 0.943)
    """
    if total < 1 or not 0 <= successes <= total or not 0 < level < 1:
        raise EvaluationError(f"needed 0 to {total} successes of at least 1 trial, found {successes}, level {level}")
    z, share = NormalDist().inv_cdf((1 + level) / 2), successes / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * (share * (1 - share) / total + z**2 / (4 * total**2)) ** 0.5
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half), total)
