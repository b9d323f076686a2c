from dataclasses import replace

import pytest

from accord.errors import TrainingError
from accord.train.schedule import learning_rate
from accord.train.settings import TrainSettings

SETTINGS = TrainSettings(steps=10, batch_size=1, beta=1.0, learning_rate=8.0, warmup_steps=2)


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("constant", [4, 8, 8, 8, 8, 8, 8, 8, 8, 8]),
        ("linear", [4, 8, 8, 7, 6, 5, 4, 3, 2, 1]),
        ("cosine", [4, 8, 8, 7.695518, 6.828427, 5.530734, 4, 2.469266, 1.171573, 0.304482]),
    ],
)
def test_worked_example(decay, expected):
    settings = replace(SETTINGS, decay=decay)
    assert [learning_rate(step, settings) for step in range(10)] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("decay", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 1, 5, 100, 200])
def test_no_step_is_wasted_and_none_exceeds_the_peak(decay, warmup):
    settings = replace(SETTINGS, steps=100, warmup_steps=warmup, decay=decay)
    rates = [learning_rate(step, settings) for step in range(100)]
    assert min(rates) > 0
    assert max(rates) <= 8.0
    assert rates[: warmup or 1] == sorted(rates[: warmup or 1])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps must be above 0"),
        ({"beta": float("nan")}, "beta must be above 0"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"batch_size": 6, "gradient_accumulation": 4}, "multiple of 4"),
    ],
)
def test_settings_that_cannot_be_trained_with_are_refused(wrong, message):
    with pytest.raises(TrainingError, match=message):
        replace(SETTINGS, **wrong)


def test_a_batch_is_shared_evenly_by_processes_and_micro_batches():
    settings = replace(SETTINGS, batch_size=24, gradient_accumulation=3)
    assert settings.micro_batch_size(num_processes=2) == 4
    with pytest.raises(TrainingError, match=r"5 process\(es\) x 3 micro-batch\(es\): make it a multiple of 15"):
        settings.micro_batch_size(num_processes=5)
