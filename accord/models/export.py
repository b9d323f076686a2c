"""A tuned model as one folder that any program with diffusers opens, with no adapter to remember."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from accord.errors import ModelError
from accord.files import explaining, open_to_readers
from accord.models.interface import OpenSettings, open_model
from accord.models.opened import torch_dtype
from accord.models.quiet import quiet


def export_pipeline(settings: OpenSettings, adapter: Path | None, folder: Path, dtype: str | None = None) -> None:
    """Write the base model with this adapter merged into its weights to `folder`, as a complete pipeline.

    `dtype` is the type of the saved weights, that of `settings` if None; open in float32 to have the sum rounded once.
    Raises ModelError if `folder` is there and not empty: nothing is overwritten; or if a weight does not fit the type.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"the folder '{folder}' is not empty: choose a new one to export to")
    model: Any = open_model(settings)
    if adapter is not None:
        model.load_adapter(adapter)
    pipe = model.opened.pipe
    with quiet():
        if pipe.get_list_adapters():
            pipe.fuse_lora(components=list(pipe.get_list_adapters()))
            pipe.unload_lora_weights()
        if dtype is not None:
            pipe.to(dtype=torch_dtype(dtype))
        check_finite(pipe)
        with explaining(folder):
            pipe.save_pretrained(folder, safe_serialization=True)
            open_to_readers(folder)


def check_finite(pipe: Any) -> None:
    """Raise ModelError if a weight is not finite, as one beyond 65504 is not in float16."""
    for part, component in pipe.components.items():
        if isinstance(component, nn.Module):
            for name, tensor in component.state_dict().items():
                if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                    kind = str(tensor.dtype).removeprefix("torch.")
                    raise ModelError(f"the weight {name} of {part} is not finite in {kind}: choose bfloat16 or float32")
