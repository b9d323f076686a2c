"""Votes, single scorers and smoothed preferences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import SelectionError
from accord.targets.one import one
from accord.targets.random_scorer import random_scorer
from accord.targets.scorer import scorer
from accord.targets.smoothed import smoothed
from accord.targets.vote import vote
from accord.types import PairScores


def pairs(gaps, labels=None, ranges=None, names=None):
    """Return pairs whose raw scores differ by these gaps, (M, K)."""
    gaps = np.asarray(gaps, np.float64)
    zero = np.zeros_like(gaps)
    names = names or tuple(f"s{k}" for k in range(gaps.shape[1]))
    ids = tuple((f"p{m}", f"p{m}-0", f"p{m}-1") for m in range(len(gaps)))
    return PairScores(names, gaps, zero, gaps, zero, ranges, labels, ids)


GAPS = st.integers(1, 6).flatmap(
    lambda k: st.lists(st.lists(st.integers(-3, 3), min_size=k, max_size=k), min_size=1, max_size=8)
)


@given(GAPS)
def test_the_majority_decides_and_swapping_turns_it_round(gaps):
    both = pairs(gaps)
    total = np.sign(gaps).sum(axis=1)
    assert np.array_equal(vote(both), np.sign(total))
    assert np.array_equal(vote(both, ties="graded"), total / len(gaps[0]))
    for ties in ("drop", "graded", "scorer:s0"):
        assert np.array_equal(vote(both.swapped(), ties=ties), -vote(both, ties=ties))


@given(GAPS)
def test_one_scorer_or_identical_scorers_are_that_scorer(gaps):
    first = np.asarray(gaps)[:, :1]
    assert np.array_equal(vote(pairs(first)), scorer(pairs(first)))
    assert np.array_equal(vote(pairs(np.repeat(first, 4, axis=1))), scorer(pairs(first)))


@given(st.lists(st.lists(st.sampled_from([-2, -1, 1, 2]), min_size=3, max_size=3), min_size=1))
def test_an_odd_number_of_scorers_that_never_tie_never_ties(gaps):
    assert (vote(pairs(gaps)) != 0).all()


def test_ties_take_the_rule_they_are_given():
    both = pairs([[1, -1], [1, -1], [1, 1]], labels=np.array([-1.0, 0.0, -1.0]))
    assert vote(both).tolist() == [0, 0, 1]
    assert vote(both, ties="human").tolist() == [-1, 0, 1]
    assert vote(both, ties="scorer:s1").tolist() == [-1, -1, 1]
    assert vote(both, human_votes=True).tolist() == [-1, 0, 1]
    assert vote(both, ties="graded", human_votes=True).tolist() == pytest.approx([-1 / 3, 0, 1 / 3])


def test_a_persons_label_comes_before_the_rewards_unless_it_is_set_aside():
    both = pairs([[1, 1], [1, 1], [1, 1], [-1, 0]], labels=np.array([-1.0, 0.0, 1.0, np.nan]))
    assert one(both).tolist() == [-1, 0, 1, -1]
    assert one(both.swapped()).tolist() == [1, 0, -1, 1]
    assert one(both, use_labels=False).tolist() == [1, 1, 1, -1]


@given(GAPS)
def test_swapping_turns_every_rule_for_ties_round_also_with_a_persons_vote(gaps):
    labels = np.random.default_rng(0).integers(-1, 2, size=len(gaps)).astype(float)
    both = pairs(gaps, labels=labels)
    for ties in ("drop", "human", "graded", "scorer:s0"):
        for human_votes in (False, True):
            found = vote(both, ties=ties, human_votes=human_votes)
            assert np.array_equal(vote(both.swapped(), ties=ties, human_votes=human_votes), -found)


def test_a_vote_that_a_person_never_gave_is_not_made_up():
    with pytest.raises(SelectionError, match="not every pair has a person's label"):
        vote(pairs([[1, 1]], labels=np.array([np.nan])), human_votes=True)


def test_an_unscored_image_leaves_the_pair_without_a_target():
    both = pairs([[np.nan, 1.0]], ranges=np.array([[0.0, 1.0]] * 2))
    for rule in (vote, scorer, smoothed, lambda x: vote(x, ties="graded")):
        assert np.isnan(rule(both)).all()


@pytest.mark.parametrize(("quality", "share"), [(0.5, 0.375), (0.7, 0.2646), (0.8, 0.1536)])
def test_the_tie_rate_of_four_scorers_is_that_of_the_binomial(quality, share):
    """6 q^2 (1 - q)^2: four scorers that are each right with probability q."""
    votes = np.where(np.random.default_rng(0).random((40_000, 4)) < quality, 1.0, -1.0)
    assert (vote(pairs(votes)) == 0).mean() == pytest.approx(share, abs=0.008)


@pytest.mark.parametrize(
    ("ties", "message"),
    [("dorp", "must be drop"), ("scorer:s9", "did not score"), ("human", "person's label")],
)
def test_rules_that_cannot_be_followed_are_refused(ties, message):
    with pytest.raises(SelectionError, match=message):
        vote(pairs([[1, -1]]), ties=ties)


@given(GAPS)
def test_the_drawn_scorer_belongs_to_the_pair_and_not_to_its_direction(gaps):
    both = pairs(gaps)
    assert np.array_equal(random_scorer(both.swapped()), -random_scorer(both))


def test_every_scorer_is_drawn_about_equally_often():
    gaps = np.tile([1.0, -1.0], (4000, 1))
    assert (random_scorer(pairs(gaps)) > 0).mean() == pytest.approx(0.5, abs=0.03)
    assert not np.array_equal(random_scorer(pairs(gaps), seed=1), random_scorer(pairs(gaps), seed=2))


@pytest.mark.parametrize(
    ("points", "weight"),
    [(0.2, 0.06), (0.5, 0.15), (1, 0.30), (2, 0.60), (3, 0.90), (3.34, 1.00), (5, 1.49), (16.658, 4.62)],
)
def test_the_authors_weights_of_pickscore_gaps(points, weight):
    """Points are 100 times the cosine, which is what our scorer returns."""
    both = pairs([[points]], names=("pickscore",))
    assert smoothed(both)[0] == pytest.approx(weight, abs=0.005)
    low, high = 11.543526500463486, 28.201571106910706
    a, b = (np.exp((20 + gap - low) / (high - low)) for gap in (points, 0))
    assert smoothed(both)[0] == pytest.approx(10 * (2 * a / (a + b) - 1))  # the softmax of the authors' code


def test_smoothing_is_antisymmetric_and_zero_at_equality():
    ranges = np.array([[0.0, 2.0], [-1.0, 1.0]])
    both = pairs([[1.0, 0.5], [0.0, 0.0], [-1.0, 0.2]], ranges=ranges)
    found = smoothed(both, score_range="measured")
    assert np.array_equal(smoothed(both.swapped(), score_range="measured"), -found)
    assert found[1] == 0
    assert found[0] == pytest.approx(5 * (np.tanh(0.25) + np.tanh(0.125)))
    assert smoothed(both, gamma=1.0, scorer="s0", score_range="measured")[2] == pytest.approx(-np.tanh(0.25))


def test_equal_scores_have_no_preference_whatever_the_person_says():
    """SmPO notes: human labels have no influence on this loss."""
    both = pairs([[0.0], [2.0]], names=("pickscore",), labels=np.array([1.0, -1.0]))
    assert smoothed(both)[0] == 0
    assert smoothed(both)[1] > 0


def test_a_small_gap_counts_in_proportion_and_a_large_one_less():
    both = pairs([[0.01], [0.02], [100.0]], ranges=np.array([[0.0, 1.0]]))
    small, double, large = smoothed(both)
    assert double == pytest.approx(2 * small, rel=1e-3)
    assert small == pytest.approx(10 * 0.01 / 2, rel=1e-3)
    assert large == pytest.approx(10)


def test_several_scorers_count_alike_in_the_mean_of_their_smoothed_preferences():
    ranges = np.array([[0.0, 10.0], [0.0, 0.1]])
    both = pairs([[1.0, 0.04]], ranges=ranges)
    alone = [smoothed(both, scorer=name)[0] for name in both.scorers]
    assert smoothed(both)[0] == pytest.approx(np.mean(alone))
    with pytest.raises(SelectionError, match="'so' did not score these pairs; known: s0, s1"):
        smoothed(both, scorer="so")


def test_a_range_that_is_not_known_is_asked_for():
    with pytest.raises(SelectionError, match="no range of 's0' is published"):
        smoothed(pairs([[1.0]]), score_range="published")
    with pytest.raises(SelectionError, match="nearly all images the same score"):
        smoothed(pairs([[1.0]], ranges=np.array([[2.0, 2.0]])))
