"""Arms against arms: who wins the same prompt and seed, and which of several arms is best as far as intervals tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from accord.compare.results_arms import MEAN, Measures
from accord.compare.results_read import ArmData, points_against

PAIR_RESAMPLES = (
    2000  # at most: there are thousands of pairs, and an end of an interval moves by about 1/20 of its half
)
DIGITS = 5


def pairwise(measures: Measures, main: Mapping[str, ArmData]) -> dict[str, Any]:
    """Return the win rate of each arm (row) against each other (column), per scorer and as mean over the rewards.

    Same prompt, same evaluation seed and same training seed. `value`, `low`, `high`: rows of numbers rounded to five
    digits, None on the diagonal and where two arms have no training seed in common.
    """
    arms, names = list(main), [*measures.scorers, MEAN]
    ends = {name: np.full((3, len(arms), len(arms)), np.nan) for name in names}
    bootstrap = measures.bootstrap
    bootstrap = replace(bootstrap, num_resamples=min(bootstrap.num_resamples, PAIR_RESAMPLES))
    for a, arm in enumerate(arms[:-1]):
        points = _against_all(measures, main[arm], [main[other] for other in arms[a + 1 :]])
        for name in names:
            found = [
                (i.interval.value, i.interval.low, i.interval.high) if i is not None else (np.nan,) * 3
                for i in bootstrap.intervals(points[name])
            ]
            value, low, high = np.array(found).T
            ends[name][:, a, a + 1 :] = value, low, high
            ends[name][:, a + 1 :, a] = 1 - value, 1 - high, 1 - low
    return {
        "arms": arms,
        "num_resamples": bootstrap.num_resamples,
        **{
            name: dict(zip(("value", "low", "high"), (_rounded(rows) for rows in found), strict=True))
            for name, found in ends.items()
        },
    }


def against(measures: Measures, data: ArmData, other: ArmData) -> dict[str, Any]:
    """Return the win rates of one arm against another, per scorer; {} against itself."""
    if data is other:
        return {}
    return {name: measures.interval(points[0]) for name, points in _against_all(measures, data, [other]).items()}


def leaders(measures: Measures, main: Mapping[str, ArmData], arms: Sequence[str]) -> dict[str, Any]:
    """Return, per quantity, the arm with the highest mean and which others cannot be told apart from it.

    `best`: the arm, the first of equals. `gaps`: other arm -> interval of best minus other, paired by prompt and
    training seed. `close`: the others whose interval does not lie wholly above 0; without any, `best` is best as far
    as these seeds and prompts tell. Intervals are not widened for the number of arms.
    """
    found = {}
    for name in measures.judged:
        points = {arm: measures.points(main[arm])[name] for arm in arms if arm in main}
        points = {arm: values for arm, values in points.items() if not np.isnan(values).all()}
        if not points:
            continue
        means = {arm: measures.interval(values, name) for arm, values in points.items()}
        best = max(means, key=lambda arm: means[arm]["value"])  # type: ignore[index]
        others = [arm for arm in points if arm != best]
        gaps: dict[str, Any] = {}
        if others:
            apart = np.stack([points[best] - points[arm] for arm in others])
            gaps = dict(zip(others, measures.intervals(apart, name), strict=True))
        close = [arm for arm, gap in gaps.items() if gap is None or gap["low"] <= 0]
        found[name] = {"best": best, "gaps": gaps, "close": close}
    return found


def _against_all(measures: Measures, data: ArmData, others: Sequence[ArmData]) -> dict[str, np.ndarray]:
    """Return quantity -> points of one arm against each other one, (A, R, P)."""
    found = {
        name: points_against(
            data.scores[name][None], np.stack([other.scores[name] for other in others]), measures.epsilon
        )
        for name in measures.scorers
    }
    found[MEAN] = np.mean([found[name] for name in measures.rewards], axis=0)
    return found


def _rounded(rows: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(value) else round(float(value), DIGITS) for value in row] for row in rows]
