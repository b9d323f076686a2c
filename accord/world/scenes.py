"""Scenes: what a picture shows, how a caption is laid out as one, and how one is painted.

Painting uses signed distance functions (negative inside, in pixels) with analytic antialiasing: a pixel whose centre
lies d outside the outline is covered by `clip(0.5 - d, 0, 1)`. Coordinates are pixels, the image spans 0..32 in x (to
the right) and y (downwards), and the centre of the first pixel is at (0.5, 0.5).
"""

from dataclasses import dataclass

import numpy as np

from accord.errors import AccordError
from accord.world.captions import Caption
from accord.world.vocabulary import BACKGROUNDS, COLORS, PALETTE, RELATIONS, SHAPES, SIZE, SKILLS

__all__ = [
    "BACKGROUNDS",
    "COLORS",
    "PALETTE",
    "RELATIONS",
    "RELATION_RATIO",
    "SHAPES",
    "SIZE",
    "SKILLS",
    "Scene",
    "Thing",
    "background_layer",
    "coverage",
    "distance",
    "draw_scene",
    "paint",
    "relation_holds",
    "render",
    "to_uint8",
]

#: Radii of the things of a clean scene, lowest and highest, in pixels, by number of things.
RADII = {1: (6.5, 9.5), 2: (4.7, 6.5), 3: (4.2, 5.2)}
#: Free space between the circles around two things of a clean scene, in pixels; corners reach a little beyond them.
GAP = 2.2
#: A relation holds when the difference along its axis is this much larger than the difference across it.
RELATION_RATIO = 1.15

_HALF_SIDE = 0.86  # of a square, per radius: looks as large as the circle
_INRADIUS = 0.62  # of a triangle, per radius
_REACH = 1.1  # boxes stay within about this many radii of the centre, in x and in y


@dataclass(frozen=True)
class Thing:
    """One shape: centre (x, y) and radius in pixels; `tint` is added to the palette colour (R, G, B in 0..255)."""

    shape: str
    color: str
    x: float
    y: float
    radius: float
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Scene:
    """What a picture shows: things from back to front, a background with its tint, and the skill it was drawn for."""

    things: tuple[Thing, ...]
    background: str
    skill: str
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)


def distance(shape: str, dx: np.ndarray, dy: np.ndarray, radius: float) -> np.ndarray:
    """Signed distance in pixels (negative inside) to a shape of `radius`, at offsets dx, dy from its centre.

    The centre is the middle of the bounding box. Outside the corners of a triangle the value is a lower bound.
    """
    if shape == "circle":
        return np.hypot(dx, dy) - radius
    if shape == "square":
        return np.maximum(np.abs(dx), np.abs(dy)) - _HALF_SIDE * radius
    if shape == "triangle":  # equilateral, tip up; its box is 1.5 inradii above and below the middle
        inradius = _INRADIUS * radius
        below = dy - 1.5 * inradius
        aside = 0.5 * np.sqrt(3.0) * np.abs(dx) - 0.5 * (dy - 0.5 * inradius) - inradius
        return np.maximum(below, aside)
    raise AccordError(f"unknown shape {shape!r}; the world has {', '.join(SHAPES)}")


def coverage(thing: Thing) -> np.ndarray:
    """Share of each pixel covered by `thing`, float (H, W) in 0..1."""
    centres = np.arange(SIZE) + 0.5
    dx, dy = centres[None, :] - thing.x, centres[:, None] - thing.y
    return np.clip(0.5 - distance(thing.shape, dx, dy, thing.radius), 0.0, 1.0)


def background_layer(scene: Scene) -> np.ndarray:
    """The empty scene, float (H, W, 3) in 0..255."""
    color = np.asarray(BACKGROUNDS[scene.background], dtype=float) + scene.tint
    return np.broadcast_to(color, (SIZE, SIZE, 3)).copy()


def paint(canvas: np.ndarray, things: tuple[Thing, ...], opacity: float = 1.0) -> np.ndarray:
    """`canvas` (H, W, 3) in 0..255 with `things` painted over it; opacity 0..1."""
    for thing in things:
        alpha = opacity * coverage(thing)[..., None]
        color = np.asarray(PALETTE[thing.color], dtype=float) + thing.tint
        canvas = canvas * (1.0 - alpha) + color * alpha
    return canvas


def to_uint8(canvas: np.ndarray) -> np.ndarray:
    """Round to uint8. A tint may reach a little beyond 0..255, where it has no further effect."""
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def render(scene: Scene) -> np.ndarray:
    """The clean picture of `scene`, uint8 (32, 32, 3)."""
    return to_uint8(paint(background_layer(scene), scene.things))


def relation_holds(relation: str, dx: float, dy: float) -> bool:
    """Whether a thing at offset (dx, dy) pixels from another lies `relation` it, clearly: see RELATION_RATIO."""
    along, across = (dy, dx) if relation in ("above", "below") else (dx, dy)
    sign = -1.0 if relation in ("above", "left of") else 1.0
    return sign * along > RELATION_RATIO * abs(across)


def draw_scene(spec: Caption, rng: np.random.Generator) -> Scene:
    """A clean scene that shows `spec`: sizes, places, tints and everything the caption leaves open are drawn.

    A single noun without colour gives all of its things one random colour; two nouns without colour get different ones.
    """
    shapes = [noun.shape for noun in spec.asked for _ in range(noun.count)]
    colors = _draw_colors(spec, rng)
    places = _draw_places(len(shapes), spec.relation, rng)
    things = tuple(
        Thing(shape, color, x, y, radius, _draw_tint(8.0, rng))
        for shape, color, (x, y, radius) in zip(shapes, colors, places, strict=True)
    )
    background = spec.background or str(rng.choice(list(BACKGROUNDS)))
    return Scene(things, background, spec.skill, _draw_tint(8.0, rng))


def _draw_colors(spec: Caption, rng: np.random.Generator) -> list[str]:
    spare = [str(color) for color in rng.permutation(COLORS)]
    colors = []
    for noun, free in zip(spec.asked, spare, strict=False):
        colors += [noun.color or free] * noun.count
    return colors


def _draw_tint(spread: float, rng: np.random.Generator) -> tuple[float, float, float]:
    red, green, blue = rng.uniform(-spread, spread, 3).tolist()
    return red, green, blue


def _draw_places(number: int, relation: str | None, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """(x, y, radius) of each thing, by rejection: no overlap, inside the frame, and the relation holds."""
    low, high = RADII[number]
    for _ in range(10_000):
        radii = rng.uniform(low, high, number)
        margin = _REACH * radii + 1.0
        # A lone thing stays near the centre.
        reach = 3.0 if number == 1 else SIZE / 2
        free = np.minimum(SIZE / 2 - margin, reach)
        places = SIZE / 2 + free[:, None] * rng.uniform(-1.0, 1.0, (number, 2))
        if _apart(places, radii) and (relation is None or relation_holds(relation, *(places[0] - places[1]).tolist())):
            return [(float(x), float(y), float(r)) for (x, y), r in zip(places, radii, strict=True)]
    raise AccordError(f"found no layout for {number} things with relation {relation!r}; RADII are too large")


def _apart(places: np.ndarray, radii: np.ndarray) -> bool:
    for i in range(len(radii)):
        for j in range(i):
            if np.hypot(*(places[i] - places[j])) < _REACH * (radii[i] + radii[j]) + GAP:
                return False
    return True
