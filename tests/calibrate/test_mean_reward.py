import numpy as np

from accord.calibrate.mean_reward import mean_reward


def test_it_is_the_plain_average_and_nan_if_any_is():
    rewards = np.array([[[0.25, 0.75, 0.5], [1.0, np.nan, 0.5]]])
    np.testing.assert_array_equal(mean_reward(rewards), [[0.5, np.nan]])


def test_the_same_bits_in_every_memory_layout():
    rewards = np.random.default_rng(0).random((40, 6, 11))
    expected = mean_reward(rewards)
    np.testing.assert_array_equal(mean_reward(np.asfortranarray(rewards)), expected)
    np.testing.assert_array_equal(mean_reward(rewards[3, [1, 4]]), expected[3, [1, 4]])
