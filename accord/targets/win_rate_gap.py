"""A pair counts as much as its images differ in calibrated reward.

    target = mean over scorers of reward(chosen) - reward(rejected), in (0, 1] for win rates

Source: delta R_ca of CaPO (arXiv 2502.02588).
"""

from __future__ import annotations

import numpy as np

from accord.calibrate.mean_reward import mean_reward
from accord.types import PairScores


def win_rate_gap(pairs: PairScores) -> np.ndarray:
    """Return the mean reward of chosen minus that of rejected, equal weights for all scorers: (M,) float64 in [-1, 1].

    Above 0 for pairs from a selection rule. NaN where a reward is NaN.

    >>> a, b = np.array([[1.0, 0.5]]), np.array([[0.0, 0.25]])
    >>> win_rate_gap(PairScores(("x", "y"), a, b, a, b))
    array([0.625])
    """
    return mean_reward(pairs.rewards_chosen) - mean_reward(pairs.rewards_rejected)
