"""A reward is the place of a score among those of its prompt, from 0 for the lowest to 1 for the highest.

What a win rate becomes for an infinite scale: only the order counts, never by how much.
"""

from __future__ import annotations

import numpy as np

from accord.calibrate.scales import check_scores


def rank(scores: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return rewards (P, N, K) float64 in [0, 1]: the share of the prompt's other images beaten, a tie counting half.

    scores: (P, N, K), NaN where there is none: it stays NaN and is nobody's opponent. An image alone gets NaN.
    scales: (K,), which change no order.

    >>> rank(np.array([[[3.0], [1.0], [3.0], [np.nan]]]), np.array([1.0])).tolist()
    [[[0.75], [0.0], [0.75], [nan]]]
    """
    scores, scales = np.asarray(scores, np.float64), np.asarray(scales, np.float64)
    check_scores(scores, scales)
    beaten = np.zeros(scores.shape)
    for other in range(scores.shape[1]):  # one opponent at a time: memory stays that of the scores
        opponent = scores[:, other : other + 1]
        beaten += (scores > opponent) + 0.5 * (scores == opponent)
    others = (~np.isnan(scores)).sum(axis=1, keepdims=True) - 1
    has_reward = ~np.isnan(scores) & (others > 0)
    return np.divide(beaten - 0.5, others, out=np.full(scores.shape, np.nan), where=has_reward)  # less the own tie
