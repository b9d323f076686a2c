"""FLUX.1: a guidance-distilled rectified flow over packed latents, two text encoders.

The transformer sees each 2 x 2 patch of latents as one token of 4 C numbers. Everything here takes and returns
ordinary latents (B, C, H, W) and packs them on the way in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from accord.errors import ModelError
from accord.models.interface import SamplerSettings
from accord.models.opened import OpenedPipeline
from accord.models.text_limits import TextLimit, longest_sequence

TRAINING_GUIDANCE = 1.0
"""The guidance that the denoiser is told outside sampling: no exaggeration, so that its output is the velocity
itself. Replace `conditioning["guidance"]` for another."""


class Flux:
    """What differs for `FluxPipeline`."""

    pipeline_class = "FluxPipeline"
    denoiser_part = "transformer"
    text_parts = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2")
    options: Mapping[str, Any] = {}
    lora_targets = (
        *("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
        *("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"),
    )
    patch = 2

    def encode_prompts(self, opened: OpenedPipeline, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return `prompt_embeds` (B, L, D), `pooled` (B, D') and, unless the model takes none, `guidance` (B,)."""
        embeds, pooled, _ = opened.pipe.encode_prompt(list(texts), None, device=opened.device)
        named = {"prompt_embeds": embeds, "pooled": pooled}
        if opened.config("transformer").get("guidance_embeds", False):
            named["guidance"] = torch.full((len(texts),), TRAINING_GUIDANCE, device=embeds.device)
        return named

    def text_limits(self, opened: OpenedPipeline) -> Mapping[str, TextLimit]:
        """Return CLIP's limit of 77, and T5's, which the pipeline sets to 512."""
        clip, t5 = TextLimit(opened.pipe.tokenizer_max_length), TextLimit(longest_sequence(opened.pipe))
        return {"tokenizer": clip, "tokenizer_2": t5}

    def predict(
        self,
        opened: OpenedPipeline,
        denoiser: nn.Module,
        latents: Tensor,
        timesteps: Tensor,
        conditioning: dict[str, Tensor],
    ) -> Tensor:
        """Return the transformer's velocity (B, C, H, W). `timesteps` are 1000 t."""
        embeds = conditioning["prompt_embeds"]
        height, width = latents.shape[-2:]
        output = denoiser(
            hidden_states=pack(latents),
            timestep=timesteps / 1000,
            guidance=conditioning.get("guidance"),
            pooled_projections=conditioning["pooled"],
            encoder_hidden_states=embeds,
            txt_ids=embeds.new_zeros(embeds.shape[1], 3),
            img_ids=position_ids(height // 2, width // 2).to(latents),
            return_dict=False,
        )[0]
        return unpack(output, height, width)

    def guidance(self, settings: SamplerSettings) -> dict[str, Any]:
        """Return the guidance that the transformer is told. Raises ModelError for a negative prompt."""
        if settings.negative_prompt:
            raise ModelError(
                f"FLUX has its guidance built in and takes no negative prompt: leave out '{settings.negative_prompt}'"
            )
        return {"guidance_scale": settings.guidance_scale}

    def pack(self, latents: Tensor) -> Tensor:
        """Return latents (B, C, H, W) as tokens (B, H/2 * W/2, 4 C)."""
        return pack(latents)

    def unpack(self, latents: Tensor, height: int, width: int) -> Tensor:
        """Return tokens (B, height/2 * width/2, 4 C) as latents (B, C, height, width)."""
        return unpack(latents, height, width)


def pack(latents: Tensor) -> Tensor:
    """Return latents (B, C, H, W) as tokens (B, H/2 * W/2, 4 C), one per 2 x 2 patch, row by row."""
    batch, channels, height, width = latents.shape
    patches = latents.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(batch, (height // 2) * (width // 2), channels * 4)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """Return tokens (B, height/2 * width/2, 4 C) as latents (B, C, height, width)."""
    batch, _, values = tokens.shape
    patches = tokens.reshape(batch, height // 2, width // 2, values // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(batch, values // 4, height, width)


def position_ids(height: int, width: int) -> Tensor:
    """Return (height * width, 3): 0, row and column of every token, for the rotary embedding."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float()
