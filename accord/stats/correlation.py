"""Do scorers agree about images of the same prompt? What they think of prompts is taken out."""

from __future__ import annotations

import numpy as np

from accord.errors import EvaluationError


def within_prompt_correlation(scores: np.ndarray) -> np.ndarray:
    """Return the correlation of every two scorers, (K, K) in [-1, 1], pooled over prompts after centring each prompt.

    scores: (P, N, K), NaN where there is none: two scorers are compared on the images that both scored. NaN in the
    result: a scorer gives all images of a prompt the same score, for every prompt.
    Near 1, selecting by several scorers adds nothing; below 0 they conflict.

    >>> scores = np.array([[[0.0, 1.0], [1.0, 0.0]], [[50.0, 7.0], [52.0, 5.0]]])
    >>> within_prompt_correlation(scores)
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    if scores.ndim != 3:
        raise EvaluationError(f"correlation within prompts needs scores (P, N, K), found {scores.shape}")
    size = scores.shape[2]
    result = np.empty((size, size))
    for a in range(size):
        for b in range(a + 1):
            result[a, b] = result[b, a] = _correlation(scores[:, :, a], scores[:, :, b])
    return result


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the pooled correlation of (P, N) scores."""
    is_both = ~np.isnan(a) & ~np.isnan(b)
    a, b = _centred(a, is_both), _centred(b, is_both)
    product = np.sqrt((a * a).sum()) * np.sqrt((b * b).sum())
    if product == 0:
        return float("nan")
    return float(np.clip((a * b).sum() / product, -1, 1))  # beyond 1 by rounding only


def _centred(values: np.ndarray, is_used: np.ndarray) -> np.ndarray:
    """Return values minus their prompt's mean, 0 where not used."""
    # The maximum goes first: equal values become exactly 0, where subtracting a rounded mean would leave noise.
    shifted = np.where(is_used, values - np.where(is_used, values, -np.inf).max(axis=1, keepdims=True), 0)
    num_used = np.maximum(is_used.sum(axis=1, keepdims=True), 1)
    return np.where(is_used, shifted - shifted.sum(axis=1, keepdims=True) / num_used, 0)
