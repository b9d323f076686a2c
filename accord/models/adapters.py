"""LoRA adapters and tuned denoisers on disk, in diffusers' own layouts.

A LoRA adapter is `pytorch_lora_weights.safetensors`, keys `<denoiser>.<layer>.lora_A.weight`, with rank and alpha in
the file's metadata. A tuned denoiser is a folder with `config.json`, or a pipeline folder that holds one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import ModelMixin
from safetensors import SafetensorError
from torch import Tensor, nn

from accord.errors import ModelError
from accord.files import explaining, open_to_readers
from accord.models.folders import INDEX, first_line
from accord.models.quiet import quiet

if TYPE_CHECKING:
    from peft import LoraConfig

LORA_FILE = "pytorch_lora_weights.safetensors"
PEFT_PREFIX = "base_model.model."
SAVED_OPTIONS = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "lora_bias", "bias")
"""What of a LoraConfig changes the layer's output. Paths and initialisations would only make equal files differ."""


def save_lora(
    pipeline_class: Any, denoiser_part: str, state: Mapping[str, Tensor], folder: Path, config: LoraConfig
) -> None:
    """Write `peft.get_peft_model_state_dict(model)` so that plain `pipeline.load_lora_weights(folder)` reads it.

    `config` is `model.peft_config["default"]`: without its alpha the adapter would be scaled wrongly on loading.
    """
    layers = {}
    for key, value in state.items():
        if ".lora_" not in key:
            raise ModelError(f"an adapter's state must hold LoRA weights only, but holds '{key}'")
        layers[key.removeprefix(PEFT_PREFIX)] = value.detach().cpu().contiguous()
    if not layers:
        raise ModelError("an adapter's state must hold LoRA weights, but is empty")
    arguments = {f"{denoiser_part}_lora_layers": layers, f"{denoiser_part}_lora_adapter_metadata": metadata(config)}
    with quiet(), explaining(folder):
        pipeline_class.save_lora_weights(folder, **arguments)
        open_to_readers(folder)
    sort_header(folder / LORA_FILE)


def metadata(config: LoraConfig) -> dict[str, Any]:
    """Return what diffusers writes into the file to rebuild the LoraConfig; equal configurations give equal text."""
    options = config.to_dict()
    targets = options["target_modules"]
    kept = {name: options[name] for name in SAVED_OPTIONS if name in options}
    return {**kept, "target_modules": targets if isinstance(targets, str) else sorted(targets)}


def sort_header(path: Path) -> None:
    """Sort the notes in a safetensors file's header: the library writes them in random order, so equal files differ."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
        if len(text) > length:
            raise ModelError(f"the header of {path} grew from {length} to {len(text)} bytes by sorting it")
        file.seek(8)
        file.write(text.ljust(length))  # the format pads with spaces


def load_lora(pipe: Any, denoiser: nn.Module, denoiser_part: str, folder: Path, path: str) -> None:
    """Put the LoRA adapter of a folder into the pipeline. Raises ModelError if it was made for another model."""
    try:
        with quiet():
            found = type(pipe).lora_state_dict(folder, weight_name=LORA_FILE, use_safetensors=True)
            state = found[0] if isinstance(found, tuple) else found  # UNet pipelines add kohya's alphas
            check_layers(state, denoiser, denoiser_part, folder, path)
            pipe.load_lora_weights(folder, weight_name=LORA_FILE, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, TypeError, SafetensorError) as error:
        raise ModelError(f"the adapter in '{folder}' cannot be put into '{path}': {first_line(error)}") from error


def check_layers(state: Mapping[str, Tensor], denoiser: nn.Module, denoiser_part: str, folder: Path, path: str) -> None:
    """Raise ModelError if the adapter changes layers that the denoiser lacks; diffusers would skip them silently."""
    layers = {name for name, _ in denoiser.named_modules()}
    prefix = f"{denoiser_part}."
    wanted = {key.removeprefix(prefix).split(".lora")[0] for key in state if key.startswith(prefix)}
    missing = sorted(wanted - layers)
    if missing or not wanted:
        found = (
            f"changes layers that it lacks, such as {missing[0]}"
            if missing
            else f"changes no layer of a {denoiser_part}"
        )
        raise ModelError(f"the adapter in '{folder}' was made for another model than '{path}': it {found}")


def save_denoiser(denoiser: nn.Module, folder: Path) -> None:
    """Write a denoiser so that its class's plain `from_pretrained(folder)` reads it."""
    bare: Any = denoiser  # the type checker sees no methods of diffusers' models
    if not isinstance(denoiser, ModelMixin):
        raise ModelError(f"a denoiser to save must be diffusers' own, not wrapped in a {type(denoiser).__name__}")
    if any(".lora_" in name for name, _ in bare.named_parameters()):
        raise ModelError("a denoiser to save as a full model must have no LoRA layers in it: save the adapter instead")
    with quiet(), explaining(folder):
        bare.save_pretrained(folder, safe_serialization=True)
        open_to_readers(folder)


def denoiser_folder(folder: Path, denoiser_part: str) -> Path | None:
    """Return where in this folder a tuned denoiser lies, or None."""
    if (folder / "config.json").is_file():
        return folder
    if (folder / INDEX).is_file() and (folder / denoiser_part / "config.json").is_file():
        return folder / denoiser_part
    return None


def load_denoiser(denoiser_class: Any, folder: Path, dtype: torch.dtype) -> nn.Module:
    """Return the denoiser saved in a folder. Raises ModelError if it is none of this class."""
    found = denoiser_class.load_config(folder, local_files_only=True).get("_class_name")
    if found != denoiser_class.__name__:
        raise ModelError(f"'{folder}' must hold a {denoiser_class.__name__}, but holds a {found}")
    try:
        with quiet():
            return denoiser_class.from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"the denoiser in '{folder}' cannot be loaded: {first_line(error)}") from error
