"""The trained parts as one pipeline folder that an unmodified diffusers opens."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from accord.world.architecture import make_scheduler
from accord.world.tokenizer import make_tokenizer


def save_base(parts: Path, target: Path, objective: str) -> None:
    """Join `parts`/vae, unet and text_encoder with tokenizer and scheduler and save them to `target`.

    UNet and VAE in fp16. The text encoder stays in fp32, because transformers opens it in the precision of the file and
    diffusers opens the others in fp32: two precisions would not run together.

    The curves of the training are put beside them, as `curves.jsonl`.
    """
    pipeline: Any = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(parts / "vae", dtype=torch.float16),
        text_encoder=CLIPTextModel.from_pretrained(parts / "text_encoder"),
        tokenizer=make_tokenizer(),
        unet=UNet2DConditionModel.from_pretrained(parts / "unet", dtype=torch.float16),
        scheduler=make_scheduler(objective),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(target, safe_serialization=True)
    with (target / "curves.jsonl").open("w", encoding="utf-8") as joined:
        for curve in (parts / "vae.jsonl", *sorted(parts.glob("denoiser_*.jsonl"))):
            for line in curve.read_text(encoding="utf-8").splitlines():
                joined.write(json.dumps({"part": curve.stem, **json.loads(line)}) + "\n")


def open_base(folder: Path) -> Any:
    """The StableDiffusionPipeline in `folder`, in float32 and without a progress bar."""
    pipeline: Any = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
