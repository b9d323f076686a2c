"""How good a base model is: pictures for the evaluation prompts, and the share that the checker accepts, by skill."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from accord.seeding import address
from accord.world.architecture import LATENT_CHANNELS, LATENT_SIZE
from accord.world.checker import check_many
from accord.world.vocabulary import SIZE, SKILLS


@dataclass(frozen=True)
class SkillScore:
    """Share of accepted pictures of one skill, 0..1; its standard error counts each prompt as one observation."""

    skill: str
    accuracy: float
    standard_error: float
    prompts: int
    images: int


def sample(
    pipeline: Any,
    texts: Sequence[str],
    visits: Sequence[int],
    seed: int = 0,
    steps: int = 12,
    guidance: float = 3.0,
    batch: int = 32,
) -> np.ndarray:
    """One picture per text from a StableDiffusionPipeline, uint8 (B, 32, 32, 3).

    The starting noise depends on (seed, text, visit) only.
    """
    pictures = []
    for start in range(0, len(texts), batch):
        part = list(zip(texts[start : start + batch], visits[start : start + batch], strict=True))
        noise = torch.stack([_noise(seed, text, visit) for text, visit in part])
        made = pipeline(
            [text for text, _ in part],
            latents=noise.to(pipeline.unet.dtype),
            num_inference_steps=steps,
            guidance_scale=guidance,
            height=SIZE,
            width=SIZE,
            output_type="np",
        ).images
        pictures.append(np.rint(255.0 * made).astype(np.uint8))
    return np.concatenate(pictures)


def _noise(seed: int, text: str, visit: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(address(seed, "noise", text, visit))
    return torch.randn((LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE), generator=draw)


def skill_table(
    pipeline: Any, prompts: Sequence[tuple[str, str]], images_per_skill: int, seed: int = 0
) -> list[SkillScore]:
    """The accuracy of each skill on (text, skill) `prompts`, from about as many pictures for each skill."""
    table = []
    for skill in SKILLS:
        texts = [text for text, tested in prompts if tested == skill]
        repeats = math.ceil(images_per_skill / len(texts))
        asked = [text for text in texts for _ in range(repeats)]
        pictures = sample(pipeline, asked, [*range(repeats)] * len(texts), seed)
        by_prompt = check_many(pictures, asked).reshape(len(texts), repeats).mean(axis=1)
        spread = float(by_prompt.std(ddof=1)) if len(texts) > 1 else math.nan
        table.append(SkillScore(skill, float(by_prompt.mean()), spread / math.sqrt(len(texts)), len(texts), len(asked)))
    return table


def overall(table: Sequence[SkillScore]) -> tuple[float, float]:
    """Mean accuracy over the skills, each counting the same, and its standard error."""
    error = math.sqrt(sum(row.standard_error**2 for row in table)) / len(table)
    return sum(row.accuracy for row in table) / len(table), error
