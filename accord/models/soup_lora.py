"""The average of LoRA adapters: of their products, exactly, as one adapter of larger rank.

A layer's change is `scale B A`. Averaging factors would give `mean(B) mean(A)`, which is no average of changes; but the
average of the changes is itself a product, of factors that stand side by side:

    sum_k w_k s_k B_k A_k = [w_1 s_1 B_1 | w_2 s_2 B_2 | ...] [A_1; A_2; ...]

So ranks add up. The result's scale is 1 (alpha = rank), which is also what programs assume that do not read alpha.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from accord.errors import ModelError
from accord.files import replacing
from accord.models.adapters import LORA_FILE, metadata, sort_header
from accord.models.folders import first_line

TOLD = "lora_adapter_metadata"
"""Where diffusers keeps an adapter's LoraConfig in the notes of a safetensors file."""

KEY = re.compile(r"(?P<layer>.+)\.lora_(?P<factor>[AB])\.weight")


@dataclass(frozen=True)
class Factors:
    """One layer of an adapter: its weight changes by scale * b a, at each place of a convolution's kernel."""

    a: Tensor  # (r, in) or (r, in, h, w)
    b: Tensor  # (out, r), or (out, r / G, 1, 1) of a convolution with G groups
    scale: float

    @property
    def groups(self) -> int:
        """Return how many groups of outputs have rows of `a` of their own."""
        return self.a.shape[0] // self.b.shape[1]

    @property
    def ends(self) -> tuple[Any, ...]:
        """Return what must be equal to add two of them."""
        return self.b.shape[0], tuple(self.a.shape[1:]), tuple(self.b.shape[2:]), self.groups


def average_lora(folders: Sequence[Path], names: Sequence[str], weights: Sequence[float], out: Path) -> dict[str, Any]:
    """Write the average of the adapters in these folders to `out`; return the number of layers and the largest rank.

    A layer that an adapter lacks counts as unchanged by it. Raises ModelError if one cannot be read, or if a layer has
    another shape than in the others. `names` are for messages.
    """
    adapters = [read_lora(folder, name) for folder, name in zip(folders, names, strict=True)]
    layers = {}
    for layer in sorted({layer for adapter in adapters for layer in adapter}):
        holders = [k for k, adapter in enumerate(adapters) if layer in adapter]
        found = [adapters[k][layer] for k in holders]
        odd = next((k for k, factors in zip(holders, found, strict=True) if factors.ends != found[0].ends), None)
        if odd is not None:
            raise ModelError(
                f"'{names[holders[0]]}' and '{names[odd]}' were trained from different models: the layer {layer} has "
                "other sizes"
            )
        layers[layer] = side_by_side(found, [weights[k] for k in holders])
    write_lora(layers, out / LORA_FILE)
    return {"layers": len(layers), "rank": max(factors.a.shape[0] for factors in layers.values())}


def side_by_side(parts: Sequence[Factors], weights: Sequence[float]) -> Factors:
    """Return `sum_k weights_k * scale_k * b_k a_k` as factors of scale 1, float32; their rank is the sum of all ranks.

    Within each group of a convolution the ranks of all parts stand side by side.
    """
    groups = parts[0].groups
    rows = [part.a.float().unflatten(0, (groups, -1)) for part in parts]
    columns = [(part.b.double() * (weight * part.scale)).float() for part, weight in zip(parts, weights, strict=True)]
    return Factors(torch.cat(rows, dim=1).flatten(0, 1).contiguous(), torch.cat(columns, dim=1).contiguous(), 1.0)


def read_lora(folder: Path, name: str, wanted: str = "averaged") -> dict[str, Factors]:
    """Return layer -> factors, the layers as `unet.<module>`. Raises ModelError for what is no plain LoRA.

    `name` and `wanted` are for messages: whose adapter it is, and what is to be done with it.
    """
    try:
        with safe_open(folder / LORA_FILE, "pt") as file:
            notes = json.loads((file.metadata() or {}).get(TOLD, "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"the adapter in '{name}' cannot be read: {first_line(error)}") from error
    _require_plain(notes, name, wanted)
    factors: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        matched = KEY.fullmatch(key)
        if matched is None or not tensor.isfinite().all():
            problem = (
                "is no LoRA factor in diffusers' layout" if matched is None else "holds numbers that are not finite"
            )
            raise ModelError(f"the adapter in '{name}' cannot be {wanted}: {key} {problem}")
        factors.setdefault(matched["layer"], {})[matched["factor"]] = tensor
    broken = [layer for layer, pair in factors.items() if len(pair) != 2]
    if broken or not factors:
        missing = f"{broken[0]} has one factor of two" if broken else "it holds no LoRA weights"
        raise ModelError(f"the adapter in '{name}' is damaged: {missing}")
    return {layer: Factors(p["A"], p["B"], scale_of(layer, p["A"].shape[0], notes)) for layer, p in factors.items()}


def _require_plain(notes: Mapping[str, Any], name: str, wanted: str) -> None:
    """Raise ModelError if the adapter does more to a layer than to add a product."""
    more = [key for key, value in notes.items() if key.endswith((".use_dora", ".lora_bias")) and value]
    more += [key for key, value in notes.items() if key.endswith(".bias") and value != "none"]
    if more:
        raise ModelError(f"the adapter in '{name}' cannot be {wanted} exactly: it is no plain LoRA ({more[0]} is set)")


def scale_of(layer: str, rank: int, notes: Mapping[str, Any]) -> float:
    """Return by what a layer's product is multiplied: alpha / rank, 1 where the file says nothing of alpha."""
    part, _, module = layer.partition(".")
    told = {key.removeprefix(f"{part}."): value for key, value in notes.items() if key.startswith(f"{part}.")}
    if not told:
        return 1.0
    patterns = told.get("alpha_pattern") or {}
    alpha = patterns.get(get_pattern_key(list(patterns), module), told.get("lora_alpha", rank))
    return float(alpha / rank**0.5 if told.get("use_rslora") else alpha / rank)


def write_lora(layers: Mapping[str, Factors], path: Path, more_notes: Mapping[str, str] | None = None) -> None:
    """Write factors of scale 1 as an adapter that plain `pipeline.load_lora_weights` reads. Equal ones: equal bytes."""
    notes: dict[str, Any] = {}
    for part in sorted({layer.partition(".")[0] for layer in layers}):
        ranks = {
            layer.removeprefix(f"{part}."): factors.a.shape[0]
            for layer, factors in layers.items()
            if layer.startswith(f"{part}.")
        }
        notes |= {f"{part}.{key}": value for key, value in metadata(config_of(ranks)).items()}
    tensors = {f"{layer}.lora_A.weight": factors.a for layer, factors in layers.items()}
    tensors |= {f"{layer}.lora_B.weight": factors.b for layer, factors in layers.items()}
    with replacing(path) as temporary:
        told = {"format": "pt", TOLD: json.dumps(notes, indent=2, sort_keys=True), **(more_notes or {})}
        save_file(tensors, temporary, metadata=told)
        sort_header(temporary)


def config_of(ranks: Mapping[str, int]) -> LoraConfig:
    """Return the LoraConfig of modules with these ranks and scale 1; `^` makes a pattern match one module only."""
    usual = Counter(ranks.values()).most_common(1)[0][0]
    others = {f"^{module}": rank for module, rank in ranks.items() if rank != usual}
    return LoraConfig(
        r=usual, lora_alpha=usual, rank_pattern=others, alpha_pattern=dict(others), target_modules=list(ranks)
    )
