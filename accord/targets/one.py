"""Every pair counts the same: target 1, as in Diffusion-DPO and in IPO as CaPO's authors use it."""

from __future__ import annotations

import numpy as np

from accord.calibrate.mean_reward import mean_reward
from accord.types import PairScores


def one(pairs: PairScores) -> np.ndarray:
    """Return 1 where chosen has the higher mean reward, -1 where rejected has, 0 where they tie: (M,) float64.

    Pairs from a selection rule all get 1. NaN where a reward is NaN.

    >>> a, b = np.array([[0.9, 0.4]]), np.array([[0.1, 0.5]])
    >>> one(PairScores(("x", "y"), a, b, a, b)), one(PairScores(("x", "y"), b, a, b, a))
    (array([1.]), array([-1.]))
    """
    return np.sign(mean_reward(pairs.rewards_chosen) - mean_reward(pairs.rewards_rejected))
