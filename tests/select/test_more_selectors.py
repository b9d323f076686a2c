"""The widest dominating pair, random pairs, and weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from accord.calibrate.raw import raw
from accord.calibrate.z_score import z_score
from accord.errors import SelectionError
from accord.select.best_worst import best_worst
from accord.select.frontier import frontier
from accord.select.frontier_best import frontier_best
from accord.select.random_pairs import random_pairs
from accord.types import GroupedScores

REWARDS = arrays(np.float64, (4, 5, 2), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, np.nan]))


def pool_of(rewards, names=("a", "b")):
    num_prompts, num_images, num_scorers = rewards.shape
    ids = np.array([[f"p{p}-{n}" for n in range(num_images)] for p in range(num_prompts)], dtype=object)
    return GroupedScores(tuple(f"p{p}" for p in range(num_prompts)), ids, tuple(names[:num_scorers]), rewards)


@given(REWARDS)
def test_the_widest_dominating_pair_is_on_both_frontiers_and_agreed_by_all(rewards):
    best, every = frontier_best(rewards), frontier(rewards)
    triples = set(zip(every.prompt.tolist(), every.chosen.tolist(), every.rejected.tolist(), strict=True))
    for p, i, j in zip(best.prompt.tolist(), best.chosen.tolist(), best.rejected.tolist(), strict=True):
        assert (p, i, j) in triples
        assert (rewards[p, i] >= rewards[p, j]).all()
        gaps = [rewards[q, a].mean() - rewards[q, b].mean() for q, a, b in triples if q == p]
        assert rewards[p, i].mean() - rewards[p, j].mean() == pytest.approx(max(gaps))
    assert set(best.prompt.tolist()) == set(every.prompt.tolist())


def test_unanimity_costs_little_of_the_gap_on_rewards_that_conflict():
    """The order of the design page: frontier draw < frontier_best < best/worst, which not every reward agrees with."""
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(600, 16, 3))
    scores -= 0.15 * scores.sum(axis=2, keepdims=True)  # correlation -.3 between any two
    rewards = scores.argsort(axis=1).argsort(axis=1) / 15
    gaps = {}
    for rule in (frontier, frontier_best, best_worst):
        pairs = rule(rewards)
        apart = rewards[pairs.prompt, pairs.chosen] - rewards[pairs.prompt, pairs.rejected]
        per_prompt = [apart[pairs.prompt == p].mean() for p in np.unique(pairs.prompt)]
        gaps[rule.__name__] = (np.mean(per_prompt), (apart >= 0).all(axis=1).mean())
    assert gaps["frontier"][0] < gaps["frontier_best"][0] < gaps["best_worst"][0]
    assert gaps["best_worst"][1] < 0.95
    assert gaps["frontier"][1] == gaps["frontier_best"][1] == 1


@given(REWARDS, st.integers(1, 12))
def test_random_pairs_are_different_scored_and_as_many_as_asked(rewards, num_pairs):
    pairs = random_pairs(rewards, pool_of(rewards), num_pairs=num_pairs)
    unordered = {(p, frozenset((i, j))) for p, i, j in zip(pairs.prompt, pairs.chosen, pairs.rejected, strict=True)}
    assert len(unordered) == len(pairs.prompt)
    for p in range(len(rewards)):
        usable = [n for n in range(5) if not np.isnan(rewards[p, n]).any()]
        both = [(i, j) for i in usable for j in usable if i < j and (rewards[p, i] != rewards[p, j]).any()]
        assert (pairs.prompt == p).sum() == min(num_pairs, len(both))


def test_random_pairs_belong_to_their_prompt_and_lean_to_neither_image():
    rewards = np.random.default_rng(0).random((200, 6, 2))
    pool = pool_of(rewards)
    pairs = random_pairs(rewards, pool)
    alone = GroupedScores(pool.prompt_ids[7:8], pool.image_ids[7:8], pool.scorers, rewards[7:8])
    one = random_pairs(rewards[7:8], alone)
    mine = pairs.prompt == 7
    assert one.chosen.tolist() == pairs.chosen[mine].tolist()
    assert one.rejected.tolist() == pairs.rejected[mine].tolist()
    assert (pairs.chosen < pairs.rejected).mean() == pytest.approx(0.5, abs=0.05)
    assert random_pairs(rewards, pool, seed=1).chosen.tolist() != pairs.chosen.tolist()


def test_weights_belong_to_scorers_by_name():
    rewards = np.array([[[1.0, 0.0], [0.0, 0.6], [0.5, 0.5]]])
    plain = best_worst(rewards)
    assert (plain.chosen.tolist(), plain.rejected.tolist()) == ([0, 2], [1, 1])
    heavy = best_worst(rewards, pool_of(rewards), weights={"b": 10.0})
    assert (heavy.chosen.tolist(), heavy.rejected.tolist()) == ([1], [0])
    with pytest.raises(SelectionError, match="weights names 'aa'"):
        best_worst(rewards, pool_of(rewards), weights={"aa": 1.0})


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_must_be_a_finite_number(weight):
    rewards = np.array([[[1.0, 0.0], [0.0, 0.6]]])
    with pytest.raises(SelectionError, match="that of 'b' is"):
        best_worst(rewards, pool_of(rewards), weights={"b": weight})


def test_a_weight_of_0_leaves_a_scorer_out_and_a_negative_one_turns_it_round():
    rewards = np.random.default_rng(0).random((30, 6, 2))
    first, second = best_worst(rewards[:, :, :1]), best_worst(rewards[:, :, 1:])
    only_first = best_worst(rewards, pool_of(rewards), weights={"b": 0.0})
    against_second = best_worst(rewards, pool_of(rewards), weights={"a": 0.0, "b": -1.0})
    np.testing.assert_array_equal(only_first.chosen, first.chosen)
    np.testing.assert_array_equal(only_first.rejected, first.rejected)
    np.testing.assert_array_equal(against_second.chosen, second.rejected)
    np.testing.assert_array_equal(against_second.rejected, second.chosen)


def test_weights_weigh_what_the_calibration_made():
    """A raw sum follows the scorer of the widest range; a sum of z-scores does not."""
    scores = np.array([[[100.0, 0.0], [50.0, 5.0], [0.0, 5.0]]])
    ranked = {
        rule.__name__: best_worst(rule(scores, np.ones(2)), pool_of(scores), weights={"b": 2.0})
        for rule in (raw, z_score)
    }
    assert (ranked["raw"].chosen.tolist(), ranked["raw"].rejected.tolist()) == ([0], [2])
    assert (ranked["z_score"].chosen.tolist(), ranked["z_score"].rejected.tolist()) == ([1], [0])


def test_dominating_pairs_of_equal_gap_are_all_kept():
    rewards = np.array([[[0.75, 0.75], [0.75, 0.75], [0.25, 0.25], [0.5, 0.5]]])
    pairs = frontier_best(rewards)
    assert list(zip(pairs.chosen.tolist(), pairs.rejected.tolist(), strict=True)) == [(0, 2), (1, 2)]


@given(REWARDS, st.integers(0, 1000))
def test_random_pairs_do_not_depend_on_the_order_of_images(rewards, seed):
    order = np.random.default_rng(seed).permutation(5)
    pool = pool_of(rewards)
    moved = random_pairs(
        rewards[:, order], GroupedScores(pool.prompt_ids, pool.image_ids[:, order], pool.scorers, rewards[:, order])
    )
    pairs = random_pairs(rewards, pool)
    back = set(zip(moved.prompt.tolist(), order[moved.chosen].tolist(), order[moved.rejected].tolist(), strict=True))
    assert back == set(zip(pairs.prompt.tolist(), pairs.chosen.tolist(), pairs.rejected.tolist(), strict=True))


def test_every_pair_is_drawn_equally_often():
    rewards = np.random.default_rng(0).random((3000, 5, 1))
    pairs = random_pairs(rewards, pool_of(rewards), num_pairs=3)
    low, high = np.minimum(pairs.chosen, pairs.rejected), np.maximum(pairs.chosen, pairs.rejected)
    drawn = np.bincount(low * 5 + high)[np.arange(25).reshape(5, 5)[np.triu_indices(5, 1)]]
    np.testing.assert_allclose(drawn / 3000, 0.3, atol=4 * (0.3 * 0.7 / 3000) ** 0.5)


@pytest.mark.parametrize("rule", [random_pairs, lambda r: best_worst(r, weights={"a": 1.0})])
def test_a_rule_that_needs_names_says_so(rule):
    with pytest.raises(SelectionError, match="pool"):
        rule(np.zeros((1, 2, 1)))


def test_no_pairs_at_all_is_no_pair():
    with pytest.raises(SelectionError, match="at least 1"):
        random_pairs(np.zeros((1, 2, 1)), pool_of(np.zeros((1, 2, 1))), num_pairs=0)
