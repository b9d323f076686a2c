"""How often the tuned model's image beats the base model's image of the same prompt and seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accord.errors import EvaluationError


@dataclass(frozen=True)
class WinRate:
    """The outcome of P * S comparisons under one scorer."""

    per_prompt: np.ndarray  # (P,) float64 in [0, 1], mean over the seeds that could be compared; NaN: none could
    num_wins: int
    num_ties: int
    num_losses: int
    num_unscored: int  # comparisons left out because either image has no score


def win_rate(tuned: np.ndarray, base: np.ndarray, epsilon: float = 0.0) -> WinRate:
    """Return the share of comparisons that tuned wins, per prompt; a tie counts one half.

    tuned, base: (P, S) scores of P prompts at the same S seeds, NaN where there is none. epsilon: scores this close are
    a tie. `bootstrap_mean(result.per_prompt, seed)` is the win rate with its interval; 1/2 means no change.

    >>> result = win_rate(np.array([[0.9, 0.5], [0.1, np.nan]]), np.array([[0.4, 0.5], [0.3, 0.2]]))
    >>> result.per_prompt.tolist(), result.num_unscored
    ([0.75, 0.0], 1)
    """
    if tuned.ndim != 2 or tuned.shape != base.shape:
        raise EvaluationError(f"a win rate needs scores (P, S) of the same images, found {tuned.shape}, {base.shape}")
    if np.isinf(tuned).any() or np.isinf(base).any() or not epsilon >= 0:
        raise EvaluationError(f"a win rate needs finite scores and epsilon of at least 0, found epsilon {epsilon}")
    gap = tuned - base
    is_win, is_tie, is_loss = gap > epsilon, np.abs(gap) <= epsilon, gap < -epsilon
    num_compared = (~np.isnan(gap)).sum(axis=1)
    points = is_win.sum(axis=1) + 0.5 * is_tie.sum(axis=1)
    per_prompt = np.divide(points, num_compared, out=np.full(points.shape, np.nan), where=num_compared > 0)
    counts = [int(mask.sum()) for mask in (is_win, is_tie, is_loss, np.isnan(gap))]
    return WinRate(per_prompt, *counts)
