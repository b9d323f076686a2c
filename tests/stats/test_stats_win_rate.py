import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from accord.errors import EvaluationError
from accord.stats.win_rate import win_rate

scores = hnp.arrays(np.float64, (4, 3), elements=st.one_of(st.integers(0, 3).map(float), st.just(float("nan"))))


def test_wins_ties_losses_and_unscored_are_counted():
    tuned = np.array([[0.9, 0.5], [0.1, np.nan], [np.nan, np.nan]])
    base = np.array([[0.4, 0.5], [0.3, 0.2], [0.1, np.nan]])
    result = win_rate(tuned, base)
    np.testing.assert_array_equal(result.per_prompt, [0.75, 0.0, np.nan])
    assert (result.num_wins, result.num_ties, result.num_losses, result.num_unscored) == (1, 1, 1, 3)


def test_scores_within_epsilon_tie():
    tuned, base = np.array([[0.52, 0.48, 0.56]]), np.full((1, 3), 0.5)
    assert win_rate(tuned, base).per_prompt.tolist() == [2 / 3]
    assert win_rate(tuned, base, epsilon=0.05).per_prompt.tolist() == [2 / 3]  # win, and two halves
    assert win_rate(tuned, base, epsilon=0.05).num_ties == 2
    assert win_rate(tuned, base, epsilon=0.1).per_prompt.tolist() == [0.5]


@given(scores, scores, st.sampled_from([0.0, 1.0]))
def test_exchanging_the_models_exchanges_wins_and_losses(tuned, base, epsilon):
    one, other = win_rate(tuned, base, epsilon), win_rate(base, tuned, epsilon)
    np.testing.assert_allclose(one.per_prompt, 1 - other.per_prompt)
    assert (one.num_wins, one.num_ties, one.num_unscored) == (other.num_losses, other.num_ties, other.num_unscored)
    assert one.num_wins + one.num_ties + one.num_losses + one.num_unscored == tuned.size


def test_a_model_against_itself_is_even():
    same = np.random.default_rng(0).random((5, 2))
    assert (win_rate(same, same).per_prompt == 0.5).all()


@pytest.mark.parametrize(
    ("tuned", "base", "epsilon"),
    [
        (np.ones(3), np.ones(3), 0.0),
        (np.ones((2, 3)), np.ones((2, 1)), 0.0),
        (np.full((1, 1), np.inf), np.ones((1, 1)), 0.0),
        (np.ones((1, 1)), np.ones((1, 1)), -1.0),
        (np.ones((1, 1)), np.ones((1, 1)), float("nan")),
    ],
)
def test_wrong_input_is_refused(tuned, base, epsilon):
    with pytest.raises(EvaluationError, match="a win rate needs"):
        win_rate(tuned, base, epsilon)
