import numpy as np
import pytest

from accord.errors import EvaluationError
from accord.stats.correlation import within_prompt_correlation


def scored(correlation: float, shape=(3000, 8), seed=0) -> np.ndarray:
    covariance = [[1.0, correlation], [correlation, 1.0]]
    return np.random.default_rng(seed).multivariate_normal([0, 0], covariance, size=shape)


@pytest.mark.parametrize("truth", [-0.5, 0.0, 0.8])
def test_it_finds_the_correlation_within_prompts_under_opposite_effects_of_prompts(truth):
    easy = np.random.default_rng(1).normal(size=(3000, 1)) * 20
    scores = scored(truth) + np.stack([easy, -easy], axis=2)
    found = within_prompt_correlation(scores)
    assert found[0, 1] == pytest.approx(truth, abs=4 / (3000 * 7) ** 0.5)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_allclose(np.diag(found), 1.0)


def test_it_equals_numpy_on_centred_scores():
    scores = scored(0.3, (20, 5))
    centred = (scores - scores.mean(axis=1, keepdims=True)).reshape(-1, 2)
    np.testing.assert_allclose(within_prompt_correlation(scores), np.corrcoef(centred.T), atol=1e-12)


def test_it_changes_with_neither_unit_nor_order():
    scores = scored(0.3, (20, 5))
    expected = within_prompt_correlation(scores)
    np.testing.assert_allclose(within_prompt_correlation(scores * [100, 0.01] + [7, -3]), expected)
    np.testing.assert_allclose(within_prompt_correlation(scores[::-1, ::-1]), expected)


def test_only_images_that_both_scored_are_compared():
    scores = scored(0.3, (20, 5))
    gaps = scores.copy()
    gaps[::2, 1, 0] = np.nan
    gaps[3, :, 1] = np.nan
    kept = [scores[p][~np.isnan(gaps[p]).any(axis=1)] for p in range(20)]
    centred = np.concatenate([group - group.mean(axis=0) for group in kept if len(group)])
    assert within_prompt_correlation(gaps)[0, 1] == pytest.approx(np.corrcoef(centred.T)[0, 1])


@pytest.mark.parametrize("constant", [0.1, np.nan])
def test_a_scorer_without_opinion_has_no_correlation(constant):
    scores = scored(0.3, (20, 3))
    scores[:, :, 1] = constant
    np.testing.assert_array_equal(np.isnan(within_prompt_correlation(scores)), [[False, True], [True, True]])


def test_wrong_shapes_are_refused():
    with pytest.raises(EvaluationError, match=r"scores \(P, N, K\)"):
        within_prompt_correlation(np.ones((2, 3)))
