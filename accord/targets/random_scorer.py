"""For each pair one scorer, drawn at random, decides.

    target = sign(score(chosen) - score(rejected)) of the scorer that is drawn for this pair

Source: the random score of BalancedDPO's ablation (arXiv 2503.12575).
"""

from __future__ import annotations

import numpy as np

from accord.errors import SelectionError
from accord.seeding import address
from accord.types import PairScores


def random_scorer(pairs: PairScores, *, seed: int = 0) -> np.ndarray:
    """Return 1 where the drawn scorer prefers chosen, -1 where it prefers rejected, 0 where it ties: (M,) float64.

    The draw belongs to the prompt and its two images, whichever of them is called chosen. seed: another draw.
    Raises SelectionError for pairs without ids.

    >>> a, b = np.array([[3.0, 3.0]]), np.array([[2.0, 2.0]])
    >>> random_scorer(PairScores(("x", "y"), a, b, a, b, ids=(("p", "p-0", "p-1"),)))
    array([1.])
    """
    if pairs.ids is None:
        raise SelectionError("the scorer of a pair is drawn by the ids of its images, but the pairs have none")
    num = len(pairs.scorers)
    drawn = np.array(
        [address(seed, "random scorer", prompt, *sorted(images)) % num for prompt, *images in pairs.ids], dtype=np.int64
    )
    rows = np.arange(len(drawn))
    return np.sign(pairs.scores_chosen[rows, drawn] - pairs.scores_rejected[rows, drawn])
