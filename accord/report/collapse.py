"""Whether the tuned model's pictures have lost something, whatever its scorers say."""

from __future__ import annotations

import math

from accord.report.records import Evaluation, ImageResult
from accord.report.verdict import Finding, outcome
from accord.report.words import percent

LARGE = 0.15
"""A fall by more than this share, with its interval wholly below 0, is called a collapse."""
LOSSES = {
    "edge_density": "edges (pictures become smoother)",
    "colour_entropy": "colours (pictures use fewer of them)",
    "diversity": "diversity within a prompt (pictures of a prompt become alike)",
}
SHIFTS = {"brightness": "brightness", "saturation": "saturation"}


def collapse(evaluation: Evaluation) -> tuple[Finding, ...]:
    """Return a warning for each statistic that has changed by a lot."""
    found = []
    for result in evaluation.images:
        change = relative_change(result)
        if math.isnan(change) or outcome(result.difference, 0.0) in ("unclear", "unknown"):
            continue
        if result.name in LOSSES and change < -LARGE:
            found.append(f"{LOSSES[result.name]} fell by {percent(-change)}")
        if result.name in SHIFTS and abs(change) > 2 * LARGE:
            found.append(f"{SHIFTS[result.name]} {'rose' if change > 0 else 'fell'} by {percent(abs(change))}")
    if not found:
        return ()
    text = "; ".join(found)
    return (
        Finding(
            "warning",
            f"The look of the pictures has changed: {text}. If a trained reward rose meanwhile, the model may have "
            "found a look that its scorers like: compare the images, train for fewer steps or raise beta.",
        ),
    )


def relative_change(result: ImageResult) -> float:
    """Return tuned minus base as a share of base; NaN where it is not known."""
    return result.difference.value / result.base.value if result.base.value > 0 else math.nan
