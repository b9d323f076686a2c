"""The scorers vote, one voice each, and the majority labels the pair (BalancedDPO, arXiv 2503.12575).

    target = sign(sum over scorers of sign(score(chosen) - score(rejected))), 0 in a tie

Only the order of raw scores counts, so no scale needs to be made comparable. What happens in a tie is not known
from the paper; the options cover what it could be.
"""

from __future__ import annotations

import numpy as np

from accord.errors import SelectionError, did_you_mean
from accord.types import PairScores

TIES = ("drop", "human", "graded")


def vote(pairs: PairScores, *, ties: str = "drop", human_votes: bool = False) -> np.ndarray:
    """Return 1 where most voters prefer chosen, -1 where most prefer rejected, (M,) float64.

    ties: what a tie becomes. `"drop"`: 0, the pair is not used. `"human"`: the person's label. `"scorer:NAME"`: that
    scorer's own preference. `"graded"`: no majority at all, but the mean of the votes, so that a tie weighs 0 and a
    narrow majority less than a unanimous one.
    human_votes: a person's label is one more voice. NaN where a score is NaN.
    Raises SelectionError for an unknown rule, an unknown scorer, or labels that are not there.

    >>> a, b = np.array([[3.0, 1.0, 5.0]]), np.array([[2.0, 2.0, 4.0]])
    >>> vote(PairScores(("x", "y", "z"), a, b, a, b)), vote(PairScores(("x", "y", "z"), a, b, a, b), ties="graded")
    (array([1.]), array([0.33333333]))
    """
    votes = np.sign(pairs.scores_chosen - pairs.scores_rejected)  # (M, K)
    if human_votes:
        votes = np.concatenate([votes, _labels(pairs)[:, None]], axis=1)
    if not votes.shape[1]:
        raise SelectionError('a vote needs a scorer, or people: target = { name = "vote", human_votes = true }')
    total = votes.sum(axis=1)
    if ties == "graded":
        return total / votes.shape[1]
    return np.where(total == 0, _tie_break(pairs, ties), np.sign(total))


vote.reads_labels = True  # type: ignore[attr-defined]  # and needs no scorer where people vote


def _tie_break(pairs: PairScores, ties: str) -> np.ndarray:
    if ties == "drop":
        return np.zeros(len(pairs.scores_chosen))
    if ties == "human":
        return _labels(pairs)
    kind, _, name = ties.partition(":")
    if kind != "scorer":
        raise SelectionError(f"ties must be drop, human, graded or scorer:NAME, not '{ties}'{did_you_mean(ties, TIES)}")
    if name not in pairs.scorers:
        raise SelectionError(
            f"ties = '{ties}' names a scorer that did not score these pairs{did_you_mean(name, pairs.scorers)}"
        )
    k = pairs.scorers.index(name)
    return np.sign(pairs.scores_chosen[:, k] - pairs.scores_rejected[:, k])


def _labels(pairs: PairScores) -> np.ndarray:
    if pairs.labels is None or np.isnan(pairs.labels).any():
        raise SelectionError("not every pair has a person's label; use pairs = labelled, or another rule for ties")
    return pairs.labels
