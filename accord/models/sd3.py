"""Stable Diffusion 3 and 3.5: a transformer over text and image, rectified flow, three text encoders, T5 optional."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from accord.models.interface import SamplerSettings
from accord.models.opened import OpenedPipeline
from accord.models.text_limits import TextLimit, longest_sequence


class StableDiffusion3:
    """What differs for `StableDiffusion3Pipeline`."""

    pipeline_class = "StableDiffusion3Pipeline"
    denoiser_part = "transformer"
    text_parts = ("tokenizer", "tokenizer_2", "tokenizer_3", "text_encoder", "text_encoder_2", "text_encoder_3")
    options: Mapping[str, Any] = {}
    lora_targets = (
        *("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
        *("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"),
    )
    patch = 2

    def encode_prompts(self, opened: OpenedPipeline, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return `prompt_embeds` (B, L, D) and `pooled` (B, D'). Without T5 its tokens are zeros."""
        with text_width_known(opened):
            embeds, _, pooled, _ = opened.pipe.encode_prompt(
                list(texts), None, None, device=opened.device, do_classifier_free_guidance=False
            )
        return {"prompt_embeds": embeds, "pooled": pooled}

    def text_limits(self, opened: OpenedPipeline) -> Mapping[str, TextLimit]:
        """Return CLIP's limit of 77, and T5's, which the pipeline sets to 256."""
        clip, t5 = TextLimit(opened.pipe.tokenizer_max_length), TextLimit(longest_sequence(opened.pipe))
        return {"tokenizer": clip, "tokenizer_2": clip, "tokenizer_3": t5}

    def predict(
        self,
        opened: OpenedPipeline,
        denoiser: nn.Module,
        latents: Tensor,
        timesteps: Tensor,
        conditioning: dict[str, Tensor],
    ) -> Tensor:
        """Return the transformer's velocity (B, C, H, W)."""
        return denoiser(
            hidden_states=latents,
            timestep=timesteps,
            encoder_hidden_states=conditioning["prompt_embeds"],
            pooled_projections=conditioning["pooled"],
            return_dict=False,
        )[0]

    def guidance(self, settings: SamplerSettings) -> dict[str, Any]:
        """Return classifier-free guidance against the negative prompt, '' unless one is given."""
        return {"guidance_scale": settings.guidance_scale, "negative_prompt": settings.negative_prompt or None}

    def pack(self, latents: Tensor) -> Tensor:
        """Return the latents as they are."""
        return latents

    def unpack(self, latents: Tensor, height: int, width: int) -> Tensor:
        """Return the latents as they are."""
        return latents


@contextmanager
def text_width_known(opened: OpenedPipeline) -> Iterator[None]:
    """Tell the pipeline how wide text is: without T5 it asks the transformer, which need not be loaded."""
    if opened.pipe.transformer is not None:
        yield
        return
    opened.pipe.transformer = SimpleNamespace(config=SimpleNamespace(**opened.config("transformer")))
    try:
        yield
    finally:
        opened.pipe.transformer = None
