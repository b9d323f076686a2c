"""A reward is the share of the prompt's other images that an image is expected to beat.

    paper                        here
    R(x_i, c)                    scores[p, i, k]
    P(x_i > x_j | c)             sigmoid(scale_k * (scores[p, i, k] - scores[p, j, k])), Bradley-Terry
    R_ca(x_i, c)                 rewards[p, i, k], the mean over j != i

Source: CaPO (arXiv 2502.02588), section on reward calibration. Order within a prompt is kept, so calibration changes
targets and comparisons between prompts, never which image is best or which dominates which.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np

from accord.calibrate.scales import auto_scales, check_scores

_NUMBERS_PER_CHUNK = 2**18  # 2 MiB of scores at a time: what several temporary arrays of it need stays in the cache
_WIDE = 600.0  # scaled scores further apart than this within a prompt would leave the range of float64 as odds
_THREADS = 2  # numpy's loops release the interpreter; more bring little, because the work is bound by memory


def win_rate(scores: np.ndarray, scales: np.ndarray, *, scale: Literal["card", "auto"] = "card") -> np.ndarray:
    """Return rewards (P, N, K) float64 in [0, 1]; their mean over the scored images of a prompt is 1/2.

    scores: (P, N, K), NaN where there is none: it stays NaN and is nobody's opponent. An image alone gets NaN.
    scales: (K,), the scorers' Bradley-Terry scales. scale: `"card"` takes them as they are; `"auto"` replaces them by
    `auto_scales(scores, scales)`.
    Adding a constant to a prompt's scores changes nothing, multiplying them does. Equal scores give equal rewards, bit
    for bit, and no reward depends on the order of images.

    >>> scores = np.array([[[0.0], [np.log(3)], [np.nan]]])  # the odds of the second over the first are 3 to 1
    >>> win_rate(scores, np.array([1.0])).round(2).tolist()
    [[[0.25], [0.75], [nan]]]
    """
    scores, scales = np.asarray(scores, np.float64), np.asarray(scales, np.float64)
    check_scores(scores, scales)
    scaled = scores * (auto_scales(scores, scales) if scale == "auto" else scales)
    num_prompts, num_images, num_scorers = scores.shape
    size = max(1, _NUMBERS_PER_CHUNK // max(1, num_images * num_scorers))
    rewards = np.empty_like(scores)

    def fill(start: int) -> None:
        rewards[start : start + size] = _of_chunk(scaled[start : start + size])

    with ThreadPoolExecutor(_THREADS) as threads:  # chunks are independent: threads show nowhere in the result
        list(threads.map(fill, range(0, num_prompts, size)))
    return rewards


def mean_win_rate(probabilities: np.ndarray) -> np.ndarray:
    """Return the mean of each row without its diagonal, (..., N): how often image i wins against another.

    probabilities: (..., N, N), entry (i, j) is the probability that i beats j, NaN where unknown: it does not count.
    The diagonal is not read. A row without any known opponent gives NaN.

    >>> wins = np.array([[0, 0.95, 0.65], [0.05, 0, 0.25], [0.35, 0.75, 0]])  # the figure on the authors' page
    >>> mean_win_rate(wins).round(2)
    array([0.8 , 0.15, 0.55])
    """
    # A tie with oneself is added and taken away again. Leaving the diagonal out would add up two images of equal score
    # in different orders, and rounding would make one of them better.
    with_self = np.where(np.eye(probabilities.shape[-1], dtype=bool), 0.5, probabilities)
    num_others = (~np.isnan(with_self)).sum(axis=-1) - 1
    wins = np.nansum(with_self, axis=-1) - 0.5
    return np.divide(wins, num_others, out=np.full(wins.shape, np.nan), where=num_others > 0)


def _of_chunk(scaled: np.ndarray) -> np.ndarray:
    """Return rewards of scaled scores, both (P, N, K)."""
    by_scorer = np.moveaxis(scaled, 2, 1)  # (P, K, N)
    order = np.argsort(by_scorer, axis=-1)  # sums over sorted opponents do not depend on the order of images
    ranked = np.take_along_axis(by_scorer, order, axis=-1)
    with np.errstate(invalid="ignore"):
        is_wide = np.nanmax(ranked, axis=-1, initial=-np.inf) - np.nanmin(ranked, axis=-1, initial=np.inf) > _WIDE
    ratios = _by_ratios(ranked)
    if is_wide.any():
        wide = ranked[is_wide]
        ratios[is_wide] = mean_win_rate(_sigmoid(wide[..., :, None] - wide[..., None, :]))
    rewards = np.empty_like(by_scorer)
    np.put_along_axis(rewards, order, ratios, axis=-1)
    return np.moveaxis(rewards, 1, 2)


def _by_ratios(ranked: np.ndarray) -> np.ndarray:
    """Return rewards of scaled scores (..., N) by `sigmoid(a - b) = e^a / (e^a + e^b)`: N exponentials, not N^2.

    One opponent at a time, so that memory stays that of the scores. A tie with oneself is exactly one half.
    """
    is_known = ~np.isnan(ranked)
    with np.errstate(invalid="ignore", divide="ignore"):
        odds = np.exp(ranked - np.nanmax(ranked, axis=-1, keepdims=True, initial=-np.inf))
        wins = np.zeros_like(ranked)
        for other in range(ranked.shape[-1]):
            opponent = odds[..., other : other + 1]
            beaten = odds / (odds + opponent)
            wins += beaten if is_known[..., other].all() else np.where(is_known[..., other : other + 1], beaten, 0.0)
    num_others = is_known.sum(axis=-1, keepdims=True) - 1
    return np.divide(wins - 0.5, num_others, out=np.full(wins.shape, np.nan), where=is_known & (num_others > 0))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), overwriting x. exp overflows to infinity below -709, which gives the right 0."""
    with np.errstate(over="ignore"):
        np.exp(np.negative(x, out=x), out=x)
    x += 1
    return np.reciprocal(x, out=x)
