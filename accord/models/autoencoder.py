"""Images to latents and back, in the space that the denoiser sees.

diffusers scales (and for SD3 and FLUX shifts) the autoencoder's latents: z' = (z - shift) * scaling_factor.
Some autoencoders name a mean and a standard deviation per channel instead: z' = (z - mean) / std * scaling_factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accord.errors import ModelError

PIXELS_AT_ONCE = 2 * 1024 * 1024
"""Decoding needs a few kilobytes per pixel: this keeps a large batch within a few gigabytes."""


def pixels_per_latent(config: Any) -> int:
    """Return how many pixels wide one latent position is: every block but one halves the width."""
    blocks = config.get("block_out_channels") or config["encoder_block_out_channels"]
    return 2 ** (len(blocks) - 1)


def statistics(config: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return offset and scale, broadcastable to (B, C, H, W), with scaled = (latents - offset) * scale."""
    scale = like.new_tensor(config["scaling_factor"])
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and std is not None:
        return like.new_tensor(mean).view(1, -1, 1, 1), scale / like.new_tensor(std).view(1, -1, 1, 1)
    return like.new_tensor(config.get("shift_factor") or 0.0), scale


@torch.no_grad()
def decode(vae: Any, latents: Tensor) -> list[np.ndarray]:
    """Return B images (H, W, 3) uint8 of scaled latents (B, C, H, W). Raises ModelError where they are not finite."""
    offset, scale = statistics(vae.config, latents)
    latents = latents / scale + offset
    pixels = latents.shape[-2] * latents.shape[-1] * pixels_per_latent(vae.config) ** 2
    images: list[np.ndarray] = []
    for chunk in latents.split(max(1, PIXELS_AT_ONCE // pixels)):
        decoded = vae.decode(chunk.to(vae.device, vae.dtype), return_dict=False)[0]
        if not decoded.isfinite().all():  # rounded to bytes it would be a black picture, and be scored as one
            raise ModelError(
                "the model drew numbers that are not finite (NaN or infinite); if model.dtype is 'float16', which ends "
                "at 65504, take 'bfloat16' or 'float32'; else the weights are damaged, or the tuned ones diverged"
            )
        images.extend(to_uint8(decoded))
    return images


def to_uint8(decoded: Tensor) -> np.ndarray:
    """Return images (B, H, W, 3) uint8 of values (B, 3, H, W) in -1..1, rounded as diffusers does."""
    values = (decoded * 0.5 + 0.5).clamp(0, 1).cpu().permute(0, 2, 3, 1).float().numpy()
    return (values * 255).round().astype(np.uint8)


@torch.no_grad()
def encode(vae: Any, images: Sequence[np.ndarray]) -> Tensor:
    """Return scaled latents (B, C, H, W) float32 of uint8 RGB images (H, W, 3) of one size: the mode, no sampling."""
    values = to_values(images)
    step = max(1, PIXELS_AT_ONCE // (values.shape[-2] * values.shape[-1]))
    latents = torch.cat([mode(vae.encode(chunk.to(vae.device, vae.dtype))) for chunk in values.split(step)]).float()
    offset, scale = statistics(vae.config, latents)
    return (latents - offset) * scale


def mode(encoded: Any) -> Tensor:
    """Return the most likely latents (B, C, H, W) of what an autoencoder gave; some give no distribution at all."""
    return encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latent


def to_values(images: Sequence[np.ndarray]) -> Tensor:
    """Return values (B, 3, H, W) float32 in -1..1 of uint8 RGB images. Raises ModelError if they cannot be stacked."""
    if not images:
        raise ModelError("there is no image to encode")
    shapes = {image.shape for image in images}
    if len(shapes) > 1 or images[0].ndim != 3 or images[0].shape[2] != 3 or any(i.dtype != np.uint8 for i in images):
        found = ", ".join(sorted({f"{image.shape} {image.dtype}" for image in images}))
        raise ModelError(f"images to encode must be uint8 RGB arrays (H, W, 3) of one size, not {found}")
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255 * 2 - 1
