"""From finished cells to arrays: one number per training seed and evaluation prompt."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from accord.compare.cells import Cell
from accord.compare.config import CompareConfig
from accord.errors import ArtifactError
from accord.files import read_json, read_table
from accord.stats.win_rate import win_rate
from accord.tables import read_prompts

LATE = 0.1  # the last tenth of a run's log, over which its health is averaged


@dataclass(frozen=True)
class ArmData:
    """One arm at one budget. R is the number of its finished seeds, P that of evaluation prompts."""

    arm: str
    steps: int
    seeds: tuple[int, ...]  # (R,)
    scores: dict[str, np.ndarray]  # scorer -> (R, P, S), NaN: not scored
    facts: tuple[dict[str, Any], ...] = field(default=())  # per seed: beta, learning rate, seconds, distance, health


@dataclass(frozen=True)
class Finished:
    """Everything that has finished, in the order of arms."""

    prompts: tuple[str, ...]  # (P,) ids
    skills: tuple[str, ...]  # (P,) "" for none
    base: dict[str, np.ndarray]  # scorer -> (P, S)
    arms: dict[tuple[str, int], ArmData]  # (arm, steps)

    def main(self, config: CompareConfig, arm: str) -> ArmData | None:
        """Return an arm at its main budget, None if no cell of it has finished."""
        return self.arms.get((arm, config.steps_of(arm)[-1]))


def read_finished(config: CompareConfig, cells: Sequence[Cell]) -> Finished:
    """Return the scores of all finished cells. Raises ArtifactError if cells were evaluated on different prompts."""
    prompts = read_prompts(cells[0].folder / "evaluate" / "base" / "prompts.parquet")
    ids = tuple(prompt.id for prompt in prompts)
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.arm, cell.steps), []).append(cell)
    base: dict[str, np.ndarray] = {}
    arms = {}
    for (arm, steps), members in groups.items():
        tables = [_scores(cell.folder, ids) for cell in members]
        for table in tables:
            base = base or table["base"]
        scores = {name: np.stack([table["tuned"][name] for table in tables]) for name in tables[0]["tuned"]}
        facts = tuple(_facts(cell.folder) for cell in members)
        arms[arm, steps] = ArmData(arm, steps, tuple(cell.seed for cell in members), scores, facts)
    return Finished(ids, tuple(prompt.tag("skill") or "" for prompt in prompts), base, arms)


def points_against(tuned: np.ndarray, other: np.ndarray, epsilon: float) -> np.ndarray:
    """Return the share of comparisons won by each seed on each prompt, (R, P); a tie counts one half.

    tuned: (R, P, S). other: (R, P, S), or (P, S) for all seeds alike.
    """
    others = np.broadcast_to(other, tuned.shape)
    return np.stack([win_rate(mine, theirs, epsilon).per_prompt for mine, theirs in zip(tuned, others, strict=True)])


def _scores(run: Path, prompts: tuple[str, ...]) -> dict[str, dict[str, np.ndarray]]:
    """Return model -> scorer -> (P, S), prompts in this order and images in the order of their indices."""
    table = read_table(run / "evaluate" / "metrics" / "scores.parquet")
    names = [name for name in table.column_names if name not in ("model", "prompt_id", "index", "image_id")]
    place = {prompt: p for p, prompt in enumerate(prompts)}
    model, prompt, index = (np.array(table[c].to_pylist()) for c in ("model", "prompt_id", "index"))
    if set(prompt.tolist()) != set(prompts):
        raise ArtifactError(f"{run} was evaluated on other prompts than the rest; run `accord compare` with --redo")
    rows = np.array([place[p] for p in prompt])
    found: dict[str, dict[str, np.ndarray]] = {}
    for which in ("base", "tuned"):
        is_it = model == which
        found[which] = {}
        for name in names:
            values = np.full((len(prompts), int(index.max()) + 1), np.nan)
            values[rows[is_it], index[is_it]] = table[name].to_numpy()[is_it]
            found[which][name] = values
    return found


def _facts(run: Path) -> dict[str, Any]:
    """Return what a cell was trained with and how it went; a soup was not trained."""
    log, timing = run / "train" / "log.jsonl", run / "train" / ".timing.json"
    if not log.is_file():
        return {}
    told = tomllib.loads((run / "run.toml").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    late = [line["metrics"] for line in lines[-max(1, math.ceil(LATE * len(lines))) :]]
    names = ("accuracy", "saturation", "margin", "error_chosen_rise", "error_rejected_rise")
    health = {name: float(np.mean([row[name] for row in late if name in row])) for name in names if name in late[-1]}
    return {
        "beta": told["train"]["beta"],
        "learning_rate": told["train"]["learning_rate"],
        "seconds": read_json(timing)["seconds"] if timing.is_file() else None,
        "distance": lines[-1]["metrics"].get("distance"),
        "prompts_with_pairs": read_json(run / "select" / "manifest.json")["counts"].get("prompts_with_pairs"),
        **health,
    }
