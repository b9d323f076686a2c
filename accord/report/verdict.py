"""What a run achieved, in plain language, from its numbers alone.

A scorer is better or worse only where the interval of its win rate lies wholly above or below 50 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from accord.report.read_evaluation import OVERALL
from accord.report.records import Estimate, Evaluation, Role, ScorerResult, SkillResult
from accord.report.words import THIN, listed, percent, percent_range, plural, points, points_range

Outcome = Literal["better", "worse", "unclear", "unknown"]
Kind = Literal["better", "worse", "unclear", "warning"]
FEW_PROMPTS = 20
"""Below this many prompts percentile intervals cover less than they promise."""
TOO_FEW_PROMPTS = 6
"""Below this many prompts nothing is claimed: even if all agree, chance does so more often than once in twenty."""
ROLES = {"trained": "trained", "held_out": "held-out", "checker": "checker"}


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Verdict:
    """A headline, and what stands behind it."""

    headline: str
    findings: tuple[Finding, ...]


def outcome(estimate: Estimate, no_change: float) -> Outcome:
    """Return where the interval lies: wholly above `no_change` (better), wholly below (worse), around it (unclear).

    >>> outcome(Estimate(0.55, 0.49, 0.61), 0.5), outcome(Estimate(0.6, 0.53, 0.66), 0.5)
    ('unclear', 'better')
    """
    if not (estimate.low <= estimate.high):  # NaN compares false
        return "unknown"
    if estimate.low > no_change:
        return "better"
    return "worse" if estimate.high < no_change else "unclear"


def scorer_outcome(scorer: ScorerResult) -> Outcome:
    """Return what the win rate says; unknown with too few prompts."""
    return outcome(scorer.win_rate, 0.5) if scorer.num_prompts >= TOO_FEW_PROMPTS else "unknown"


def skill_outcome(skill: SkillResult) -> Outcome:
    """Return what the paired difference says; unknown with too few prompts."""
    return outcome(skill.difference, 0.0) if skill.num_prompts >= TOO_FEW_PROMPTS else "unknown"


def verdict(evaluation: Evaluation) -> Verdict:
    """Return the verdict: headline, warnings, then what got better, what got worse and what cannot be told."""
    return Verdict(
        _headline(evaluation),
        (*_warnings(evaluation), *_of_scorers(evaluation), *_of_skills(evaluation), *_cautions(evaluation)),
    )


def _headline(evaluation: Evaluation) -> str:
    parts = []
    for role, noun in (("trained", "trained reward"), ("held_out", "held-out reward")):
        results = [scorer for scorer in evaluation.scorers if scorer.role == role]
        if results:
            parts.append(_summary(results, noun))
    if not parts:
        return "No reward was compared."
    text = "; ".join(parts).replace("; better on", " and on" if parts[0].startswith("better") else "; better on")
    return text[0].upper() + text[1:] + "."


def _summary(results: Sequence[ScorerResult], noun: str) -> str:
    """Return `better on 2 of 3 trained rewards, worse on 1`."""
    outcomes = [scorer_outcome(result) for result in results]
    total, num_better, num_worse = len(results), outcomes.count("better"), outcomes.count("worse")
    if not num_better and not num_worse:
        return f"no clear change in {_all_of(total, noun)}"
    first, word = (num_better, "better") if num_better else (num_worse, "worse")
    share = _all_of(total, noun) if first == total else f"{first} of {total} {noun}s"
    rest = f", worse on {num_worse}" if num_better and num_worse else ""
    return f"{word} on {share}{rest}"


def _all_of(total: int, noun: str) -> str:
    return f"the {noun}" if total == 1 else f"both {noun}s" if total == 2 else f"all {total} {noun}s"


def _warnings(evaluation: Evaluation) -> list[Finding]:
    """Return the signs that a trained reward rose at the expense of what it stands for."""
    rose = _named(evaluation, lambda s: s.role == "trained" and scorer_outcome(s) == "better")
    fell = _named(evaluation, lambda s: s.role != "trained" and scorer_outcome(s) == "worse")
    leaning = _named(
        evaluation, lambda s: s.role == "held_out" and scorer_outcome(s) == "unclear" and s.win_rate.value < 0.5
    )
    found = []
    if rose and fell:
        found.append(
            f"{listed(rose)} rose while {listed(fell)}, never trained on, fell: a sign that the model learned to "
            "please its scorers and not to draw better. Look at the images before trusting the numbers."
        )
    if rose and leaning:
        found.append(
            f"{listed(rose)} rose, but {listed(leaning)}, never trained on, leans the other way. The interval still "
            "includes 50\u202f%; more evaluation prompts would tell."
        )
    return [Finding("warning", text) for text in found]


def _of_scorers(evaluation: Evaluation) -> list[Finding]:
    found = []
    for kind, by_role in _SCORER_WORDS.items():
        for role, words in by_role.items():
            results = [s for s in evaluation.scorers if s.role == role and scorer_outcome(s) == kind]
            if results:
                describe = _accepted if role == "checker" else _wins
                found.append(Finding(kind, f"{words} {listed([describe(result) for result in results])}."))
    unclear = [s for s in evaluation.scorers if scorer_outcome(s) == "unclear"]
    if unclear:
        text = f"No clear change: {listed([_wins(s) for s in unclear])}. The interval includes 50{THIN}%, so the true "
        found.append(Finding("unclear", text + "change may be up, down or none."))
    return found


_SCORER_WORDS: dict[Kind, dict[Role, str]] = {
    "better": {
        "trained": "Trained rewards rose. The tuned image wins",
        "held_out": "Held-out rewards, never trained on, rose. The tuned image wins",
        "checker": "More pictures are right:",
    },
    "worse": {
        "trained": "Trained rewards fell. The tuned image wins only",
        "held_out": "Held-out rewards, never trained on, fell. The tuned image wins only",
        "checker": "Fewer pictures are right:",
    },
}


def _wins(scorer: ScorerResult) -> str:
    return f"{percent(scorer.win_rate.value)} under {scorer.name} ({percent_range(scorer.win_rate)})"


def _accepted(scorer: ScorerResult) -> str:
    change = f"{points(scorer.difference.value)} points, {points_range(scorer.difference)}"
    return (
        f"{scorer.name} accepts {percent(scorer.base.value)} of base, {percent(scorer.tuned.value)} of tuned ({change})"
    )


def _of_skills(evaluation: Evaluation) -> list[Finding]:
    found = []
    for kind, words in _SKILL_WORDS.items():
        skills = [skill for skill in evaluation.skills if skill_outcome(skill) == kind]
        if skills:
            changes = [f"{_called(s)} by {points(s.difference.value)} ({points_range(s.difference)})" for s in skills]
            found.append(Finding(kind, f"{words}: {listed(changes)} percentage points of right pictures."))
    unclear = [_called(skill) for skill in evaluation.skills if skill_outcome(skill) == "unclear"]
    if unclear:
        found.append(Finding("unclear", f"No clear change in the skills {listed(unclear)}."))
    return found


def _called(skill: SkillResult) -> str:
    return "all skills together" if skill.name == OVERALL else skill.name


_SKILL_WORDS: dict[Kind, str] = {"better": "Skills that improved", "worse": "Skills that got worse"}


def _cautions(evaluation: Evaluation) -> list[Finding]:
    """Return what limits how far the numbers can be trusted, as one finding."""
    found = []
    unknown = _named(evaluation, lambda s: scorer_outcome(s) == "unknown")
    skills = [_called(skill) for skill in evaluation.skills if skill_outcome(skill) == "unknown"]
    if skills:
        unknown.append(f"the skill{'s' if len(skills) > 1 else ''} {listed(skills)}")
    if unknown:
        found.append(f"No judgement on {listed(unknown)}: fewer than {TOO_FEW_PROMPTS} prompts, or no scores.")
    unscored = [f"{s.name} {s.num_unscored}" for s in evaluation.scorers if s.num_unscored]
    if unscored:
        found.append(f"Comparisons left out because an image has no score: {listed(unscored)}.")
    if not _named(evaluation, lambda s: s.role == "held_out"):
        found.append("No held-out scorer was used, so nothing here guards against a model that pleases its scorers.")
    if evaluation.num_prompts < FEW_PROMPTS:
        prompts = plural(evaluation.num_prompts, "evaluation prompt")
        found.append(f"With only {prompts} the true intervals are wider than shown.")
    return [Finding("warning", " ".join(found))] if found else []


def _named(evaluation: Evaluation, is_meant: Callable[[ScorerResult], bool]) -> list[str]:
    return [scorer.name for scorer in evaluation.scorers if is_meant(scorer)]
