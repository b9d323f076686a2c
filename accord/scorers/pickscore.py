"""PickScore v1 (Kirstain et al., NeurIPS 2023, arXiv 2305.01569): a CLIP-H trained on people's choices.

    score = exp(logit_scale) * cos(image, prompt)       about 18 to 24

The difference of two scores is the log-odds of the preference, so the Bradley-Terry scale is 1. Other tools return the
plain cosine, or divide by 26: their numbers are not these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from accord.scorers.batch import Batch
from accord.scorers.clip_network import H14, as_array, open_clip_network, require_clip
from accord.scorers.placement import Dtype
from accord.scorers.preprocessing import CropToSquare
from accord.scorers.tensor_images import crop_to_square
from accord.types import ScorerCard

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT = "yuvalkirstain/PickScore_v1"


class PickScore:
    """PickScore v1, from its official checkpoint or a local folder; the tokenizer is that of LAION's CLIP-H."""

    card = ScorerCard(
        name="pickscore",
        version=CHECKPOINT,
        summary="General human preference, learned from 500,000 choices of Pick-a-Pic users.",
        scale="logit scale times cosine; about 18 to 24; a difference is a log-odds",
        bradley_terry_scale=1.0,
        uses_prompt=True,
        licence="MIT",
        licence_of_weights="not stated",
        note="the weights of PickScore state no licence of their own",
        citation="Kirstain et al., Pick-a-Pic, NeurIPS 2023, arXiv 2305.01569",
        differentiable=True,
        checkpoint=CHECKPOINT,
        revision="main",
        memory_gb=2.0,
    )

    def __init__(
        self,
        *,
        path: str = CHECKPOINT,
        tokenizer_path: str = H14,
        revision: str = "main",
        dtype: Dtype = "float32",
        device: str = "cpu",
    ) -> None:
        self.clip = open_clip_network(path, tokenizer_path, revision, dtype, device)
        self.preprocessing = CropToSquare(self.clip.image_size)
        self.checkpoint = self.clip.checkpoint

    @staticmethod
    def require_ready(*, path: str, tokenizer_path: str, revision: str, **_: object) -> None:
        """Raise ScoringError if a file is missing."""
        require_clip(path, tokenizer_path, revision)

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return (B,) float64."""
        return self.score_batch(Batch(images, prompts))

    def score_batch(self, batch: Batch) -> np.ndarray:
        """Return (B,) float64, sharing the prepared images with the other scorers."""
        return self.clip.logit_scale * as_array(self.clip.cosines(batch, self.preprocessing))

    def differentiable_scores(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return (B,) for float images (B, 3, H, W) in 0..1, with gradients; resized on tensors, so approximate."""
        pixels = self.clip.embed_pixels(crop_to_square(images, self.preprocessing))
        return self.clip.logit_scale * (pixels * self.clip.embed_texts(prompts)).sum(dim=-1)
