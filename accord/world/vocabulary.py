"""The words of the world and what they look like. Nothing here draws or reads anything."""

from types import MappingProxyType

#: Colour name to RGB, 0..255, as a thing of that colour is painted before its small tint.
PALETTE = MappingProxyType(
    {
        "red": (225, 30, 35),
        "green": (30, 165, 50),
        "blue": (35, 65, 235),
        "yellow": (245, 220, 30),
        "purple": (140, 40, 180),
        "orange": (250, 125, 20),
    }
)

#: Background name to RGB, 0..255. Neutral, so that a thing of any colour stands out.
BACKGROUNDS = MappingProxyType(
    {
        "white": (245, 245, 245),
        "gray": (140, 140, 142),
        "black": (14, 14, 14),
        "beige": (230, 220, 198),
    }
)

COLORS = tuple(PALETTE)
SHAPES = ("circle", "square", "triangle")

#: How the first thing of a caption lies relative to the second. y grows downwards, as in an image.
RELATIONS = ("above", "below", "left of", "right of")

#: Number words, beside the article "a" for one.
NUMBERS = MappingProxyType({"two": 2, "three": 3})

#: The kinds of caption, named as in GenEval (Ghosh et al. 2023, table 1).
SKILLS = ("single", "two", "counting", "colors", "position", "attribution")

#: Width and height of every image, in pixels.
SIZE = 32
