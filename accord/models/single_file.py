"""A model in one `.safetensors` file, in the layout of its authors as ComfyUI and the web UIs use it.

Such a file holds weights only. Configurations, tokenizers, and the weights of components that the file lacks come from
a diffusers folder of the same kind of model: the one named, or else the one that diffusers infers from the weights.
diffusers' `from_single_file` converts the weights' names; nothing is ever read from a pickle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusers
from diffusers.loaders.single_file_utils import SingleFileComponentError, fetch_diffusers_config
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from accord.errors import ModelError
from accord.models.fingerprint import model_files
from accord.models.folders import check_class, fetch_configurations, first_line, is_hub_id, read_index
from accord.models.opened import OpenedPipeline, torch_dtype
from accord.models.quiet import quiet

if TYPE_CHECKING:
    from accord.models.family import Family
    from accord.models.interface import OpenSettings, Part

SUFFIX = ".safetensors"
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
PREFIXES: dict[str, tuple[str, ...]] = {
    "vae": ("first_stage_model.", "vae."),
    "text_encoder": ("cond_stage_model.", "conditioner.embedders.0.", "text_encoders.clip_l."),
    "text_encoder_2": ("conditioner.embedders.1.", "text_encoders.clip_g."),
    "text_encoder_3": ("text_encoders.t5xxl.",),
}
"""Component -> how the names of its weights begin, in any layout that diffusers reads. The rest is the denoiser."""

PROBLEMS = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SingleFileComponentError)
"""What diffusers raises for a file of another kind: it looks for names that are not there."""
LACKS = "it lacks weights that they ask for"


def named_file(path: str) -> Path | None:
    """Return the checkpoint that a model's path names, None for a folder or hub id.

    Raises ModelError for a pickle, which could run code when it is read, and for a file that is not there.
    """
    file = Path(path).expanduser()
    if file.suffix.lower() in PICKLES and not file.is_dir():
        raise ModelError(
            f"'{path}' is a pickle, which can run code when it is read: give a {SUFFIX} file, which `accord convert` "
            "makes of a pickle that holds tensors only"
        )
    if file.suffix.lower() != SUFFIX or file.is_dir():
        return None
    if not file.is_file():
        raise ModelError(f"there is no model file '{path}'")
    return file


def open_file(
    family: Family, file: Path, settings: OpenSettings, parts: frozenset[Part], skipped: Iterable[str]
) -> OpenedPipeline:
    """Load the components of these parts from a checkpoint; `skipped` are those not to load.

    Raises ModelError if the configurations are not to be had, or if the file is no such model.
    """
    if settings.revision is not None:
        raise ModelError(f"a revision belongs to a hub id, but '{settings.path}' is a file: leave revision out")
    folder, commit = configurations(file, settings)
    index = read_index(folder)
    check_class(index, family.pipeline_class, settings.family, settings.config or settings.path)
    pipeline_class = getattr(diffusers, family.pipeline_class)
    if not hasattr(pipeline_class, "from_single_file"):
        raise ModelError(
            f"diffusers reads no single file of a {family.pipeline_class}: give its folder instead of '{settings.path}'"
        )
    unwanted = {name for name in skipped if name in index}
    elsewhere = [name for name in lacking(file, index) if name not in unwanted]
    given: dict[str, Any] = dict.fromkeys(unwanted)
    try:
        with quiet():
            given |= components(pipeline_class, folder, index, elsewhere, settings.dtype)
            pipe = pipeline_class.from_single_file(
                str(file),
                config=str(folder),
                local_files_only=True,
                torch_dtype=torch_dtype(settings.dtype),
                **given,
                **family.options,
            )
    except PROBLEMS as error:
        raise not_loadable(settings, folder, error) from error
    if has_holes(pipe):
        raise not_loadable(settings, folder, LACKS)
    return OpenedPipeline(pipe, settings, folder, commit, parts, file)


def configurations(file: Path, settings: OpenSettings) -> tuple[Path, str | None]:
    """Return the folder of the file's configurations, and the commit if it is a hub model's."""
    if settings.config is not None and Path(settings.config).expanduser().is_dir():
        return Path(settings.config).expanduser(), None
    if settings.config is not None and not is_hub_id(settings.config):
        raise ModelError(f"model.config must be a diffusers folder or a hub id 'owner/name', not '{settings.config}'")
    hub_id = settings.config or inferred(file)
    return fetch_configurations(hub_id, file, [name for name in PREFIXES if not holds(keys(file), name)])


def inferred(file: Path) -> str:
    """Return the hub id of the model that diffusers takes this file for, by the names of its weights."""
    try:
        return fetch_diffusers_config(load_file(file))["pretrained_model_name_or_path"]
    except (SafetensorError, OSError) as error:
        raise ModelError(f"the model file '{file}' is damaged: {first_line(error)}") from error


def keys(file: Path) -> list[str]:
    """Return the names of the file's weights, from its header."""
    try:
        with safe_open(file, "pt") as opened:
            return list(opened.keys())
    except (SafetensorError, OSError) as error:
        raise ModelError(f"the model file '{file}' is damaged: {first_line(error)}") from error


def holds(names: Iterable[str], component: str) -> bool:
    """Say whether a component's weights are among these."""
    return any(name.startswith(PREFIXES[component]) for name in names)


def lacking(file: Path, index: Mapping[str, Any]) -> list[str]:
    """Return the components with weights that the model has and the file has not."""
    names = keys(file)
    has = [name for name in PREFIXES if isinstance(index.get(name), list) and index[name][0] is not None]
    return [name for name in has if not holds(names, name)]


def files_beside(opened: OpenedPipeline) -> list[str]:
    """Return what of the configurations' folder is used beside the file: no weights but those that the file lacks."""
    assert opened.file is not None
    elsewhere = lacking(opened.file, read_index(opened.folder))
    return [name for name in model_files(opened.folder) if not name.endswith(SUFFIX) or name.split("/")[0] in elsewhere]


def components(
    pipeline_class: Any, folder: Path, index: Mapping[str, Any], names: list[str], dtype: str
) -> dict[str, Any]:
    """Return name -> component, loaded from the folder."""
    if not names:
        return {}
    others = [name for name, value in index.items() if isinstance(value, list) and name not in names]
    pipe = pipeline_class.from_pretrained(
        folder,
        torch_dtype=torch_dtype(dtype),
        use_safetensors=True,
        local_files_only=True,
        **dict.fromkeys(others),
    )
    return {name: getattr(pipe, name) for name in names}


def load_denoiser(denoiser_class: Any, opened: OpenedPipeline, denoiser_part: str) -> nn.Module:
    """Return the file's own denoiser, as it is before any tuning."""
    try:
        with quiet():
            return denoiser_class.from_single_file(
                str(opened.file), config=str(opened.folder), subfolder=denoiser_part, torch_dtype=opened.dtype
            )
    except PROBLEMS as error:
        raise not_loadable(opened.settings, opened.folder, error) from error


def has_holes(pipe: Any) -> bool:
    """Say whether a loaded component has weights without a value, which diffusers leaves where a file lacks them."""
    modules = (component for component in pipe.components.values() if isinstance(component, nn.Module))
    return any(weight.is_meta for module in modules for weight in module.parameters())


def not_loadable(settings: OpenSettings, folder: Path, error: Exception | str) -> ModelError:
    """Return the one line for what diffusers says."""
    why = error if isinstance(error, str) else first_line(error)
    why = LACKS if "meta tensor" in why else why
    return ModelError(f"the model file '{settings.path}' cannot be loaded with the configurations in '{folder}': {why}")
