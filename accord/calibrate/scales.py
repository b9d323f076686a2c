"""The factor s of each scorer, for which sigmoid(s * difference of scores) is a win probability."""

from __future__ import annotations

import numpy as np

from accord.errors import SelectionError


def check_scores(scores: np.ndarray, scales: np.ndarray) -> None:
    """Raise SelectionError unless scores are (P, N, K) without infinities and scales are (K,), finite and above 0."""
    if scores.ndim != 3 or scales.shape != scores.shape[2:]:
        raise SelectionError(
            f"calibration needs scores (P, N, K) and scales (K,), found {scores.shape} and {scales.shape}"
        )
    if np.isinf(scores).any():
        raise SelectionError(
            f"scores must be finite, or NaN where there is none; found {int(np.isinf(scores).sum())} infinite ones"
        )
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise SelectionError(f"scales must be finite and above 0, found {scales.tolist()}; set them under score.scales")


def auto_scales(scores: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return scales (K,) that give every scorer the same spread, so that none drowns another in their average.

    The median over prompts of the standard deviation within a prompt (n - 1 in the denominator) of `scale * score`
    becomes 1. Prompts with fewer than two scores of a scorer do not count for it.

    scores: (P, N, K), NaN where there is none. scales: (K,), the scorers' own, which the result stretches.
    Raises SelectionError for a scorer that gives most prompts equal scores. A choice of ours, not the paper's.

    >>> auto_scales(np.array([[[0.0], [2.0], [4.0]]]), np.array([1.0]))
    array([0.5])
    """
    check_scores(scores, scales)
    spread = np.array([_median_spread(scores[:, :, k] * scale) for k, scale in enumerate(scales)])
    if not (spread > 0).all():
        raise SelectionError(
            'scale = "auto" needs scores that differ within most prompts, but the median standard deviation is '
            f'{spread.tolist()}; use scale = "card", or leave out the scorer'
        )
    return scales / spread


def _median_spread(values: np.ndarray) -> float:
    """Return the median over prompts of the standard deviation over (P, N) values; NaN if no prompt has two."""
    values = values[(~np.isnan(values)).sum(axis=1) >= 2]
    return float(np.median(np.nanstd(values, axis=1, ddof=1))) if len(values) else float("nan")
