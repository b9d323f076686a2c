"""Whether a picture shows exactly what its caption asks for: the world's counterpart of the GenEval checks.

GenEval (Ghosh et al. 2023) detects objects and then tests count, colour, and relative position. Here the things of a
picture are found by colour and compared with drawn shapes. Stricter than GenEval: any further thing is an error for
every caption, not only for counting, and a named background is tested too.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations

import numpy as np

from accord.errors import ScoringError
from accord.world.captions import Asked, Caption, parse
from accord.world.detect import Findings, Found, detect
from accord.world.scenes import relation_holds
from accord.world.vocabulary import BACKGROUNDS

#: A pixel belongs to a thing if its chromaticity is this far from the background's: half of the palest full colour.
MIN_CHROMA = 0.30
#: A region is a thing of the best fitting shape if they overlap this well. Clean renders reach .94, a circle fits a
#: square of its size with .84, two things grown together .3 to .7.
MIN_OVERLAP = 0.78


def check(image: np.ndarray, caption_text: str) -> bool:
    """Whether `image`, uint8 (32, 32, 3), shows what the caption asks for, and no further thing.

    Raises CaptionError for a text that is not in the grammar, ScoringError for a picture of another size or type.
    """
    return meets(detect(image, MIN_CHROMA), _parse(caption_text))


def check_many(images: Sequence[np.ndarray] | np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """`check` of each picture with the text at the same place: bool (B,)."""
    if len(images) != len(texts):
        raise ScoringError(f"each picture needs its text: got {len(images)} pictures and {len(texts)} texts")
    return np.array([check(image, text) for image, text in zip(images, texts, strict=True)], dtype=bool)


def meets(findings: Findings, caption: Caption) -> bool:
    """Whether what was found in a picture is what the caption asks for."""
    things = findings.things
    if any(thing.shape_match.max() < MIN_OVERLAP for thing in things):
        return False
    if caption.background is not None:
        nearest = int(findings.background_distance.argmin())
        if tuple(BACKGROUNDS)[nearest] != caption.background:
            return False
    wanted = wanted_things(caption)
    return len(things) == len(wanted) and any(
        all(_is(thing, noun) for thing, noun in zip(order, wanted, strict=True)) and _related(order, caption.relation)
        for order in permutations(things)
    )


def wanted_things(caption: Caption) -> tuple[Asked, ...]:
    """One entry for each single thing that the caption asks for."""
    return tuple(noun for noun in caption.asked for _ in range(noun.count))


def _is(thing: Found, noun: Asked) -> bool:
    return thing.shape == noun.shape and noun.color in (None, thing.color)


def _related(things: Sequence[Found], relation: str | None) -> bool:
    if relation is None:
        return True
    first, second = things
    return relation_holds(relation, first.x - second.x, first.y - second.y)


@lru_cache(maxsize=4096)
def _parse(text: str) -> Caption:
    return parse(text)
