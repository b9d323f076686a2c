"""z-scores, ranks and raw scores: what each promises beyond the shared check."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from accord.calibrate.mean_reward import mean_reward
from accord.calibrate.rank import rank
from accord.calibrate.raw import raw
from accord.calibrate.win_rate import win_rate
from accord.calibrate.z_score import z_score
from accord.errors import SelectionError

ONE, TWO = np.ones(1), np.ones(2)
RULES = [z_score, rank, raw]
hundredths = hnp.arrays(np.float64, (3, 6, 2), elements=st.integers(-500, 500).map(lambda i: i / 100))
with_gaps = hnp.arrays(np.float64, (3, 6, 2), elements=st.one_of(st.integers(-3, 3).map(float), st.just(float("nan"))))


def scored(shape=(40, 8, 3), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# --- z-score -----------------------------------------------------------------------------------------------------


def test_z_scores_have_mean_0_and_standard_deviation_1():
    rewards = z_score(100 + 5 * scored(), np.ones(3))
    np.testing.assert_allclose(rewards.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(rewards.std(axis=1), 1, atol=1e-12)


def test_z_scores_equal_the_formula_written_out():
    mean = (0.0 + 1.0 + 5.0) / 3
    spread = ((mean**2 + (1 - mean) ** 2 + (5 - mean) ** 2) / 3) ** 0.5
    expected = [(score - mean) / spread for score in (0.0, 5.0, 1.0)]
    np.testing.assert_allclose(z_score(np.array([[[0.0], [5.0], [1.0]]]), ONE).ravel(), expected, rtol=1e-14)


@given(hundredths, st.integers(1, 50), st.integers(-100, 100))
def test_z_scores_change_neither_with_the_unit_nor_with_the_origin(scores, unit, origin):
    np.testing.assert_allclose(z_score(unit * scores + origin, TWO), z_score(scores, TWO), rtol=0, atol=1e-9)


@pytest.mark.parametrize("constant", [0.1, 3.0, -7e9])
def test_equal_scores_have_z_score_0_exactly(constant):
    scores = np.full((1, 7, 1), constant)
    assert (z_score(scores, ONE) == 0).all()
    scores[0, 2:] = np.nan
    assert z_score(scores, ONE)[0, :2].ravel().tolist() == [0, 0]
    assert z_score(scores[:, 1:3], ONE)[0, 0].tolist() == [0]  # the only scored one


def test_an_outlier_has_no_bound_as_z_score_but_one_as_win_rate():
    scores = np.append(np.linspace(-0.1, 0.1, 99), 100.0)[None, :, None]
    assert z_score(scores, ONE).max() > 9
    assert win_rate(scores, ONE).max() <= 1


# --- rank --------------------------------------------------------------------------------------------------------


def test_ranks_are_mid_ranks_put_on_0_to_1():
    scores = np.random.default_rng(0).integers(0, 4, size=(20, 7, 1)).astype(float)
    for found, given_scores in zip(rank(scores, ONE)[:, :, 0], scores[:, :, 0].tolist(), strict=True):
        places = sorted(given_scores)
        first = [places.index(score) for score in given_scores]
        last = [len(places) - 1 - places[::-1].index(score) for score in given_scores]
        np.testing.assert_allclose(found, (np.array(first) + last) / 2 / 6, rtol=0, atol=1e-15)


@given(with_gaps)
def test_the_mean_rank_of_scored_images_is_one_half(scores):
    rewards = rank(scores, TWO)
    for p, k in np.ndindex(3, 2):
        here = rewards[p, ~np.isnan(rewards[p, :, k]), k]
        assert len(here) != 1
        assert here.sum() == pytest.approx(len(here) / 2)


@given(hundredths)
def test_only_the_order_counts_for_ranks(scores):
    np.testing.assert_array_equal(rank(scores**3, TWO), rank(scores, np.array([5.0, 0.1])))


def test_a_rank_is_the_win_rate_of_an_endless_scale():
    scores = np.random.default_rng(0).integers(0, 4, size=(20, 7, 1)).astype(float)
    np.testing.assert_allclose(win_rate(scores, np.array([1e6])), rank(scores, ONE), rtol=0, atol=1e-15)


# --- raw ---------------------------------------------------------------------------------------------------------


def test_raw_rewards_are_the_scores_and_no_view_of_them():
    scores = scored()
    rewards = raw(scores, np.array([10.0, 1.0, 0.1]))
    np.testing.assert_array_equal(rewards, scores)
    rewards[0] = 0
    np.testing.assert_array_equal(scores, scored())


def test_the_widest_scorer_decides_a_raw_sum_and_not_a_normalised_one():
    """BalancedDPO notes: an aesthetic scale of about 5 to 6 against cosines of 0.2 to 0.3."""
    scores = np.concatenate([scored((200, 8, 1)), 0.02 * scored((200, 8, 2), seed=1)], axis=2)

    def follows_the_first(rewards):
        return (mean_reward(rewards).argmax(axis=1) == scores[:, :, 0].argmax(axis=1)).mean()

    assert follows_the_first(raw(scores, np.ones(3))) > 0.95
    assert follows_the_first(z_score(scores, np.ones(3))) < 0.7


# --- all ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@given(scores=with_gaps, seed=st.integers(0, 100))
def test_ties_and_order_survive_and_the_order_of_images_does_not_matter(rule, scores, seed):
    rewards = rule(scores, TWO)
    scored = ~np.isnan(rewards)
    assert (scored <= ~np.isnan(scores)).all()
    before, after = (x[:, :, None] - x[:, None, :] for x in (np.where(scored, scores, np.nan), rewards))
    np.testing.assert_array_equal(np.sign(after), np.sign(before))
    order = np.random.default_rng(seed).permutation(6)
    np.testing.assert_array_equal(rule(scores[:, order], TWO), rewards[:, order])


@pytest.mark.parametrize("rule", RULES)
def test_no_reward_depends_on_other_prompts_or_scorers(rule):
    rewards = rule(scored(), np.ones(3))
    np.testing.assert_array_equal(rule(scored()[5:6], np.ones(3)), rewards[5:6])
    alone = np.ascontiguousarray(scored()[:, :, 1:2])  # numpy sums in another order: equal up to rounding
    np.testing.assert_allclose(rule(alone, ONE), rewards[:, :, 1:2], rtol=0, atol=1e-14)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("scores", "scales", "message"),
    [
        (np.zeros((2, 3)), np.ones(3), r"scores \(P, N, K\)"),
        (np.array([[[np.inf], [0.0]]]), ONE, "found 1 infinite"),
        (np.zeros((1, 2, 1)), np.zeros(1), "above 0"),
    ],
)
def test_wrong_input_is_refused(rule, scores, scales, message):
    with pytest.raises(SelectionError, match=message):
        rule(scores, scales)


@pytest.mark.parametrize("rule", RULES)
def test_no_prompts_give_no_rewards(rule):
    assert rule(np.empty((0, 4, 2)), TWO).shape == (0, 4, 2)
