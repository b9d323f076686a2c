"""The verdict says better or worse only where the interval allows it, and warns where a trained reward misleads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accord.report.read_evaluation import parse_evaluation
from accord.report.records import Estimate, Evaluation, Role, ScorerResult, SkillResult
from accord.report.verdict import Verdict, scorer_outcome, skill_outcome, verdict

NAN = float("nan")
UNKNOWN = Estimate(NAN, NAN, NAN)
BETTER, WORSE = Estimate(0.63, 0.6, 0.66), Estimate(0.4, 0.36, 0.44)
UNCLEAR, LEANING = Estimate(0.51, 0.47, 0.55), Estimate(0.48, 0.44, 0.52)


def scorer(name: str, role: Role, rate: Estimate, num_prompts: int = 100, num_unscored: int = 0) -> ScorerResult:
    zero = Estimate(0.0, 0.0, 0.0)
    return ScorerResult(name, role, rate, zero, zero, zero, 0.0, num_prompts, num_unscored)


def skill(name: str, difference: Estimate, num_prompts: int = 50) -> SkillResult:
    return SkillResult(name, Estimate(0.5, 0.4, 0.6), Estimate(0.6, 0.5, 0.7), difference, num_prompts)


def judged(*scorers: ScorerResult, skills: tuple[SkillResult, ...] = (), num_prompts: int = 100) -> Verdict:
    return verdict(Evaluation(0.95, num_prompts, 2, scorers, skills, None))


def texts(found: Verdict, kind: str) -> str:
    return " ".join(finding.text for finding in found.findings if finding.kind == kind)


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (BETTER, "better"),
        (WORSE, "worse"),
        (UNCLEAR, "unclear"),
        (Estimate(0.5, 0.5, 0.5), "unclear"),
        (Estimate(0.6, 0.5, 0.7), "unclear"),  # an interval that touches one half includes it
        (Estimate(0.4, 0.3, 0.5), "unclear"),
        (Estimate(0.5 + 1e-9, 0.5 + 1e-9, 0.5 + 1e-9), "better"),
        (UNKNOWN, "unknown"),
        (Estimate(0.7, NAN, NAN), "unknown"),
    ],
)
def test_the_interval_decides(estimate: Estimate, expected: str) -> None:
    assert scorer_outcome(scorer("a", "trained", estimate)) == expected


def test_too_few_prompts_decide_nothing() -> None:
    assert scorer_outcome(scorer("a", "trained", BETTER, num_prompts=5)) == "unknown"
    assert scorer_outcome(scorer("a", "trained", BETTER, num_prompts=6)) == "better"
    assert skill_outcome(skill("a", Estimate(0.5, 0.5, 0.5), num_prompts=5)) == "unknown"
    assert skill_outcome(skill("a", Estimate(0.5, 0.5, 0.5), num_prompts=6)) == "better"


@pytest.mark.parametrize(
    ("trained", "held_out", "headline"),
    [
        ([BETTER, BETTER, BETTER], [BETTER, BETTER], "Better on all 3 trained rewards and on both held-out rewards."),
        ([BETTER, UNCLEAR], [BETTER], "Better on 1 of 2 trained rewards and on the held-out reward."),
        (
            [BETTER, WORSE, WORSE],
            [WORSE],
            "Better on 1 of 3 trained rewards, worse on 2; worse on the held-out reward.",
        ),
        ([UNCLEAR, LEANING], [BETTER], "No clear change in both trained rewards; better on the held-out reward."),
        ([WORSE], [BETTER], "Worse on the trained reward; better on the held-out reward."),
        ([BETTER], [], "Better on the trained reward."),
        ([UNKNOWN], [], "No clear change in the trained reward."),
        ([], [], "No reward was compared."),
    ],
)
def test_the_headline_counts(trained: list[Estimate], held_out: list[Estimate], headline: str) -> None:
    scorers = [scorer(f"t{n}", "trained", rate) for n, rate in enumerate(trained)]
    scorers += [scorer(f"h{n}", "held_out", rate) for n, rate in enumerate(held_out)]
    assert judged(*scorers).headline == headline


@pytest.mark.parametrize("role", ["held_out", "checker"])
def test_a_trained_reward_that_rises_while_another_falls_comes_with_a_warning_first(role: Role) -> None:
    found = judged(scorer("pleased", "trained", BETTER), scorer("guard", role, WORSE))
    assert found.findings[0].kind == "warning"
    assert "pleased rose while guard, never trained on, fell" in found.findings[0].text


def test_no_such_warning_without_a_rise_or_without_a_fall() -> None:
    for rates in ((BETTER, BETTER), (UNCLEAR, WORSE), (BETTER, UNCLEAR), (WORSE, WORSE)):
        found = judged(scorer("a", "trained", rates[0]), scorer("b", "held_out", rates[1]))
        assert "rose" not in texts(found, "warning")


def test_a_held_out_reward_that_leans_down_is_watched() -> None:
    found = judged(scorer("a", "trained", BETTER), scorer("b", "held_out", LEANING))
    assert "b, never trained on, leans the other way" in texts(found, "warning")
    assert "a rose while" not in texts(found, "warning")


def test_scorers_are_named_under_what_happened_to_them() -> None:
    found = judged(
        scorer("up", "trained", BETTER),
        scorer("down", "trained", WORSE),
        scorer("flat", "trained", UNCLEAR),
        scorer("other", "held_out", BETTER),
    )
    assert "63.0\u202f% under up (60.0 to 66.0\u202f%)" in texts(found, "better")
    assert "under other" in texts(found, "better")
    assert "40.0\u202f% under down" in texts(found, "worse")
    assert "under flat" in texts(found, "unclear")
    assert "includes 50\u202f%" in texts(found, "unclear")


def test_the_checker_is_told_in_right_pictures() -> None:
    checker = replace(
        scorer("exact", "checker", Estimate(0.55, 0.52, 0.58)),
        base=Estimate(0.4, 0.3, 0.5),
        tuned=Estimate(0.5, 0.4, 0.6),
        difference=Estimate(0.1, 0.04, 0.16),
    )
    expected = "exact accepts 40.0\u202f% of base, 50.0\u202f% of tuned (+10.0 points, +4.0 to +16.0)"
    assert expected in texts(judged(checker), "better")


def test_skills_are_told_by_their_paired_difference() -> None:
    skills = (
        skill("counting", Estimate(0.1, 0.02, 0.18)),
        skill("colour", Estimate(-0.1, -0.18, -0.02)),
        skill("relation", Estimate(0.01, -0.05, 0.07)),
        skill("background", UNKNOWN),
    )
    found = judged(scorer("a", "trained", UNCLEAR), skills=skills)
    assert "counting by +10.0 (+2.0 to +18.0)" in texts(found, "better")
    assert "colour by −10.0" in texts(found, "worse")
    assert "relation" in texts(found, "unclear")
    assert "the skill background" in texts(found, "warning")


def test_what_limits_the_numbers_is_said() -> None:
    found = judged(scorer("a", "trained", BETTER, num_unscored=3), scorer("b", "trained", UNKNOWN), num_prompts=19)
    caution = texts(found, "warning")
    assert "No judgement on b" in caution
    assert "a 3" in caution
    assert "No held-out scorer was used" in caution
    assert "only 19 evaluation prompts" in caution
    clean = judged(scorer("a", "trained", BETTER), scorer("b", "held_out", BETTER), num_prompts=20)
    assert texts(clean, "warning") == ""


def test_all_skills_together_are_called_so_and_stand_last() -> None:
    skills = (skill("counting", Estimate(0.1, 0.02, 0.18)), skill("overall", Estimate(0.2, 0.1, 0.3)))
    found = judged(scorer("a", "trained", UNCLEAR), skills=skills)
    assert "counting by +10.0 (+2.0 to +18.0) and all skills together by +20.0" in texts(found, "better")
    rows = {name: {"base": None, "tuned": None, "difference": None, "num_prompts": 0} for name in ("overall", "single")}
    metrics = {"confidence": 0.9, "num_prompts": 3, "images_per_prompt": 1, "scorers": [], "skills": rows}
    assert [row.name for row in parse_evaluation(metrics).skills] == ["single", "overall"]
