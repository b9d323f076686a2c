"""What the rules that invert share: both images in one call, and from inverted latents back to noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from accord.diffusion.inversion import Predict, implied_noise
from accord.diffusion.predictions import Prediction
from accord.diffusion.schedules import Schedule
from accord.errors import TrainingError
from accord.noise.request import NoiseRequest

if TYPE_CHECKING:
    from torch import Tensor

Model = Literal["initial", "policy"]
"""Whose path is followed: the denoiser as it was before training, which can be cached, or as it is now."""

Inversion = Callable[[Predict, "Tensor", "Tensor", Schedule, Prediction], "Tensor"]


def noise_by_inversion(request: NoiseRequest, model: Model, inversion: Inversion) -> tuple[Tensor, Tensor]:
    """Return the noise of chosen and of rejected, each (B, C, H, W) float32, that inverted latents imply.

    With it `alpha x_0 + sigma noise` is the inverted latent. Raises TrainingError without the denoiser that is needed.
    """
    import torch

    predict = request.initial if model == "initial" else request.policy
    if predict is None or request.schedule is None or request.prediction is None:
        raise TrainingError(
            f"inversion needs the {model} denoiser, which is not at hand here: run `accord invert` first, "
            'or set model = "policy" in method.noise'
        )
    clean = torch.cat([request.chosen, request.rejected]).float()
    timesteps = request.timesteps.repeat(2)  # on the CPU: a schedule looks at them, and on a GPU that waits
    latents = inversion(predict, clean, timesteps, request.schedule, request.prediction)
    alpha, sigma = request.schedule.alpha(timesteps), request.schedule.sigma(timesteps)
    chosen, rejected = implied_noise(latents, clean, alpha, sigma).chunk(2)
    return chosen, rejected
