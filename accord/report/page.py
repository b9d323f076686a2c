"""One self-contained page: no script, nothing fetched, every text from outside escaped."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from accord.files import write_bytes
from accord.report import axis, colours, words
from accord.report.collapse import collapse, relative_change
from accord.report.curves import curve_figure, panels
from accord.report.health import health
from accord.report.load import load_report
from accord.report.noise_levels import ENOUGH, noise_parts
from accord.report.records import Evaluation, ReportData
from accord.report.scatter import scatter_figure
from accord.report.verdict import ROLES, Verdict, outcome, scorer_outcome, skill_outcome, verdict

TEMPLATES = Path(__file__).parent / "templates"

FILTERS: dict[str, Callable[..., Any]] = {
    "percent": words.percent,
    "percent_range": words.percent_range,
    "points": words.points,
    "points_range": words.points_range,
    "number": words.number,
    "signed": words.signed,
    "signed_range": words.signed_range,
    "compact": words.compact,
    "relative_change": relative_change,
    "count": words.count,
    "plural": words.plural,
    "scorer_outcome": scorer_outcome,
    "skill_outcome": skill_outcome,
    "scorer_colour": colours.scorer_colour,
    "diverging": colours.diverging,
}


def write_report(run: Path, output: Path, title: str, num_prompts_shown: int, num_groups_drawn: int) -> None:
    """Write the page of a run folder: the same bytes for the same folder.

    num_prompts_shown: evaluation prompts whose images are shown. num_groups_drawn: training prompts whose whole group
    is shown. Both are spread evenly over their lists. Raises MissingArtifact if no stage has finished or a finished
    one has lost a file.
    """
    write_bytes(output, render(load_report(run, title, num_prompts_shown, num_groups_drawn)).encode())


def render(data: ReportData) -> str:
    """Return the page as HTML text."""
    evaluation, training = data.evaluation, data.training
    loss = dict(data.made_with.choices).get("loss", "")
    mean_target = data.selection.mean_target if data.selection else float("nan")
    found = panels(training, loss, mean_target) if training else ()
    return (
        _environment()
        .get_template("page.html")
        .render(
            data=data,
            verdict=_verdict(evaluation) if evaluation else None,
            health=health(training, loss) if training else (),
            noise_parts=noise_parts(training) if training else (),
            win_axis=axis.win_rate_axis(s.win_rate for s in evaluation.scorers) if evaluation else None,
            skill_axis=axis.share_axis(e for s in evaluation.skills for e in (s.base, s.tuned)) if evaluation else None,
            curves=[(panel, curve_figure(panel, training)) for panel in found] if training else [],
            scatters=[scatter_figure(group, f"group-{n}") for n, group in enumerate(data.groups, 1)],
            css=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        )
    )


def _verdict(evaluation: Evaluation) -> Verdict:
    """Return the verdict of the numbers, and what has become of the look of the pictures."""
    found = verdict(evaluation)
    return Verdict(found.headline, (*collapse(evaluation), *found.findings))


@cache
def _environment() -> jinja2.Environment:
    """Return the environment with escaping on; a name that the page does not have is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.globals.update(
        decimals_for=words.decimals_for,
        compact_pair=words.compact_pair,
        outcome=outcome,
        enough_visits=ENOUGH,
        roles=ROLES,
        base_colour=colours.BASE,
        tuned_colour=colours.TUNED,
    )
    return environment
