"""PickScore v1 (Kirstain et al., NeurIPS 2023, arXiv 2305.01569): a CLIP-H trained on people's choices.

    score = exp(logit_scale) * cos(image, prompt)       about 18 to 24

The difference of two scores is the log-odds of the preference, so the Bradley-Terry scale is 1. Other tools return the
plain cosine, or divide by 26: their numbers are not these.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accord.scorers.clip_similarity import ClipSimilarity
from accord.types import ScorerCard

PROCESSOR = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


class PickScore:
    """PickScore v1, from its official checkpoint or a local folder."""

    card = ScorerCard(
        name="pickscore",
        version="yuvalkirstain/PickScore_v1",
        summary="General human preference, learned from 500,000 choices of Pick-a-Pic users.",
        scale="logit scale times cosine; about 18 to 24; a difference is a log-odds",
        bradley_terry_scale=1.0,
        uses_prompt=True,
        licence="code MIT; the weights state no licence of their own",
        citation="Kirstain et al., Pick-a-Pic, NeurIPS 2023, arXiv 2305.01569",
        differentiable=False,
    )

    def __init__(self, *, path: str = card.version, processor_path: str = PROCESSOR, device: str = "cpu") -> None:
        self.clip = ClipSimilarity(path, processor_path, device)

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return (B,) float64."""
        return self.clip.logit_scale * self.clip.cosines(images, prompts).double().numpy()
