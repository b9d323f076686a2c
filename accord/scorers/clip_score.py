"""CLIP score (Radford et al. 2021, arXiv 2103.00020; Hessel et al. 2021, arXiv 2104.08718): does picture fit text?

    score = 100 * cos(image, prompt), without a text prefix and without cutting at 0      about 15 to 35

Four conventions are in use; this is the raw cosine in hundredths. Hessel's is 2.5 * max(cos, 0) with the text prefixed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accord.scorers.clip_similarity import ClipSimilarity
from accord.types import ScorerCard


class ClipScore:
    """CLIP ViT-L/14 of OpenAI."""

    card = ScorerCard(
        name="clip_score",
        version="openai/clip-vit-large-patch14",
        summary="Agreement of picture and text under OpenAI's CLIP ViT-L/14; coarse, weak on counting and position.",
        scale="100 times cosine; about 15 to 35",
        bradley_terry_scale=1.0,  # 100 is this model's own logit scale, so a difference is a log-odds
        uses_prompt=True,
        licence="MIT",
        citation="Radford et al., CLIP, ICML 2021; Hessel et al., CLIPScore, EMNLP 2021",
        low=-100.0,
        high=100.0,
    )

    def __init__(self, *, path: str = card.version, device: str = "cpu") -> None:
        self.clip = ClipSimilarity(path, path, device)

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return (B,) float64."""
        return 100.0 * self.clip.cosines(images, prompts).double().numpy()
