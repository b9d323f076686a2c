"""Pairs drawn at random: the control, and the pairs of methods that decide about labels and not about pairs."""

from __future__ import annotations

import itertools

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
    found: list[tuple[int, int, int]] = []
    dropped = {TOO_FEW: 0, "all images tied": 0}
    for p, prompt in enumerate(pool.prompt_ids):
        images = sorted(np.flatnonzero(usable[p]).tolist(), key=lambda n: str(pool.image_ids[p, n]))
        both = [(i, j) for i, j in itertools.combinations(images, 2) if (rewards[p, i] != rewards[p, j]).any()]
        if not both:
            dropped[TOO_FEW if len(images) < 2 else "all images tied"] += 1
            continue
        draw = generator(seed, "random pairs", prompt)
        rows = np.sort(draw.permutation(len(both))[:num_pairs])
        turned = draw.random(len(both)) < 0.5
        found += [(p, *(both[row][::-1] if turned[row] else both[row])) for row in rows]
    pairs = np.array(sorted(found), dtype=np.int64).reshape(-1, 3)
    return IndexPairs(pairs[:, 0], pairs[:, 1], pairs[:, 2], {why: n for why, n in dropped.items() if n})
