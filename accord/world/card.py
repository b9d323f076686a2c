"""The model card of a base: how it was trained, for how long, and how good it is, from the files of its training."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accord.world.measure import SkillScore, overall
from accord.world.train_denoiser import EMPTY_TEXTS
from accord.world.vocabulary import SIZE


def model_card(settings: dict[str, Any], curves: Path, psnr_db: float, table: Sequence[SkillScore]) -> str:
    """Markdown. `settings` as stored by `train_world`, `curves` a curves.jsonl, `table` empty if not measured."""
    last = {line["part"]: line for line in map(json.loads, curves.read_text(encoding="utf-8").splitlines())}
    sizes = settings["sizes"]
    minutes = sum(line["seconds"] for line in last.values()) / 60
    return f"""---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---

# Base model of the embedded world ({settings["objective"]})

A Stable Diffusion of 4.3 million parameters that draws {SIZE}x{SIZE} pictures of coloured circles, squares and
triangles from captions such as `a red circle above a blue square`. It is imperfect on purpose: it exists to be aligned.

    from diffusers import StableDiffusionPipeline
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline("a red circle above a blue square", height={SIZE}, width={SIZE},
             num_inference_steps=12, guidance_scale=3).images[0]

## Training

`accord.world.train.train_world`, seed {settings["seed"]}, objective `{settings["objective"]}`,
{settings["workers"]} processes of one thread, {minutes:.0f} minutes of training in all.
The texts of the evaluation prompts were never shown.

| part | examples seen | minutes | last loss |
|---|---|---|---|
{_parts(last)}

The denoiser (UNet and text encoder) is trained in stages: each starts from the averaged weights of the one before, with
the full learning rate again.

Data: {sizes["pictures"]:,} drawn pictures, 60 % of them with flaws, 18 % of the captions with one wrong word;
{100 * EMPTY_TEXTS:.0f} % of the texts were dropped in training. `curves.jsonl` holds both loss curves.

## Quality

The VAE reconstructs new pictures with {psnr_db:.1f} dB. Share of pictures that the checker accepts, on the evaluation
prompts, with 12 steps and guidance 3:

{_table(table)}
"""


def _parts(last: dict[str, Any]) -> str:
    return "\n".join(
        f"| {part} | {line['samples']:,} | {line['seconds'] / 60:.1f} | {line['loss']:.4f} |"
        for part, line in last.items()
    )


def _table(table: Sequence[SkillScore]) -> str:
    if not table:
        return "not measured"
    lines = ["| skill | accuracy | standard error over prompts | prompts | pictures |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.skill} | {row.accuracy:.3f} | {row.standard_error:.3f} | {row.prompts} | {row.images} |"
        for row in table
    ]
    mean, error = overall(table)
    prompts, images = sum(row.prompts for row in table), sum(row.images for row in table)
    return "\n".join([*lines, f"| **mean of the skills** | **{mean:.3f}** | {error:.3f} | {prompts} | {images} |"])
