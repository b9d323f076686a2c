"""The judge, 0..1: an independent opinion on alignment, by a small trained network.

It shares the renderer and the grammar with the other scorers, but no code that looks at pictures: a policy that
exploits the rule by which `world_alignment` finds things does not thereby convince the judge. Not to be trained on.

    score = background probability * product of centre, shape and colour probabilities of the wanted things
            * product of (1 - centre probability) of the other things;   0 where a relation does not hold
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from accord.types import ScorerCard
from accord.world.captions import Asked, Caption
from accord.world.rewards.inputs import check_images, read_prompt
from accord.world.vocabulary import BACKGROUNDS, COLORS, SHAPES

if TYPE_CHECKING:
    from accord.world.rewards.judge_network import Maps

#: Less probable centres are not looked at.
MIN_PROBABILITY = 0.1
_MOST_THINGS = 6


class Judge:
    """What a trained centre-point detector thinks of the match between image and prompt."""

    card = ScorerCard(
        name="world_judge",
        version="1",
        summary="Probability, by a small trained detector, that the picture shows exactly what the caption asks for.",
        scale="0 to 1; NaN for a prompt outside the grammar of the embedded world",
        # A picture that surely is right is preferred to one that surely is wrong nine times in ten: logit(.9) = 2.2.
        bradley_terry_scale=2.2,
        uses_prompt=True,
        licence="Apache-2.0",
        citation="Accord, the embedded world; detector after Zhou et al. 2019, Objects as points",
        low=0.0,
        high=1.0,
    )

    def __init__(self) -> None:
        from accord.world.rewards.judge_network import load_judge

        self._network = load_judge()

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return the probability per image, float64 (B,). Raises ScoringError for pictures that are not 32x32 uint8."""
        check_images(self.card.name, images, prompts)
        scores = np.full(len(images), np.nan)
        for row, (image, prompt) in enumerate(zip(images, prompts, strict=True)):
            caption = read_prompt(prompt)
            if caption is not None:
                scores[row] = judge(self._look(image), caption)
        return scores

    def _look(self, image: np.ndarray) -> "Sight":
        """One picture at a time: the same bits whatever else is scored."""
        import torch

        from accord.world.rewards.judge_network import to_input

        with torch.inference_mode():
            return read_maps(self._network(to_input(torch.from_numpy(np.array(image, order="C"))[None])))


@dataclass(frozen=True)
class Sight:
    """What the network sees in one picture: n things, the most probable first, and a background."""

    centre: np.ndarray  # (n,) probability that this is a thing
    shape: np.ndarray  # (n, 3) probabilities
    color: np.ndarray  # (n, 6) probabilities
    place: np.ndarray  # (n, 2) x and y of the centre, in map cells
    background: np.ndarray  # (4,) probabilities


def read_maps(maps: "Maps") -> Sight:
    """The local maxima, among 3x3 cells, of the centre map of one picture (B = 1)."""
    centre, shape, color, offset, background = (part[0].double().numpy() for part in maps)
    height, width = centre.shape
    padded = np.pad(centre, 1, constant_values=-np.inf)
    around = np.stack([padded[i : i + height, j : j + width] for i in range(3) for j in range(3)])
    probability = 1.0 / (1.0 + np.exp(-centre))
    rows, columns = np.nonzero((centre == around.max(axis=0)) & (probability > MIN_PROBABILITY))
    order = np.argsort(-probability[rows, columns], kind="stable")[:_MOST_THINGS]
    rows, columns = rows[order], columns[order]
    return Sight(
        centre=probability[rows, columns],
        shape=_softmax(shape[:, rows, columns].T),
        color=_softmax(color[:, rows, columns].T),
        place=np.stack([columns, rows], axis=1) + offset[:, rows, columns].T,
        background=_softmax(background),
    )


def judge(sight: Sight, caption: Caption) -> float:
    """The probability that what is seen is what the caption asks for: the formula at the top of this file."""
    wanted = [noun for noun in caption.asked for _ in range(noun.count)]
    fits = np.array([[_fit(sight, i, noun) for noun in wanted] for i in range(len(sight.centre))])
    best = 0.0
    for order in permutations(range(len(sight.centre)), len(wanted)):
        if caption.relation is not None and not _holds(sight.place[order[0]] - sight.place[order[1]], caption.relation):
            continue
        others = np.delete(1.0 - sight.centre, order)
        best = max(best, float(fits[order, range(len(wanted))].prod() * others.prod()))
    if caption.background is not None:
        best *= float(sight.background[tuple(BACKGROUNDS).index(caption.background)])
    return best


def _fit(sight: Sight, thing: int, noun: Asked) -> float:
    color = 1.0 if noun.color is None else sight.color[thing, COLORS.index(noun.color)]
    return float(sight.centre[thing] * sight.shape[thing, SHAPES.index(noun.shape)] * color)


def _holds(difference: np.ndarray, relation: str) -> bool:
    """Whether the first thing lies more in the direction of the relation from the second than in any other."""
    dx, dy = difference
    towards = {"above": -dy, "below": dy, "left of": -dx, "right of": dx}
    return bool(towards[relation] > max(value for name, value in towards.items() if name != relation))


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)
