"""From finished cells to arrays: one number per training seed, evaluation prompt and image."""

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
from accord.outcome import read_seconds
from accord.stats.win_rate import win_rate
from accord.tables import read_prompts

LATE = 0.1  # the last tenth of a run's log, over which its health is averaged
HEALTH = ("accuracy", "saturation", "margin", "error_chosen_rise", "error_rejected_rise")
IDS = ("model", "prompt_id", "index", "image_id")  # columns of evaluate/metrics/scores.parquet that are no scorer


@dataclass(frozen=True)
class ArmData:
    """One arm at one budget. R is the number of the comparison's seeds, P that of evaluation prompts."""

    arm: str
    steps: int
    seeds: tuple[int, ...]  # that have finished
    scores: dict[str, np.ndarray]  # scorer -> (R, P, S), NaN: not scored, or the seed has not finished
    facts: tuple[dict[str, Any], ...] = field(default=())  # per finished seed: settings, costs, health


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
    """Return the scores of all finished cells, seeds in the order of the comparison's.

    Raises ArtifactError if there is no cell, or if cells were evaluated on different prompts or images.
    """
    if not cells:
        raise ArtifactError("no cell of the comparison has finished, so there are no results; run `accord compare`")
    prompts = read_prompts(cells[0].folder / "evaluate" / "base" / "prompts.parquet")
    ids = tuple(prompt.id for prompt in prompts)
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: config.seeds.index(cell.seed)):
        groups.setdefault((cell.arm, cell.steps), []).append(cell)
    base: dict[str, np.ndarray] = {}
    arms = {}
    for (arm, steps), members in groups.items():
        tables = {cell.seed: _scores(cell.folder, ids) for cell in members}
        for seed, table in tables.items():
            base = base or {name: table["base"][name] for name in scorers_of(config) if name in table["base"]}
            _require_same_images(config, base, table["tuned"], arm, seed)
        scores = {name: _by_seed(config, tables, name, values.shape) for name, values in base.items()}
        facts = tuple(_facts(cell.folder) for cell in members)
        arms[arm, steps] = ArmData(arm, steps, tuple(tables), scores, facts)
    return Finished(ids, tuple(prompt.tag("skill") or "" for prompt in prompts), base, arms)


def scorers_of(config: CompareConfig) -> tuple[str, ...]:
    """Return all scorers of the comparison: the rewards, the held-out ones, the checker."""
    told = config.run.evaluate
    return tuple(dict.fromkeys([*config.run.score.scorers, *told.held_out, *([told.checker] if told.checker else [])]))


def points_against(tuned: np.ndarray, other: np.ndarray, epsilon: float) -> np.ndarray:
    """Return the share of comparisons won on each prompt, (..., P); a tie counts one half, NaN: none could be made.

    tuned, other: (..., P, S), broadcast against each other.
    """
    one, two = np.broadcast_arrays(tuned, other)
    num_images = one.shape[-1]
    wins = win_rate(one.reshape(-1, num_images), two.reshape(-1, num_images), epsilon)
    return wins.per_prompt.reshape(one.shape[:-1])


def _by_seed(
    config: CompareConfig, tables: dict[int, dict[str, dict[str, np.ndarray]]], name: str, shape: tuple[int, ...]
) -> np.ndarray:
    """Return one scorer's scores (R, P, S), NaN for the seeds that have not finished."""
    empty = np.full(shape, np.nan)
    return np.stack([tables[seed]["tuned"][name] if seed in tables else empty for seed in config.seeds])


def _require_same_images(
    config: CompareConfig, base: dict[str, np.ndarray], tuned: dict[str, np.ndarray], arm: str, seed: int
) -> None:
    for name in scorers_of(config):
        if name not in base or name not in tuned or tuned[name].shape != base[name].shape:
            raise ArtifactError(
                f"arm '{arm}', seed {seed}: the scores of '{name}' are missing, or of other images than those of other "
                "arms; run `accord compare` with --redo"
            )


def _scores(run: Path, prompts: tuple[str, ...]) -> dict[str, dict[str, np.ndarray]]:
    """Return model -> scorer -> (P, S), prompts in this order and images in the order of their indices."""
    table = read_table(run / "evaluate" / "metrics" / "scores.parquet")
    names = [name for name in table.column_names if name not in IDS]
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
    """Return what a cell was trained with, what it cost and how it went; a soup was not trained."""
    log = run / "train" / "log.jsonl"
    if not log.is_file():
        return {}
    told = tomllib.loads((run / "run.toml").read_text(encoding="utf-8"))
    counts = {stage: read_json(run / stage / "manifest.json")["counts"] for stage in ("select", "train")}
    return {
        "beta": told["train"]["beta"],
        "learning_rate": told["train"]["learning_rate"],
        "method": {kind: _short(choice) for kind, choice in told["method"].items() if kind != "recipe"},
        "seconds": read_seconds(run / "train") or None,
        "seconds_inverting": read_seconds(run / "invert") or None,
        "pairs_seen": counts["train"].get("pairs_seen"),
        "prompts_with_pairs": counts["select"].get("prompts_with_pairs"),
        "pairs": counts["select"].get("pairs"),
        **_health(log),
    }


def _health(log: Path) -> dict[str, float | None]:
    """Return the mean of each sign of health over the last tenth of the log, and the last distance from the start."""
    lines = [json.loads(line)["metrics"] for line in log.read_text(encoding="utf-8").splitlines()]
    late = lines[-max(1, math.ceil(LATE * len(lines))) :]
    distances = [line["distance"] for line in lines if line.get("distance") is not None]
    found: dict[str, float | None] = {"distance": distances[-1] if distances else None}
    for name in HEALTH:
        known = [row[name] for row in late if row.get(name) is not None]
        found[name] = float(np.mean(known)) if known else None
    return found


def _short(choice: Any) -> str:
    """Return a choice of the run file on one line: its name, and its options in brackets."""
    if not isinstance(choice, dict):
        return str(choice)
    options = ", ".join(f"{key} {value}" for key, value in choice.items() if key != "name")
    return f"{choice['name']} ({options})" if options else str(choice["name"])
