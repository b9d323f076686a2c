"""Find the things in a picture of the world: regions of one palette colour, and how well each fits each shape.

A pixel of a thing is a mixture of the background and of one palette colour. Mixing moves chromaticity along a straight
line, from the background's towards the colour's, so the direction of a pixel's chromaticity, seen from the background,
tells its colour even where the thing is faded or blurred, and the length tells how strong it is.
"""

from dataclasses import dataclass

import numpy as np

from accord.errors import ScoringError
from accord.world.components import connected_components
from accord.world.scenes import distance
from accord.world.vocabulary import BACKGROUNDS, COLORS, PALETTE, SHAPES, SIZE

#: Regions of fewer pixels are specks, not things; the smallest clean thing, a triangle of radius 4.2, has 35.
MIN_AREA = 18

# RGB to chromaticity (a, b): zero for grey, saturated red is (1, 0). The length is about highest minus lowest channel.
_CHROMATICITY = np.array([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]])
_PALETTE = np.array([PALETTE[color] for color in COLORS]) / 255.0
_BACKGROUNDS = np.array(list(BACKGROUNDS.values())) / 255.0
_CENTRES = np.arange(SIZE) + 0.5
# Area of a shape of radius 1, and where the centroid of its area lies below the middle of its box.
_UNIT_AREA = {"circle": np.pi, "square": 4.0 * 0.86**2, "triangle": 3.0 * 3.0**0.5 * 0.62**2}
_CENTROID_BELOW = {"circle": 0.0, "square": 0.0, "triangle": 0.5 * 0.62}


@dataclass(frozen=True)
class Found:
    """One thing found in a picture. Lengths in pixels, y downwards."""

    x: float  # centre of the box of the best fitting shape, as in scenes.Thing
    y: float
    area: float  # covered pixels
    strength: float  # 1: as strong as the palette colour; less: faded
    color_match: np.ndarray  # (6,) cosine between its chromaticity and each colour's, seen from the background
    shape_match: np.ndarray  # (3,) overlap with each shape, intersection over union, 0..1

    @property
    def color(self) -> str:
        return COLORS[int(self.color_match.argmax())]

    @property
    def shape(self) -> str:
        return SHAPES[int(self.shape_match.argmax())]


@dataclass(frozen=True)
class Findings:
    """All things found in a picture, largest first, and what lies behind them."""

    things: tuple[Found, ...]
    background_distance: np.ndarray  # (4,) RGB distance of the background to each of BACKGROUNDS, 0..1.73


def detect(image: np.ndarray, min_chroma: float) -> Findings:
    """Find the things in `image`, uint8 (32, 32, 3).

    `min_chroma`, 0..1, is how far a pixel's chromaticity must be from the background's to belong to a thing; full
    colours have .55 to .85. Raises ScoringError for another size or type.
    """
    if image.shape != (SIZE, SIZE, 3) or image.dtype != np.uint8:
        raise ScoringError(
            f"the embedded world judges pictures of {SIZE}x{SIZE} uint8 RGB pixels, got {image.dtype} {image.shape}; "
            f"set the image height and width to {SIZE}"
        )
    pixels = image / 255.0
    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    behind = _median(border)
    chroma = (pixels - behind) @ _CHROMATICITY  # (H, W, 2)
    rays = (_PALETTE - behind) @ _CHROMATICITY  # (6, 2)
    length = np.hypot(chroma[..., 0], chroma[..., 1])
    reach = np.maximum(np.hypot(rays[:, 0], rays[:, 1]), 1e-6)
    along = chroma @ (rays / reach[:, None]).T  # (H, W, 6)
    classes = np.where(length > min_chroma, along.argmax(axis=2), -1)
    regions = connected_components(classes)
    areas = np.bincount(regions[regions >= 0])
    things = [_measure(pixels - behind, rays, regions, region) for region in np.flatnonzero(areas >= MIN_AREA).tolist()]
    things.sort(key=lambda thing: -thing.area)
    return Findings(tuple(things), np.sqrt(((_BACKGROUNDS - behind) ** 2).sum(axis=1)))


def _median(colors: np.ndarray) -> np.ndarray:
    """The (upper) median of each channel of (n, 3); a third of the time of np.median."""
    return np.sort(colors, axis=0)[len(colors) // 2]


def _measure(difference: np.ndarray, rays: np.ndarray, regions: np.ndarray, region: int) -> Found:
    """Describe one region. `difference` (H, W, 3) is the picture minus its background."""
    mask = regions == region
    color = _median(difference[mask])
    cover = np.where(_grow(mask, regions < 0), np.clip(difference @ (color / (color @ color)), 0.0, 1.0), 0.0)
    along_x, along_y = cover.sum(axis=0), cover.sum(axis=1)
    area = float(along_x.sum())
    x, y = float(along_x @ _CENTRES) / area, float(along_y @ _CENTRES) / area
    middle = color @ _CHROMATICITY
    reach = np.maximum(np.hypot(rays[:, 0], rays[:, 1]), 1e-6)
    match = rays @ middle / (reach * np.hypot(middle[0], middle[1]))
    best = int(match.argmax())
    fits = [_fit(cover, shape, x, y, area) for shape in SHAPES]
    return Found(
        x=x,
        y=max(fits)[1],
        area=area,
        strength=float(rays[best] @ middle / reach[best] ** 2),
        color_match=match,
        shape_match=np.array([overlap for overlap, _ in fits]),
    )


def _grow(mask: np.ndarray, free: np.ndarray) -> np.ndarray:
    """`mask` and those pixels of `free` that share a side with it, (H, W)."""
    near = np.zeros_like(mask)
    near[1:] |= mask[:-1]
    near[:-1] |= mask[1:]
    near[:, 1:] |= mask[:, :-1]
    near[:, :-1] |= mask[:, 1:]
    return mask | (near & free)


def _fit(cover: np.ndarray, shape: str, x: float, y: float, area: float) -> tuple[float, float]:
    """Fit the shape of the same centroid and area to `cover` (H, W).

    Returns the soft intersection over union, and the y of the middle of the shape's box.
    """
    radius = float(np.sqrt(area / _UNIT_AREA[shape]))
    middle = y - _CENTROID_BELOW[shape] * radius
    outside = distance(shape, _CENTRES[None, :] - x, _CENTRES[:, None] - middle, radius)
    template = np.clip(0.5 - outside, 0.0, 1.0)
    both = float(np.minimum(cover, template).sum())
    return both / (area + float(template.sum()) - both), middle
