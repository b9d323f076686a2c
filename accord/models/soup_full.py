"""The average of fully tuned denoisers, tensor by tensor: no more than one file of weights is in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from accord.errors import ModelError
from accord.files import replacing, write_bytes
from accord.models.folders import first_line, read_json

CONFIG = "config.json"
SUFFIX = ".safetensors"
PASSING = ("_name_or_path", "_diffusers_version")
"""What of a configuration says nothing about the weights."""


def average_full(folders: Sequence[Path], names: Sequence[str], weights: Sequence[float], out: Path) -> dict[str, Any]:
    """Write the average of the denoisers in these folders to `out`; return how many tensors it has.

    Sums are in float64 and keep the tensors' own type. The files are laid out as in the first folder; the configuration
    is written last, so what a killed process left is no denoiser. Raises ModelError if the denoisers differ in anything
    but the values of their weights. `names` are for messages.
    """
    _require_one_shape(folders, names)
    with ExitStack() as stack:
        opened = [_open(folder, name, stack) for folder, name in zip(folders, names, strict=True)]
        for other, name in zip(opened[1:], names[1:], strict=True):
            unlike = sorted(opened[0].keys() ^ other.keys())
            if unlike:
                raise _different(names[0], name, f"only one of them has {unlike[0]}")
        for file in weight_files(folders[0]):
            with safe_open(folders[0] / file, "pt") as first:
                keys, notes = list(first.keys()), first.metadata()
            mixed = {key: _average([each[key].get_tensor(key) for each in opened], names, weights, key) for key in keys}
            with replacing(out / file) as temporary:
                save_file(mixed, temporary, metadata=notes)
    for path in sorted(folders[0].glob(f"*{SUFFIX}.index.json")):
        write_bytes(out / path.name, path.read_bytes())
    write_bytes(out / CONFIG, (folders[0] / CONFIG).read_bytes())
    return {"tensors": len(opened[0])}


def weight_files(folder: Path) -> list[str]:
    """Return the names of a denoiser's files of weights; diffusers splits a large one."""
    return sorted(path.name for path in folder.glob(f"*{SUFFIX}"))


def _require_one_shape(folders: Sequence[Path], names: Sequence[str]) -> None:
    """Raise ModelError unless all configurations are equal."""
    configs = [{k: v for k, v in read_json(folder / CONFIG).items() if k not in PASSING} for folder in folders]
    for config, name in zip(configs, names, strict=True):
        unlike = sorted(key for key in config.keys() | configs[0].keys() if config.get(key) != configs[0].get(key))
        if unlike:
            raise _different(names[0], name, f"{unlike[0]} is {configs[0].get(unlike[0])} and {config.get(unlike[0])}")


def _open(folder: Path, name: str, stack: ExitStack) -> dict[str, Any]:
    """Return tensor name -> the open file that holds it."""
    found: dict[str, Any] = {}
    try:
        for file in weight_files(folder):
            handle = stack.enter_context(safe_open(folder / file, "pt"))
            twice = sorted(found.keys() & set(handle.keys()))
            if twice:
                raise ModelError(f"the denoiser in '{name}' has {twice[0]} in two files: leave one copy of its weights")
            found |= dict.fromkeys(handle.keys(), handle)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the denoiser in '{name}' cannot be read: {first_line(error)}") from error
    if not found:
        raise ModelError(f"the denoiser in '{name}' has no weights in safetensors files; save it again")
    return found


def _average(tensors: Sequence[Tensor], names: Sequence[str], weights: Sequence[float], key: str) -> Tensor:
    """Return the weighted average of one tensor; whole numbers, such as counters, must be equal instead."""
    first = tensors[0]
    for tensor, name in zip(tensors, names, strict=True):
        if (tensor.shape, tensor.dtype) != (first.shape, first.dtype):
            shapes = f"{tuple(first.shape)} {first.dtype} and {tuple(tensor.shape)} {tensor.dtype}"
            raise _different(names[0], name, f"{key} is {shapes}")
        if not first.is_floating_point() and not torch.equal(tensor, first):
            raise _different(names[0], name, f"{key} holds other whole numbers")
        if not tensor.isfinite().all():
            raise ModelError(f"the denoiser in '{name}' cannot be averaged: {key} holds numbers that are not finite")
    if not first.is_floating_point():
        return first
    total = torch.zeros(first.shape, dtype=torch.float64)
    for tensor, weight in zip(tensors, weights, strict=True):
        total.add_(tensor.double(), alpha=weight)
    return total.to(first.dtype)


def _different(first: str, other: str, how: str) -> ModelError:
    return ModelError(f"'{first}' and '{other}' were trained from different models: {how}")
