"""Better by at least one reward and worse by none."""

from __future__ import annotations

import numpy as np


def dominates(rewards: np.ndarray) -> np.ndarray:
    """Return (P, N, N): True at (p, i, j) where image i has every reward at least as high as j, and one higher.

    rewards: (P, N, K). An image with any NaN neither dominates nor is dominated; equal images do not dominate each
    other.

    >>> dominates(np.array([[[1.0, 2.0], [1.0, 1.0], [0.0, 3.0]]])).astype(int).tolist()
    [[[0, 1, 0], [0, 0, 0], [0, 0, 0]]]
    """
    at_least = np.ones((*rewards.shape[:2], rewards.shape[1]), dtype=bool)
    for k in range(rewards.shape[2]):
        at_least &= rewards[:, :, None, k] >= rewards[:, None, :, k]
    return at_least & ~at_least.swapaxes(1, 2)  # at least as good both ways means equal
