"""Aesthetics, 1..10: the taste for quiet composition. The prompt plays no part.

    u     = 1.5 - 25 grain - 3 border variation - .28 (spread - 5) - .10 off centre
            - fill_weight |fill - .12| - saturation_weight (saturation - .2)
    score = 1 + 9 sigmoid(.7 u)

It dislikes a filled frame, which `world_taste` likes, and it dislikes spread, which a caption with several things
needs: the conflict between the rewards is part of the world's design. Version 1 also asked for muted colour.
"""

from collections.abc import Sequence

import numpy as np

from accord.types import ScorerCard
from accord.world.rewards.inputs import check_images, score_each
from accord.world.rewards.statistics import border_variation, grain, saliency, saturation


class Aesthetics:
    """Quiet composition: a clean surface, one small compact subject in the centre.

    `fill_weight` and `saturation_weight` set how strongly it contradicts `world_taste`: (3, 0) by default, (6, 4) for
    a strong conflict, (0, 0) for nearly none.
    """

    card = ScorerCard(
        name="world_aesthetics",
        version="2",
        summary="Quiet composition: a clean surface, one small compact subject in the centre.",
        scale="1 (noisy, scattered, loud) to 10 (quiet); pictures of the base model lie at about 4 to 7",
        # One standard deviation among the pictures of one prompt (.5) is preferred with sigmoid(.9) = .71.
        bradley_terry_scale=1.8,
        uses_prompt=False,
        licence="Apache-2.0",
        citation="Accord, the embedded world; in the role of the LAION aesthetics predictor",
        low=1.0,
        high=10.0,
    )

    def __init__(self, *, fill_weight: float = 3.0, saturation_weight: float = 0.0) -> None:
        self.fill_weight = fill_weight
        self.saturation_weight = saturation_weight

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return the aesthetics per image, float64 (B,). Raises ScoringError for pictures that are not 32x32 uint8."""
        check_images(self.card.name, images, prompts)
        return score_each(self._quietness, images)

    def _quietness(self, image: np.ndarray) -> float:
        subject = saliency(image)
        utility = (
            1.5
            - 25.0 * grain(image)
            - 3.0 * border_variation(image)
            - 0.28 * (subject.spread - 5.0)
            - 0.10 * subject.off_centre
            - self.fill_weight * abs(subject.fill - 0.12)
            - self.saturation_weight * (saturation(image) - 0.2)
        )
        return float(1.0 + 9.0 / (1.0 + np.exp(-0.7 * utility)))
