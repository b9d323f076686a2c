"""How a training went, in plain language, from its log alone.

All judgements are on the last fifth of the steps, where the run has come to. Errors are those of the policy minus those
of the reference, so with a reference that moves they count from its last refresh.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from accord.report.records import Training
from accord.report.verdict import Finding
from accord.report.words import compact, percent

LATE = 0.2  # share of the run that is judged
CHANCE = 0.03  # an accuracy this close to one half, with hundreds of pairs, is none
ONE_SIDED = 0.7  # of the margin's growth, or of the gradient, from the rejected image alone
SATURATED = 0.8  # of the first push gone: what is left of training changes little
PAST = 1.25  # times its mean target: the squared loss has been run past
FEW_STEPS = 10  # too short a log to judge


@dataclass(frozen=True)
class Late:
    """Means over the end of the run; NaN where the log has no such number."""

    accuracy: float
    margin: float
    target: float
    saturation: float
    chosen: float  # rise of the chosen image's error
    rejected: float  # rise of the rejected image's error
    share: float  # of the gradient from the rejected image


def late(training: Training) -> Late:
    """Return the means over the last fifth of the steps."""
    num = max(1, round(LATE * len(training.steps)))

    def mean(name: str) -> float:
        values = training.curves.get(name, np.array([]))[-num:]
        known = values[np.isfinite(values)]
        return float(known.mean()) if len(known) else float("nan")

    first, second = mean("gradient_chosen"), mean("gradient_rejected")
    share = second / (first + second) if first + second > 0 else float("nan")
    return Late(
        accuracy=mean("accuracy"),
        margin=mean("margin"),
        target=mean("target"),
        saturation=mean("saturation"),
        chosen=mean("error_chosen_rise"),
        rejected=mean("error_rejected_rise"),
        share=share,
    )


def health(training: Training, loss: str) -> tuple[Finding, ...]:
    """Return what is wrong with the run and what to do about it, or one line that nothing is. loss: its name."""
    if len(training.steps) < FEW_STEPS:
        return (Finding("unclear", f"The log has fewer than {FEW_STEPS} steps: too short to judge."),)
    end = late(training)
    found = [*_direction(end), *_progress(end, loss)]
    if found:
        return tuple(found)
    return (
        Finding(
            "better",
            f"Training looks healthy: at the end the policy leans to the chosen image in {percent(end.accuracy)} of "
            f"the pairs, and the error of chosen images changed by {compact(end.chosen)}, of rejected ones by "
            f"{compact(end.rejected)}.",
        ),
    )


def _direction(end: Late) -> list[Finding]:
    """Return whether the margin grows for the right reason."""
    growth = end.rejected - end.chosen
    if not growth > 0:  # NaN, or no growth
        return []
    changes = f"the error of rejected images rose by {compact(end.rejected)}"
    if end.chosen > 0:
        return [
            Finding(
                "worse",
                f"Both errors rise: {changes}, of chosen ones by {compact(end.chosen)}. The policy denoises both "
                "worse than its reference, only the rejected ones more so: raise beta, lower the learning rate or "
                'train for fewer steps, or turn on the safeguard (loss = { name = "...", safeguard = 1.0 }).',
            )
        ]
    if end.rejected / growth > ONE_SIDED:
        return [
            Finding(
                "warning",
                f"The margin grows mostly because rejected images get worse: {changes}, of chosen ones it fell by "
                f"{compact(-end.chosen)}. Lower beta or turn on the safeguard "
                '(loss = { name = "...", safeguard = 1.0 }).',
            )
        ]
    if end.share > ONE_SIDED:
        return [
            Finding(
                "warning",
                f"{percent(end.share)} of the gradient comes from rejected images: the next steps push them away "
                "rather than improve chosen ones. The safeguard of the loss evens this out.",
            )
        ]
    return []


def _progress(end: Late, loss: str) -> list[Finding]:
    """Return whether the run learned something, and whether it had to go on for so long."""
    found = []
    if abs(end.accuracy - 0.5) < CHANCE:
        found.append(
            Finding(
                "warning",
                f"The policy leans to the chosen image in {percent(end.accuracy)} of the pairs, which is chance: "
                "nothing was learned. Raise the learning rate or train longer; with a reference that was just "
                "refreshed this is expected.",
            )
        )
    if end.saturation > SATURATED and not loss.startswith("squared"):
        found.append(
            Finding(
                "warning",
                f"Pairs are {percent(end.saturation)} satisfied: further steps change little. Train for fewer steps, "
                "lower beta, or let the reference move.",
            )
        )
    if loss.startswith("squared") and end.target > 0 and end.margin > PAST * end.target:
        found.append(
            Finding(
                "warning",
                f"The margin ({compact(end.margin)}) has run past its mean target ({compact(end.target)}): the policy "
                "follows the noise of single pairs. Lower the learning rate or raise beta.",
            )
        )
    return found


@dataclass(frozen=True)
class NoisePart:
    """A fifth of the schedule, from little noise to much."""

    label: str
    share: float  # of the visits
    margin: float
    accuracy: float
    chosen: float
    rejected: float


def noise_parts(training: Training) -> tuple[NoisePart, ...]:
    """Return one row per part of the schedule over the second half of the run; empty for a log without them."""
    bins = training.by_noise
    if not bins or not bins["count"].sum() > 0:
        return ()
    count = bins["count"]
    num = len(count)
    labels = [f"{100 * i // num} to {100 * (i + 1) // num} %" for i in range(num)]

    def mean(name: str, i: int) -> float:
        return float(bins[name][i] / count[i]) if count[i] else math.nan

    return tuple(
        NoisePart(
            labels[i],
            float(count[i] / count.sum()),
            *(mean(name, i) for name in ("margin", "accuracy", "error_chosen_rise", "error_rejected_rise")),
        )
        for i in range(num)
    )
