"""Stable Diffusion 1.x and 2.x, and the embedded world, whose UNet predicts a flow.

One text encoder, a UNet, latents of the autoencoder scaled by one number. What is predicted (epsilon, v or flow)
is the scheduler's to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from accord.models.interface import SamplerSettings
from accord.models.opened import OpenedPipeline
from accord.models.text_limits import TextLimit


class StableDiffusion:
    """What differs for `StableDiffusionPipeline`."""

    pipeline_class = "StableDiffusionPipeline"
    denoiser_part = "unet"
    text_parts = ("tokenizer", "text_encoder")
    options: Mapping[str, Any] = {"requires_safety_checker": False}
    lora_targets = ("to_q", "to_k", "to_v", "to_out.0")
    patch = 1

    def encode_prompts(self, opened: OpenedPipeline, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return `prompt_embeds` (B, L, D)."""
        embeds, _ = opened.pipe.encode_prompt(list(texts), opened.device, 1, do_classifier_free_guidance=False)
        return {"prompt_embeds": embeds}

    def text_limits(self, opened: OpenedPipeline) -> Mapping[str, TextLimit]:
        """Return the tokenizer's own limit, CLIP's 77."""
        return {"tokenizer": TextLimit(opened.pipe.tokenizer.model_max_length)}

    def predict(
        self,
        opened: OpenedPipeline,
        denoiser: nn.Module,
        latents: Tensor,
        timesteps: Tensor,
        conditioning: dict[str, Tensor],
    ) -> Tensor:
        """Return the UNet's output (B, C, H, W)."""
        embeds = conditioning["prompt_embeds"]
        return denoiser(latents, timesteps, encoder_hidden_states=embeds, return_dict=False)[0]

    def guidance(self, settings: SamplerSettings) -> dict[str, Any]:
        """Return classifier-free guidance against the negative prompt, '' unless one is given."""
        return {"guidance_scale": settings.guidance_scale, "negative_prompt": settings.negative_prompt or None}

    def pack(self, latents: Tensor) -> Tensor:
        """Return the latents as they are."""
        return latents

    def unpack(self, latents: Tensor, height: int, width: int) -> Tensor:
        """Return the latents as they are."""
        return latents
