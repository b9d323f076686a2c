"""The best image over the worst, by the average reward (the SUM baseline of CaPO when there are several scorers)."""

from __future__ import annotations

import numpy as np

from accord.calibrate.mean_reward import mean_reward
from accord.errors import SelectionError, did_you_mean
from accord.select.index_pairs import index_pairs, is_usable
from accord.types import GroupedScores, IndexPairs


def best_worst(
    rewards: np.ndarray, pool: GroupedScores | None = None, *, weights: dict[str, float] | None = None
) -> IndexPairs:
    """Return for each prompt the best image paired with the worst, ranked by the mean over scorers.

    rewards: (P, N, K); an image with any NaN is left out. Where images tie exactly for best or worst, all of them are
    paired, so that nothing depends on the order of images. A prompt whose images all tie has no pair, and is counted.
    weights: scorer -> weight of its reward in the mean, 1 where absent; the pool names the scorers. What is weighed is
    what the calibration made: raw scores, z-scores or win rates. Raises SelectionError for a name that did not score, a
    weight that is not finite, and weights without a pool.
    Source: CaPO (arXiv 2502.02588), single-reward selection.

    >>> pairs = best_worst(np.array([[[0.2], [0.9], [0.4]], [[0.5], [0.5], [0.5]]]))
    >>> (pairs.prompt.tolist(), pairs.chosen.tolist(), pairs.rejected.tolist(), pairs.dropped)
    ([0], [1], [0], {'all images tied': 1})
    """
    weighed = rewards if weights is None else rewards * _weights(weights, pool)
    return index_pairs(weighed, _is_best_over_worst, "all images tied")


def _weights(weights: dict[str, float], pool: GroupedScores | None) -> np.ndarray:
    """Return the weight of each scorer, (K,)."""
    if pool is None:
        raise SelectionError("weights belong to scorers by name; call it with the pool of the rewards")
    for name, weight in weights.items():
        if name not in pool.scorers:
            raise SelectionError(f"weights names '{name}', which did not score{did_you_mean(name, pool.scorers)}")
        if not np.isfinite(weight):
            raise SelectionError(f"weights must be finite numbers, but that of '{name}' is {weight}")
    return np.array([weights.get(name, 1.0) for name in pool.scorers])


def _is_best_over_worst(rewards: np.ndarray) -> np.ndarray:
    usable, mean = is_usable(rewards), mean_reward(rewards)
    best = np.where(usable, mean, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    worst = np.where(usable, mean, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    is_best, is_worst = usable & (mean == best), usable & (mean == worst) & (best > worst)
    return is_best[:, :, None] & is_worst[:, None, :]
