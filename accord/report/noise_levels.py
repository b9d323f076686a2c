"""Where in the schedule a training learned: its log in equal parts, from little noise to much."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from accord.report.records import Training
from accord.report.verdict import Finding
from accord.report.words import listed, percent

ENOUGH = 100  # visits of a part: with fewer, two standard errors of its accuracy are over 10 points
CHANCE = 0.03  # an accuracy this close to one half is called chance, however many pairs there are
CURVE = "accuracy, part "  # of the schedule: the name of its curve, as if it had been logged
WINDOW_SHARE = 0.2  # of the run, whose visits a point of that curve is a mean over
FEW = 20  # visits of such a window: with fewer there is no point


@dataclass(frozen=True)
class NoisePart:
    """An equal part of the schedule; means over its visits, NaN where there were none or the log has no such number."""

    label: str
    num: int  # visits
    share: float  # of all visits
    margin: float  # times beta
    accuracy: float
    chosen: float  # rise of the chosen image's error
    rejected: float
    saturation: float
    pull: float  # share of the gradient from the rejected image


def noise_parts(training: Training) -> tuple[NoisePart, ...]:
    """Return one row per part of the schedule over the second half of the run; empty for a log without them."""
    if not training.by_noise:
        return ()
    sums = {name: values[len(values) // 2 :].sum(axis=0) for name, values in training.by_noise.items()}
    count = sums["count"]
    if not count.sum() > 0:
        return ()
    return tuple(_part(sums, i, label) for i, label in enumerate(labels(len(count))))


def labels(num: int) -> list[str]:
    """Return the names of equal parts of the schedule.

    >>> labels(2)
    ['0 to 50 %', '50 to 100 %']
    """
    return [f"{100 * i // num} to {100 * (i + 1) // num} %" for i in range(num)]


def noise_findings(parts: tuple[NoisePart, ...]) -> tuple[Finding, ...]:
    """Return at which noise levels nothing was learned, if something was at others."""
    judged = [part for part in parts if part.num >= ENOUGH and not math.isnan(part.accuracy)]
    idle = [part for part in judged if not part.accuracy > 0.5 + chance_width(part.num)]
    if not idle or len(idle) == len(judged):  # at no level: that is said of the run as a whole
        return ()
    named = [f"{part.label} ({percent(part.accuracy)})" for part in idle]
    share = sum(part.share for part in idle)
    return (
        Finding(
            "unclear",
            f"Not every noise level learns: the accuracy is no better than chance at {listed(named)} of the schedule, "
            f"where {percent(share)} of the visits go. The method's weighting and timesteps decide where they count.",
        ),
    )


def chance_width(num: float) -> float:
    """Return how far from one half an accuracy over `num` pairs may be by chance: two standard errors, or `CHANCE`.

    >>> chance_width(100), chance_width(1_000_000)
    (0.1, 0.03)
    """
    return max(CHANCE, 1 / math.sqrt(num)) if num > 0 else CHANCE


def accuracy_curves(by_noise: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return curve name -> (S,) accuracy of each part of the schedule over a window of steps around each step.

    by_noise: of `Training`. NaN where the window has fewer than `FEW` visits of that part.
    """
    if "accuracy" not in by_noise:
        return {}
    count, sums = _windowed(by_noise["count"]), _windowed(by_noise["accuracy"])
    means = np.divide(sums, count, out=np.full(count.shape, np.nan), where=count >= FEW)
    return {f"{CURVE}{i}": means[:, i] for i in range(means.shape[1])}


def _windowed(values: np.ndarray) -> np.ndarray:
    """Return the sums of (S, parts) over a window around each step, which the ends of the run cut."""
    num = len(values)
    half = int(num * WINDOW_SHARE / 2)
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    return total[np.minimum(np.arange(num) + half + 1, num)] - total[np.maximum(np.arange(num) - half, 0)]


def _part(sums: dict[str, np.ndarray], i: int, label: str) -> NoisePart:
    count = sums["count"]

    def mean(name: str) -> float:
        return float(sums[name][i] / count[i]) if name in sums and count[i] else math.nan

    return NoisePart(
        label=label,
        num=int(count[i]),
        share=float(count[i] / count.sum()),
        margin=mean("margin"),
        accuracy=mean("accuracy"),
        chosen=mean("error_chosen_rise"),
        rejected=mean("error_rejected_rise"),
        saturation=mean("saturation"),
        pull=rejected_share(mean("gradient_chosen"), mean("gradient_rejected")),
    )


def rejected_share(chosen: float, rejected: float) -> float:
    """Return which share of the gradient comes from the rejected image; NaN where there is none.

    >>> rejected_share(1.0, 3.0), rejected_share(0.0, 0.0)
    (0.75, nan)
    """
    total = chosen + rejected
    return rejected / total if total > 0 else math.nan
