"""What all selection rules share: which images may be paired, and counting prompts that have no pair."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from accord.errors import SelectionError
from accord.types import IndexPairs

TOO_FEW = "fewer than two fully scored images"
_CELLS_PER_CHUNK = 2**22


def is_usable(rewards: np.ndarray) -> np.ndarray:
    """Return (P, N): True for images with a reward from every scorer. rewards: (P, N, K)."""
    return ~np.isnan(rewards).any(axis=2)


def index_pairs(rewards: np.ndarray, is_pair: Callable[[np.ndarray], np.ndarray], reason_for_none: str) -> IndexPairs:
    """Return every pair that the rule finds, in the order of prompt, chosen, rejected.

    rewards: (P, N, K), NaN where there is none. is_pair: given rewards (p, N, K) of some prompts, (p, N, N) bool, True
    where the image of the second axis is to be chosen over that of the third.
    A prompt without a pair is counted in `dropped`: as having too few scored images, or under `reason_for_none`.
    """
    if rewards.ndim != 3 or rewards.shape[2] == 0:
        raise SelectionError(f"choosing pairs needs rewards (P, N, K) of at least one scorer, found {rewards.shape}")
    num_prompts, num_images, _ = rewards.shape
    size = max(1, _CELLS_PER_CHUNK // max(1, num_images * num_images))
    found = [np.empty((3, 0), dtype=np.int64)]
    for start in range(0, num_prompts, size):
        prompt, chosen, rejected = np.nonzero(is_pair(rewards[start : start + size]))
        found.append(np.stack([prompt + start, chosen, rejected]))
    pairs = np.concatenate(found, axis=1)
    has_pair = np.zeros(num_prompts, dtype=bool)
    has_pair[pairs[0]] = True
    has_too_few = is_usable(rewards).sum(axis=1) < 2
    counts = {TOO_FEW: int(has_too_few.sum()), reason_for_none: int((~has_pair & ~has_too_few).sum())}
    return IndexPairs(pairs[0], pairs[1], pairs[2], {reason: count for reason, count in counts.items() if count})
