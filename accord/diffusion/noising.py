"""From clean latents to noisy ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.diffusion.broadcast import per_row

if TYPE_CHECKING:
    from torch import Tensor


def add_noise(clean: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return `x_t = alpha x_0 + sigma noise`, (B, C, H, W).

    clean, noise: (B, C, H, W). alpha, sigma: (B,) from a schedule, whichever kind it is.

    >>> import torch
    >>> add_noise(torch.full((1, 1, 1, 1), 10.0), torch.ones(1, 1, 1, 1), torch.tensor([0.6]), torch.tensor([0.8]))
    tensor([[[[6.8000]]]])
    """
    return per_row(alpha, clean) * clean + per_row(sigma, noise) * noise
