"""Verdicts on a training, each on a log made for it, and none of them on a healthy one."""

import json

import numpy as np
import pytest

from accord.report.collapse import collapse
from accord.report.curves import panels
from accord.report.health import health
from accord.report.noise_levels import FEW, accuracy_curves, noise_findings, noise_parts
from accord.report.read_training import read_training
from accord.report.records import Estimate, Evaluation, ImageResult, ScorerResult, Training

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
        ({"error_chosen_rise": 0.01, "error_rejected_rise": 0.03}, "logistic", "warning", "Both errors rise"),
        ({"gradient_rejected": 4.0}, "logistic", "warning", "of the gradient comes from rejected"),
        ({"error_chosen_rise": 0.03, "error_rejected_rise": 0.02}, "logistic", "worse", "Both errors rise"),
        (
            {"error_chosen_rise": 0.0002, "error_rejected_rise": 0.02},  # too little to call it harm
            "logistic",
            "warning",
            "rejected images get worse",
        ),
        ({"error_chosen_rise": 0.01, "error_rejected_rise": -0.01}, "logistic", "worse", "moves away from"),
        ({"accuracy": 0.51}, "logistic", "warning", "which is chance"),
        ({"accuracy": 0.3}, "logistic", "worse", "prefer rejected images"),
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
    old = without("gradient")
    assert [finding.kind for finding in health(old, "logistic")] == ["better"]
    assert noise_parts(old) == ()
    assert "too short" in health(training(steps=3), "logistic")[0].text


def without(part):
    whole = training()
    return Training(whole.steps, {n: v for n, v in whole.curves.items() if part not in n}, None, None, None)


@pytest.mark.parametrize("part", ["accuracy", "error"])
def test_a_run_is_not_called_healthy_for_want_of_numbers(part):
    [finding] = health(without(part), "logistic")
    assert finding.kind == "unclear"
    assert "nothing can be judged" in finding.text


def test_chance_is_wider_with_few_pairs():
    """The last fifth of 500 pairs are 100, of which 58 may be right by chance."""
    run = training(accuracy=0.58)
    few, many = (Training(run.steps, run.curves, num, None, None) for num in (500, 50_000))
    assert "which is chance" in health(few, "logistic")[0].text
    assert health(many, "logistic")[0].kind == "better"


def test_errors_that_merely_fluctuate_are_no_harm():
    """The chosen image's error is above 0 at the end, by less than two standard errors."""
    run = training(error_rejected_rise=0.002)
    wave = 0.02 * (-1.0) ** np.arange(STEPS) + 0.001
    noisy = Training(run.steps, {**run.curves, "error_chosen_rise": wave}, None, None, None)
    steady = Training(run.steps, {**run.curves, "error_chosen_rise": np.full(STEPS, 0.001)}, None, None, None)
    assert not any("Both errors rise" in finding.text for finding in health(noisy, "logistic"))
    assert any("Both errors rise" in finding.text for finding in health(steady, "logistic"))


def test_parts_of_the_schedule_are_means_over_their_visits():
    bins = {
        "count": np.array([0.0, 10, 10, 20, 60]), "margin": np.array([0.0, 1, 2, 6, 30]),
        "accuracy": np.array([0.0, 5, 6, 14, 48]), "error_chosen_rise": np.array([0.0, 0, 0, 0, -6]),
        "error_rejected_rise": np.array([0.0, 0, 0, 0, 3]), "gradient_chosen": np.array([0.0, 0, 0, 20, 60]),
        "gradient_rejected": np.array([0.0, 0, 0, 60, 60]),
    }  # fmt: skip
    early = {name: np.full(5, 99.0) for name in bins}  # the first half of the run, which does not count
    rows = noise_parts(training({name: np.array([early[name], bins[name]]) for name in bins}))
    assert [row.label for row in rows] == ["0 to 20 %", "20 to 40 %", "40 to 60 %", "60 to 80 %", "80 to 100 %"]
    assert np.isnan(rows[0].margin)
    assert (rows[4].share, rows[4].margin, rows[4].accuracy) == pytest.approx((0.6, 0.5, 0.8))
    assert (rows[4].chosen, rows[4].rejected) == pytest.approx((-0.1, 0.05))
    assert (rows[3].pull, rows[4].pull) == pytest.approx((0.75, 0.5))
    assert np.isnan(rows[4].saturation)  # not logged
    assert np.isnan(rows[0].pull)
    assert sum(row.num for row in rows) == 100


def levels(accuracies, visits=200):
    """Return the parts of a run of two steps with these accuracies."""
    count = np.full((2, len(accuracies)), float(visits))
    return noise_parts(training({"count": count, "accuracy": count * np.array(accuracies)}))


def test_noise_levels_that_learn_nothing_are_named():
    [finding] = noise_findings(levels([0.5, 0.6, 0.7, 0.7, 0.54]))
    assert "0 to 20 % (50.0" in finding.text
    assert "80 to 100 % (54.0" in finding.text
    assert "20 to 40 %" not in finding.text
    assert "40.0" in finding.text  # their share of the visits
    assert finding.kind == "unclear"  # no illness: the healthy line stays


@pytest.mark.parametrize(
    ("accuracies", "visits"),
    [([0.7, 0.6, 0.7, 0.7, 0.8], 200), ([0.5] * 5, 200), ([0.5, 0.9, 0.9, 0.9, 0.9], 50)],
)
def test_no_noise_level_is_named_where_all_learn_or_none_or_too_few_visits_tell(accuracies, visits):
    assert noise_findings(levels(accuracies, visits)) == ()


def test_a_curve_by_noise_level_is_a_mean_over_visits_of_a_window():
    """Ten steps: the window of a step is its neighbours; weighing by visits, not by steps."""
    count = np.repeat([[10.0, 1.0]], 10, axis=0)
    sums = count * 0.5
    count[4, 0], sums[4, 0] = 80, 80
    first, second = accuracy_curves({"count": count, "accuracy": sums}).values()
    assert first[4] == pytest.approx((5 + 80 + 5) / 100)
    assert first[0] == pytest.approx(0.5)
    assert FEW > 3
    assert np.isnan(second).all()


def log_line(step, **more):
    metrics = {"accuracy": 0.7, "margin": 0.1, "error_chosen_rise": -0.1, "error_rejected_rise": 0.1}
    return json.dumps({"step": step, "loss": 0.5, "learning_rate": 0.1, "gradient_norm": 1, "metrics": metrics, **more})


def test_a_log_that_an_older_version_began_is_read(copied_run):
    """Steps without noise levels have no visits, and what some steps do not know is left out."""
    told = {"count": [30, 0, 0, 0, 2], "accuracy": [15, 0, 0, 0, 1]}
    lines = [log_line(1), log_line(2, by_noise=told), log_line(3, by_noise={**told, "margin": [1, 0, 0, 0, 0]})]
    (copied_run / "train" / "log.jsonl").write_text("\n".join(lines) + "\n")
    run = read_training(copied_run)
    assert sorted(run.by_noise) == ["accuracy", "count"]
    assert run.by_noise["count"][:, 0].tolist() == [0, 30, 30]
    [panel] = [panel for panel in panels(run, "logistic", 0.5) if panel.name == "accuracy-by-noise"]
    assert [label for _, label, _ in panel.curves] == [
        "0 to 20 %",
        "20 to 40 %",
        "40 to 60 %",
        "60 to 80 %",
        "80 to 100 %",
    ]


def test_a_log_without_any_noise_levels_still_makes_a_page(copied_run, write_page):
    assert "By noise level" in write_page(copied_run)
    (copied_run / "train" / "log.jsonl").write_text("\n".join(log_line(step) for step in range(1, 21)) + "\n")
    page = write_page(copied_run)
    assert "By noise level" not in page
    assert "Accuracy by noise level" not in page
    assert "Training looks healthy" in page


def test_the_page_says_what_is_wrong_and_where(finished_page):
    """In the example only rejected images move, and with little noise nothing is learned."""
    assert "mostly because rejected images get worse" in finished_page
    assert "Not every noise level learns" in finished_page
    assert "edges (pictures become smoother) fell by" in finished_page
    assert "The look of the pictures" in finished_page


def test_diversity_of_single_images_is_said_to_be_unknown(copied_run, write_page):
    path = copied_run / "evaluate" / "metrics" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["images"]["diversity"] = {"base": None, "tuned": None, "difference": None}
    path.write_text(json.dumps(metrics))
    assert "needs two images per prompt" in write_page(copied_run)


def looks(name, base, difference, half=0.001):
    change = Estimate(difference, difference - half, difference + half)
    return ImageResult(name, Estimate(base, base, base), Estimate(base + difference, base, base), change)


def judged(*images, scorers=(), num_prompts=100):
    return collapse(Evaluation(0.95, num_prompts, 2, scorers, (), None, images))


@pytest.mark.parametrize("name", ["edge_density", "colour_entropy", "diversity"])
def test_a_large_certain_fall_is_an_alarm(name):
    [finding] = judged(looks(name, 0.1, -0.03))
    assert finding.kind == "warning"
    assert "30.0\u202f% (29.0 to 31.0" in finding.text


@pytest.mark.parametrize("name", ["edge_density", "colour_entropy", "diversity"])
def test_a_smaller_or_welcome_certain_change_is_mentioned(name):
    for difference in (-0.01, 0.03):
        [finding] = judged(looks(name, 0.1, difference))
        assert finding.kind == "unclear"
        assert f"{'rose' if difference > 0 else 'fell'} by {1000 * abs(difference):.1f}" in finding.text


@pytest.mark.parametrize(
    "image",
    [
        looks("edge_density", 0.1, -0.03, half=0.04),  # uncertain
        looks("edge_density", 0.1, -0.002),  # certain and tiny
        looks("diversity", float("nan"), float("nan")),  # one image per prompt
        looks("edge_density", 0.0, -0.03),  # nothing to fall from
    ],
)
def test_an_uncertain_tiny_or_unknown_change_is_not_mentioned(image):
    assert judged(image) == ()


def test_a_handful_of_prompts_is_no_ground_for_an_alarm():
    assert judged(looks("diversity", 0.1, -0.03), num_prompts=5) == ()


def test_brightness_may_move_either_way_but_not_far():
    assert "rose by 40.0" in judged(looks("brightness", 0.5, 0.2))[0].text
    assert "fell by 40.0" in judged(looks("brightness", 0.5, -0.2))[0].text
    assert judged(looks("brightness", 0.5, -0.2))[0].kind == "warning"
    assert judged(looks("brightness", 0.5, 0.1))[0].kind == "unclear"


@pytest.mark.parametrize("role", ["trained", "held_out"])
def test_a_collapse_beside_a_trained_reward_that_rose_names_it(role):
    known = Estimate(0.7, 0.6, 0.8)
    scorer = ScorerResult("taste", role, known, known, known, known, 0.0, 100, 0)
    [finding] = judged(looks("diversity", 0.1, -0.03), scorers=(scorer,))
    assert ("Meanwhile taste rose" in finding.text) == (role == "trained")
