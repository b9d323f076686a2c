"""A LoRA adapter in the layout that ComfyUI and the web UIs load.

For UNets (Stable Diffusion 1, 2 and XL) these programs know kohya's names:

    lora_unet_<layer, with _ for .>.lora_down.weight    first factor
    lora_unet_<layer, with _ for .>.lora_up.weight      second factor
    lora_unet_<layer, with _ for .>.alpha               the product counts alpha / rank times; one number for all layers

For the transformers of SD3 and FLUX they know diffusers' names, but not the notes in which diffusers keeps alpha: there
the scale is multiplied into the second factor, which reads the same with and without notes.

diffusers has a converter to kohya's names, which writes alpha = rank whatever alpha was; so the names are made here.
Its reader of kohya's names forgets alphas that differ from layer to layer; so they do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import save_file
from torch import Tensor

from accord.errors import ModelError
from accord.files import replacing
from accord.models.adapters import sort_header
from accord.models.soup_lora import Factors, read_lora, side_by_side, write_lora

UNET = "unet."
NOTES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "sd15": {"ss_base_model_version": "sd_v1", "modelspec.architecture": "stable-diffusion-v1/lora"},
        "sd21": {
            "ss_base_model_version": "sd_v2",
            "ss_v2": "True",
            "modelspec.architecture": "stable-diffusion-v2-768-v/lora",
        },
        "sdxl": {
            "ss_base_model_version": "sdxl_base_v1-0",
            "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
        },
        "sd3": {"modelspec.architecture": "stable-diffusion-3/lora"},
        "flux": {"modelspec.architecture": "flux-1-dev/lora"},
    }
)
"""What web UIs read to know the base model: without it they hide the file beside models of another kind."""


def write_comfyui(folder: Path, name: str, family: str | None, path: Path, dtype: torch.dtype) -> None:
    """Write the adapter of a folder in ComfyUI's layout to the file `path`; equal adapters give equal bytes.

    `name` is for messages; `family` None if it is not known. Raises ModelError for an adapter that the layout cannot
    hold, or that ComfyUI would not apply.
    """
    layers = read_lora(folder, name, "written for ComfyUI")
    is_unet = all(layer.startswith(UNET) for layer in layers)
    if not is_unet and family not in (None, "sd3", "flux"):
        raise ModelError(f"ComfyUI loads no adapters of the family '{family}': use the layout diffusers")
    if any(factors.groups > 1 for factors in layers.values()):
        raise ModelError(
            f"the adapter in '{name}' changes a convolution with groups, which ComfyUI's layout cannot hold"
        )
    notes = dict(NOTES.get(family or "", {}))
    if not is_unet:
        write_lora({k: rounded(side_by_side([f], [1.0]), dtype, k) for k, f in layers.items()}, path, notes)
        return
    notes |= {"ss_network_module": "networks.lora"}
    with replacing(path) as temporary:
        state = kohya({k: rounded(f, dtype, k) for k, f in with_one_alpha(layers).items()})
        save_file(state, temporary, metadata={"format": "pt", **notes})
        sort_header(temporary)


def kohya(layers: Mapping[str, Factors]) -> dict[str, Tensor]:
    """Return the tensors of these layers of a UNet (`unet.<module>`) under kohya's names; alphas are float32."""
    state = {}
    for layer, factors in layers.items():
        name = "lora_unet_" + layer.removeprefix(UNET).replace(".", "_")
        state[f"{name}.lora_down.weight"] = factors.a
        state[f"{name}.lora_up.weight"] = factors.b
        state[f"{name}.alpha"] = torch.tensor(factors.scale * factors.a.shape[0], dtype=torch.float32)
    return state


def with_one_alpha(layers: Mapping[str, Factors]) -> dict[str, Factors]:
    """Return the same products with `alpha = scale * rank` the same for all layers: the one that most have already."""
    alphas = {layer: factors.scale * factors.a.shape[0] for layer, factors in layers.items()}
    usual = Counter(alphas.values()).most_common(1)[0][0]
    return {
        layer: Factors(factors.a, factors.b * (alphas[layer] / usual), usual / factors.a.shape[0])
        for layer, factors in layers.items()
    }


def rounded(factors: Factors, dtype: torch.dtype, layer: str) -> Factors:
    """Return the factors in this type. Raises ModelError if one does not fit it."""
    a, b = (tensor.to(dtype).contiguous() for tensor in (factors.a, factors.b))
    if not (a.isfinite().all() and b.isfinite().all()):
        kind = str(dtype).removeprefix("torch.")
        raise ModelError(f"the adapter's layer {layer} is not finite in {kind}: choose bfloat16 or float32")
    return Factors(a, b, factors.scale)
