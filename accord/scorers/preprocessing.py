"""What CLIP-like networks read of an image, as their training code prepared it: Pillow and numpy.

Resizing acts on 8-bit pixels with Pillow's antialiased bicubic filter. Each preprocessing is a frozen dataclass, so
equal ones are equal keys and are computed once for all scorers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

Triple = tuple[float, float, float]
CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class CropToSquare:
    """Shortest edge to `size` (bicubic), centre crop, normalise: CLIP, PickScore, MPS, ImageReward.

    `rounds_crop`: where the margin is odd, torchvision (OpenAI's code, ImageReward) rounds half of it to the even
    number, transformers (PickScore, MPS) cuts it: one pixel of difference for pictures that are not square.
    """

    size: int = 224
    rounds_crop: bool = False
    mean: Triple = CLIP_MEAN
    std: Triple = CLIP_STD

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return float32 (3, size, size) of a uint8 RGB image (H, W, 3)."""
        height, width = short_edge_size(image.shape[0], image.shape[1], self.size)
        pixels = resize(image, height, width)
        top, left = (self._half(margin - self.size) for margin in (height, width))
        return normalise(pixels[top : top + self.size, left : left + self.size], self.mean, self.std)

    def _half(self, margin: int) -> int:
        return round(margin / 2) if self.rounds_crop else margin // 2


@dataclass(frozen=True)
class Squash:
    """Both edges to `size` (bicubic) whatever the proportions, normalise: BLIP-VQA."""

    size: int
    mean: Triple = CLIP_MEAN
    std: Triple = CLIP_STD

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return float32 (3, size, size) of a uint8 RGB image (H, W, 3)."""
        return normalise(resize(image, self.size, self.size), self.mean, self.std)


def short_edge_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Return height and width with the shorter edge at `size` and the longer one rounded down."""
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a uint8 RGB image (height, width, 3), bicubic with antialiasing, as Pillow rounds it."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def normalise(pixels: np.ndarray, mean: Triple, std: Triple) -> np.ndarray:
    """Return (pixels / 255 - mean) / std as float32 (3, H, W) of uint8 (H, W, 3)."""
    values = pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    return (values - np.array(mean, np.float32)[:, None, None]) / np.array(std, np.float32)[:, None, None]
