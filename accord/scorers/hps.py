"""HPSv2 and HPSv2.1 (Wu et al. 2023, arXiv 2306.09341): what the two have in common.

    score = cos(image, prompt)        a ViT-H/14 of open_clip, trained on people's choices; no logit scale

The whole picture is shown: longest edge to 224 pixels, black borders, and only then normalised. Texts are cleaned as
open_clip's tokenizer does. Published tables multiply the cosine by 100.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accord.scorers.batch import Batch
from accord.scorers.checkpoint import Needed, from_hub, get_and_convert, hashes, require
from accord.scorers.clip_names import from_open_clip, h14_config
from accord.scorers.clip_network import ClipNetwork, clip_of_weights, open_tokenizer, tokenizer_file
from accord.scorers.official import read_state
from accord.scorers.placement import Dtype
from accord.scorers.preprocessing import PadToSquare
from accord.scorers.shared import shared
from accord.scorers.tensor_images import pad_to_square
from accord.types import ScorerCard

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT = "xswu/HPSv2"
FOLDER = "./weights/hpsv2"


@dataclass(frozen=True)
class HumanPreferenceScore:
    """One version of HPS: its network, and how images are resized."""

    clip: ClipNetwork
    preprocessing: PadToSquare

    def of_batch(self, batch: Batch) -> Tensor:
        """Return (B,) float64."""
        return self.clip.cosines(batch, self.preprocessing, clean_text)

    def of_tensors(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return (B,) float32 for float images (B, 3, H, W) in 0..1, with gradients; always with antialiasing."""
        pixels = self.clip.embed_pixels(pad_to_square(images, self.preprocessing))
        texts = self.clip.embed_texts([clean_text(prompt) for prompt in prompts])
        return (pixels * texts).sum(dim=-1)


def hps_card(name: str, file: str, summary: str) -> ScorerCard:
    """Return the card of one version, whose weights are `file`."""
    return ScorerCard(
        name=name,
        version=file,
        summary=summary,
        scale="cosine, no logit scale; about 0.2 to 0.35; tables multiply it by 100",
        bradley_terry_scale=100.0,  # its logit scale: trained so that 100 times a difference is a log-odds
        uses_prompt=True,
        licence="Apache-2.0",
        licence_of_weights="Apache-2.0",
        citation="Wu et al., Human Preference Score v2, 2023, arXiv 2306.09341",
        low=-1.0,
        high=1.0,
        differentiable=True,
        checkpoint=f"{CHECKPOINT} {file}.pt",
        revision="main",
        memory_gb=2.0,
    )


def open_hps(
    path: str, name: str, tokenizer_path: str, antialias: bool, dtype: Dtype, device: str
) -> HumanPreferenceScore:
    """Open `name`.safetensors in the folder `path`. Raises ScoringError that says how to get and convert it."""
    key = ("hps", path, name, tokenizer_path, dtype, device)

    def make() -> ClipNetwork:
        file = weights_file(path, name).find()
        weights = from_open_clip(read_state(file))
        model = clip_of_weights(weights, h14_config(weights), dtype, str(file))
        return ClipNetwork(model, open_tokenizer(tokenizer_path), key, hashes([file]), device)

    clip = shared(key, make)
    return HumanPreferenceScore(clip, PadToSquare(clip.image_size, antialias))


def require_hps(path: str, name: str, tokenizer_path: str) -> None:
    """Raise ScoringError if a file of this version is missing."""
    require(weights_file(path, name), tokenizer_file(tokenizer_path))


def weights_file(folder: str, name: str) -> Needed:
    """Return the weights `name`, with the two commands that bring the official ones into `folder`."""
    how = get_and_convert(from_hub(CHECKPOINT, f"{name}.pt", folder), folder, f"{name}.pt")
    return Needed(folder, (f"{name}.safetensors",), instead=how)


def clean_text(text: str) -> str:
    """Return the text as open_clip cleans it before its tokenizer: mended, HTML entities read, quotes straight."""
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()
