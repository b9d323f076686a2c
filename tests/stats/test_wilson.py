import numpy as np
import pytest

from accord.errors import EvaluationError
from accord.stats.wilson import wilson


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    # Newcombe 1998 (Statistics in Medicine 17, 857-872), table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_equals_published_intervals(successes, total, low, high):
    interval = wilson(successes, total)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert (interval.value, interval.num) == (successes / total, total)


def test_it_is_symmetric_and_stays_inside():
    few, many = wilson(2, 10), wilson(8, 10)
    np.testing.assert_allclose([few.low, few.high], [1 - many.high, 1 - many.low])
    assert wilson(10, 10).high == 1.0
    assert 0 < wilson(10, 10).low < 1


def test_coverage_near_the_end_of_the_scale():
    truth, total = 0.95, 50
    table = [wilson(k, total) for k in range(total + 1)]
    draws = np.random.default_rng(0).binomial(total, truth, size=5000)
    covered = np.mean([table[k].low <= truth <= table[k].high for k in draws])
    assert 0.93 < covered < 0.99


@pytest.mark.parametrize(("successes", "total", "level"), [(0, 0, 0.95), (3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)])
def test_wrong_input_is_refused(successes, total, level):
    with pytest.raises(EvaluationError, match="successes"):
        wilson(successes, total, level)
