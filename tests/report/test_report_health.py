"""Verdicts on a training, each on a log made for it, and none of them on a healthy one."""

import numpy as np
import pytest

from accord.report.collapse import collapse
from accord.report.health import health, noise_parts
from accord.report.records import Estimate, Evaluation, ImageResult, Training

STEPS = 50
HEALTHY = {
    "accuracy": 0.7, "margin": 0.4, "target": 0.5, "saturation": 0.3, "error_chosen_rise": -0.010,
    "error_rejected_rise": 0.004, "gradient_chosen": 1.0, "gradient_rejected": 1.1,
}  # fmt: skip


def training(by_noise=None, steps=STEPS, **late):
    """Return a log whose numbers rise from 0 to these in the first half and stay there."""
    ramp = np.minimum(1, np.linspace(0, 2, steps))
    curves = {name: ramp * value for name, value in {**HEALTHY, **late}.items()}
    return Training(np.arange(1, steps + 1), curves, None, None, None, by_noise or {})


def kinds(loss="logistic", **late):
    return [(finding.kind, finding.text) for finding in health(training(**late), loss)]


def test_a_healthy_run_has_one_good_line():
    for loss in ("logistic", "squared"):
        [(kind, text)] = kinds(loss)
        assert kind == "better"
        assert "70.0" in text


@pytest.mark.parametrize(
    ("late", "loss", "kind", "words"),
    [
        (
            {"error_chosen_rise": -0.001, "error_rejected_rise": 0.02},
            "logistic",
            "warning",
            "rejected images get worse",
        ),
        ({"error_chosen_rise": 0.01, "error_rejected_rise": 0.03}, "logistic", "worse", "Both errors rise"),
        ({"gradient_rejected": 4.0}, "logistic", "warning", "of the gradient comes from rejected"),
        ({"accuracy": 0.51}, "logistic", "warning", "which is chance"),
        ({"saturation": 0.93}, "logistic", "warning", "further steps change little"),
        ({"margin": 0.9}, "squared (safeguard 1)", "warning", "has run past its mean target"),
    ],
)
def test_each_illness_is_named_with_its_numbers_and_a_remedy(late, loss, kind, words):
    found = kinds(loss, **late)
    assert [k for k, text in found if words in text] == [kind]
    text = next(text for _, text in found if words in text)
    assert any(character.isdigit() for character in text)


@pytest.mark.parametrize(
    ("late", "loss", "words"),
    [
        ({"saturation": 0.93}, "squared", "further steps change little"),  # it is pulled back anyway
        ({"margin": 0.9}, "logistic", "past its mean target"),  # it has no target to run past
    ],
)
def test_a_verdict_belongs_to_its_loss(late, loss, words):
    assert not any(words in text for _, text in kinds(loss, **late))


def test_old_and_short_logs_are_no_reason_to_fail():
    old = training()
    old = Training(old.steps, {n: v for n, v in old.curves.items() if "gradient" not in n}, None, None, None)
    assert [finding.kind for finding in health(old, "logistic")] == ["better"]
    assert noise_parts(old) == ()
    assert "too short" in health(training(steps=3), "logistic")[0].text


def test_parts_of_the_schedule_are_means_over_their_visits():
    bins = {
        "count": np.array([0.0, 10, 10, 20, 60]), "margin": np.array([0.0, 1, 2, 6, 30]),
        "accuracy": np.array([0.0, 5, 6, 14, 48]), "error_chosen_rise": np.array([0.0, 0, 0, 0, -6]),
        "error_rejected_rise": np.array([0.0, 0, 0, 0, 3]),
    }  # fmt: skip
    rows = noise_parts(training(bins))
    assert [row.label for row in rows] == ["0 to 20 %", "20 to 40 %", "40 to 60 %", "60 to 80 %", "80 to 100 %"]
    assert np.isnan(rows[0].margin)
    assert (rows[4].share, rows[4].margin, rows[4].accuracy) == pytest.approx((0.6, 0.5, 0.8))
    assert (rows[4].chosen, rows[4].rejected) == pytest.approx((-0.1, 0.05))


def looks(name, base, difference, half=0.001):
    change = Estimate(difference, difference - half, difference + half)
    return ImageResult(name, Estimate(base, base, base), Estimate(base + difference, base, base), change)


def alarm(*images):
    return [finding.text for finding in collapse(Evaluation(0.95, 100, 2, (), (), None, images))]


@pytest.mark.parametrize("name", ["edge_density", "colour_entropy", "diversity"])
def test_a_large_certain_fall_is_an_alarm_and_a_small_or_uncertain_one_is_not(name):
    [text] = alarm(looks(name, 0.1, -0.03))
    assert "30.0" in text
    assert alarm(looks(name, 0.1, -0.01)) == []
    assert alarm(looks(name, 0.1, -0.03, half=0.04)) == []
    assert alarm(looks(name, 0.1, 0.03)) == []
    assert alarm(looks(name, float("nan"), float("nan"))) == []


def test_brightness_may_move_either_way_but_not_far():
    assert "rose by 40.0" in alarm(looks("brightness", 0.5, 0.2))[0]
    assert "fell by 40.0" in alarm(looks("brightness", 0.5, -0.2))[0]
    assert alarm(looks("brightness", 0.5, 0.1)) == []
