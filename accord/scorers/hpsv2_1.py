"""HPSv2.1 (Wu et al. 2023, arXiv 2306.09341): the later checkpoint of HPSv2, and the one of its public table.

    score = cos(image, prompt)        a ViT-H/14 of open_clip, trained on people's choices; no logit scale

The whole picture is shown: longest edge to 224 pixels, black borders, and only then normalised. Texts are cleaned as
open_clip's tokenizer does: mended, HTML entities read, quotes straight. Published tables multiply the cosine by 100.
"""

from __future__ import annotations

from accord.scorers import delegated, hps
from accord.scorers.clip_network import H14
from accord.scorers.placement import Dtype

FILE = "HPS_v2.1_compressed"


class HpsV21:
    """Human preference, the later checkpoint of HPSv2; its scores are not those of v2.0."""

    card = hps.hps_card(
        "hpsv2.1", FILE, "Human preference, the later checkpoint of HPSv2; its scores are not those of v2.0."
    )

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
