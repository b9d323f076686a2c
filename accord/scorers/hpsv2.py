"""HPSv2.0 (Wu et al. 2023, arXiv 2306.09341): human preference, from 798,000 choices of HPDv2.

    score = cos(image, prompt)        a ViT-H/14 of open_clip, trained on people's choices; no logit scale

The whole picture is shown: longest edge to 224 pixels, black borders, and only then normalised. Texts are cleaned as
open_clip's tokenizer does: mended, HTML entities read, quotes straight. Published tables multiply the cosine by 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from accord.scorers.batch import Batch
from accord.scorers.clip_network import H14, as_array
from accord.scorers.hps import CHECKPOINT, NOTE_ON_SCALE, open_hps
from accord.scorers.placement import Dtype
from accord.types import ScorerCard

if TYPE_CHECKING:
    from torch import Tensor

FILE = "HPS_v2_compressed"
FOLDER = "./weights/hpsv2"


class HpsV2:
    """Human preference, learned from 798,000 choices among 430,000 images of HPDv2."""

    card = ScorerCard(
        name="hpsv2",
        version=FILE,
        summary="Human preference, learned from 798,000 choices among 430,000 images of HPDv2.",
        scale=NOTE_ON_SCALE,
        bradley_terry_scale=100.0,  # its logit scale: trained so that 100 times a difference is a log-odds
        uses_prompt=True,
        licence="Apache-2.0",
        licence_of_weights="Apache-2.0",
        citation="Wu et al., Human Preference Score v2, 2023, arXiv 2306.09341",
        low=-1.0,
        high=1.0,
        differentiable=True,
        checkpoint=f"{CHECKPOINT} {FILE}.pt",
        revision="main",
        memory_gb=2.0,
    )

    def __init__(
        self,
        *,
        path: str = FOLDER,
        tokenizer_path: str = H14,
        antialias: bool = False,
        dtype: Dtype = "float32",
        device: str = "cpu",
    ) -> None:
        self._score = open_hps(path, FILE, tokenizer_path, antialias, dtype, device)
        self.preprocessing = self._score.preprocessing
        self.checkpoint = self._score.clip.checkpoint

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return (B,) float64."""
        return self.score_batch(Batch(images, prompts))

    def score_batch(self, batch: Batch) -> np.ndarray:
        """Return (B,) float64."""
        return as_array(self._score.of_batch(batch))

    def differentiable_scores(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return (B,) for float images (B, 3, H, W) in 0..1, with gradients; always antialiased, so approximate."""
        return self._score.of_tensors(images, prompts)
