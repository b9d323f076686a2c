"""A run folder -> everything on the page. A part whose stage has not finished is left out, and the page says so."""

from __future__ import annotations

from pathlib import Path

from accord.errors import MissingArtifact
from accord.manifest import FILE
from accord.report.read_duels import read_duels
from accord.report.read_evaluation import read_evaluation
from accord.report.read_groups import read_groups
from accord.report.read_left_out import read_left_out
from accord.report.read_made_with import read_made_with
from accord.report.read_selection import read_selection
from accord.report.read_training import read_training
from accord.report.records import ReportData


def load_report(run: Path, title: str, num_prompts_shown: int, num_groups_drawn: int) -> ReportData:
    """Return the records of a run folder.

    Raises MissingArtifact if no stage has finished, or if a finished stage has lost a file; ArtifactError if a file
    is damaged or was written by another version.
    """
    if not any(run.glob(f"*/{FILE}")):
        raise MissingArtifact(f"{run} holds no finished stage, so there is nothing to report; run `accord run` first")
    evaluation, selection = read_evaluation(run), read_selection(run)
    return ReportData(
        title,
        evaluation,
        read_duels(run, num_prompts_shown) if evaluation is not None else (),
        selection,
        read_groups(run, num_groups_drawn) if selection is not None else (),
        read_training(run),
        read_left_out(run, evaluation),
        read_made_with(run),
    )
