"""Numbers that describe a picture by itself, without its prompt.

`image` is always float64 (H, W, 3) in 0..1. Every function reads one image, so that a score cannot depend on what it
was computed together with.
"""

from typing import NamedTuple

import numpy as np


class Saliency(NamedTuple):
    """How the subject lies in the frame. Lengths in pixels."""

    off_centre: float  # distance of the subject's centroid from the image centre
    spread: float  # root mean square distance of the subject from its centroid
    fill: float  # share of pixels that differ from the background, 0..1


def border(image: np.ndarray) -> np.ndarray:
    """The pixels of the image's outermost ring, (2H + 2W - 4, 3)."""
    return np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])


def background(image: np.ndarray) -> np.ndarray:
    """The background colour, (3,): the median of the border."""
    return np.median(border(image), axis=0)


def border_variation(image: np.ndarray) -> float:
    """Standard deviation of the border, mean over channels, 0..0.5: stripes, cropped things, grain."""
    return float(border(image).std(axis=0).mean())


def difference_from_background(image: np.ndarray) -> np.ndarray:
    """Largest channel difference of each pixel from the background colour, (H, W) in 0..1."""
    return np.abs(image - background(image)).max(axis=2)


def saliency(image: np.ndarray) -> Saliency:
    """Place and size of what differs from the background by more than .1 (`fill`: by more than .15).

    An image without any such pixel counts as centred, without spread and fill.
    """
    difference = difference_from_background(image)
    weight = np.maximum(difference - 0.1, 0.0)
    total = weight.sum()
    if total == 0.0:
        return Saliency(0.0, 0.0, 0.0)
    height, width = weight.shape
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    along_y, along_x = weight.sum(axis=1), weight.sum(axis=0)
    y, x = (along_y * rows).sum() / total, (along_x * columns).sum() / total
    square = (along_y * (rows - y) ** 2).sum() + (along_x * (columns - x) ** 2).sum()
    return Saliency(
        off_centre=float(np.hypot(x - width / 2, y - height / 2)),
        spread=float(np.sqrt(square / total)),
        fill=float((difference > 0.15).mean()),
    )


def _sorted_three(first: np.ndarray, second: np.ndarray, third: np.ndarray) -> tuple[np.ndarray, ...]:
    """Lowest, middle and highest of three arrays, each elementwise."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    middle = np.maximum(low, np.minimum(high, third))
    return np.minimum(low, third), middle, np.maximum(high, third)


def median_filter(image: np.ndarray) -> np.ndarray:
    """Median over 3x3 neighbourhoods per channel, (H, W, 3); the border is repeated outwards.

    The median of nine numbers in three sorted columns is the median of the highest low, the middle middle and
    the lowest high.
    """
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    low, middle, high = _sorted_three(padded[:-2], padded[1:-1], padded[2:])
    lows = np.maximum(np.maximum(low[:, :-2], low[:, 1:-1]), low[:, 2:])
    highs = np.minimum(np.minimum(high[:, :-2], high[:, 1:-1]), high[:, 2:])
    middles = _sorted_three(middle[:, :-2], middle[:, 1:-1], middle[:, 2:])[1]
    return _sorted_three(lows, middles, highs)[1]


def grain(image: np.ndarray) -> float:
    """Mean absolute difference from the median-filtered image, 0..1: noise, specks, and a little of every corner."""
    return float(np.abs(image - median_filter(image)).mean())


def saturation(image: np.ndarray) -> float:
    """Mean of highest minus lowest channel, 0..1."""
    return float((image.max(axis=2) - image.min(axis=2)).mean())


def contrast(image: np.ndarray) -> float:
    """Standard deviation of the grey image, 0..0.5."""
    return float(image.mean(axis=2).std())


def edge_density(image: np.ndarray) -> float:
    """Mean step between neighbouring pixels (largest channel, horizontal and vertical), 0..1."""
    across = np.abs(np.diff(image, axis=1)).max(axis=2).mean()
    down = np.abs(np.diff(image, axis=0)).max(axis=2).mean()
    return float(0.5 * (across + down))


def colorfulness(image: np.ndarray) -> float:
    """Colourfulness M3 of Hasler and Suesstrunk 2003, "Measuring colourfulness in natural images": about 0..180."""
    red, green, blue = np.moveaxis(image * 255.0, 2, 0)
    red_green, yellow_blue = red - green, 0.5 * (red + green) - blue
    deviation = np.hypot(red_green.std(), yellow_blue.std())
    return float(deviation + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))
