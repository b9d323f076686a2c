"""One scorer labels the pair, by raw scores.

    target = sign(score(chosen) - score(rejected)) of this scorer

Diffusion-DPO's code calls it AI feedback.
"""

from __future__ import annotations

import numpy as np

from accord.errors import SelectionError, did_you_mean
from accord.types import PairScores


def scorer(pairs: PairScores, *, scorer: str | None = None) -> np.ndarray:
    """Return 1 where the scorer prefers chosen, -1 where it prefers rejected, 0 where it ties: (M,) float64.

    scorer: its name; the first one if absent. NaN where its score is NaN.

    >>> a, b = np.array([[3.0, 1.0]]), np.array([[2.0, 2.0]])
    >>> scorer(PairScores(("x", "y"), a, b, a, b), scorer="y")
    array([-1.])
    """
    return np.sign(difference(pairs, scorer or pairs.scorers[0]))


def difference(pairs: PairScores, name: str) -> np.ndarray:
    """Return the raw score of chosen minus that of rejected by this scorer, (M,). Raises SelectionError for others."""
    if name not in pairs.scorers:
        raise SelectionError(f"'{name}' did not score these pairs{did_you_mean(name, pairs.scorers)}")
    k = pairs.scorers.index(name)
    return pairs.scores_chosen[:, k] - pairs.scores_rejected[:, k]
