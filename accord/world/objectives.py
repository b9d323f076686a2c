"""What the denoiser learns to predict: one function per objective, from clean latents to a noisy batch and its target.

A function takes latents x0 (B, C, H, W) and a generator, and draws the noise level and the noise of each row.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.errors import ConfigError


@dataclass(frozen=True)
class NoisyBatch:
    noisy: Tensor  # (B, C, H, W)
    timesteps: Tensor  # (B,) as the UNet wants them, 0..1000
    target: Tensor  # (B, C, H, W)
    weight: Tensor  # (B,) of the squared error


def flow_batch(x0: Tensor, draw: torch.Generator) -> NoisyBatch:
    """Rectified flow (Liu et al. 2022): x_t = (1-t) x0 + t eps, target eps - x0.

    t = 2s / (1+s) with s logit-normal: the sampling of Esser et al. 2024, section 3.1, shifted by 2 towards noise.
    """
    noise = torch.randn(x0.shape, generator=draw)
    s = torch.sigmoid(torch.randn(len(x0), generator=draw))
    t = 2.0 * s / (1.0 + s)
    level = t.view(-1, 1, 1, 1)
    return NoisyBatch((1.0 - level) * x0 + level * noise, 1000.0 * t, noise - x0, torch.ones_like(t))


def epsilon_batch(x0: Tensor, draw: torch.Generator) -> NoisyBatch:
    """Noise prediction (Ho et al. 2020) on the Stable Diffusion schedule: x_t = a x0 + s eps, target eps.

    Weighted by min(1 / a^2, 12) / 3, because the plain error hardly counts the noisy steps that decide the layout.
    """
    noise = torch.randn(x0.shape, generator=draw)
    steps = torch.randint(1000, (len(x0),), generator=draw)
    alpha_bar = torch.cumprod(1.0 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)[steps]
    level = alpha_bar.view(-1, 1, 1, 1)
    weight = (1.0 / alpha_bar).clamp(max=12.0) / 3.0
    return NoisyBatch(level.sqrt() * x0 + (1.0 - level).sqrt() * noise, steps.float(), noise, weight)


def objective_named(name: str) -> Callable[[Tensor, torch.Generator], NoisyBatch]:
    known = {"flow": flow_batch, "epsilon": epsilon_batch}
    if name not in known:
        raise ConfigError(f"unknown objective {name!r}; known: {', '.join(known)}")
    return known[name]
