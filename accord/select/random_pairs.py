"""Pairs drawn at random: the control, and the pairs of methods that decide about labels and not about pairs."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from accord.errors import SelectionError
from accord.seeding import generator
from accord.select.index_pairs import TOO_FEW, is_usable
from accord.types import GroupedScores, IndexPairs


def random_pairs(
    rewards: np.ndarray, pool: GroupedScores | None = None, *, num_pairs: int = 8, seed: int = 0
) -> IndexPairs:
    """Return `num_pairs` different pairs of each prompt, or all there are; which of a pair is better, the target says.

    rewards: (P, N, K); an image with any NaN is left out, and so are two images that every scorer finds equal. pool:
    the images' ids, by which a prompt's draw depends on its own images alone, not on their order. seed: another draw.
    Raises SelectionError without a pool, or for less than one pair.

    >>> pool = GroupedScores(("p",), np.array([["a", "b", "c"]]), ("x",), np.zeros((1, 3, 1)))
    >>> len(random_pairs(np.array([[[0.1], [0.2], [0.3]]]), pool, num_pairs=2).prompt)
    2
    """
    if pool is None:
        raise SelectionError("random pairs are drawn by the images' ids; call it with the pool of the rewards")
    if num_pairs < 1:
        raise SelectionError(f"random pairs need num_pairs of at least 1, found {num_pairs}")
    usable = is_usable(rewards)
    found = [np.empty((3, 0), dtype=np.int64)]
    dropped = {TOO_FEW: 0, "all images tied": 0}
    for p, prompt in enumerate(pool.prompt_ids):
        ids = pool.image_ids[p].tolist()
        images = np.array(sorted(np.flatnonzero(usable[p]).tolist(), key=ids.__getitem__), dtype=np.int64)
        both = _differing(rewards[p], images)
        if both.shape[1]:
            drawn = _drawn(both, num_pairs, generator(seed, "random pairs", prompt))
            found.append(np.concatenate([np.full((1, drawn.shape[1]), p), drawn]))
        else:
            dropped[TOO_FEW if len(images) < 2 else "all images tied"] += 1
    prompts, chosen, rejected = np.concatenate(found, axis=1)
    order = np.lexsort((rejected, chosen, prompts))
    counts = {reason: count for reason, count in dropped.items() if count}
    return IndexPairs(prompts[order], chosen[order], rejected[order], counts)


def _differing(rewards: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the pairs of these images that some scorer tells apart, (2, pairs). rewards: (N, K)."""
    both = images[_combinations(len(images))]
    return both[:, (rewards[both[0]] != rewards[both[1]]).any(axis=1)]


@lru_cache
def _combinations(num_images: int) -> np.ndarray:
    """Return all unordered pairs of different positions, (2, n (n - 1) / 2): (0, 1), (0, 2), ... (1, 2), ..."""
    return np.stack(np.triu_indices(num_images, k=1))


def _drawn(both: np.ndarray, num_pairs: int, draw: np.random.Generator) -> np.ndarray:
    """Return `num_pairs` columns of both (2, pairs), each turned round with probability one half."""
    count = int(both.shape[1])
    rows = np.sort(draw.permutation(count)[:num_pairs])
    is_turned = draw.random((count,))[rows] < 0.5
    return np.where(is_turned, both[::-1, rows], both[:, rows])
