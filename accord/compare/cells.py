"""One cell of a comparison: a run folder that shares images, scores and latents with all others by links."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from accord.artifacts import state_of
from accord.compare.config import CompareConfig, arm_config
from accord.config import Config
from accord.errors import ArtifactError
from accord.files import read_json
from accord.stages import evaluate, select, train

POOL, VALIDATION, TRIALS, CELLS = "pool", "validation", "trials", "cells"
OF_POOL = ("generate", "score", "encode")  # made once, whatever is trained
OF_BASE = ("evaluate/base", "evaluate/scores/base")  # of the base model, on the prompts that a cell is judged on


@dataclass(frozen=True)
class Cell:
    """One training of one arm, and its run folder."""

    arm: str
    steps: int
    seed: int
    folder: Path


@dataclass(frozen=True)
class Task:
    """A cell with all that a worker needs to run it."""

    cell: Cell
    config: Config
    pool: Path
    base: Path  # the run folder that holds the base model's evaluation images and scores
    soup: tuple[Path, ...] = ()  # run folders whose results are averaged instead of training
    redo: bool = False


def cells_of(config: CompareConfig) -> list[Cell]:
    """Return every cell of the comparison in the order of arms, budgets and seeds."""
    root = Path(config.folder) / CELLS
    return [
        Cell(arm, steps, seed, root / arm / f"steps-{steps}" / f"seed-{seed}")
        for arm in config.arms
        for steps in config.steps_of(arm)
        for seed in config.seeds
    ]


def cell_task(config: CompareConfig, cell: Cell, chosen: dict[str, tuple[float, float]], redo: bool) -> Task:
    """Return the task of a cell. chosen: sweep group -> beta and learning rate."""
    root = Path(config.folder)
    beta, rate = chosen.get(config.group_of(cell.arm), (None, None))
    run = arm_config(config, cell.arm, str(cell.folder), cell.seed, cell.steps, beta, rate)
    soup = tuple(
        root / CELLS / part / f"steps-{cell.steps}" / f"seed-{cell.seed}" for part in config.arms[cell.arm].soup
    )
    return Task(cell, run, root / POOL, root / POOL, soup, redo)


def link_shared(task: Task) -> None:
    """Make the shared stages appear in the cell's folder, as relative links."""
    for source, names in ((task.pool, OF_POOL), (task.base, OF_BASE)):
        for name in names:
            link, target = task.cell.folder / name, source / name
            link.parent.mkdir(parents=True, exist_ok=True)
            relative = os.path.relpath(target, link.parent)
            if link.is_symlink() and os.readlink(link) == relative:
                continue
            if link.exists() and not link.is_symlink():
                raise ArtifactError(f"{link} should be a link to {target}, but something else is there; remove it")
            link.unlink(missing_ok=True)
            link.symlink_to(relative, target_is_directory=True)


def is_finished(task: Task) -> bool:
    """Say whether the cell's results are there and were made with just these settings."""
    run, config = task.cell.folder, task.config
    roles = evaluate.roles(config)
    scores = tuple(f"evaluate/scores/{model}/{name}" for model in evaluate.MODELS for name in roles)
    states = [
        state_of(run, evaluate.METRICS, evaluate.metric_settings(config), scores),
        state_of(run, "evaluate/tuned", evaluate.image_settings(config), ("train",)),
    ]
    if not task.soup and states[0] == "finished":
        states += [
            state_of(run, "select", select.settings(config), select.inputs(config)),
            state_of(run, "train", train.settings(config), train.inputs(config)),
        ]
    return all(state == "finished" for state in states)


def trained_win_rate(task: Task) -> float:
    """Return the mean over the arm's trained rewards of the win rate against the base model, 0 to 1."""
    metrics = read_json(task.cell.folder / evaluate.METRICS / "metrics.json")
    rates = [scorer["win_rate"]["value"] for scorer in metrics["scorers"] if scorer["role"] == "trained"]
    return sum(rates) / len(rates)
