"""What policy and reference are both asked: to denoise the same noisy latents."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from accord.diffusion.predictions import denoising_error
from accord.models.interface import DiffusionModel
from accord.types import Conditioning

Autocast = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class DenoisingTask:
    """2B noisy latents, those of the B chosen images above those of the B rejected ones: one call serves both."""

    noisy: Tensor  # (2B, C, H, W)
    timesteps: Tensor  # (2B,)
    conditioning: Conditioning  # each (2B, ...)
    target: Tensor  # (2B, C, H, W) what the denoiser should predict
    factor: Tensor  # (2B,) from the denoiser's own error to the error that counts

    def errors(self, model: DiffusionModel, autocast: Autocast, denoiser: nn.Module) -> Tensor:
        """Return the denoiser's errors, (2B,) float32, also under mixed precision."""
        with autocast():
            prediction = model.predict(denoiser, self.noisy, self.timesteps, self.conditioning)
        return denoising_error(prediction, self.target, self.factor)


def twice(conditioning: Conditioning) -> Conditioning:
    """Return the conditioning of B pairs for 2B images, each (2B, ...)."""
    return {name: torch.cat([tensor, tensor]) for name, tensor in conditioning.items()}
