import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from accord.calibrate import win_rate as module
from accord.calibrate.win_rate import mean_win_rate, win_rate
from accord.errors import SelectionError

ONE = np.ones(1)


def scored(shape=(5, 8, 3), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# Hundredths, so that two scores are equal or clearly apart: closer ones may round to one win rate.
hundredths = hnp.arrays(np.float64, (3, 6, 2), elements=st.integers(-500, 500).map(lambda i: i / 100))


def test_figure_of_the_authors():
    wins = np.array([[np.nan, 0.95, 0.65], [0.05, np.nan, 0.25], [0.35, 0.75, np.nan]])
    np.testing.assert_allclose(mean_win_rate(wins), [0.80, 0.15, 0.55], rtol=0, atol=1e-15)


def test_the_diagonal_is_not_read():
    wins = np.array([[0.7, 0.9], [0.1, -3.0]])
    np.testing.assert_allclose(mean_win_rate(wins), [0.9, 0.1])


def test_equals_the_formula_written_out():
    scores, scales = scored((2, 5, 2)), np.array([1.0, 3.0])
    expected = np.zeros_like(scores)
    for p, i, k in np.ndindex(scores.shape):
        gaps = [scales[k] * (scores[p, i, k] - scores[p, j, k]) for j in range(5) if j != i]
        expected[p, i, k] = np.mean([1 / (1 + np.exp(-gap)) for gap in gaps])
    np.testing.assert_allclose(win_rate(scores, scales), expected, rtol=0, atol=1e-15)


@given(hundredths)
def test_rewards_of_a_prompt_add_up_to_half_its_images(scores):
    rewards = win_rate(scores, np.ones(2))
    np.testing.assert_allclose(rewards.sum(axis=1), 3.0, rtol=0, atol=1e-12)
    assert ((rewards >= 0) & (rewards <= 1)).all()


@given(hundredths)
def test_order_within_a_prompt_is_kept_and_ties_stay_exact(scores):
    rewards = win_rate(scores, np.ones(2))
    before, after = (x[:, :, None] - x[:, None, :] for x in (scores, rewards))
    np.testing.assert_array_equal(np.sign(after), np.sign(before))


@given(hundredths, st.integers(-1000, 1000))
def test_adding_a_constant_to_a_prompt_changes_nothing(scores, shift):
    moved = scores + shift * np.array([1.0, 2.0, -1.0])[:, None, None]
    np.testing.assert_allclose(win_rate(moved, np.ones(2)), win_rate(scores, np.ones(2)), rtol=0, atol=1e-9)


def test_multiplying_scores_widens_rewards():
    narrow, wide = win_rate(scored(), np.ones(3)), win_rate(10 * scored(), np.ones(3))
    assert (np.ptp(wide, axis=1) > np.ptp(narrow, axis=1)).all()


def test_a_scale_multiplies_its_scorer():
    np.testing.assert_allclose(
        win_rate(scored(), np.array([1.0, 10.0, 0.5])), win_rate(scored() * [1.0, 10.0, 0.5], np.ones(3)), atol=1e-15
    )


def test_no_reward_depends_on_the_order_of_images_or_on_other_prompts():
    scores, order = scored(), np.random.default_rng(1).permutation(8)
    rewards = win_rate(scores, np.ones(3))
    np.testing.assert_array_equal(win_rate(scores[:, order], np.ones(3)), rewards[:, order])
    np.testing.assert_array_equal(win_rate(scores[2:3], np.ones(3)), rewards[2:3])


def test_an_unscored_image_stays_unscored_and_is_nobodys_opponent():
    scores = scored((1, 6, 2))
    scores[0, [1, 4], 0] = np.nan
    rewards = win_rate(scores, np.ones(2))
    np.testing.assert_array_equal(np.isnan(rewards), np.isnan(scores))
    without = win_rate(scores[:, [0, 2, 3, 5], :1], ONE)
    np.testing.assert_allclose(rewards[0, [0, 2, 3, 5], 0], without[0, :, 0], rtol=0, atol=1e-15)
    np.testing.assert_array_equal(rewards[:, :, 1], win_rate(scores[:, :, 1:], ONE)[:, :, 0])  # the other scorer's


@pytest.mark.parametrize("images", [[[1.0]], [[1.0], [np.nan]], [[np.nan], [np.nan]]])
def test_an_image_alone_has_no_reward(images):
    assert np.isnan(win_rate(np.array([images]), ONE)).all()


def test_extreme_gaps_saturate_without_overflow():
    rewards = win_rate(np.array([[[-1e6], [0.0], [1e6]]]), ONE)
    assert rewards.ravel().tolist() == [0.0, 0.5, 1.0]


def test_chunks_do_not_show(monkeypatch):
    whole = win_rate(scored((50, 8, 3)), np.ones(3))
    monkeypatch.setattr(module, "_NUMBERS_PER_CHUNK", 8 * 8 * 3 * 7)  # 7 prompts at a time
    np.testing.assert_array_equal(win_rate(scored((50, 8, 3)), np.ones(3)), whole)


def test_the_scores_are_left_alone():
    scores = scored()
    win_rate(scores, np.ones(3))
    np.testing.assert_array_equal(scores, scored())


def test_no_prompts_give_no_rewards():
    assert win_rate(np.empty((0, 4, 2)), np.ones(2)).shape == (0, 4, 2)


# CaPO notes, simulated mean best-worst margin for Gaussian scores: (spread in the prompt, N, margin).
MARGINS = [
    (0.03, 16, 0.03),
    (0.1, 8, 0.08),
    (0.3, 16, 0.27),
    (1.0, 4, 0.52),
    (1.0, 16, 0.66),
    (2.0, 8, 0.80),
    (4.0, 32, 0.96),
]


@pytest.mark.parametrize(("spread", "num_images", "expected"), MARGINS)
def test_simulated_margin_between_best_and_worst(spread, num_images, expected):
    scores = spread * np.random.default_rng(5).normal(size=(2000, num_images, 1))
    margins = np.ptp(win_rate(scores, ONE), axis=1)
    assert margins.mean() == pytest.approx(expected, abs=0.005 + 4 * margins.std() / 2000**0.5)  # printed to 2 digits


def test_small_spreads_have_the_margin_of_the_linear_formula():
    scores = 0.01 * scored((500, 16, 1))
    slope = np.ptp(win_rate(scores, ONE), axis=1) / np.ptp(scores, axis=1)
    np.testing.assert_allclose(slope, 16 / (4 * 15), rtol=1e-3)


@pytest.mark.parametrize(
    ("scores", "scales", "message"),
    [
        (np.zeros((2, 3)), np.ones(3), r"scores \(P, N, K\)"),
        (np.zeros((2, 3, 2)), np.ones(3), r"found \(2, 3, 2\) and \(3,\)"),
        (np.array([[[np.inf], [0.0]]]), ONE, "found 1 infinite"),
        (np.zeros((1, 2, 1)), np.zeros(1), "above 0"),
        (np.zeros((1, 2, 1)), -ONE, "above 0"),
        (np.zeros((1, 2, 1)), np.array([np.nan]), "above 0"),
    ],
)
def test_wrong_input_is_refused(scores, scales, message):
    with pytest.raises(SelectionError, match=message):
        win_rate(scores, scales)
