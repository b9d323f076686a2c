"""score: stored images -> one table of scores per scorer. Adding a scorer computes that scorer and nothing else."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from accord.artifacts import Stage, open_stage, state_of
from accord.config import Config
from accord.engine.devices import worker_devices
from accord.engine.outside import scorer_options
from accord.engine.scorers import require_ready_scorers, scorer_facts, scorer_settings
from accord.engine.scoring import ScoreSettings, ScoreShard, finished_facts, score_counts, score_images
from accord.images import part_paths
from accord.outcome import Outcome, reused, timed
from accord.tables import read_prompts
from accord.types import Progress, no_progress

NAME = "score"


def stage_name(scorer: str) -> str:
    """Return the folder of a scorer's table inside the run folder."""
    return f"{NAME}/{scorer}"


def settings(config: Config, scorer: str) -> dict[str, Any]:
    """Return what decides a scorer's table: the scorer, the version of its weights, and its options."""
    return scorer_settings(scorer, scorer_options(config).get(scorer))


def require_ready(config: Config, is_pool_kept: bool = True) -> None:
    """Raise, before any image is drawn, what would keep a scorer from scoring; a finished table needs none.

    is_pool_kept: whether the images that were drawn before stay as they are.
    """
    options, run = scorer_options(config), Path(config.folder)
    needed = [
        name
        for name in config.score.scorers
        if name not in config.score.defined  # they are asked for their card
        and not (is_pool_kept and state_of(run, stage_name(name), settings(config, name), ("generate",)) == "finished")
    ]
    require_ready_scorers(needed, options, config.score.memory_gb)


def score(config: Config, redo: bool = False, progress: Progress = no_progress) -> dict[str, Outcome]:
    """Score the training pool with `score.scorers`. Writes `score/<scorer>/`; returns one outcome per scorer."""
    run = Path(config.folder)
    options = scorer_options(config)
    cards = {name: scorer_facts(name, options.get(name)) for name in config.score.scorers}
    stages = {
        name: open_stage(run, stage_name(name), settings(config, name), ("generate",), redo)
        for name in config.score.scorers
    }
    missing = {name: stage for name, stage in stages.items() if not stage.is_finished}
    if missing:
        _score_missing(config, missing, progress)
    outcomes = {}
    for name, stage in stages.items():
        if stage.is_finished:
            outcomes[name] = reused(stage.folder)
        else:
            manifest = stage.finish(score_counts(stage.folder), finished_facts(stage.folder, cards[name]))
            outcomes[name] = Outcome(manifest, stage.folder, was_reused=False)
    return outcomes


def _score_missing(config: Config, missing: dict[str, Stage], progress: Progress) -> None:
    images = Path(config.folder) / "generate"
    texts = {prompt.id: prompt.text for prompt in read_prompts(images / "prompts.parquet")}
    paths = part_paths(images)
    shards = [ScoreShard(path, {name: s.folder / path.name for name, s in missing.items()}) for path in paths]
    devices = worker_devices(config.model.device, config.engine.workers)
    how = ScoreSettings(config.score.batch_size, scorer_options(config), config.score.memory_gb)
    with ExitStack() as clocks:
        for stage in missing.values():
            clocks.enter_context(timed(stage.folder, devices[0]))
        for done, total in score_images(shards, texts, how, devices):
            progress(done, total, "shards")
