"""Checks of plug-ins that work on arrays: calibrations, selectors, targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from accord.types import GroupedScores, IndexPairs, PairScores

Calibration = Callable[[np.ndarray, np.ndarray], np.ndarray]
Selector = Callable[[np.ndarray, GroupedScores], IndexPairs]
Target = Callable[[PairScores], np.ndarray]


def check_calibration(calibrate: Calibration) -> None:
    """Check a calibration: shape, type, order and ties kept per scorer, NaN passed through, no order of images."""
    scores, scales = _scores_with_ties(), np.array([1.0, 10.0, 0.5])
    kept = scores.copy()
    rewards = calibrate(scores, scales)
    assert rewards.shape == scores.shape, f"rewards have the shape of scores {scores.shape}, found {rewards.shape}"
    assert rewards.dtype == np.float64, f"rewards are float64, found {rewards.dtype}"
    assert np.array_equal(scores, kept, equal_nan=True), "the scores given must be left as they are"
    assert np.array_equal(rewards, calibrate(scores, scales), equal_nan=True), "the same scores give the same rewards"
    assert not np.isinf(rewards).any(), "rewards are finite, or NaN"

    before, after = (x[:, :, None] - x[:, None, :] for x in (scores, rewards))
    same = np.array_equal(np.sign(before), np.sign(after), equal_nan=True)
    assert same, "within a prompt and scorer rewards have the order of scores, and equal scores equal rewards"

    gaps = scores.copy()
    gaps[1, 2, 0] = gaps[2, :, 1] = np.nan
    found = calibrate(gaps, scales)
    assert np.array_equal(np.isnan(found), np.isnan(gaps)), "an unscored image has no reward, and every scored one has"
    assert np.array_equal(found[:, :, 2], rewards[:, :, 2]), "a scorer's missing scores do not touch another scorer"

    order = np.random.default_rng(1).permutation(scores.shape[1])
    moved = calibrate(scores[:, order], scales)
    assert np.array_equal(moved, rewards[:, order]), "rewards do not depend on the order of images"


def check_selector(select: Selector) -> None:
    """Check a selection rule: valid distinct images, no pair from ties or unscored, every prompt accounted for."""
    rewards = _rewards_with_gaps()
    pool, kept = _pool(rewards), rewards.copy()
    pairs = select(rewards, pool)
    assert np.array_equal(rewards, kept, equal_nan=True), "the rewards given must be left as they are"
    assert pairs.prompt.shape == pairs.chosen.shape == pairs.rejected.shape == (len(pairs.prompt),), "three times (M,)"
    assert len(pairs.prompt) > 0, "some pair is found where images clearly differ"
    assert (pairs.chosen != pairs.rejected).all(), "an image is not paired with itself"
    chosen, rejected = (rewards[pairs.prompt, index] for index in (pairs.chosen, pairs.rejected))
    assert not np.isnan(chosen).any(), "an image without one of its rewards is not chosen"
    assert not np.isnan(rejected).any(), "an image without one of its rewards is not rejected"
    assert (chosen != rejected).any(axis=1).all(), "images with equal rewards are not paired"

    triples = _triples(pairs)
    assert len(set(triples)) == len(triples), "no pair is given twice"
    assert triples == _triples(select(rewards, pool)), "the same rewards give the same pairs in the same order"
    accounted = len(set(pairs.prompt.tolist())) + sum(pairs.dropped.values())
    assert accounted == len(rewards), "every prompt has a pair or is counted once in dropped, with its reason"

    order = np.random.default_rng(1).permutation(rewards.shape[1])
    turned = GroupedScores(pool.prompt_ids, pool.image_ids[:, order], pool.scorers, pool.values[:, order])
    moved = [(p, int(order[i]), int(order[j])) for p, i, j in _triples(select(rewards[:, order], turned))]
    assert sorted(moved) == sorted(triples), "pairs do not depend on the order of images"


def check_target(target: Target) -> None:
    """Check a target: shape and type, the sign flips when a pair is swapped, zero at equality, rows are independent."""
    pairs = _pair_scores()
    values = target(pairs)
    assert values.shape == (len(pairs.rewards_chosen),), f"one target per pair, found {values.shape}"
    assert values.dtype == np.float64, f"targets are float64, found {values.dtype}"
    assert np.isfinite(values).all(), "targets of scored pairs are finite"
    assert (values != 0).any(), "some pair has a preference"
    assert np.array_equal(target(pairs.swapped()), -values), "swapping chosen and rejected flips the sign"
    same = replace(
        pairs,
        scores_rejected=pairs.scores_chosen,
        rewards_rejected=pairs.rewards_chosen,
        labels=np.zeros(len(values)),  # nor does a person tell them apart
    )
    assert (target(same) == 0).all(), "images that are equal have target 0"
    alone = np.concatenate([target(_rows(pairs, slice(m, m + 1))) for m in range(len(values))])
    assert np.array_equal(alone, values), "the target of a pair does not depend on the other pairs"


def _scores_with_ties() -> np.ndarray:
    """Return scores (P, N, K) in hundredths: two of a scorer are equal or clearly apart. One image ties everywhere."""
    scores = np.random.default_rng(0).integers(-200, 200, size=(6, 8, 3)) / 100
    scores[:, 5] = scores[:, 3]
    scores[4, :, 2] = 0.25
    return scores


def _rewards_with_gaps() -> np.ndarray:
    """Return rewards (P, N, K) with prompts of clear order, all tied, partly unscored, nearly and wholly unscored."""
    rewards = np.random.default_rng(0).integers(0, 5, size=(12, 6, 2)) / 4
    rewards[0] = np.arange(6)[:, None] / 5  # both scorers agree about every image
    rewards[1] = 0.5
    rewards[2, [0, 3], 0] = np.nan
    rewards[3, 1:] = np.nan
    rewards[4] = np.nan
    rewards[5, :4] = rewards[5, 4]  # tied for one end
    return rewards


def _pool(rewards: np.ndarray) -> GroupedScores:
    """Return the pool that these rewards (P, N, K) could come from."""
    num_prompts, num_images, num_scorers = rewards.shape
    ids = np.array([[f"p{p}-{n}" for n in range(num_images)] for p in range(num_prompts)], dtype=object)
    names = tuple(f"scorer{k}" for k in range(num_scorers))
    return GroupedScores(tuple(f"p{p}" for p in range(num_prompts)), ids, names, rewards)


def _pair_scores() -> PairScores:
    generator = np.random.default_rng(0)
    rewards = generator.random((2, 7, 3))
    return PairScores(
        ("a", "b", "c"),
        10 * rewards[0],
        10 * rewards[1],
        rewards[0],
        rewards[1],
        ranges=np.array([[0.0, 10.0]] * 3),
        labels=np.array([1.0, -1.0, 0.0, 1.0, -1.0, 1.0, -1.0]),
        ids=tuple((f"p{m}", f"p{m}-0", f"p{m}-1") for m in range(7)),
    )


def _rows(pairs: PairScores, rows: slice) -> PairScores:
    assert pairs.labels is not None
    assert pairs.ids is not None
    return PairScores(
        pairs.scorers,
        pairs.scores_chosen[rows],
        pairs.scores_rejected[rows],
        pairs.rewards_chosen[rows],
        pairs.rewards_rejected[rows],
        pairs.ranges,
        pairs.labels[rows],
        pairs.ids[rows],
    )


def _triples(pairs: IndexPairs) -> list[tuple[int, int, int]]:
    return list(zip(pairs.prompt.tolist(), pairs.chosen.tolist(), pairs.rejected.tolist(), strict=True))
