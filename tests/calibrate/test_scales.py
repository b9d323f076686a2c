import numpy as np
import pytest

from accord.calibrate.scales import auto_scales
from accord.calibrate.win_rate import win_rate
from accord.errors import SelectionError


def scored(seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(200, 8, 3)) * [0.01, 1.0, 50.0]


def test_the_median_spread_becomes_one():
    used = auto_scales(scored(), np.ones(3))
    np.testing.assert_allclose(np.median((scored() * used).std(axis=1, ddof=1), axis=0), 1.0)


def test_the_result_depends_neither_on_unit_nor_on_the_scale_of_the_card():
    used = auto_scales(scored(), np.ones(3))
    np.testing.assert_allclose(auto_scales(scored() * 7, np.ones(3)), used / 7)
    np.testing.assert_allclose(auto_scales(scored(), np.array([100.0, 1.0, 0.01])), used)


def test_auto_rewards_are_those_of_the_scales_it_reports():
    scales = np.array([2.0, 1.0, 0.1])
    expected = win_rate(scored(), auto_scales(scored(), scales))
    np.testing.assert_array_equal(win_rate(scored(), scales, scale="auto"), expected)


def test_auto_gives_every_scorer_the_same_weight_where_the_cards_do_not():
    def margins(**options):
        return np.ptp(win_rate(scored(), np.ones(3), **options), axis=1).mean(axis=0)

    assert np.ptp(margins()) > 0.5
    assert np.ptp(margins(scale="auto")) < 0.02


def test_unscored_images_and_short_prompts_do_not_count():
    scores = np.array([[[0.0], [2.0], [4.0]], [[9.0], [np.nan], [np.nan]], [[1.0], [np.nan], [5.0]]])
    # standard deviations 2 and 2 sqrt 2 of the prompts with two scores or more; the one in the middle has only one
    np.testing.assert_allclose(auto_scales(scores, np.ones(1)), 1 / (1 + np.sqrt(2)))


@pytest.mark.parametrize("constant", [3.0, 0.1, np.nan])
def test_a_scorer_without_spread_is_an_error(constant):
    scores = scored()
    scores[:, :, 1] = constant
    with pytest.raises(SelectionError, match="differ within most prompts"):
        auto_scales(scores, np.ones(3))
