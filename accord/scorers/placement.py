"""Where a large reward model is kept and in which numbers: said once, obeyed by transformers.

`spread`: the library divides the layers over all GPUs and, where they do not fit, the main memory. `quantise`: 8 or 4
bits per weight by bitsandbytes, on a GPU or a CPU; scores move by several times as much as between float32 and
bfloat16, with 4 bits more than with 8. Both are for models that do not fit otherwise.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from accord.errors import MissingDependency

if TYPE_CHECKING:
    import torch

    ModuleT = TypeVar("ModuleT", bound=torch.nn.Module)

Dtype = Literal["float32", "bfloat16", "float16"]
Quantise = Literal["no", "8bit", "4bit"]


def torch_dtype(name: Dtype) -> torch.dtype:
    """Return torch's dtype of this name."""
    import torch

    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def placed(module: ModuleT, device: str, dtype: Dtype) -> ModuleT:
    """Return the module on this device, its floating-point numbers of this dtype."""
    return module.to(device=device, dtype=torch_dtype(dtype))


def precise(values: torch.Tensor) -> torch.Tensor:
    """Return numbers as float64 on the CPU: first there, because Apple's GPUs have no float64."""
    return values.cpu().double()


def require_quantiser(quantise: Quantise) -> None:
    """Raise MissingDependency if weights are to be quantised and bitsandbytes is not installed."""
    if quantise != "no" and importlib.util.find_spec("bitsandbytes") is None:
        raise MissingDependency(
            "quantised weights need bitsandbytes: pip install 'bitsandbytes>=0.50', or set quantise to no"
        )


@dataclass(frozen=True)
class Placement:
    """One device and one dtype for all weights, or spread over devices, or quantised."""

    device: str = "cpu"
    dtype: Dtype = "bfloat16"
    spread: bool = False
    quantise: Quantise = "no"

    @property
    def is_row_by_row(self) -> bool:
        """Whether each row must run alone, lest its score depend on its neighbours.

        With 8 bits, bitsandbytes computes a column of the activations in 16 bits where any row of the call is large
        (Dettmers et al. 2022, arXiv 2208.07339, section 3).
        """
        return self.quantise == "8bit"

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of transformers' `from_pretrained`. Raises where they cannot be obeyed."""
        found: dict[str, Any] = {
            "dtype": torch_dtype(self.dtype),
            "device_map": "auto" if self.spread else {"": self.device},
        }
        if self.quantise != "no":
            found["quantization_config"] = self._quantisation()
        return found

    def _quantisation(self) -> Any:
        require_quantiser(self.quantise)
        from transformers import BitsAndBytesConfig

        if self.quantise == "8bit":
            return BitsAndBytesConfig(load_in_8bit=True)
        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch_dtype(self.dtype)
        )
