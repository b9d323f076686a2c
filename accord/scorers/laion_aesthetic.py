"""LAION aesthetic predictor v2 (Schuhmann 2022; used in LAION-5B, arXiv 2210.08402): is the picture pleasing?

    score = W5 (W4 (W3 (W2 (W1 e + b1) + b2) + b3) + b4) + b5       e: unit image embedding of CLIP ViT-L/14, 768 wide

Five linear layers 768, 1024, 128, 64, 16, 1 without any activation between them. About 1 to 10, good pictures 5.5 to 7.
This is `sac+logos+ava1-l14-linearMSE`, not the older single-layer predictors that some tables call "aesthetic".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from accord.errors import ScoringError
from accord.scorers.batch import Batch
from accord.scorers.checkpoint import Needed, from_address, get_and_convert, hashes, require
from accord.scorers.clip_network import as_array, open_clip_network, require_clip
from accord.scorers.clip_score import CHECKPOINT
from accord.scorers.official import read_state
from accord.scorers.placement import Dtype
from accord.scorers.preprocessing import CropToSquare
from accord.scorers.tensor_images import crop_to_square
from accord.types import ScorerCard

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "./weights/laion_aesthetic"
FILE = "sac+logos+ava1-l14-linearMSE"
SOURCE = f"https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/{FILE}.pth"
LAYERS = (0, 2, 4, 6, 7)  # the linear layers' places in the original sequence, which has dropout between some of them


class LaionAesthetic:
    """The aesthetic head on OpenAI's CLIP ViT-L/14. The head always computes in float32."""

    card = ScorerCard(
        name="laion_aesthetic",
        version=FILE,
        summary="How pleasing the picture is, trained on ratings. Reads no text, and is easily hacked.",
        scale="a rating, about 1 to 10; good pictures 5.5 to 7",
        bradley_terry_scale=2.0,  # a rating, not a logit: one point of difference is preferred with sigmoid(2) = .88
        uses_prompt=False,
        licence="Apache-2.0",
        licence_of_weights="Apache-2.0; the network below it MIT",
        citation="Schuhmann, Improved aesthetic predictor, 2022; Schuhmann et al., LAION-5B, NeurIPS 2022",
        differentiable=True,
        checkpoint=SOURCE,
        revision="main",
        memory_gb=0.86,
        network="CLIP ViT-L/14",
    )

    def __init__(
        self,
        *,
        path: str = CHECKPOINT,
        head_path: str = FOLDER,
        revision: str = "main",
        dtype: Dtype = "float32",
        device: str = "cpu",
    ) -> None:
        file = head_file(head_path).find()
        self.head = read_head({name: each.to(device) for name, each in read_state(file).items()})
        self.clip = open_clip_network(path, path, revision, dtype, device)
        self.preprocessing = CropToSquare(self.clip.image_size, rounds_crop=True)
        self.checkpoint = {**self.clip.checkpoint, **hashes([file])}

    @staticmethod
    def require_ready(*, path: str, head_path: str, revision: str, **_: object) -> None:
        """Raise ScoringError if a file is missing."""
        require(head_file(head_path))
        require_clip(path, path, revision)

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return (B,) float64. Prompts play no part."""
        return self.score_batch(Batch(images, prompts))

    def score_batch(self, batch: Batch) -> np.ndarray:
        """Return (B,) float64, sharing the images' embeddings with CLIP score."""
        return as_array(rate(self.clip.images(batch, self.preprocessing), self.head))

    def differentiable_scores(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return (B,) for float images (B, 3, H, W) in 0..1, with gradients; resized on tensors, so approximate."""
        return rate(self.clip.embed_pixels(crop_to_square(images, self.preprocessing)), self.head)


def head_file(folder: str) -> Needed:
    """Return the head's weights, with the two commands that bring the official ones into `folder`."""
    how = get_and_convert(from_address(SOURCE, folder), folder, f"{FILE}.pth")
    return Needed(folder, (f"{FILE}.safetensors",), instead=how)


Head = list[tuple["Tensor", "Tensor"]]


def read_head(weights: Mapping[str, Tensor]) -> Head:
    """Return (weight, bias) of the five layers in float32. Raises ScoringError unless just these are there."""
    names = [f"layers.{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")]
    if sorted(weights) != sorted(names):
        odd = sorted(set(names) ^ set(weights))[0]
        raise ScoringError(
            f"{FILE} must hold the weights of five linear layers; '{odd}' is missing or too many; get the official file"
        )
    return [(weights[f"layers.{i}.weight"].float(), weights[f"layers.{i}.bias"].float()) for i in LAYERS]


def rate(embeddings: Tensor, head: Head) -> Tensor:
    """Return the rating (B,) of unit image embeddings (B, D): one linear layer after the other, nothing between."""
    from torch.nn.functional import linear

    for weight, bias in head:
        embeddings = linear(embeddings, weight, bias)
    return embeddings.squeeze(-1)
