"""score: stored images -> one table of scores per scorer. Adding a scorer computes that scorer and nothing else."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from accord.artifacts import Stage, open_stage
from accord.config import Config
from accord.engine.devices import worker_devices
from accord.engine.scoring import ScoreShard, score_counts, score_images, scorer_facts
from accord.images import part_paths
from accord.outcome import Outcome, reused, timed
from accord.tables import read_prompts
from accord.types import Progress, no_progress

NAME = "score"


def stage_name(scorer: str) -> str:
    """Return the folder of a scorer's table inside the run folder."""
    return f"{NAME}/{scorer}"


def settings(card: dict[str, Any]) -> dict[str, Any]:
    """Return what decides a scorer's table: the scorer and the version of its weights."""
    return {"scorer": card["name"], "version": card["version"]}


def score(config: Config, redo: bool = False, progress: Progress = no_progress) -> dict[str, Outcome]:
    """Score the training pool with `score.scorers`. Writes `score/<scorer>/`; returns one outcome per scorer."""
    run = Path(config.folder)
    cards = {name: scorer_facts(name) for name in config.score.scorers}
    stages = {
        name: open_stage(run, stage_name(name), settings(cards[name]), ("generate",), redo)
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
            manifest = stage.finish(score_counts(stage.folder), {"card": cards[name]})
            outcomes[name] = Outcome(manifest, stage.folder, was_reused=False)
    return outcomes


def _score_missing(config: Config, missing: dict[str, Stage], progress: Progress) -> None:
    images = Path(config.folder) / "generate"
    texts = {prompt.id: prompt.text for prompt in read_prompts(images / "prompts.parquet")}
    paths = part_paths(images)
    shards = [ScoreShard(path, {name: s.folder / path.name for name, s in missing.items()}) for path in paths]
    devices = worker_devices(config.model.device, config.engine.workers)
    done = sum(all(output.is_file() for output in shard.outputs.values()) for shard in shards)
    with ExitStack() as clocks:
        for stage in missing.values():
            clocks.enter_context(timed(stage.folder, devices[0]))
        progress(done, len(shards), "shards")
        for _ in score_images(shards, texts, config.score.batch_size, devices):
            done += 1
            progress(done, len(shards), "shards")
