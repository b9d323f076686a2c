"""HPSv2.0 (Wu et al. 2023, arXiv 2306.09341): human preference, from 798,000 choices of HPDv2.

    score = cos(image, prompt)        a ViT-H/14 of open_clip, trained on people's choices; no logit scale

The whole picture is shown: longest edge to 224 pixels, black borders, and only then normalised. Texts are cleaned as
open_clip's tokenizer does: mended, HTML entities read, quotes straight. Published tables multiply the cosine by 100.
"""

from __future__ import annotations

from accord.scorers import delegated, hps
from accord.scorers.clip_network import H14
from accord.scorers.placement import Dtype

FILE = "HPS_v2_compressed"


class HpsV2:
    """Human preference, learned from 798,000 choices among 430,000 images of HPDv2."""

    card = hps.hps_card("hpsv2", FILE, "Human preference, learned from 798,000 choices among 430,000 images of HPDv2.")

    def __init__(
        self,
        *,
        path: str = hps.FOLDER,
        tokenizer_path: str = H14,
        antialias: bool = False,
        dtype: Dtype = "float32",
        device: str = "cpu",
    ) -> None:
        self._score = hps.open_hps(path, FILE, tokenizer_path, antialias, dtype, device)
        self.preprocessing = self._score.preprocessing
        self.checkpoint = self._score.clip.checkpoint

    @staticmethod
    def require_ready(*, path: str, tokenizer_path: str, **_: object) -> None:
        """Raise ScoringError if a file is missing."""
        hps.require_hps(path, FILE, tokenizer_path)

    score, score_batch = delegated.score, delegated.score_batch
    differentiable_scores = delegated.differentiable_scores
