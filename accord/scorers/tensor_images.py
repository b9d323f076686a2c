"""Preprocessing on float tensors, for gradients through a reward: an approximation of what Pillow does on bytes.

With antialiasing the prepared pixels differ from Pillow's by about 0.004 on average, in units of their standard
deviation. Without it they differ ten times as much, so there is no such mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.errors import ScoringError
from accord.scorers.preprocessing import CropToSquare, PadToSquare, Triple

if TYPE_CHECKING:
    from torch import Tensor


def crop_to_square(images: Tensor, how: CropToSquare) -> Tensor:
    """Return (B, 3, S, S) of images (B, 3, H, W) in 0..1, cropped at the pixel where `how` crops bytes."""
    check_images(images)
    height, width, top, left = how.geometry(images.shape[2], images.shape[3])
    resized = resize(images, height, width).clamp(0, 1)
    return normalise(resized[:, :, top : top + how.size, left : left + how.size], how.mean, how.std)


def pad_to_square(images: Tensor, how: PadToSquare) -> Tensor:
    """Return (B, 3, S, S) of images (B, 3, H, W) in 0..1, with the borders of `how`; always with antialiasing."""
    from torch.nn.functional import pad

    check_images(images)
    height, width, top, left = how.geometry(images.shape[2], images.shape[3])
    borders = (left, how.size - width - left, top, how.size - height - top)
    return normalise(pad(resize(images, height, width), borders), how.mean, how.std)


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Return (B, 3, height, width), bicubic with antialiasing."""
    from torch.nn.functional import interpolate

    return interpolate(images, (height, width), mode="bicubic", align_corners=False, antialias=True)


def normalise(images: Tensor, mean: Triple, std: Triple) -> Tensor:
    """Return (images - mean) / std per channel."""
    return (images - images.new_tensor(mean)[:, None, None]) / images.new_tensor(std)[:, None, None]


def check_images(images: Tensor) -> None:
    """Raise ScoringError unless these are float images (B, 3, H, W)."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ScoringError(
            f"differentiable scores need float images (B, 3, H, W) in 0..1, found {images.dtype} {tuple(images.shape)}"
        )
