"""A reward is how many standard deviations a score lies above the mean of its prompt.

The normalised sum of BalancedDPO's ablation is the sum of these. Order within a prompt is kept; unlike a win rate, the
reward of an outlier has no bound.
"""

from __future__ import annotations

import numpy as np

from accord.calibrate.scales import check_scores


def z_score(scores: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return rewards (P, N, K) float64 with mean 0 and standard deviation 1 over the scored images of each prompt.

    scores: (P, N, K), NaN where there is none: it stays NaN and does not count. scales: (K,), which cancel. Where all
    scores of a prompt and scorer are equal, also where there is only one, the reward is 0.

    >>> z_score(np.array([[[1.0], [3.0], [np.nan]]]), np.array([1.0])).tolist()
    [[[-1.0], [1.0], [nan]]]
    """
    scores, scales = np.asarray(scores, np.float64), np.asarray(scales, np.float64)
    check_scores(scores, scales)
    ordered = np.sort(scores, axis=1)  # sums over sorted scores do not depend on the order of images
    count = (~np.isnan(scores)).sum(axis=1, keepdims=True)
    mean = _divided(np.nansum(ordered, axis=1, keepdims=True), count)
    spread = np.sqrt(_divided(np.nansum((ordered - mean) ** 2, axis=1, keepdims=True), count))
    varies = np.nanmax(scores, axis=1, keepdims=True, initial=-np.inf) > np.nanmin(
        scores, axis=1, keepdims=True, initial=np.inf
    )
    return np.where(np.isnan(scores), np.nan, np.where(varies, _divided(scores - mean, spread), 0.0))


def _divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a / b, 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape)), where=b > 0)
