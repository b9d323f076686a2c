"""What policy and reference are both asked: to denoise the same noisy latents."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from accord.diffusion.noising import add_noise
from accord.diffusion.predictions import Prediction, denoising_error, error_factor, training_target
from accord.models.interface import DiffusionModel
from accord.types import Conditioning, PairBatch, PairErrors

Autocast = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class DenoisingTask:
    """2B noisy latents, those of the B chosen images above those of the B rejected ones: one call serves both."""

    noisy: Tensor  # (2B, C, H, W)
    timesteps: Tensor  # (2B,)
    conditioning: Conditioning  # each (2B, ...)
    target: Tensor  # (2B, C, H, W) what the denoiser should predict
    factor: Tensor  # (2B,) on the device; from the denoiser's own error to the error that counts

    def measure(self, model: DiffusionModel, autocast: Autocast, denoiser: nn.Module) -> Denoised:
        """Return how far the denoiser's prediction is from its target, in float32 also under mixed precision."""
        with autocast():
            prediction = model.predict(denoiser, self.noisy, self.timesteps, self.conditioning)
        return Denoised(denoising_error(prediction, self.target, self.factor), prediction.float() - self.target)


@dataclass(frozen=True)
class Denoised:
    """What a denoiser made of a task. Residuals are None where only the errors were kept."""

    errors: Tensor  # (2B,) float32, mean squared error times factor
    residuals: Tensor | None  # (2B, C, H, W) float32, prediction minus target


FACTORS: dict[str, Callable[[Prediction, Tensor, Tensor], Tensor]] = {
    "epsilon": error_factor,
    "native": lambda prediction, alpha, sigma: torch.ones_like(alpha),
}
"""Error space -> from the denoiser's own squared error to the one that counts, (B,)."""


def make_task(
    model: DiffusionModel, batch: PairBatch, timesteps: Tensor, noise: tuple[Tensor, Tensor], error_space: str
) -> DenoisingTask:
    """Return what the denoiser is asked about B pairs. timesteps: (B,). noise: of chosen and of rejected, each as they.

    A function of the visit alone: whoever asks, and whenever, gets the same task.
    """
    device = batch.chosen.device
    alpha, sigma = model.schedule.alpha(timesteps).repeat(2), model.schedule.sigma(timesteps).repeat(2)
    clean, drawn = torch.cat([batch.chosen, batch.rejected]), torch.cat(noise).to(device)
    return DenoisingTask(
        noisy=add_noise(clean, drawn, alpha, sigma),
        timesteps=timesteps.repeat(2).to(device),
        conditioning=twice(batch.conditioning),
        target=training_target(model.prediction, clean, drawn, alpha, sigma),
        factor=FACTORS[error_space](model.prediction, alpha, sigma).to(device),
    )


def pair_errors(policy: Denoised, reference: Denoised | None, factor: Tensor, weight: Tensor) -> PairErrors:
    """Return what a loss reads of B pairs. factor: (2B,) as in the task. weight: (B,)."""
    if reference is None:
        reference = Denoised(policy.errors.detach(), None)
    distance: tuple[Tensor | None, ...] = (None, None)
    product = None
    if policy.residuals is not None:
        first, second = policy.residuals.detach().chunk(2)
        product = (first * second).flatten(1).mean(1) * factor.chunk(2)[0]
        if reference.residuals is not None:
            apart = (policy.residuals - reference.residuals).square().flatten(1).mean(1) * factor
            distance = apart.chunk(2)
    policy_chosen, policy_rejected = policy.errors.chunk(2)
    reference_chosen, reference_rejected = reference.errors.chunk(2)
    return PairErrors(
        policy_chosen, policy_rejected, reference_chosen, reference_rejected, weight, distance[0], distance[1], product
    )


def twice(conditioning: Conditioning) -> Conditioning:
    """Return the conditioning of B pairs for 2B images, each (2B, ...)."""
    return {name: torch.cat([tensor, tensor]) for name, tensor in conditioning.items()}
