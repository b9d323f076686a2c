"""The results of a comparison: `results/results.json`, `results/tables.md` and `results/index.html`.

All numbers are in results.json; the tables and the page only show them. What is not known is null. An *interval* is
`value`, `low`, `high`, `num_prompts`, `by_seed` (the mean of each training seed that has finished, in their order) and
`std` over the seeds (null for one seed: then the interval covers prompts alone). Win rates and skills are 0 to 1.

- `folder`, `confidence`, `num_resamples`, `tie_epsilon`, `num_prompts`, `images_per_prompt`, `seeds` (all training
  seeds), `scorers` (name and role: trained, held_out, checker).
- `base`: `scores` (mean raw score per scorer), `skills` (the checker's mean per skill).
- `arms`: one entry per arm with a finished cell at its main budget: `recipe`, `soup`, `trains_on`, `seeds` (finished),
  `steps`; intervals `win_rates` against the base model per scorer, `mean_trained` (mean over all rewards of the
  comparison), `mean_own` (over those it trains on), `differences` of the raw score per scorer, `skill` (gain of the
  checker, skills weighing alike); `scores` (mean raw score), `skills` (per skill the checker's mean `tuned` and the
  interval `difference`); `facts`: settings (`beta`, `learning_rate`, `method`), costs (`seconds` of training,
  `seconds_inverting`, `pairs_seen`, `prompts_with_pairs`, `pairs`) and health (`distance` of the weights from the base
  model at the end; `accuracy`, `saturation`, `margin`, `error_chosen_rise`, `error_rejected_rise` over the last tenth
  of the steps), means over seeds; {} for a soup.
- `curves`: arms with several budgets: `points` (`steps`, `seeds`, intervals `rates` per quantity) and `steps_to`,
  quantity -> level -> steps, null where no budget reaches it.
- `pairwise`: `arms`, and per scorer and for `mean_trained` the win rates of rows against columns.
- `tables`: `title`, `layout`, `arms`, `absent` (nothing finished), `groups` (`tuned_on`, `arms`, `leaders`: per
  quantity `best`, `gaps`, `close`), `against_name`, `against` (intervals per arm and scorer).
- `overall`: `leaders` of all arms together.
- `hypervolume`: what the arms' win rates under the trained rewards dominate above 0 and above 1/2: of `all` together,
  of each of `arms`, and `exclusive`, what no other arm dominates.
- `expected` and `missing_cells` (arm, steps, seeds), `missing` (arm -> their number).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accord.compare.cells import Cell
from accord.compare.config import CompareConfig
from accord.compare.page import render_page
from accord.compare.results_arms import Measures, arm_row, base_row, curve
from accord.compare.results_pairs import leaders, pairwise
from accord.compare.results_read import Finished, read_finished
from accord.compare.results_tables import all_tables
from accord.compare.tables import markdown
from accord.files import write_bytes, write_json
from accord.stats.hypervolume import exclusive_volumes, hypervolume


def write_results(folder: Path, config: CompareConfig, cells: Sequence[Cell]) -> Path:
    """Write the three files from the finished cells; return the page. Raises ArtifactError if no cell has finished."""
    results = summarise(config, read_finished(config, cells))
    output = folder / "results"
    write_json(output / "results.json", results)
    write_bytes(output / "tables.md", markdown(results).encode())
    write_bytes(output / "index.html", render_page(results).encode())
    return output / "index.html"


def summarise(config: CompareConfig, finished: Finished) -> dict[str, Any]:
    """Return the results as plain values, as the module describes them."""
    measures, told = Measures(config, finished), config.run.evaluate
    main = {arm: data for arm in config.arms if (data := finished.main(config, arm)) is not None}
    arms = {arm: arm_row(measures, data) for arm, data in main.items()}
    several = [arm for arm in config.arms if len(config.steps_of(arm)) > 1]
    missing = _missing(config, finished)
    return {
        "folder": config.folder,
        "confidence": told.confidence,
        "num_resamples": told.num_resamples,
        "tie_epsilon": told.tie_epsilon,
        "num_prompts": len(finished.prompts),
        "images_per_prompt": next(iter(finished.base.values())).shape[1],
        "seeds": list(config.seeds),
        "scorers": [{"name": name, "role": _role(config, name)} for name in measures.scorers],
        "base": base_row(measures),
        "arms": arms,
        "curves": {arm: found for arm in several if (found := curve(measures, arm))["points"]},
        "pairwise": pairwise(measures, main),
        "tables": all_tables(measures, main),
        "overall": leaders(measures, main, list(main)),
        "hypervolume": _volumes(arms, measures.rewards),
        "expected": sum(len(config.steps_of(arm)) for arm in config.arms) * len(config.seeds),
        "missing_cells": missing,
        "missing": {
            arm: num
            for arm in config.arms
            if (num := sum(len(cell["seeds"]) for cell in missing if cell["arm"] == arm))
        },
    }


def _missing(config: CompareConfig, finished: Finished) -> list[dict[str, Any]]:
    """Return arm, budget and seeds of all cells that have not finished."""
    found = []
    for arm in config.arms:
        for steps in config.steps_of(arm):
            data = finished.arms.get((arm, steps))
            seeds = [seed for seed in config.seeds if data is None or seed not in data.seeds]
            if seeds:
                found.append({"arm": arm, "steps": steps, "seeds": seeds})
    return found


def _volumes(arms: Mapping[str, Any], rewards: Sequence[str]) -> dict[str, Any]:
    """Return what the arms' win rates dominate above 0 and above 1/2, which stands for no change."""
    rates = {arm: [row["win_rates"][name] for name in rewards] for arm, row in arms.items()}
    points = {arm: [rate["value"] for rate in found] for arm, found in rates.items() if None not in found}
    places = np.array(list(points.values())).reshape(len(points), len(rewards))
    return {
        name: {
            "all": hypervolume(places, reference),
            "arms": {arm: hypervolume(place[None], reference) for arm, place in zip(points, places, strict=True)},
            "exclusive": dict(zip(points, exclusive_volumes(places, reference).tolist(), strict=True)),
        }
        for name, reference in (("above_0", 0.0), ("above_half", 0.5))
    }


def _role(config: CompareConfig, scorer: str) -> str:
    if scorer in config.run.score.scorers:
        return "trained"
    return "checker" if scorer == config.run.evaluate.checker else "held_out"
