"""Preprocessing on float tensors, for gradients through a reward: an approximation of what Pillow does on bytes.

With antialiasing the prepared pixels differ from Pillow's by about 0.004 on average, in units of their standard
deviation. Without it they differ ten times as much, so there is no such mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.errors import ScoringError
from accord.scorers.preprocessing import CLIP_MEAN, CLIP_STD, Triple, long_edge_size, short_edge_size

if TYPE_CHECKING:
    from torch import Tensor


def crop_to_square(images: Tensor, size: int) -> Tensor:
    """Return (B, 3, size, size) of images (B, 3, H, W) in 0..1: shortest edge to size, centre crop, normalise."""
    check_images(images)
    height, width = short_edge_size(images.shape[2], images.shape[3], size)
    resized = resize(images, height, width).clamp(0, 1)
    top, left = (height - size) // 2, (width - size) // 2
    return normalise(resized[:, :, top : top + size, left : left + size])


def pad_to_square(images: Tensor, size: int) -> Tensor:
    """Return (B, 3, size, size) of images (B, 3, H, W) in 0..1: longest edge to size, black borders, normalise."""
    from torch.nn.functional import pad

    check_images(images)
    height, width = long_edge_size(images.shape[2], images.shape[3], size)
    top, left = (size - height) // 2, (size - width) // 2
    borders = (left, size - width - left, top, size - height - top)
    return normalise(pad(resize(images, height, width), borders))


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Return (B, 3, height, width), bicubic with antialiasing."""
    from torch.nn.functional import interpolate

    return interpolate(images, (height, width), mode="bicubic", align_corners=False, antialias=True)


def normalise(images: Tensor, mean: Triple = CLIP_MEAN, std: Triple = CLIP_STD) -> Tensor:
    """Return (images - mean) / std per channel."""
    return (images - images.new_tensor(mean)[:, None, None]) / images.new_tensor(std)[:, None, None]


def check_images(images: Tensor) -> None:
    """Raise ScoringError unless these are float images (B, 3, H, W)."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ScoringError(
            f"differentiable scores need float images (B, 3, H, W) in 0..1, found {images.dtype} {tuple(images.shape)}"
        )
