"""The trained parts as one pipeline folder that an unmodified diffusers opens."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from accord.world.architecture import make_scheduler
from accord.world.tokenizer import make_tokenizer


def save_base(parts: Path, target: Path, objective: str) -> None:
    """Join `parts`/vae, unet and text_encoder with tokenizer and scheduler and save them to `target` in fp16.

    The curves of the training are put beside them, as `curves.jsonl`.
    """
    pipeline: Any = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(parts / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(parts / "text_encoder"),
        tokenizer=make_tokenizer(),
        unet=UNet2DConditionModel.from_pretrained(parts / "unet"),
        scheduler=make_scheduler(objective),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(target, safe_serialization=True)
    with (target / "curves.jsonl").open("w", encoding="utf-8") as joined:
        for part in ("vae", "denoiser"):
            with (parts / f"{part}.jsonl").open(encoding="utf-8") as curve:
                for line in curve:
                    joined.write(f'{{"part": "{part}", {line.lstrip("{")}')
