"""What pictures look like, whatever they show: signs that a model has collapsed onto what its scorers like.

Plain pixel statistics, in which no reward model has a share. A tuned model may move them on purpose; a large fall of
edges, colours or diversity beside a rising reward is how reward hacking usually looks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEVELS = 4  # of each channel in the colour histogram: 64 colours, 6 bits at most
EDGE = 0.1  # luma steps of a tenth of the range and more count as an edge
THUMBNAIL = 8  # pixels a side, over which images of a prompt are compared
LARGEST = 256  # pixels; an image whose sides are all twice that or more is averaged over whole blocks of pixels first

VERSION = 1  # of the definitions below: statistics of another version are computed again

STATISTICS = ("edge_density", "colour_entropy", "brightness", "saturation")
DIVERSITY = "diversity"


def image_statistics(pixels: np.ndarray) -> dict[str, float]:
    """Return the statistics of one uint8 RGB image (H, W, 3).

    edge_density: share of pixels, 0 to 1, whose luma differs from a neighbour's by a tenth of the range or more.
    colour_entropy: bits, 0 to 6, of the histogram over 64 colours. brightness: mean luma, 0 to 1. saturation: mean of
    the largest minus the smallest channel, 0 to 1. A large image is first averaged down to 256 to 511 pixels on its
    shorter side: so an edge is as wide in pictures of 512 and of 1024 pixels, and the cost stays a few milliseconds.

    >>> image_statistics(np.full((4, 4, 3), 255, np.uint8))
    {'edge_density': 0.0, 'colour_entropy': 0.0, 'brightness': 1.0, 'saturation': 0.0}
    """
    pixels = _reduced(pixels)
    values = pixels.astype(np.float64) / 255
    luma = values @ np.array([0.299, 0.587, 0.114])
    across, down = np.abs(np.diff(luma, axis=1))[:-1], np.abs(np.diff(luma, axis=0))[:, :-1]
    edges = np.maximum(across, down) >= EDGE
    colours = (pixels.astype(np.int64) * LEVELS // 256) @ np.array([LEVELS * LEVELS, LEVELS, 1])
    shares = np.bincount(colours.ravel(), minlength=LEVELS**3) / colours.size
    shares = shares[shares > 0]
    return {
        "edge_density": float(edges.mean()) if edges.size else 0.0,
        "colour_entropy": float(abs((shares * np.log2(shares)).sum())),
        "brightness": round(float(luma.mean()), 12),
        "saturation": float((values.max(axis=2) - values.min(axis=2)).mean()),
    }


def diversity(images: Sequence[np.ndarray]) -> float:
    """Return the mean root mean square distance, 0 to 1, between all images of one prompt, as 8 x 8 thumbnails.

    images: uint8 RGB, of any sizes. NaN for fewer than two.

    >>> black, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    >>> diversity([black, white])
    1.0
    """
    if len(images) < 2:
        return float("nan")
    small = np.stack([_thumbnail(image).ravel() for image in images])
    first, second = np.triu_indices(len(images), 1)
    return float(np.sqrt(((small[first] - small[second]) ** 2).mean(axis=1)).mean())


def _reduced(pixels: np.ndarray) -> np.ndarray:
    """Return the image (H, W, 3) averaged over blocks of f x f pixels, f = min(H, W) // 256; the last few are cut."""
    factor = min(pixels.shape[:2]) // LARGEST
    if factor < 2:
        return pixels
    height, width = (side // factor for side in pixels.shape[:2])
    blocks = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    rows = np.zeros((height, width, factor, 3), np.uint32)
    for i in range(factor):  # adding slices is much faster than the mean over an axis
        rows += blocks[:, i]
    sums = np.zeros((height, width, 3), np.uint32)
    for j in range(factor):
        sums += rows[:, :, j]
    return ((sums + factor**2 // 2) // factor**2).astype(np.uint8)


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Return the image averaged to 8 x 8 areas, (8, 8, 3) in [0, 1]."""
    values = _reduced(pixels).astype(np.float64) / 255
    for axis in (0, 1):
        starts = np.linspace(0, values.shape[axis], THUMBNAIL, endpoint=False).astype(int)
        sizes = np.diff(np.append(starts, values.shape[axis]))
        shape = [-1 if a == axis else 1 for a in range(3)]
        values = np.add.reduceat(values, starts, axis=axis) / np.maximum(sizes, 1).reshape(shape)
    return values
