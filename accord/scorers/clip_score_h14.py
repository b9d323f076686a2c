"""CLIP score under LAION's ViT-H/14 (Cherti et al. 2023, arXiv 2212.07143): does picture fit text?

    score = cos(image, prompt)        in the convention "cosine"
            100 max(cos, 0)           in "x100", as torchmetrics
            2.5 max(cos, 0)           in "hessel", the text after "A photo depicts "
            exp(logit_scale) cos      in "logits", about 100 cos

As clip_score, with another network: plain GELU, 986 million parameters.
"""

from __future__ import annotations

from accord.scorers import delegated
from accord.scorers.clip_convention import Convention, ConventionalScore, with_convention
from accord.scorers.clip_network import open_clip_network, require_clip
from accord.scorers.placement import Dtype
from accord.types import ScorerCard

CHECKPOINT = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
CARD = ScorerCard(
    name="clip_score_h14",
    version=f"{CHECKPOINT}, cosine by default",
    summary="Agreement of picture and text under LAION's CLIP ViT-H/14, from which others start.",
    scale="",
    bradley_terry_scale=100.0,
    uses_prompt=True,
    licence="MIT",
    licence_of_weights="MIT",
    citation="Cherti et al., Reproducible scaling laws for contrastive language-image learning, CVPR 2023",
    differentiable=True,
    checkpoint=CHECKPOINT,
    revision="main",
    memory_gb=2.0,
    network="CLIP ViT-H/14",
)


class ClipScoreH14:
    """CLIP ViT-H/14 of LAION."""

    card = with_convention(CARD, "cosine")

    def __init__(
        self,
        *,
        path: str = CHECKPOINT,
        revision: str = "main",
        convention: Convention = "cosine",
        dtype: Dtype = "float32",
        device: str = "cpu",
    ) -> None:
        self.card = self.card_for(convention=convention)
        self.clip = open_clip_network(path, path, revision, dtype, device)
        self._score = ConventionalScore(self.clip, convention)
        self.preprocessing = self._score.preprocessing
        self.checkpoint = self.clip.checkpoint

    @staticmethod
    def require_ready(*, path: str, revision: str, **_: object) -> None:
        """Raise ScoringError if a file is missing."""
        require_clip(path, path, revision)

    @staticmethod
    def card_for(*, convention: Convention = "cosine", **_: object) -> ScorerCard:
        """Return the card in this convention."""
        return with_convention(CARD, convention)

    score, score_batch = delegated.score, delegated.score_batch
    differentiable_scores = delegated.differentiable_scores
