"""Cosine similarity of images and texts under a CLIP model: what CLIP score and PickScore share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from accord.errors import ScoringError

if TYPE_CHECKING:
    from torch import Tensor


class ClipSimilarity:
    """A CLIP model with its own image and text preprocessing, in evaluation mode and float32.

    Images: shortest edge to the model's size (bicubic), centre crop. Texts: cut at the model's length.
    """

    def __init__(self, path: str, processor_path: str, device: str) -> None:
        """Open `path`, a hub id or a local folder. Raises ScoringError that says how to get it."""
        from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

        try:
            self.model = CLIPModel.from_pretrained(path, use_safetensors=True).eval().requires_grad_(False).to(device)
            self.images = CLIPImageProcessorPil.from_pretrained(processor_path)
            self.tokenizer = CLIPTokenizer.from_pretrained(processor_path)
        except (OSError, ValueError) as error:
            raise ScoringError(
                f"the reward model '{path}' cannot be opened ({str(error).splitlines()[0]}); get it with "
                f"`hf download {path}`, or give a local folder"
            ) from error
        self.device = device

    def cosines(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> Tensor:
        """Return the cosine of each image with its own prompt, (B,) float32. A text that recurs is encoded once."""
        import torch

        distinct = list(dict.fromkeys(prompts))
        with torch.inference_mode():
            texts = self._texts(distinct)[torch.tensor([distinct.index(text) for text in prompts])]
            return (self._images(images) * texts).sum(dim=-1).cpu()

    @property
    def logit_scale(self) -> float:
        """The learned factor that turns a cosine into a logit."""
        return float(self.model.logit_scale.exp())

    def _images(self, images: Sequence[np.ndarray]) -> Tensor:
        from torch.nn.functional import normalize

        pixels = self.images(images=list(images), return_tensors="pt", input_data_format="channels_last")
        return normalize(self.model.get_image_features(pixels["pixel_values"].to(self.device)).pooler_output, dim=-1)

    def _texts(self, texts: Sequence[str]) -> Tensor:
        from torch.nn.functional import normalize

        length = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        inputs = {name: tokens[name].to(self.device) for name in ("input_ids", "attention_mask")}
        return normalize(self.model.get_text_features(**inputs).pooler_output, dim=-1)
