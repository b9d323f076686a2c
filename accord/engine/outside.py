"""Scorers that a run file defines itself: opened like the others, with a place in the run folder for what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import getpid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from accord.config import Config
from accord.outside import Definition, JudgeConfig
from accord.types import RowScorer, ScorerCard

LOGS = "logs"


@dataclass(frozen=True)
class Outside:
    """A definition of the run file. In `logs`: NAME-PID.txt, what a process says, and NAME.json, what a judge spent."""

    definition: Definition
    logs: Path


def scorer_options(config: Config) -> dict[str, Mapping[str, Any] | Outside]:
    """Return what each scorer of a run is opened with: its options, or where it is defined by the run file itself."""
    logs = Path(config.folder) / LOGS
    return {**config.score.options, **{name: Outside(d, logs) for name, d in config.score.defined.items()}}


def require_outside(config: Config) -> None:
    """Raise ScoringError, before any work, unless each scorer that the run file defines and the run uses has a card."""
    used = {*config.score.scorers, *config.evaluate.held_out, config.evaluate.checker}
    for name, told in scorer_options(config).items():
        if name in used and isinstance(told, Outside):
            outside_card(name, told)


def open_outside(name: str, told: Outside, device: str) -> RowScorer:
    """Return the scorer, started. Raises ScoringError if that cannot be done."""
    if isinstance(told.definition, JudgeConfig):
        from accord.scorers.judge.scorer import JudgeScorer

        return JudgeScorer(name, told.definition, told.logs / f"{name}.json")
    from accord.scorers.external.scorer import ExternalScorer

    return ExternalScorer(name, told.definition, told.logs / f"{name}-{getpid()}.txt", device)


def outside_card(name: str, told: Outside) -> ScorerCard:
    """Return its card. A process is started to ask for it, without its model; an endpoint is not asked."""
    if isinstance(told.definition, JudgeConfig):
        from accord.scorers.judge.scorer import judge_card

        return judge_card(name, told.definition)
    from accord.scorers.external.scorer import ExternalScorer

    with TemporaryDirectory() as folder:  # to ask for a card leaves nothing in the run folder
        scorer = ExternalScorer(name, told.definition, Path(folder) / "log.txt")
        scorer.close()
    return scorer.card
