"""How a training went, in plain language, from its log alone.

All judgements are on the last fifth of the steps, where the run has come to. Errors are those of the policy minus those
of the reference, so with a reference that moves they count from its last refresh.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from accord.report.noise_levels import chance_width, noise_findings, noise_parts, rejected_share
from accord.report.records import Training
from accord.report.verdict import Finding
from accord.report.words import compact, percent

LATE = 0.2  # share of the run that is judged
BOTH = 0.1  # of the margin's growth: a smaller rise of the chosen image's error is too little to call harm
ONE_SIDED = 0.7  # of the margin's growth, or of the gradient, from the rejected image alone: over twice the other's
SATURATED = 0.8  # of the first push gone: what is left of training changes little
PAST = 1.25  # times its mean target: the squared loss has been run past
FEW_STEPS = 10  # too short a log to judge
SAFEGUARD = '(loss = { name = "...", safeguard = 1.0 })'


@dataclass(frozen=True)
class Late:
    """Means over the end of the run; NaN where the log has no such number."""

    accuracy: float
    num_pairs: float  # that the accuracy is a mean over
    margin: float
    target: float
    saturation: float
    chosen: float  # rise of the chosen image's error
    chosen_error: float  # two standard errors of it, from its spread over steps
    rejected: float  # rise of the rejected image's error
    share: float  # of the gradient from the rejected image


def late(training: Training) -> Late:
    """Return the means over the last fifth of the steps."""
    num = max(1, round(LATE * len(training.steps)))

    def known(name: str) -> np.ndarray:
        values = training.curves.get(name, np.array([]))[-num:]
        return values[np.isfinite(values)]

    def mean(name: str) -> float:
        return float(known(name).mean()) if len(known(name)) else math.nan

    rises = known("error_chosen_rise")
    return Late(
        accuracy=mean("accuracy"),
        num_pairs=training.num_pairs_seen * num / len(training.steps) if training.num_pairs_seen else math.nan,
        margin=mean("margin"),
        target=mean("target"),
        saturation=mean("saturation"),
        chosen=mean("error_chosen_rise"),
        chosen_error=float(2 * rises.std() / np.sqrt(len(rises))) if len(rises) else math.nan,
        rejected=mean("error_rejected_rise"),
        share=rejected_share(mean("gradient_chosen"), mean("gradient_rejected")),
    )


def health(training: Training, loss: str) -> tuple[Finding, ...]:
    """Return what is wrong with the run and what to do about it, or one line that nothing is. loss: its name."""
    if len(training.steps) < FEW_STEPS:
        return (Finding("unclear", f"The log has fewer than {FEW_STEPS} steps: too short to judge."),)
    end = late(training)
    if math.isnan(end.accuracy + end.chosen + end.rejected):
        return (Finding("unclear", "The log has no accuracy or no errors of both images: nothing can be judged."),)
    found = [*_direction(end), *_progress(end, loss)]
    return (*(found or [_healthy(end)]), *noise_findings(noise_parts(training)))


def _healthy(end: Late) -> Finding:
    return Finding(
        "better",
        f"Training looks healthy: at the end the policy leans to the chosen image in {percent(end.accuracy)} of the "
        f"pairs, and the error of chosen images {_moved(end.chosen)}, of rejected ones {_moved(end.rejected)}.",
    )


def _direction(end: Late) -> list[Finding]:
    """Return whether the margin grows, and for the right reason."""
    growth = end.rejected - end.chosen
    is_harmed = end.chosen > max(end.chosen_error, BOTH * abs(growth))
    if is_harmed and end.rejected > 0:
        more = "only the rejected ones more so" if growth > 0 else "and the chosen ones no less than the rejected"
        return [
            Finding(
                "worse" if growth <= 0 else "warning",
                f"Both errors rise: the error of rejected images {_moved(end.rejected)}, of chosen ones "
                f"{_moved(end.chosen)}. The policy denoises both worse than its reference, {more}: unless held-out "
                "rewards of drawn images rise, this is harm. Raise beta, lower the learning rate or train for fewer "
                f"steps, or turn on the safeguard {SAFEGUARD}.",
            )
        ]
    if is_harmed:
        return [
            Finding(
                "worse",
                f"The error of chosen images {_moved(end.chosen)} while that of rejected ones {_moved(end.rejected)}: "
                "the policy moves away from what it should prefer. Look at the signs of the targets, and lower the "
                "learning rate.",
            )
        ]
    if growth > 0 and end.rejected / growth > ONE_SIDED:
        return [
            Finding(
                "warning",
                f"The margin grows mostly because rejected images get worse: their error {_moved(end.rejected)}, that "
                f"of chosen ones {_moved(end.chosen)}. Lower beta or turn on the safeguard {SAFEGUARD}.",
            )
        ]
    if end.share > ONE_SIDED:
        return [
            Finding(
                "warning",
                f"{percent(end.share)} of the gradient comes from rejected images: the next steps push them away "
                f"rather than improve chosen ones. The safeguard of the loss evens this out {SAFEGUARD}.",
            )
        ]
    return []


def _progress(end: Late, loss: str) -> list[Finding]:
    """Return whether the run learned something, and whether it had to go on for so long."""
    found = []
    width, leaning = chance_width(end.num_pairs), f"leans to the chosen image in {percent(end.accuracy)} of the pairs"
    if abs(end.accuracy - 0.5) < width:
        found.append(
            Finding(
                "warning",
                f"The policy {leaning}, which is chance: nothing was learned. Raise the learning rate or train longer; "
                "with a reference that was just refreshed this is expected.",
            )
        )
    elif end.accuracy < 0.5:
        found.append(
            Finding(
                "worse",
                f"The policy {leaning}, fewer than by chance: it learned to prefer rejected images. Look at the signs "
                "of the targets, and lower the learning rate.",
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


def _moved(rise: float) -> str:
    """Return a rise in words.

    >>> _moved(0.02), _moved(-0.02)
    ('rose by 0.02', 'fell by 0.02')
    """
    return f"{'rose' if rise > 0 else 'fell'} by {compact(abs(rise))}"
