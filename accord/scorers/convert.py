"""Official weights that come as a pickle, once turned into safetensors.

The pickle is read with `weights_only=True`: tensors and plain containers, never code; anything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.errors import ScoringError
from accord.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

#: Where training frameworks keep the weights inside a checkpoint.
NESTS = ("state_dict", "model")


def convert(source: Path, target: Path | None = None) -> Path:
    """Write the tensors of a PyTorch file as safetensors, beside it unless `target` is given; return the new file.

    Raises ScoringError if the file is missing, or holds anything but tensors in plain containers.
    """
    from safetensors.torch import save_file

    if not source.is_file():
        raise ScoringError(f"there is no file {source}; give the PyTorch file that was downloaded")
    tensors = read_tensors(source)
    target = target or source.with_suffix(".safetensors")
    with replacing(target) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt", "converted_from": source.name})
    return target


def read_tensors(source: Path) -> dict[str, Tensor]:
    """Return name -> tensor of a PyTorch file, without what surrounds them in a training checkpoint."""
    import torch

    try:
        found = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # UnpicklingError, RuntimeError, EOFError
        code = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        if code:
            raise ScoringError(
                f"{source} holds more than tensors: it asks for {code[1]}; Accord runs no code of a weight file: "
                "get it as a state dict or as safetensors"
            ) from error
        raise ScoringError(f"{source} is damaged, or no file of PyTorch; get it again") from error
    for nest in NESTS:
        if isinstance(found, Mapping) and isinstance(found.get(nest), Mapping):
            found = found[nest]
            break
    tensors = {name: value for name, value in _items(found, source) if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ScoringError(f"{source} holds no tensors by name; expected a state dict")
    return {name: value.detach().clone().contiguous() for name, value in tensors.items()}


def _items(found: Any, source: Path) -> list[tuple[str, Any]]:
    if not isinstance(found, Mapping):
        raise ScoringError(f"{source} holds a {type(found).__name__}; expected a state dict, name -> tensor")
    return [(str(name), value) for name, value in found.items()]
