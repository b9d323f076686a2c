"""Where to put the names of points so that they do not cover each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FONT = 7.5  # points
WIDTH, HEIGHT = 0.56 * FONT, 1.25 * FONT  # of a letter, in points
DOT = 4.0  # half the width of a point's mark, in points
PLACES = (  # right, left, above, below, and the corners, as steps across and upwards
    (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1),
)  # fmt: skip
DISTANCES = (6.0, 14.0, 24.0, 36.0)


@dataclass(frozen=True)
class Label:
    """A name beside its point: offset of the text's middle from the point, in points of the figure."""

    text: str
    dx: float
    dy: float
    is_far: bool  # a thin line should lead to it


Box = tuple[float, float, float, float]


def place_labels(texts: Sequence[str], places: Sequence[tuple[float, float]], size: tuple[float, float]) -> list[Label]:
    """Return a label for each point, one after the other at the free place that is nearest.

    places: of the points in a frame of this size, from its lower left corner, all in points of the figure.
    """
    taken: list[Box] = [(x - DOT, y - DOT, x + DOT, y + DOT) for x, y in places]
    found = []
    for text, (x, y) in zip(texts, places, strict=True):
        best, least = (0.0, 0.0, 0.0), float("inf")
        for distance in DISTANCES:
            for across, up in PLACES:
                dx = across * (distance + WIDTH * len(text) / 2)
                dy = up * (distance + HEIGHT / 2)
                box = _box(text, x + dx, y + dy)
                cost = sum(_overlap(box, other) for other in taken) + _outside(box, size) + 0.2 * distance
                if cost < least:
                    best, least = (dx, dy, distance), cost
        taken.append(_box(text, x + best[0], y + best[1]))
        found.append(Label(text, best[0], best[1], best[2] > DISTANCES[0]))
    return found


def _box(text: str, x: float, y: float) -> Box:
    half = WIDTH * len(text) / 2
    return (x - half, y - HEIGHT / 2, x + half, y + HEIGHT / 2)


def _overlap(a: Box, b: Box) -> float:
    """Return the area that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _outside(box: Box, size: tuple[float, float]) -> float:
    """Return the area of a box outside of the frame, doubled."""
    width, height = box[2] - box[0], box[3] - box[1]
    return 2 * (width * height - _overlap(box, (0.0, 0.0, *size)))
