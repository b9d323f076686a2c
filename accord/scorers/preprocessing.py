"""What CLIP-like networks read of an image, as their training code prepared it: Pillow and numpy.

Resizing acts on 8-bit pixels with Pillow's antialiased bicubic filter. Each preprocessing is a frozen dataclass, so
equal ones are equal keys and are computed once for all scorers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from accord.errors import ScoringError

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
        height, width, top, left = self.geometry(image.shape[0], image.shape[1])
        pixels = resize(image, height, width)
        return normalise(pixels[top : top + self.size, left : left + self.size], self.mean, self.std)

    def geometry(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the height and width to resize to, and the top and left of the crop."""
        height, width = short_edge_size(height, width, self.size)
        half = (lambda margin: round(margin / 2)) if self.rounds_crop else (lambda margin: margin // 2)
        return height, width, half(height - self.size), half(width - self.size)


@dataclass(frozen=True)
class PadToSquare:
    """Longest edge to `size` (bicubic, on floats), black borders to a square, then normalise: HPSv2.

    The border is black before normalisation, so -mean / std after it, not 0. `antialias`: off as in training and in the
    published tables, when torchvision did not smooth tensors by default; on as users of today's torchvision get it.
    """

    size: int = 224
    antialias: bool = False
    mean: Triple = CLIP_MEAN
    std: Triple = CLIP_STD

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return float32 (3, size, size) of a uint8 RGB image (H, W, 3)."""
        height, width, top, left = self.geometry(image.shape[0], image.shape[1])
        resized = resize_floats(image.transpose(2, 0, 1).astype(np.float32) / 255, height, width, self.antialias)
        square = np.zeros((3, self.size, self.size), dtype=np.float32)
        square[:, top : top + height, left : left + width] = resized
        return standardise(square, self.mean, self.std)

    def geometry(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the height and width to resize to, and the top and left of the picture within its borders."""
        height, width = long_edge_size(height, width, self.size)
        return height, width, (self.size - height) // 2, (self.size - width) // 2


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


def long_edge_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Return height and width with the longer edge at `size`, the shorter one rounded, half to even.

    Raises ScoringError for an image so narrow that nothing is left of it.
    """
    scale = size / max(height, width)
    if not min(round(height * scale), round(width * scale)):
        raise ScoringError(f"an image of {width} x {height} pixels is too narrow to be shown in {size} x {size}")
    return round(height * scale), round(width * scale)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a uint8 RGB image (height, width, 3), bicubic with antialiasing, as Pillow rounds it."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def normalise(pixels: np.ndarray, mean: Triple, std: Triple) -> np.ndarray:
    """Return (pixels / 255 - mean) / std as float32 (3, H, W) of uint8 (H, W, 3)."""
    return standardise(pixels.transpose(2, 0, 1).astype(np.float32) / 255, mean, std)


def standardise(values: np.ndarray, mean: Triple, std: Triple) -> np.ndarray:
    """Return (values - mean) / std of float32 (3, H, W) in 0..1."""
    return (values - np.array(mean, np.float32)[:, None, None]) / np.array(std, np.float32)[:, None, None]


def resize_floats(values: np.ndarray, height: int, width: int, antialias: bool) -> np.ndarray:
    """Return float32 (3, height, width) of float32 (3, H, W), bicubic as torch computes it: values may overshoot."""
    import torch
    from torch.nn.functional import interpolate

    if values.shape[1:] == (height, width):
        return values
    pixels = torch.from_numpy(values)[None]
    return interpolate(pixels, (height, width), mode="bicubic", align_corners=False, antialias=antialias)[0].numpy()
