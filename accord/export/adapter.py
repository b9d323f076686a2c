"""A run's LoRA adapter as a file that diffusers, or ComfyUI and the web UIs, load."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from accord.card.use import Use
from accord.errors import ModelError
from accord.export.model import Dtype, add_card
from accord.files import replacing
from accord.models.adapters import LORA_FILE, sort_header
from accord.models.comfyui import write_comfyui
from accord.models.opened import torch_dtype
from accord.models.soup import Ingredient, find

Layout = Literal["diffusers", "comfyui"]


def export_adapter(run: Path | str, out: Path | str, layout: Layout = "diffusers", dtype: Dtype = "float32") -> Path:
    """Write the adapter of a run (or soup, or a folder that holds one) to the folder `out`; return the file of weights.

    The file is `pytorch_lora_weights.safetensors` for diffusers and `<name of out>.safetensors` for ComfyUI, whose
    list shows that name. Raises ModelError or MissingArtifact if there is no adapter, if the layout cannot hold it
    exactly, or if `out` is not empty.
    """
    trained, out = find(run), Path(out)
    if trained.kind != "lora":
        raise ModelError(
            f"'{run}' trained all weights, which are no adapter: `accord export model` writes its pipeline"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError(f"the folder '{out}' is not empty: choose a new one to export to")
    require_readable(trained.folder / LORA_FILE)
    if layout == "comfyui":
        require_no_dora(trained)
        path = out / f"{out.resolve().name}.safetensors"
        write_comfyui(trained.folder, trained.name, (trained.base or {}).get("family"), path, torch_dtype(dtype))
    else:
        path = out / LORA_FILE
        write_rounded(trained.folder / LORA_FILE, path, dtype)
    add_card(run, out, Use("comfyui" if layout == "comfyui" else "adapter", path.name, dtype=dtype))
    return path


def require_readable(file: Path) -> None:
    """Raise ModelError for a file of weights that is cut short, or no safetensors file."""
    try:
        with safe_open(file, "pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"the weights in {file} are damaged ({error}); delete the file and run `accord train` again"
        ) from error


def write_rounded(source: Path, path: Path, dtype: Dtype) -> None:
    """Write an adapter's file with its weights in another type, and its notes as they are."""
    with safe_open(source, "pt") as file:
        notes = file.metadata() or {}
    state = {name: tensor.to(torch_dtype(dtype)) for name, tensor in load_file(source).items()}
    bad = next((name for name, tensor in state.items() if not tensor.isfinite().all()), None)
    if bad is not None:
        raise ModelError(f"the adapter's weight {bad} is not finite in {dtype}: choose bfloat16 or float32")
    with replacing(path) as temporary:
        save_file(state, temporary, metadata=notes)
        sort_header(temporary)


def require_no_dora(trained: Ingredient) -> None:
    """Raise ModelError for DoRA, whose magnitudes ComfyUI divides by the norm of the base weights, not of the sum."""
    with safe_open(trained.folder / LORA_FILE, "pt") as file:
        has_magnitudes = any("lora_magnitude_vector" in key for key in file.keys())  # noqa: SIM118 - not a dict
    if has_magnitudes:
        raise ModelError(
            f"'{trained.name}' trained DoRA, which ComfyUI and the web UIs compute differently from diffusers: "
            "`accord export model` writes a pipeline with it merged, exactly"
        )
