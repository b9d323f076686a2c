"""Volumes that can be counted by hand, and the properties of any hypervolume."""

import numpy as np
import pytest

from accord.errors import EvaluationError
from accord.stats.hypervolume import exclusive_volumes, hypervolume


def test_one_point_is_a_box():
    assert hypervolume(np.array([[0.5, 0.6, 0.7]])) == pytest.approx(0.21)
    assert hypervolume(np.array([[0.5, 0.6, 0.7]]), np.array([0.25, 0.5, 0.5])) == pytest.approx(0.25 * 0.1 * 0.2)


def test_overlap_counts_once():
    corners = np.array([[2.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 2.0]])
    assert hypervolume(corners) == pytest.approx(4)  # a unit cube and a slab of one on each of three sides
    assert exclusive_volumes(corners).tolist() == pytest.approx([1, 1, 1])


def test_it_equals_the_share_of_random_places_that_are_dominated():
    points = np.random.default_rng(0).random((6, 4))
    places = np.random.default_rng(1).random((200_000, 4))
    share = (places[:, None] < points).all(axis=2).any(axis=1).mean()
    assert hypervolume(points) == pytest.approx(share, abs=5 * (0.25 / 200_000) ** 0.5)


def test_order_repeats_and_dominated_points_do_not_matter():
    points = np.random.default_rng(2).random((5, 3))
    whole = hypervolume(points)
    assert hypervolume(points[::-1]) == pytest.approx(whole)
    assert hypervolume(np.concatenate([points, points, 0.5 * points])) == pytest.approx(whole)
    assert exclusive_volumes(np.concatenate([points, 0.5 * points]))[5:].tolist() == [0.0] * 5


def test_points_not_above_the_reference_add_nothing():
    assert hypervolume(np.array([[2.0, 0.5], [0.5, 2.0]]), 0.5) == 0.0
    assert hypervolume(np.empty((0, 3))) == 0.0


def test_wrong_input_is_refused():
    with pytest.raises(EvaluationError, match="finite points"):
        hypervolume(np.array([[np.nan, 1.0]]))
    with pytest.raises(EvaluationError, match=r"\(3,\)"):
        hypervolume(np.ones(3))
