"""The results on a card: every scorer that was measured, better or worse, with its interval."""

from __future__ import annotations

from accord.card.markdown import code, table, text
from accord.report import words
from accord.report.records import Evaluation, ScorerResult
from accord.report.verdict import ROLES, verdict


def section(evaluation: Evaluation | None, why_none: str) -> str:
    """Return the table of win rates and means with their intervals, and what can be said of them."""
    if evaluation is None:
        return f"Not measured. {why_none}"
    said = verdict(evaluation)
    intro = (
        f"{text(said.headline)} Tuned against base on {words.plural(evaluation.num_prompts, 'prompt')} that training "
        f"never saw, {words.plural(evaluation.images_per_prompt, 'image')} each, with the same seeds and sampler; "
        f"{100 * evaluation.confidence:g} % intervals over prompts, from one training run."
    )
    rows = [_row(scorer) for scorer in evaluation.scorers]
    found = table(("scorer", "role", "base", "tuned", "difference", "win rate of tuned"), rows)
    skills = [
        (
            text(skill.name),
            words.percent(skill.base.value),
            words.percent(skill.tuned.value),
            f"{words.points(skill.difference.value)} ({words.points_range(skill.difference)})",
        )
        for skill in evaluation.skills
    ]
    parts = [intro, found]
    if skills:
        parts.append(table(("right pictures by skill", "base", "tuned", "points"), skills))
    warnings = [f"- {text(finding.text)}" for finding in said.findings if finding.kind == "warning"]
    return "\n\n".join([*parts, *(["\n".join(warnings)] if warnings else [])])


def _row(scorer: ScorerResult) -> tuple[str, ...]:
    difference = scorer.difference
    decimals = words.decimals_for(difference.high - difference.low)
    return (
        code(scorer.name),
        ROLES[scorer.role],
        words.compact(scorer.base.value),
        words.compact(scorer.tuned.value),
        f"{words.signed(difference.value, decimals)} ({words.signed_range(difference, decimals)})",
        f"{words.percent(scorer.win_rate.value)} ({words.percent_range(scorer.win_rate)})",
    )
