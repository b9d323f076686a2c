"""A reward is the score as it is: the baseline in which the scorer with the widest range decides.

With it the mean reward is the raw sum of CaPO's SUM baseline and of BalancedDPO's ablation.
"""

from __future__ import annotations

import numpy as np

from accord.calibrate.scales import check_scores


def raw(scores: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return the scores (P, N, K) as float64. scales: (K,), not used.

    >>> raw(np.array([[[5.0], [6.0]]]), np.array([10.0])).tolist()
    [[[5.0], [6.0]]]
    """
    scores = np.array(scores, np.float64)
    check_scores(scores, np.asarray(scales, np.float64))
    return scores
