"""Popular taste, about 15..35: colour, contrast, a filled frame, many edges. The prompt plays no part.

score = 15 + .07 colourfulness + 14 contrast + 10 fill + 14 edge density
"""

from collections.abc import Sequence

import numpy as np

from accord.types import ScorerCard
from accord.world.rewards.inputs import check_images, score_each
from accord.world.rewards.statistics import colorfulness, contrast, edge_density, saliency


class Taste:
    """Popular taste: the louder the better."""

    card = ScorerCard(
        name="world_taste",
        version="1",
        summary="Popular taste: colourful, rich in contrast, a filled frame, many edges.",
        scale="15 (an empty grey picture) upwards; pictures of the base model lie at about 19 to 29",
        # One standard deviation among the pictures of one prompt (1.7) is preferred with sigmoid(1) = .73.
        bradley_terry_scale=0.6,
        uses_prompt=False,
        licence="Apache-2.0",
        citation="Accord, the embedded world; in the role of a preference model such as PickScore",
        low=15.0,
        high=None,
    )

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return the popularity per image, float64 (B,). Raises ScoringError for pictures that are not 32x32 uint8."""
        check_images(self.card.name, images, prompts)
        return score_each(_loudness, images)


def _loudness(image: np.ndarray) -> float:
    return (
        15.0
        + 0.07 * colorfulness(image)
        + 14.0 * contrast(image)
        + 10.0 * saliency(image).fill
        + 14.0 * edge_density(image)
    )
