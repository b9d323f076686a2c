"""A tuned model as one folder that any program with diffusers opens, with no adapter to remember."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accord.errors import ModelError
from accord.models.interface import OpenSettings, open_model
from accord.models.quiet import quiet


def export_pipeline(settings: OpenSettings, adapter: Path | None, folder: Path) -> None:
    """Write the base model with this adapter merged into its weights to `folder`, as a complete pipeline.

    Raises ModelError if `folder` is there and not empty: nothing is overwritten.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ModelError(f"the folder '{folder}' is not empty: choose a new one to export to")
    model: Any = open_model(settings)
    if adapter is not None:
        model.load_adapter(adapter)
    pipe = model.opened.pipe
    with quiet():
        if pipe.get_list_adapters():
            pipe.fuse_lora(components=list(pipe.get_list_adapters()))
            pipe.unload_lora_weights()
        pipe.save_pretrained(folder, safe_serialization=True)
