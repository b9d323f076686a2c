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
    """Rectified flow (Liu et al. 2022): x_t = (1-t) x0 + t eps, target eps - x0."""
    noise = torch.randn(x0.shape, generator=draw)
    t = _flow_times(len(x0), draw)
    level = t.view(-1, 1, 1, 1)
    return NoisyBatch((1.0 - level) * x0 + level * noise, 1000.0 * t, noise - x0, torch.ones_like(t))


def epsilon_batch(x0: Tensor, draw: torch.Generator) -> NoisyBatch:
    """Noise prediction (Ho et al. 2020) on the Stable Diffusion schedule: x_i = a x0 + s eps, target eps.

    Noise levels and weights are those of `flow_batch`, so that both objectives have the same loss: divided by a + s,
    x_i is the flow's x_t with t = s / (a+s), and an error of eps is one of (a+s) / a in the velocity. The plain error
    hardly counts the noisy steps that decide the layout.
    """
    noise = torch.randn(x0.shape, generator=draw)
    alpha_bar = torch.cumprod(1.0 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)
    a, s = alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt()
    steps = torch.searchsorted(s / (a + s), _flow_times(len(x0), draw)).clamp(max=999)
    a, s = a[steps], s[steps]
    noisy = a.view(-1, 1, 1, 1) * x0 + s.view(-1, 1, 1, 1) * noise
    return NoisyBatch(noisy, steps.float(), noise, ((a + s) / a) ** 2)


def _flow_times(rows: int, draw: torch.Generator) -> Tensor:
    """t (rows,) in 0..1: 2s / (1+s) with s logit-normal; Esser et al. 2024, section 3.1, shifted by 2 towards noise."""
    s = torch.sigmoid(torch.randn(rows, generator=draw))
    return 2.0 * s / (1.0 + s)


def objective_named(name: str) -> Callable[[Tensor, torch.Generator], NoisyBatch]:
    known = {"flow": flow_batch, "epsilon": epsilon_batch}
    if name not in known:
        raise ConfigError(f"unknown objective {name!r}; known: {', '.join(known)}")
    return known[name]
