"""Frontier-based rejection sampling: images that none beats on every reward over images that beat none.

    paper                       here
    upper frontier              dominated by no image of the prompt
    lower frontier              dominates no image of the prompt
    rejection                   a cross pair counts only if chosen dominates rejected

Source: CaPO (arXiv 2502.02588); the rejection is read from the authors' figure, where exactly the pairs without
dominance are crossed out. An image on both frontiers dominates none and is dominated by none, so it is in no pair.
"""

from __future__ import annotations

import numpy as np

from accord.select.dominance import dominates
from accord.select.index_pairs import index_pairs
from accord.types import GroupedScores, IndexPairs


def frontier(rewards: np.ndarray, pool: GroupedScores | None = None) -> IndexPairs:
    """Return every pair of an upper with a lower frontier image that it dominates.

    rewards: (P, N, K); an image with any NaN is left out. Training draws one pair of a prompt at each visit.
    A prompt in which no image dominates another has no pair, and is counted. Every reward of chosen is at least that
    of rejected, and one is higher, so the mean gap is above 0.

    >>> pairs = frontier(np.array([[[0.9, 0.1], [0.6, 0.6], [0.2, 0.5], [0.1, 0.0]]]))
    >>> list(zip(pairs.chosen.tolist(), pairs.rejected.tolist()))
    [(0, 3), (1, 3)]
    """
    return index_pairs(rewards, _is_upper_over_lower, "no image dominates another")


def _is_upper_over_lower(rewards: np.ndarray) -> np.ndarray:
    wins = dominates(rewards)
    is_dominated: np.ndarray = np.logical_or.reduce(wins, axis=1)
    is_dominating: np.ndarray = np.logical_or.reduce(wins, axis=2)
    return wins & ~is_dominated[:, :, None] & ~is_dominating[:, None, :]
