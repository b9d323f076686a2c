"""ImageReward v1.0 (Xu et al., NeurIPS 2023, arXiv 2304.05977): BLIP with a reward head, trained on ranked pictures.

    score = (head(text state that has looked at the picture) - 0.1672) / 1.0333        about -2.3 to 2

The prompt is cut or padded to 35 tokens and keeps [CLS] in front; the head reads the state of that token. The head's
five layers have no non-linearity between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from accord.scorers import blip
from accord.scorers.batch import Batch
from accord.scorers.checkpoint import Needed, from_hub, get_and_convert, hashes, require
from accord.scorers.official import fill, read_state, same_name, split
from accord.scorers.placement import Dtype, placed, precise
from accord.scorers.preprocessing import CropToSquare
from accord.types import ScorerCard

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn
    from transformers import BlipTextModel, BlipVisionModel

CHECKPOINT = "THUDM/ImageReward"
FOLDER = "./weights/image_reward"
FILE = "ImageReward"
LENGTH = 35  # tokens; a longer prompt is cut
MEAN, STD = 0.16717362830052426, 1.0333394966054072

PARTS = ("blip.visual_encoder.", "blip.text_encoder.", "mlp.layers.")
UNUSED = r"blip\.(vision|text)_proj\.(weight|bias)|blip\.text_encoder\.embeddings\.position_ids"


class ImageReward:
    """ImageReward v1.0, from its official checkpoint."""

    card = ScorerCard(
        name="image_reward",
        version=f"{CHECKPOINT} v1.0",
        summary="General human preference, learned from 137,000 comparisons by experts; 35 tokens of the prompt count.",
        scale="standardised: about -2.3 to 2, mean 0 and deviation 1 over the authors' pictures",
        bradley_terry_scale=1.0333394966054072,  # the head was trained on log-odds and is divided by this afterwards
        uses_prompt=True,
        licence="Apache-2.0",
        citation="Xu et al., ImageReward, NeurIPS 2023, arXiv 2304.05977",
        licence_of_weights="Apache-2.0",
        checkpoint=CHECKPOINT,
        revision="main",
        memory_gb=0.9,
    )
    preprocessing = CropToSquare(224, rounds_crop=True)

    def __init__(
        self,
        *,
        path: str = FOLDER,
        tokenizer_path: str = blip.TOKENIZER,
        device: str = "cpu",
        dtype: Dtype = "float32",
    ) -> None:
        """Open the checkpoint in the folder `path`, with BERT's vocabulary in `tokenizer_path`."""
        file = weights_file(path).find()
        self.checkpoint = hashes([file])
        vision, text, head = parts(read_state(file), file.name)
        self.vision, self.text = placed(vision, device, dtype), placed(text, device, dtype)
        self.head = placed(head, device, "float32")  # float32 whatever the rest, as the original
        self.tokenizer = blip.tokenizer(tokenizer_path, text.config.vocab_size)
        self.preprocessing = CropToSquare(blip.image_size(vision), rounds_crop=True)
        self.device = device

    @staticmethod
    def require_ready(*, path: str, tokenizer_path: str, **_: object) -> None:
        """Raise ScoringError if a file is missing."""
        require(weights_file(path), blip.vocabulary(tokenizer_path))

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return (B,) float64."""
        return self.score_batch(Batch(images, prompts))

    def score_batch(self, batch: Batch) -> np.ndarray:
        """Return (B,) float64."""
        import torch

        with torch.inference_mode():
            seen = self.vision(batch.pixels(self.preprocessing).to(self.device)).last_hidden_state
            states = self.text(**self._tokens(batch.prompts), encoder_hidden_states=seen).last_hidden_state
            rewards = self.head(states[:, 0].float()).squeeze(-1)
        return (precise(rewards).numpy() - MEAN) / STD

    def _tokens(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        tokens = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt"
        )
        return {name: tokens[name].to(self.device) for name in ("input_ids", "attention_mask")}


def weights_file(folder: str) -> Needed:
    """Return the weights, with the two commands that bring the official ones into `folder`."""
    how = get_and_convert(from_hub(CHECKPOINT, f"{FILE}.pt", folder), folder, f"{FILE}.pt")
    return Needed(folder, (f"{FILE}.safetensors",), instead=how)


def parts(state: Mapping[str, Tensor], source: str) -> tuple[BlipVisionModel, BlipTextModel, nn.Module]:
    """Return the vision network, the text network and the reward head, from tensors with official names."""
    vision, text, head = split(state, PARTS, UNUSED, source)
    return (
        blip.vision_model(vision, source),
        blip.text_encoder(text, source),
        fill(lambda: reward_head(text["embeddings.word_embeddings.weight"].shape[1]), head, same_name, source),
    )


def reward_head(width: int) -> nn.Module:
    """Return the five linear layers; their places among the original's dropouts are 0, 2, 4, 6 and 7."""
    from torch import nn

    drop = nn.Identity()
    return nn.Sequential(
        nn.Linear(width, 1024), drop, nn.Linear(1024, 128), drop, nn.Linear(128, 64), drop,
        nn.Linear(64, 16), nn.Linear(16, 1),
    )  # fmt: skip
