import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from accord.calibrate.win_rate import win_rate
from accord.select.best_worst import best_worst
from accord.select.frontier import frontier
from accord.targets.one import one
from accord.targets.win_rate_gap import win_rate_gap
from accord.types import PairScores

TARGETS = [one, win_rate_gap]


def pair_scores(chosen: np.ndarray, rejected: np.ndarray) -> PairScores:
    names = tuple(f"scorer {k}" for k in range(chosen.shape[1]))
    return PairScores(names, 100 * chosen, 100 * rejected, chosen, rejected)


def selected(rule, seed=0) -> PairScores:
    rewards = win_rate(np.random.default_rng(seed).normal(size=(300, 8, 3)), np.ones(3))
    pairs = rule(rewards)
    return pair_scores(rewards[pairs.prompt, pairs.chosen], rewards[pairs.prompt, pairs.rejected])


def test_gap_of_a_worked_example_reads_rewards_and_not_scores():
    pairs = pair_scores(np.array([[0.9, 0.5, 0.7]]), np.array([[0.2, 0.6, 0.1]]))
    np.testing.assert_allclose(win_rate_gap(pairs), [(0.7 - 0.1 + 0.6) / 3])
    assert one(pairs).tolist() == [1.0]


@pytest.mark.parametrize("rule", [best_worst, frontier])
def test_targets_of_selected_pairs(rule):
    pairs = selected(rule)
    gap = win_rate_gap(pairs)
    assert ((gap > 0) & (gap <= 1)).all()
    assert (one(pairs) == 1).all()


def test_a_best_worst_pair_one_rounding_apart_still_counts_for_its_chosen():
    low = np.array([[0.1, 0.2, 0.4]])
    high = np.array([[0.1, np.nextafter(0.2, 1), 0.4]])
    rewards = np.stack([low, high], axis=1)
    pairs = best_worst(rewards)
    both = pair_scores(rewards[pairs.prompt, pairs.chosen], rewards[pairs.prompt, pairs.rejected])
    assert (one(both) == 1).all()
    assert (win_rate_gap(both) > 0).all()


unit = hnp.arrays(np.float64, (4, 3), elements=st.floats(0, 1))


@pytest.mark.parametrize("target", TARGETS)
@given(chosen=unit, rejected=unit)
def test_the_sign_flips_with_the_pair_and_equality_is_zero(target, chosen, rejected):
    pairs = pair_scores(chosen, rejected)
    np.testing.assert_array_equal(target(pairs.swapped()), -target(pairs))
    assert (target(pair_scores(chosen, chosen)) == 0).all()


@pytest.mark.parametrize("target", TARGETS)
def test_an_unscored_pair_has_no_target(target):
    rewards = np.array([[0.5, np.nan], [0.5, 0.6]])
    np.testing.assert_array_equal(np.isnan(target(pair_scores(rewards, rewards[:, ::-1]))), [True, False])
