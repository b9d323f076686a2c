"""The results of a comparison: `results/results.json`, `results/tables.md` and `results/index.html`.

results.json: `arms`, one entry per arm at its main budget, with `win_rates` against the base model per scorer (value,
low, high, by_seed, all 0 to 1), `differences` of mean scores, `skill`, `facts` (means over seeds); `curves`, the mean
win rate over the trained rewards at every budget and the steps to given levels; `tables`, each with `against`, the
direct win rates against its named arm; `pairwise`, all arms against all; `hypervolume`; `missing`, arm -> number of
cells that have not finished. What is not known is null.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accord.compare.cells import Cell
from accord.compare.config import CompareConfig
from accord.compare.page import render_page
from accord.compare.results_read import ArmData, Finished, points_against, read_finished
from accord.compare.tables import markdown
from accord.files import write_bytes, write_json
from accord.seeding import address
from accord.stats.hierarchical import Hierarchical, SeedInterval
from accord.stats.hypervolume import hypervolume

NUM_RESAMPLES = 2000
LEVELS = (0.55, 0.6, 0.65, 0.7)  # win rates whose number of steps is reported


def write_results(folder: Path, config: CompareConfig, cells: Sequence[Cell]) -> Path:
    """Write the three files from the finished cells; return the page."""
    results = summarise(config, read_finished(config, cells))
    output = folder / "results"
    write_json(output / "results.json", results)
    write_bytes(output / "tables.md", markdown(results).encode())
    write_bytes(output / "index.html", render_page(results).encode())
    return output / "index.html"


def summarise(config: CompareConfig, finished: Finished) -> dict[str, Any]:
    """Return the results as plain values."""
    trained, told = list(config.run.score.scorers), config.run.evaluate
    scorers = [*trained, *told.held_out, *([told.checker] if told.checker else [])]
    found = _Summary(config, finished, scorers)
    main = {arm: data for arm in config.arms if (data := finished.main(config, arm)) is not None}
    arms = {arm: found.arm(data) for arm, data in main.items()}
    done = {arm: sum(len(d.seeds) for (name, _), d in finished.arms.items() if name == arm) for arm in config.arms}
    wanted = {arm: len(config.seeds) * len(config.steps_of(arm)) for arm in config.arms}
    return {
        "folder": config.folder,
        "confidence": told.confidence,
        "num_prompts": len(finished.prompts),
        "images_per_prompt": next(iter(finished.base.values())).shape[1],
        "num_seeds": len(config.seeds),
        "scorers": [{"name": n, "role": "trained" if n in trained else _role(config, n)} for n in scorers],
        "arms": arms,
        "curves": {arm: found.curve(arm) for arm in main if len(config.steps_of(arm)) > 1},
        "pairwise": found.pairwise(main),
        "hypervolume": found.hypervolume(arms, trained),
        "tables": {
            name: {
                "title": table.title,
                "arms": [arm for arm in table.arms if arm in main],
                "against_name": table.against,
                "against": {arm: found.against(main[arm], main[table.against]) for arm in table.arms if arm in main}
                if table.against in main
                else {},
            }
            for name, table in config.tables.items()
        },
        "missing": {arm: wanted[arm] - done[arm] for arm in config.arms if wanted[arm] > done[arm]},
    }


class _Summary:
    """Makes every number of a comparison from the same resamples."""

    def __init__(self, config: CompareConfig, finished: Finished, scorers: list[str]) -> None:
        self.config, self.finished, self.scorers = config, finished, scorers
        self.trained = config.run.score.scorers
        self.epsilon, self.level = config.run.evaluate.tie_epsilon, config.run.evaluate.confidence
        seed = address(config.run.seed, "hierarchical bootstrap")
        self._bootstrap = Hierarchical(seed, NUM_RESAMPLES, self.level)
        sizes = {skill: finished.skills.count(skill) for skill in set(finished.skills)}
        self.skill_weights = np.array([1 / sizes[skill] for skill in finished.skills])

    def interval(self, values: np.ndarray, weights: np.ndarray | None = None) -> SeedInterval | None:
        return self._bootstrap.intervals(values[None], weights)[0]

    def arm(self, data: ArmData) -> dict[str, Any]:
        """Return one arm's row."""
        told = self.config.arms[data.arm]
        points = {n: points_against(data.scores[n], self.finished.base[n], self.epsilon) for n in self.scorers}
        own = told.scorers or self.trained
        checker = self.config.run.evaluate.checker
        return {
            "recipe": told.recipe,
            "soup": list(told.soup),
            "trains_on": list(own),
            "seeds": list(data.seeds),
            "steps": data.steps,
            "win_rates": {n: _plain(self.interval(p)) for n, p in points.items()},
            "mean_trained": _plain(self.interval(np.mean([points[n] for n in self.trained], axis=0))),
            "mean_own": _plain(self.interval(np.mean([points[n] for n in own], axis=0))),
            "differences": {n: _plain(self.interval(self._difference(data, n))) for n in self.scorers},
            "skill": _plain(self.interval(self._difference(data, checker), self.skill_weights)) if checker else None,
            "facts": _mean_facts(data.facts),
        }

    def _difference(self, data: ArmData, scorer: str) -> np.ndarray:
        return (data.scores[scorer] - self.finished.base[scorer]).mean(axis=2)

    def against(self, data: ArmData, other: ArmData) -> dict[str, Any]:
        """Return the win rates of one arm against another, seed against the same seed, per scorer."""
        if data is other:
            return {}
        both = [seed for seed in data.seeds if seed in other.seeds]
        mine, theirs = ([arm.seeds.index(seed) for seed in both] for arm in (data, other))
        if not both:
            return {}
        points = {n: points_against(data.scores[n][mine], other.scores[n][theirs], self.epsilon) for n in self.scorers}
        mean = np.mean([points[n] for n in self.trained], axis=0)
        return {**{n: _plain(self.interval(p)) for n, p in points.items()}, "mean_trained": _plain(self.interval(mean))}

    def pairwise(self, main: dict[str, ArmData]) -> list[list[float | None]]:
        """Return the mean win rate over the trained rewards of each arm (row) against each other (column)."""
        rows: list[list[float | None]] = []
        for a in main.values():
            row: list[float | None] = []
            for b in main.values():
                both = [seed for seed in a.seeds if seed in b.seeds]
                if a is b or not both:
                    row.append(None)
                    continue
                mine, theirs = ([arm.seeds.index(seed) for seed in both] for arm in (a, b))
                wins = [points_against(a.scores[n][mine], b.scores[n][theirs], self.epsilon) for n in self.trained]
                row.append(float(np.nanmean(wins)))
            rows.append(row)
        return rows

    def curve(self, arm: str) -> dict[str, Any]:
        """Return the mean win rate over the arm's rewards at each budget, and the steps to each level."""
        own = self.config.arms[arm].scorers or self.trained
        rows = []
        for steps in self.config.steps_of(arm):
            data = self.finished.arms.get((arm, steps))
            if data is not None:
                points = [points_against(data.scores[n], self.finished.base[n], self.epsilon) for n in own]
                rows.append({"steps": steps, **(_plain(self.interval(np.mean(points, axis=0))) or {})})
        return {"points": rows, "steps_to": {f"{level:g}": _steps_to(rows, level) for level in LEVELS}}

    def hypervolume(self, arms: dict[str, Any], trained: Sequence[str]) -> dict[str, float]:
        """Return the volume that all arms together dominate above 1/2, and without each arm."""
        points = {a: [row["win_rates"][n]["value"] for n in trained] for a, row in arms.items()}
        half = np.full(len(trained), 0.5)
        found = {"all": hypervolume(np.array(list(points.values())), half)} if points else {}
        return found | {arm: hypervolume(np.array([point]), half) for arm, point in points.items()}


def _steps_to(rows: Sequence[dict[str, Any]], level: float) -> float | None:
    """Return the number of steps at which the curve, straight between budgets from 1/2 at 0, reaches the level."""
    before = (0, 0.5)
    for row in rows:
        if row["value"] >= level:
            share = (level - before[1]) / (row["value"] - before[1])
            return float(before[0] + share * (row["steps"] - before[0]))
        before = (row["steps"], row["value"])
    return None


def _mean_facts(facts: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    names = dict.fromkeys(name for fact in facts for name in fact)
    known = {name: [fact[name] for fact in facts if fact.get(name) is not None] for name in names}
    return {name: float(np.mean(values)) if values else None for name, values in known.items()}


def _plain(interval: SeedInterval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    found, spread = interval.interval, interval.spread
    return {"value": found.value, "low": found.low, "high": found.high, "by_seed": list(spread.per_seed)}


def _role(config: CompareConfig, scorer: str) -> str:
    return "checker" if scorer == config.run.evaluate.checker else "held_out"
