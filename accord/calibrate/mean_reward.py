"""One reward out of several: the plain average over scorers (CaPO, arXiv 2502.02588)."""

from __future__ import annotations

import numpy as np


def mean_reward(rewards: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis, (...): NaN where any scorer has none, or there is no scorer.

    rewards: (..., K). Added up scorer by scorer, so that an image has the same mean, bit for bit, in every array.

    >>> mean_reward(np.array([[0.5, 1.0], [0.5, np.nan]])).tolist()
    [0.75, nan]
    """
    total = np.zeros(rewards.shape[:-1])
    for k in range(rewards.shape[-1]):
        total += rewards[..., k]
    return total / rewards.shape[-1] if rewards.shape[-1] else np.full_like(total, np.nan)
