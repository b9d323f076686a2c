"""A finished comparison without any training: cells whose scores are drawn around known effects."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tomli_w

from accord.compare.cells import Cell, cells_of
from accord.compare.config import CompareConfig
from accord.files import write_bytes, write_json, write_table
from accord.images import image_id
from accord.seeding import generator
from accord.tables import write_prompts
from accord.types import Prompt

REWARDS = ("world_alignment", "world_aesthetics", "world_taste")
HELD_OUT = ("world_heldout", "world_judge")
CHECKER = "world_checker"
SKILLS = ("counting", "colour", "position")


def example_config(folder: Path, arms: Mapping[str, Mapping[str, Any]], **values: Any) -> CompareConfig:
    """Return a comparison of these arms; `recipe` is diffusion_dpo where an arm names none and is no soup."""
    evaluate = {"images_per_prompt": 1, "num_resamples": 400, **values.pop("evaluate", {})}
    named = {name: dict(arm) if "soup" in arm else {"recipe": "diffusion_dpo", **arm} for name, arm in arms.items()}
    return CompareConfig(folder=str(folder), arms=named, run={"evaluate": evaluate}, **{"seeds": (1, 2, 3), **values})  # type: ignore[arg-type]


def write_cells(
    config: CompareConfig, effect: Mapping[str, Sequence[float]], num_prompts: int = 40, seed_std: float = 0.1
) -> list[Cell]:
    """Write every cell. effect: arm -> shift of each of the three rewards' scores at the main budget."""
    prompts = [Prompt.make(f"prompt {n}", "test", [f"skill:{SKILLS[n % 3]}"]) for n in range(num_prompts)]
    cells = cells_of(config)
    names = (*REWARDS, *HELD_OUT, CHECKER)
    shape = (num_prompts, config.run.evaluate.images_per_prompt)
    base = {name: generator(0, "base", name).normal(size=shape) for name in names}
    for cell in cells:
        draws = generator(cell.seed, cell.arm, cell.steps)
        share = cell.steps / config.steps_of(cell.arm)[-1]
        shifts = [share * (value + draws.normal(0, seed_std)) for value in effect[cell.arm]]
        shifts += [0.6 * float(np.mean(shifts))] * 3
        tuned = {
            name: 0.7 * base[name] + draws.normal(shift, 0.6, shape) for name, shift in zip(names, shifts, strict=True)
        }
        _write_cell(config, cell, prompts, base, tuned)
    return cells


def _write_cell(
    config: CompareConfig,
    cell: Cell,
    prompts: list[Prompt],
    base: Mapping[str, np.ndarray],
    tuned: Mapping[str, np.ndarray],
) -> None:
    write_prompts(cell.folder / "evaluate" / "base" / "prompts.parquet", prompts)
    rows = [
        {"model": model, "prompt_id": prompt.id, "index": n, "image_id": image_id(prompt.id, n)}
        | {name: float(values[p, n] > 0 if name == CHECKER else values[p, n]) for name, values in scores.items()}
        for model, scores in (("base", base), ("tuned", tuned))
        for p, prompt in enumerate(prompts)
        for n in range(config.run.evaluate.images_per_prompt)
    ]
    write_table(cell.folder / "evaluate" / "metrics" / "scores.parquet", pa.Table.from_pylist(rows))
    if config.arms[cell.arm].soup:
        return
    noise = {"name": "renoise", "num_steps": 5} if "noise" in cell.arm else "gaussian_shared"
    told = {
        "train": {"beta": 250.0, "learning_rate": 1e-3},
        "method": {"recipe": "x", "loss": "logistic", "noise": noise},
    }
    write_bytes(cell.folder / "run.toml", tomli_w.dumps(told).encode())
    lines = [{"step": step, "loss": 0.5, "metrics": _metrics(step, cell.steps)} for step in range(1, cell.steps + 1)]
    write_bytes(cell.folder / "train" / "log.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    write_json(cell.folder / "train" / ".timing.json", {"seconds": 0.5 * cell.steps + cell.seed, "device": "cpu"})
    write_json(
        cell.folder / "train" / "manifest.json", {"counts": {"steps": cell.steps, "pairs_seen": 16 * cell.steps}}
    )
    write_json(cell.folder / "select" / "manifest.json", {"counts": {"prompts_with_pairs": 150, "pairs": 900}})


def _metrics(step: int, num_steps: int) -> dict[str, float]:
    found = {"accuracy": step / num_steps, "saturation": 0.2, "error_chosen_rise": 0.001, "error_rejected_rise": 0.01}
    return found | ({"distance": 0.001 * step} if step % 10 == 0 else {})
