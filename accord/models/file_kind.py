"""What a single checkpoint is, by the names of its weights: known before gigabytes are read.

diffusers leaves out what it does not know and fills in what it does not find, so a file that is not what it is taken
for may load and be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from accord.errors import ModelError

KINDS: tuple[tuple[str, str, str | None], ...] = (
    (r"(^|[._])lora_|(^|\.)hada_|\.lora\.", "a LoRA", None),
    (r"double_stream_modulation_img\.", "a FLUX.2 model", None),
    (r"distilled_guidance_layer\.", "a Chroma model", None),
    (r"(^|\.)double_blocks\.\d|(^|\.)single_transformer_blocks\.\d", "a FLUX.1 model", "FluxPipeline"),
    (r"(^|\.)joint_blocks\.\d", "a Stable Diffusion 3 model", "StableDiffusion3Pipeline"),
    (r"^conditioner\.embedders\.1\.|\.label_emb\.|^add_embedding\.", "an SDXL model", "StableDiffusionXLPipeline"),
    (r"\.diffusion_model\.input_blocks\.", "a Stable Diffusion 1 or 2 model", "StableDiffusionPipeline"),
)
"""A name that only this kind has, what it is, and the pipeline that it is for, if any family has it. First fit wins."""

QUANTISED = (".weight_scale", ".scale_weight", ".comfy_quant", ".absmax", "scaled_fp8")
"""How names end of the factors beside weights of 4 or 8 bits; diffusers would take the weights without them."""


def check_kind(names: Collection[str], pipeline_class: str, family: str, path: str) -> None:
    """Raise ModelError if the weights' names are those of another kind of model, or of quantised weights."""
    found = next((kind for kind in KINDS if any(re.search(kind[0], name) for name in names)), None)
    if found is not None and found[2] != pipeline_class:
        _, what, other = found
        advice = "choose the family that fits the model" if other else "no family opens that"
        advice = "set model.path to the model that it belongs to" if what == "a LoRA" else advice
        raise ModelError(f"family '{family}' needs a file of a {pipeline_class}, but '{path}' is {what}: {advice}")
    if found is None and all(re.match(r"(encoder|decoder|quant_conv|post_quant_conv|vae)\.", name) for name in names):
        raise ModelError(f"'{path}' is an autoencoder alone: give the file that holds the denoiser")
    if any(name.endswith(QUANTISED) for name in names):
        raise ModelError(
            f"'{path}' holds quantised weights, which cannot be trained on: give the file with weights of 16 or 32 bits"
        )


def check_prediction(names: Collection[str], scheduler: Mapping[str, Any], folder: str, path: str) -> None:
    """Raise ModelError if the file is marked as predicting v, or as ending in pure noise, and the scheduler is not.

    `scheduler` is its configuration. The marks `v_pred` and `ztsnr` are empty weights that fine-tuners put there.
    """
    marks = {"v_pred": ("prediction_type", "v_prediction"), "ztsnr": ("rescale_betas_zero_snr", True)}
    for mark, (key, value) in marks.items():
        if mark in names and scheduler.get(key) != value:
            raise ModelError(
                f"'{path}' is marked '{mark}', but {folder}/scheduler/scheduler_config.json has "
                f"{key} = {scheduler.get(key)}: set it to {value} there, or the model is taken for what it is not"
            )
