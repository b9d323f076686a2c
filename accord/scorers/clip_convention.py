"""CLIP score's four conventions. A published number means little without its convention.

| convention | formula                                             | usual range | where                          |
|------------|-----------------------------------------------------|-------------|--------------------------------|
| cosine     | cos                                                 | .15 to .35  | T2I-CompBench, many papers     |
| x100       | 100 max(cos, 0)                                     | 15 to 35    | torchmetrics                   |
| hessel     | 2.5 max(cos, 0), text after "A photo depicts "      | .4 to .9    | the original CLIPScore         |
| logits     | exp(logit_scale) cos, about 100 cos                 | 15 to 35    | CLIP's own zero-shot code      |

The Bradley-Terry scale takes every convention to CLIP's own logits, whose scale is 100.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from accord.scorers.batch import Batch
from accord.scorers.clip_network import ClipNetwork
from accord.scorers.preprocessing import CropToSquare
from accord.scorers.tensor_images import crop_to_square
from accord.types import ScorerCard

if TYPE_CHECKING:
    from torch import Tensor

Convention = Literal["cosine", "x100", "hessel", "logits"]


def hessel_text(prompt: str) -> str:
    """Return the prompt as Hessel et al. put it to CLIP."""
    return f"A photo depicts {prompt}"


def text_of(convention: Convention) -> Callable[[str], str] | None:
    """Return what the convention does to a prompt, or None."""
    return hessel_text if convention == "hessel" else None


def with_convention(card: ScorerCard, convention: Convention) -> ScorerCard:
    """Return the card of a CLIP score in this convention."""
    scale, bradley_terry, low, high = {
        "cosine": ("cosine; about 0.15 to 0.35", 100.0, -1.0, 1.0),
        "x100": ("100 times cosine, cut at 0; about 15 to 35", 1.0, 0.0, 100.0),
        "hessel": ("2.5 times cosine, cut at 0, with 'A photo depicts' before the text; .4 to .9", 40.0, 0.0, 2.5),
        "logits": ("the model's logit scale, about 100, times cosine; about 15 to 35", 1.0, None, None),
    }[convention]
    return replace(card, scale=scale, bradley_terry_scale=bradley_terry, low=low, high=high)


@dataclass(frozen=True)
class ConventionalScore:
    """CLIP score of one network in one convention."""

    clip: ClipNetwork
    convention: Convention

    @property
    def preprocessing(self) -> CropToSquare:
        """What the network reads of an image, cropped as OpenAI's and open_clip's code do."""
        return CropToSquare(self.clip.image_size, rounds_crop=True)

    def of_batch(self, batch: Batch) -> Tensor:
        """Return (B,) float64."""
        return self.stated(self.clip.cosines(batch, self.preprocessing, text_of(self.convention)))

    def of_tensors(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return (B,) float32 for float images (B, 3, H, W) in 0..1, with gradients."""
        clean = text_of(self.convention) or str
        pixels = self.clip.embed_pixels(crop_to_square(images, self.preprocessing))
        return self.stated((pixels * self.clip.embed_texts([clean(prompt) for prompt in prompts])).sum(dim=-1))

    def stated(self, cosines: Tensor) -> Tensor:
        """Return cosines (B,) as the convention states them."""
        if self.convention == "cosine":
            return cosines
        if self.convention == "logits":
            return self.clip.logit_scale * cosines
        return {"x100": 100.0, "hessel": 2.5}[self.convention] * cosines.clamp(min=0)
