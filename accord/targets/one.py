"""Every pair counts the same: target 1, as in Diffusion-DPO and in IPO as CaPO's authors use it.

target = sign(mean over scorers of reward(chosen) - reward(rejected)): 1, whatever the gap
"""

from __future__ import annotations

import numpy as np

from accord.calibrate.mean_reward import mean_reward
from accord.types import PairScores


def one(pairs: PairScores, *, use_labels: bool = True) -> np.ndarray:
    """Return 1 where chosen has the higher mean reward, -1 where rejected has, 0 where they tie: (M,) float64.

    Pairs from a selection rule that ranks by rewards all get 1. use_labels: where a person has judged the pair, as
    `labelled` pairs are, that label counts and not the rewards. NaN where a reward is needed and is NaN.

    >>> a, b = np.array([[0.9, 0.4]]), np.array([[0.1, 0.5]])
    >>> one(PairScores(("x", "y"), a, b, a, b)), one(PairScores(("x", "y"), b, a, b, a))
    (array([1.]), array([-1.]))
    """
    by_rewards = np.sign(mean_reward(pairs.rewards_chosen) - mean_reward(pairs.rewards_rejected))
    if pairs.labels is None or not use_labels:
        return by_rewards
    return np.where(np.isnan(pairs.labels), by_rewards, pairs.labels)


one.reads_labels = True  # type: ignore[attr-defined]  # and needs no scorer where every pair has one
