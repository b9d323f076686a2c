"""CLIP score (Radford et al. 2021, arXiv 2103.00020; Hessel et al. 2021, arXiv 2104.08718): does picture fit text?

    score = cos(image, prompt)        in the convention "cosine"
            100 max(cos, 0)           in "x100", as torchmetrics
            2.5 max(cos, 0)           in "hessel", the text after "A photo depicts "
            exp(logit_scale) cos      in "logits", about 100 cos

Shortest edge to 224 pixels, centre crop, OpenAI's ViT-L/14 with its quick GELU, 77 tokens, no template.
"""

from __future__ import annotations

from accord.scorers import delegated
from accord.scorers.clip_convention import Convention, ConventionalScore, with_convention
from accord.scorers.clip_network import open_clip_network, require_clip
from accord.scorers.placement import Dtype
from accord.types import ScorerCard

CHECKPOINT = "openai/clip-vit-large-patch14"
CARD = ScorerCard(
    name="clip_score",
    version=f"{CHECKPOINT}, cosine by default",
    summary="Agreement of picture and text under OpenAI's CLIP ViT-L/14; coarse, weak on counting and position.",
    scale="",
    bradley_terry_scale=100.0,
    uses_prompt=True,
    licence="MIT",
    licence_of_weights="MIT",
    citation="Radford et al., CLIP, ICML 2021; Hessel et al., CLIPScore, EMNLP 2021",
    differentiable=True,
    checkpoint=CHECKPOINT,
    revision="main",
    memory_gb=0.86,
    network="CLIP ViT-L/14",
)


class ClipScore:
    """CLIP ViT-L/14 of OpenAI."""

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
