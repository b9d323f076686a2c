"""How what was trained is loaded: a few lines of Python for each kind of result, that a reader can run as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from accord import registry
from accord.card.markdown import literal, one_line
from accord.files import read_json

Kind = Literal["adapter", "comfyui", "denoiser", "pipeline"]
HERE = "  # the folder of this card, or its name on the hub"


@dataclass(frozen=True)
class Use:
    """What lies beside the card."""

    kind: Kind  # a LoRA in either layout, a denoiser with all weights tuned, or a whole pipeline
    weights: str = ""  # the adapter's file
    denoiser: tuple[str, str] = ("", "")  # of a tuned denoiser: its place in the pipeline, its class in diffusers
    dtype: str = "float32"  # of the weights in the file
    absent: tuple[str, ...] = ()  # text encoders that a whole pipeline does without


def trained_use(folder: Path, family: str) -> Use:
    """Return what the train stage left in its adapter's folder."""
    from accord.models.adapters import LORA_FILE

    if (folder / LORA_FILE).is_file():
        return Use("adapter", LORA_FILE)
    part = registry.load("families", family).denoiser_part
    return Use("denoiser", denoiser=(part, read_json(folder / "config.json")["_class_name"]))


def absent_parts(folder: Path, family: str) -> tuple[str, ...]:
    """Return the text encoders and tokenizers that a pipeline's folder does without, as Stable Diffusion 3 may.

    Plain diffusers opens such a folder only if each is said to be None.
    """
    index = folder / "model_index.json"
    parts = read_json(index) if index.is_file() else {}
    return tuple(name for name in registry.load("families", family).text_parts if parts.get(name) == [None, None])


def base_name(model: Mapping[str, Any]) -> str:
    """Return the name of the base model: a hub id or `world:flow` as it is, of a folder its last part.

    A folder's place says nothing to others, and its owner may not want it told.
    """
    path = str(model["path"])
    return path if is_public(model) else PurePath(path).name


def is_public(model: Mapping[str, Any]) -> bool:
    """Say whether the base has a name that others can use. Of a folder, and of nothing else, a hash is known."""
    return str(model["path"]).startswith("world:") or not model.get("weights")


def use_code(use: Use, model: Mapping[str, Any], drawing: Mapping[str, Any], dtype: str) -> str:
    """Return Python code that loads the result and draws an image.

    model: family, path and revision of the base. drawing: the sampler's settings of the run. dtype: to open it in.
    """
    is_file = str(model["path"]).endswith(".safetensors") and use.kind != "pipeline"
    opener = registry.load("families", model["family"]).pipeline_class if is_file else "DiffusionPipeline"
    names = [opener, *([use.denoiser[1]] if use.kind == "denoiser" else [])]
    lines = ["import torch", f"from diffusers import {', '.join(sorted(names))}"]
    if use.kind == "pipeline":
        opened = _open(f"{opener}.from_pretrained", '"."', dtype, _none(use.absent))
        return "\n".join([*lines, "", opened + HERE, *_draw(drawing)])
    path = str(model["path"])
    if path.startswith("world:"):
        lines += ["", "from accord.world.base import base_folder", "", f"base = base_folder({literal(path[6:])})"]
    else:
        note = "" if is_public(model) else f"  # where the base model is, {_hash(model)}"
        lines += ["", f"base = {literal(base_name(model))}{note}"]
    revision = model.get("revision")
    options = [f"revision={literal(revision)}"] if revision else []
    options += _none(absent_parts(Path(path), model["family"]))
    if is_file and model.get("config"):
        options.append(f"config={literal(PurePath(str(model['config'])).name)}")
    if use.kind == "denoiser":
        part, name = use.denoiser
        lines += [f'{part} = {name}.from_pretrained(".", dtype=torch.{dtype}){HERE}']
        options.append(f"{part}={part}")
    how = "from_single_file" if is_file else "from_pretrained"
    lines.append(_open(f"{opener}.{how}", "base", dtype, options))
    if use.kind in ("adapter", "comfyui"):
        lines.append(f'pipe.load_lora_weights(".", weight_name={literal(use.weights)}){HERE}')
    return "\n".join([*lines, *_draw(drawing)])


def _none(parts: Sequence[str]) -> list[str]:
    return [f"{part}=None" for part in parts]


def _open(opener: str, path: str, dtype: str, options: Sequence[str] = ()) -> str:
    return f"pipe = {opener}({', '.join([path, *options, f'dtype=torch.{dtype}'])})"


def _draw(drawing: Mapping[str, Any]) -> list[str]:
    """Return the lines that draw an image as the run did."""
    told = {key: drawing[key] for key in ("num_inference_steps", "guidance_scale", "height", "width") if key in drawing}
    if drawing.get("negative_prompt"):
        told["negative_prompt"] = drawing["negative_prompt"]
    arguments = "".join(f", {key}={literal(value)}" for key, value in told.items())
    return [f'image = pipe("a red circle above a blue square"{arguments}).images[0]', 'image.save("image.png")']


def _hash(model: Mapping[str, Any]) -> str:
    """Return by what a base model that has no public name is known."""
    return f"SHA-256 {one_line(model['weights'])[:16]}"
