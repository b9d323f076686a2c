"""Whether the tuned model's pictures have lost something, whatever its scorers say."""

from __future__ import annotations

import math

from accord.report.records import Estimate, Evaluation, ImageResult
from accord.report.verdict import TOO_FEW_PROMPTS, Finding, outcome, scorer_outcome
from accord.report.words import listed, percent, percent_range

LARGE = 0.15
"""A fall by more than this share, with its interval wholly below 0, is called a collapse: about every seventh edge, or
a seventh of the distance between images of a prompt, is gone. A convention, as is the next."""
SHIFT = 0.3
"""Brightness and saturation may be wanted either way; a change beyond this share is no longer a matter of taste."""
SLIGHT = 0.03
"""A smaller change is not worth a line, even where it is certain."""
LOSSES = {
    "edge_density": "edges (pictures become smoother)",
    "colour_entropy": "colours (pictures use fewer of them)",
    "diversity": "diversity within a prompt (pictures of a prompt become alike)",
}
SHIFTS = ("brightness", "saturation")


def collapse(evaluation: Evaluation) -> tuple[Finding, ...]:
    """Return a warning that names every statistic that changed by a lot, then a line with the smaller changes.

    Nothing is said of a change whose interval includes 0, or with fewer prompts than any judgement needs.
    """
    if evaluation.num_prompts < TOO_FEW_PROMPTS:
        return ()
    certain = [
        result
        for result in evaluation.images
        if outcome(result.difference, 0.0) in ("better", "worse") and abs(relative_change(result).value) >= SLIGHT
    ]
    large = [_named(result) for result in certain if _is_large(result)]
    small = [_named(result) for result in certain if not _is_large(result)]
    found = []
    if large:
        found.append(
            Finding("warning", f"The look of the pictures has changed: {listed(large)}. {_advice(evaluation)}")
        )
    if small:
        found.append(Finding("unclear", f"Smaller changes in the look of the pictures: {listed(small)}."))
    return tuple(found)


def relative_change(result: ImageResult) -> Estimate:
    """Return tuned minus base as a share of base; NaN where it is not known."""
    base, difference = result.base.value, result.difference
    if not base > 0:
        return Estimate(math.nan, math.nan, math.nan)
    return Estimate(difference.value / base, difference.low / base, difference.high / base)


def _is_large(result: ImageResult) -> bool:
    change = relative_change(result).value
    return abs(change) > SHIFT if result.name in SHIFTS else result.name in LOSSES and change < -LARGE


def _named(result: ImageResult) -> str:
    change = relative_change(result)
    verb = "rose" if change.value > 0 else "fell"
    words = LOSSES.get(result.name) if change.value < 0 else None
    size = abs(change.value)
    ends = sorted([abs(change.low), abs(change.high)])
    return (
        f"{words or result.name.replace('_', ' ')} {verb} by {percent(size)} ({percent_range(Estimate(size, *ends))})"
    )


def _advice(evaluation: Evaluation) -> str:
    trained = [scorer for scorer in evaluation.scorers if scorer.role == "trained"]
    rose = [scorer.name for scorer in trained if scorer_outcome(scorer) == "better"]
    if rose:
        return (
            f"Meanwhile {listed(rose)} rose: the model may have found a look that its scorers like, and not draw "
            "better. Compare the images, train for fewer steps or raise beta."
        )
    return "No trained reward rose meanwhile: compare the images, train for fewer steps or lower the learning rate."
