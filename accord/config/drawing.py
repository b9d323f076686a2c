"""Which model draws, what, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from accord.config.names import registered
from accord.section import Positive, Section


class ModelConfig(Section):
    """The text-to-image model to align."""

    family: str = Field("world", description="which code drives the model; `accord list families` names them")
    path: str = Field("world:flow", description="hub id, diffusers folder, .safetensors file, or world:flow")
    revision: str | None = Field(None, description="branch, tag or commit of a hub id; absent: its main branch")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="type of the weights, 4 or 2 bytes each; errors, margins and losses are float32; float16, for GPUs "
        "without bfloat16, trains LoRA only",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps; auto: cuda if there is one, else mps")
    config: str | None = Field(
        None,
        description="for a single .safetensors file: diffusers folder or hub id with its configurations and tokenizers",
    )

    @field_validator("family")
    @classmethod
    def _known_family(cls, value: str) -> str:
        return registered("families", value)


class PromptsConfig(Section):
    """`world:train`, or a file: .txt with one prompt a line, or .csv, .jsonl or .parquet with a column text."""

    train: str = Field("world:train", description="prompts whose images are scored and trained on")
    evaluate: str = Field("world:evaluate", description="prompts that base and tuned model are compared on")
    num_train: Positive | None = Field(None, description="use the first so many prompts; all if absent")
    num_evaluate: Positive | None = Field(None, description="use the first so many prompts; all if absent")


class GenerateConfig(Section):
    """How images are drawn. The same settings draw the training pool and the evaluation images."""

    images_per_prompt: Positive = Field(16, description="images of each training prompt, to choose pairs from")
    num_inference_steps: Positive = Field(12, description="steps of the model's own scheduler per image")
    guidance_scale: Annotated[float, Field(ge=0)] = Field(
        3.0, description="weight of the text against the negative prompt, none up to 1; FLUX is told the number"
    )
    height: Positive = Field(32, description="pixels, unless the prompts file has columns height and width")
    width: Positive = Field(32, description="pixels, as height")
    negative_prompt: str = Field("", description="what guidance leads away from; empty: the family's own")
    batch_size: Positive = Field(32, description="images per call of the model")
    images_per_shard: Positive = Field(
        64, description="the unit that a killed run may lose; whole prompts, at least one"
    )
    image_format: Literal["png", "jpeg", "webp"] = Field(
        "png", description="how images are stored; png keeps every pixel, jpeg has quality 95, webp 90"
    )
    keep_latents: bool = Field(True, description="store the sampler's final latents, so that training needs no VAE")
    imported: str = Field("", description="a folder that `accord import` filled: train on its images, draw none")
