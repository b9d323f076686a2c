"""Diffusion and flow models: one file per family, and the only layer that imports diffusers."""

from accord.models.interface import (
    ALL_PARTS,
    DiffusionModel,
    Generated,
    ModelSettings,
    Part,
    SamplerSettings,
    open_model,
)

__all__ = ["ALL_PARTS", "DiffusionModel", "Generated", "ModelSettings", "Part", "SamplerSettings", "open_model"]
