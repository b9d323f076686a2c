"""The exact checker as a scorer: right or wrong."""

from collections.abc import Sequence

import numpy as np

from accord.types import ScorerCard
from accord.world.captions import Caption
from accord.world.checker import MIN_CHROMA, meets
from accord.world.detect import detect
from accord.world.rewards.inputs import check_images, score_each_with_caption


class Checker:
    """1 where the image shows exactly what the prompt asks for, else 0; NaN where the prompt is not a caption."""

    card = ScorerCard(
        name="world_checker",
        version="1",
        summary="Does the picture show exactly what the caption asks for? Things are found by colour and compared with "
        "drawn shapes; count, colours, relation and background are tested.",
        scale="0 wrong, 1 right; NaN for a prompt outside the grammar of the embedded world",
        # A right picture is preferred to a wrong one nine times in ten: logit(.9) = 2.2.
        bradley_terry_scale=2.2,
        uses_prompt=True,
        licence="Apache-2.0",
        citation="Accord, the embedded world; after Ghosh et al. 2023, GenEval",
        low=0.0,
        high=1.0,
    )

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return 0 or 1 per image, float64 (B,). Raises ScoringError for pictures that are not 32x32 uint8."""
        check_images(self.card.name, images, prompts)
        return score_each_with_caption(_is_right, images, prompts)


def _is_right(image: np.ndarray, caption: Caption) -> float:
    return float(meets(detect(image, MIN_CHROMA), caption))
