"""The closing table of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from accord.report.read_evaluation import parse_evaluation
from accord.report.records import ScorerResult, SkillResult
from accord.report.verdict import ROLES, Outcome, scorer_outcome, skill_outcome
from accord.report.words import THIN, decimals_for, number, percent, percent_range, points, points_range

PER_CENT = f"{THIN}%"
SIGNS: dict[Outcome, str] = {
    "better": "[green]▲ better[/]",
    "worse": "[red]▼ worse[/]",
    "unclear": "· unclear",
    "unknown": "– unknown",
}


def closing_table(metrics: Mapping[str, Any]) -> Table:
    """Return the results as a table: each scorer's base, tuned and win rate with its interval, then each skill.

    metrics: the content of `evaluate/metrics/metrics.json`. Raises ArtifactError if it is not of that form.
    """
    evaluation = parse_evaluation(metrics)
    title = f"Tuned against base, same prompts and seeds; {100 * evaluation.confidence:g} % intervals"
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.HORIZONTALS,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("scorer", overflow="fold")
    table.add_column("")
    for heading in ("base", "tuned", "win rate", "interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for scorer in evaluation.scorers:
        table.add_row(*_scorer(scorer))
    if evaluation.skills:
        table.add_section()
        table.add_row("skill, % right", "", "base", "tuned", "points", "interval", style="bold")
        for skill in evaluation.skills:
            table.add_row(*_skill(skill))
    return table


def _scorer(scorer: ScorerResult) -> tuple[str, ...]:
    decimals = decimals_for(scorer.difference.high - scorer.difference.low)
    return (
        escape(scorer.name),
        ROLES[scorer.role],
        number(scorer.base.value, decimals),
        number(scorer.tuned.value, decimals),
        percent(scorer.win_rate.value),
        percent_range(scorer.win_rate).removesuffix(PER_CENT),
        SIGNS[scorer_outcome(scorer)],
    )


def _skill(skill: SkillResult) -> tuple[str, ...]:
    return (
        escape(skill.name),
        "",
        percent(skill.base.value).removesuffix(PER_CENT),
        percent(skill.tuned.value).removesuffix(PER_CENT),
        points(skill.difference.value),
        points_range(skill.difference),
        SIGNS[skill_outcome(skill)],
    )
