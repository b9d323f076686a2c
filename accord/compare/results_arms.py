"""Every number about one arm: against the base model, under every scorer, at every budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accord.compare.config import CompareConfig
from accord.compare.results_read import ArmData, Finished, points_against, scorers_of
from accord.errors import ArtifactError
from accord.seeding import address
from accord.stats.hierarchical import Hierarchical, SeedInterval

LEVELS = (0.55, 0.6, 0.65, 0.7)  # win rates whose number of steps is reported
MEAN, OWN, SKILL = "mean_trained", "mean_own", "skill"


class Measures:
    """All quantities of a comparison per training seed and prompt, (R, P), and how their intervals are made.

    The quantities: a scorer's name: points against the base model, 1 for a win, 1/2 for a tie. `mean_trained`: their
    mean over all rewards of the comparison; `mean_own`: over those that the arm trains on. `skill`: the checker's
    score minus that of the base model, all skills weighing alike.
    """

    def __init__(self, config: CompareConfig, finished: Finished) -> None:
        told = config.run.evaluate
        self.config, self.finished = config, finished
        self.rewards, self.held_out, self.checker = config.run.score.scorers, told.held_out, told.checker
        self.scorers = scorers_of(config)
        self.epsilon = told.tie_epsilon
        seed = address(config.run.seed, "hierarchical bootstrap")
        self.bootstrap = Hierarchical(seed, told.num_resamples, told.confidence)
        self._points: dict[tuple[str, int], dict[str, np.ndarray]] = {}
        labels = np.array(finished.skills)
        self.has_skill = labels != "" if (labels != "").any() else np.ones(len(labels), dtype=bool)
        self.skill_weights = np.array([1 / finished.skills.count(skill) for skill in finished.skills])

    @property
    def judged(self) -> tuple[str, ...]:
        """The quantities by which arms are compared: each scorer but the checker, their mean, and the skill."""
        names = (*(name for name in self.scorers if name != self.checker), MEAN)
        return (*names, SKILL) if self.checker else names

    def points(self, data: ArmData) -> dict[str, np.ndarray]:
        """Return quantity -> (R, P) of an arm."""
        key = (data.arm, data.steps)
        if key not in self._points:
            base = self.finished.base
            found = {n: points_against(data.scores[n], base[n], self.epsilon) for n in self.scorers}
            own = self.config.arms[data.arm].scorers or self.rewards
            found[MEAN] = np.mean([found[n] for n in self.rewards], axis=0)
            found[OWN] = np.mean([found[n] for n in own], axis=0)
            if self.checker:
                found[SKILL] = np.where(self.has_skill, self.gain(data, self.checker), np.nan)
            self._points[key] = found
        return self._points[key]

    def gain(self, data: ArmData, scorer: str) -> np.ndarray:
        """Return the mean score over a prompt's images minus the base model's, (R, P); NaN if one has no score."""
        return (data.scores[scorer] - self.finished.base[scorer]).mean(axis=2)

    def interval(self, values: np.ndarray, quantity: str = "") -> dict[str, Any] | None:
        """Return the interval of (R, P) numbers as plain values."""
        return self.intervals(values[None], quantity)[0]

    def intervals(self, values: np.ndarray, quantity: str = "") -> list[dict[str, Any] | None]:
        """Return the intervals of (Q, R, P) numbers; `skill` weighs prompts so that all skills count alike."""
        found = self.bootstrap.intervals(values, self.skill_weights if quantity == SKILL else None)
        return [plain(interval) for interval in found]


def arm_row(measures: Measures, data: ArmData) -> dict[str, Any]:
    """Return everything about an arm at its main budget."""
    told, points = measures.config.arms[data.arm], measures.points(data)
    return {
        "recipe": told.recipe,
        "soup": list(told.soup),
        "trains_on": list(told.scorers or measures.rewards),
        "seeds": list(data.seeds),
        "steps": data.steps,
        "win_rates": {n: measures.interval(points[n]) for n in measures.scorers},
        MEAN: measures.interval(points[MEAN]),
        OWN: measures.interval(points[OWN]),
        "scores": {n: _mean(data.scores[n]) for n in measures.scorers},
        "differences": {n: measures.interval(measures.gain(data, n)) for n in measures.scorers},
        SKILL: measures.interval(points[SKILL], SKILL) if measures.checker else None,
        "skills": _skills(measures, data) if measures.checker else {},
        "facts": _mean_facts(data),
    }


def base_row(measures: Measures) -> dict[str, Any]:
    """Return the base model's mean scores, and the checker's mean per skill."""
    base = {name: measures.finished.base[name] for name in measures.scorers}
    skills = _rows(measures).items() if measures.checker else ()
    return {
        "scores": {name: _mean(values) for name, values in base.items()},
        "skills": {skill: _mean(base[measures.checker][rows]) for skill, rows in skills},
    }


def curve(measures: Measures, arm: str) -> dict[str, Any]:
    """Return the win rates of an arm at each of its budgets, and the steps to each level."""
    rows: list[dict[str, Any]] = []
    names = [name for name in measures.judged if name != SKILL]
    for steps in measures.config.steps_of(arm):
        data = measures.finished.arms.get((arm, steps))
        if data is not None:
            points = measures.points(data)
            rates = {name: measures.interval(points[name]) for name in names}
            rows.append({"steps": steps, "seeds": list(data.seeds), "rates": rates})
    return {"points": rows, "steps_to": {name: _levels(rows, name) for name in names}}


def steps_to(budgets: Sequence[tuple[float, float]], level: float) -> float | None:
    """Return the steps at which the win rate first reaches the level, None if no budget does.

    budgets: (steps, win rate) in rising order. Between budgets the win rate is taken as straight, from 1/2 at 0 steps,
    where the tuned model is the base model.

    >>> steps_to([(50, 0.6), (100, 0.7)], 0.65), steps_to([(50, 0.6)], 0.7)
    (75.0, None)
    """
    before = (0.0, 0.5)
    for steps, rate in budgets:
        if rate >= level:
            return before[0] + (level - before[1]) / (rate - before[1]) * (steps - before[0])
        before = (steps, rate)
    return None


def plain(found: SeedInterval | None) -> dict[str, Any] | None:
    """Return an interval as JSON has it; `std` is null for a single seed, whose interval is over prompts alone."""
    if found is None:
        return None
    interval, spread = found.interval, found.spread
    return {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "num_prompts": interval.num,
        "by_seed": list(spread.per_seed),
        "std": spread.std if found.covers_seeds else None,
    }


def _levels(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, float | None]:
    known = [(row["steps"], row["rates"][name]["value"]) for row in rows if row["rates"][name] is not None]
    return {f"{level:g}": steps_to(known, level) for level in LEVELS}


def _skills(measures: Measures, data: ArmData) -> dict[str, Any]:
    """Return skill -> the checker's mean, and its difference from the base model with its interval."""
    gain, scores = measures.gain(data, measures.checker), data.scores[measures.checker]
    return {
        skill: {"tuned": _mean(scores[:, rows]), "difference": measures.interval(gain[:, rows])}
        for skill, rows in _rows(measures).items()
    }


def _rows(measures: Measures) -> dict[str, np.ndarray]:
    """Return skill -> its prompts, in the order of their first."""
    labels = np.array(measures.finished.skills)
    return {skill: np.nonzero(labels == skill)[0] for skill in dict.fromkeys(measures.finished.skills) if skill}


def _mean_facts(data: ArmData) -> dict[str, Any]:
    """Return the mean over seeds of each number, None where no seed has it; settings are the same for all seeds."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for fact in data.facts for name in fact):
        known = [fact[name] for fact in data.facts if fact.get(name) is not None]
        if name in ("beta", "learning_rate", "method"):
            if any(value != known[0] for value in known):
                raise ArtifactError(f"the seeds of arm '{data.arm}' differ in {name}; run `accord compare` with --redo")
            found[name] = known[0]
        else:
            found[name] = float(np.mean(known)) if known else None
    return found


def _mean(values: np.ndarray) -> float | None:
    return None if np.isnan(values).all() else float(np.nanmean(values))
