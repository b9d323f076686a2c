"""Craft, 0..100: are the figures well made, that is, upright and symmetric? The prompt plays no part.

Circle, square and upright triangle are mirror images of themselves. So in every row of a well made figure the middle of
what is painted lies on one vertical axis; dents, ears, cut edges, smears and colours that run over move it away:

    score = 100 * mean over figures, weighted by area, of max(0, 1 - deviation from the axis / half width)

Not to be trained on: it tells whether alignment with other rewards also improves, or spoils, what none of them asked
for. Among pictures of one prompt it has little to do with any of the trained rewards; sharpness, the obvious choice,
goes with popular taste.
"""

from collections.abc import Sequence

import numpy as np

from accord.types import ScorerCard
from accord.world.components import connected_components
from accord.world.rewards.inputs import check_images, score_each
from accord.world.rewards.statistics import difference_from_background

#: Pixels that differ by less from the background belong to no figure, and neither do those that differ by less than
#: this share of the largest difference: smooth edges would join neighbours. Figures of fewer pixels are dust.
_MIN_DIFFERENCE = 0.1
_MIN_SHARE = 0.3
_MIN_AREA = 6


class HeldOut:
    """Craft: upright, symmetric figures."""

    card = ScorerCard(
        name="world_heldout",
        version="1",
        summary="Craft: how upright and symmetric are the figures? For evaluation, not for training.",
        scale="0 (no figure, or none with an axis) to 100 (all perfectly symmetric); clean renders have about 99",
        # One standard deviation among the pictures of one prompt (10) is preferred with sigmoid(1) = .73.
        bradley_terry_scale=0.1,
        uses_prompt=False,
        licence="Apache-2.0",
        citation="Accord, the embedded world",
        low=0.0,
        high=100.0,
    )

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return the craft per image, float64 (B,). Raises ScoringError for pictures that are not 32x32 uint8."""
        check_images(self.card.name, images, prompts)
        return score_each(craft, images)


def craft(image: np.ndarray) -> float:
    """The formula at the top of this file, of one image, float64 (H, W, 3) in 0..1."""
    difference = difference_from_background(image)
    inside = difference > max(_MIN_DIFFERENCE, _MIN_SHARE * float(difference.max()))
    weight = np.where(inside, difference - _MIN_DIFFERENCE, 0.0)
    figures = connected_components(np.where(inside, 0, -1))
    areas = np.bincount(figures[figures >= 0])
    large = np.flatnonzero(areas >= _MIN_AREA)
    if len(large) == 0:
        return 0.0
    symmetry = np.array([_symmetry(np.where(figures == figure, weight, 0.0)) for figure in large.tolist()])
    return float(100.0 * (areas[large] * symmetry).sum() / areas[large].sum())


def _symmetry(weight: np.ndarray) -> float:
    """1 minus the root mean square distance of the row middles from their common axis, in half widths, at least 0."""
    columns = np.arange(weight.shape[1])
    in_row, in_column = weight.sum(axis=1), weight.sum(axis=0)
    total = in_row.sum()
    middle = (weight * columns).sum(axis=1)[in_row > 0.0] / in_row[in_row > 0.0]
    axis = (in_column * columns).sum() / total
    deviation = np.sqrt((in_row[in_row > 0.0] * (middle - axis) ** 2).sum() / total)
    half_width = np.sqrt((in_column * (columns - axis) ** 2).sum() / total)
    return float(max(0.0, 1.0 - deviation / half_width)) if half_width > 0.0 else 1.0
