"""Alignment with the prompt, 0..1: a soft checker, in the place that VQAScore has for photographs.

    score = background * relation * exp(-1.3 * further things) * product over wanted things of (.1 + .9 q)
    q     = strength * shape * colour of the thing that was found for it, 0 if there is none

The best way to match found and wanted things counts. Every factor is smooth, so that of two wrong pictures the one that
is less wrong has the higher score, and of two right ones that with the clearer shapes.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations

import numpy as np

from accord.types import ScorerCard
from accord.world.captions import Asked, Caption
from accord.world.checker import wanted_things
from accord.world.detect import Findings, Found, detect
from accord.world.rewards.inputs import check_images, score_each_with_caption
from accord.world.vocabulary import BACKGROUNDS, COLORS, SHAPES

#: Chromaticity of the palest pixel that can belong to a thing: a quarter of a full colour, as pale as flaws make it.
MIN_CHROMA = 0.15
_MOST_THINGS = 5  # of the things found, the largest are matched; with three wanted there are 136 ways


class Alignment:
    """Soft alignment of image and prompt."""

    card = ScorerCard(
        name="world_alignment",
        version="1",
        summary="How well does the picture show the caption? Soft scores of strength, shape, colour, number, relation "
        "and background of the things found.",
        scale="0 (nothing of it) to 1 (all of it, clearly); NaN for a prompt outside the grammar of the embedded world",
        # One standard deviation among the pictures of one prompt (.25) is preferred with sigmoid(1) = .73.
        bradley_terry_scale=4.0,
        uses_prompt=True,
        licence="Apache-2.0",
        citation="Accord, the embedded world; in the role of Lin et al. 2024, VQAScore",
        low=0.0,
        high=1.0,
    )

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return the alignment per image, float64 (B,). Raises ScoringError for pictures that are not 32x32 uint8."""
        check_images(self.card.name, images, prompts)
        return score_each_with_caption(_alignment, images, prompts)


def _alignment(image: np.ndarray, caption: Caption) -> float:
    return soft_match(detect(image, MIN_CHROMA), caption)


def soft_match(findings: Findings, caption: Caption) -> float:
    """How well the findings match the caption, 0..1: the formula at the top of this file."""
    things = findings.things[:_MOST_THINGS]
    wanted = wanted_things(caption)
    presence = np.array([_presence(thing) for thing in findings.things] + [0.0])  # the last stands for a missing thing
    quality = np.zeros((len(things) + 1, len(wanted)))
    for i, thing in enumerate(things):
        quality[i] = [presence[i] * _looks(thing, noun) for noun in wanted]
    ways = _ways(len(things), len(wanted))
    product = np.prod(0.1 + 0.9 * quality[ways, np.arange(len(wanted))], axis=1)
    further = presence.sum() - presence[ways].sum(axis=1)  # ways name a missing thing by -1
    score = product * np.exp(-1.3 * further)
    if caption.relation is not None:
        score *= [_relation([things[i] for i in way if i >= 0], caption.relation) for way in ways.tolist()]
    return float(score.max()) * _background(findings, caption.background)


@lru_cache(maxsize=64)
def _ways(num_things: int, num_wanted: int) -> np.ndarray:
    """Every way to give each wanted thing its own found thing or (-1) none, (ways, num_wanted)."""
    choices = [*range(num_things), *[-1] * num_wanted]
    return np.array(sorted(set(permutations(choices, num_wanted))))


def _presence(thing: Found) -> float:
    """How surely this is a thing at all: half at two fifths of the full colour."""
    return _sigmoid((thing.strength - 0.40) / 0.08)


def _looks(thing: Found, noun: Asked) -> float:
    """Share of the wanted shape and colour among all shapes and colours, times how well the shape fits, 0..1."""
    shape = _share(thing.shape_match / 0.03, SHAPES.index(noun.shape))
    fit = _sigmoid((float(thing.shape_match.max()) - 0.75) / 0.05)
    color = 1.0 if noun.color is None else _share(thing.color_match / 0.03, COLORS.index(noun.color))
    return shape * fit * color


def _relation(matched: list[Found], relation: str) -> float:
    """1 where the first thing lies clearly `relation` the second, half on the diagonal, towards 0 elsewhere."""
    if len(matched) < 2:
        return 0.3  # nothing to relate: a little better than a wrong relation
    dx, dy = matched[0].x - matched[1].x, matched[0].y - matched[1].y
    along, across = (dy, dx) if relation in ("above", "below") else (dx, dy)
    sign = -1.0 if relation in ("above", "left of") else 1.0
    return 0.1 + 0.9 * _sigmoid((sign * along - abs(across)) / 1.5)


def _background(findings: Findings, background: str | None) -> float:
    """Share of the wanted background among all of them, never below .1."""
    if background is None:
        return 1.0
    closeness = -findings.background_distance / 0.05
    return 0.1 + 0.9 * _share(closeness, tuple(BACKGROUNDS).index(background))


def _share(logits: np.ndarray, index: int) -> float:
    weights = np.exp(logits - logits.max())
    return float(weights[index] / weights.sum())


def _sigmoid(value: float) -> float:
    return float(1.0 / (1.0 + np.exp(-value)))
