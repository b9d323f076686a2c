"""report: everything the run folder holds -> one self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accord.artifacts import open_stage
from accord.config import Config
from accord.outcome import Outcome, reused, timed
from accord.types import Progress, no_progress

NAME = "report"
INPUTS = ("generate", "select", "train", "evaluate/metrics")


def settings(config: Config) -> dict[str, Any]:
    """Return what decides this stage's output."""
    return config.report.model_dump()


def report(config: Config, redo: bool = False, progress: Progress = no_progress) -> Outcome:
    """Write `report/index.html`."""
    run = Path(config.folder)
    stage = open_stage(run, NAME, settings(config), INPUTS, redo, is_cheap=True)
    if stage.is_finished:
        return reused(stage.folder)
    from accord.report.page import write_report

    with timed(stage.folder):
        page = stage.folder / "index.html"
        write_report(run, page, config.report.title, config.report.num_prompts_shown, config.report.num_groups_drawn)
    return Outcome(stage.finish({"bytes": page.stat().st_size}), stage.folder, was_reused=False)
