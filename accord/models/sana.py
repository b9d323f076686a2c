"""Sana: a linear transformer over a deep-compression autoencoder's latents, Gemma reads the text, rectified flow.

One latent stands for 32 x 32 pixels (DC-AE, arXiv 2410.10733). A prompt goes to Gemma behind the pipeline's standing
instruction, which asks for a more detailed one, and only the last 299 tokens and the first are kept (Sana, arXiv
2410.10629, section 3.1). The unconditional text goes there bare.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from accord.models.interface import SamplerSettings
from accord.models.opened import OpenedPipeline
from accord.models.text_limits import TextLimit, longest_sequence


class Sana:
    """What differs for `SanaPipeline`."""

    pipeline_class = "SanaPipeline"
    denoiser_part = "transformer"
    text_parts = ("tokenizer", "text_encoder")
    options: Mapping[str, Any] = {}
    lora_targets = ("to_q", "to_k", "to_v", "to_out.0")
    patch = 1

    def encode_prompts(self, opened: OpenedPipeline, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return `prompt_embeds` (B, L, D) and `attention_mask` (B, L), 1 for text. The text '' has no instruction."""
        embeds, mask = encode(opened, texts, instruction(opened.pipe))
        is_empty = torch.tensor([text == "" for text in texts], device=embeds.device)
        if is_empty.any():
            bare, bare_mask = encode(opened, [""], None)
            embeds = torch.where(is_empty.view(-1, 1, 1), bare, embeds)
            mask = torch.where(is_empty.view(-1, 1), bare_mask, mask)
        return {"prompt_embeds": embeds, "attention_mask": mask}

    def text_limits(self, opened: OpenedPipeline) -> Mapping[str, TextLimit]:
        """Return Gemma's limit, which the pipeline sets to 300 less 2, behind its standing instruction."""
        before = "\n".join(instruction(opened.pipe))
        tokens = len(opened.pipe.tokenizer.encode(before)) + longest_sequence(opened.pipe) - 2
        return {"tokenizer": TextLimit(tokens, lambda text: before + text.lower().strip())}

    def predict(
        self,
        opened: OpenedPipeline,
        denoiser: nn.Module,
        latents: Tensor,
        timesteps: Tensor,
        conditioning: dict[str, Tensor],
    ) -> Tensor:
        """Return the transformer's velocity (B, C, H, W). `timesteps` are 1000 t."""
        return denoiser(
            latents,
            encoder_hidden_states=conditioning["prompt_embeds"],
            encoder_attention_mask=conditioning["attention_mask"],
            timestep=timesteps * opened.config("transformer").get("timestep_scale", 1.0),
            return_dict=False,
        )[0]

    def guidance(self, settings: SamplerSettings) -> dict[str, Any]:
        """Return classifier-free guidance against the negative prompt; the size is drawn as asked, never resized."""
        return {
            "guidance_scale": settings.guidance_scale,
            "negative_prompt": settings.negative_prompt,
            "use_resolution_binning": False,
        }

    def pack(self, latents: Tensor) -> Tensor:
        """Return the latents as they are."""
        return latents

    def unpack(self, latents: Tensor, height: int, width: int) -> Tensor:
        """Return the latents as they are."""
        return latents


def encode(opened: OpenedPipeline, texts: Sequence[str], lines: list[str] | None) -> tuple[Tensor, Tensor]:
    """Return embeddings (B, L, D) and mask (B, L) of texts that follow these lines of instruction."""
    embeds, mask, _, _ = opened.pipe.encode_prompt(
        list(texts), False, device=opened.device, complex_human_instruction=lines
    )
    return embeds, mask


def instruction(pipe: Any) -> list[str]:
    """Return the lines that the pipeline's own call puts before a prompt, so that training sees what sampling does."""
    return inspect.signature(type(pipe).__call__).parameters["complex_human_instruction"].default
