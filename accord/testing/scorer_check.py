"""The check of a scorer: a complete card, and rows that know nothing of each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from accord.types import Scorer, ScorerCard


def check_scorer(scorer: Scorer, images: Sequence[np.ndarray], prompts: Sequence[str], tolerance: float = 0.0) -> None:
    """Check a scorer on B images with their prompts, at least three different ones that it can score.

    images: uint8 RGB (H, W, 3). tolerance: by how much a score may change with the batch it is in; 0 asks for equal
    bits, a large network that is run in batches may need about 1e-4 of its scale.
    """
    assert len(images) == len(prompts) >= 3, "the check needs at least three images, each with its prompt"
    check_card(scorer.card)
    kept = [image.copy() for image in images]
    scores = scorer.score(images, prompts)
    assert isinstance(scores, np.ndarray), f"scores are an array, found {type(scores).__name__}"
    assert scores.shape == (len(images),), f"one score per image, found {scores.shape}"
    assert scores.dtype == np.float64, f"scores are float64, found {scores.dtype}"
    assert all(np.array_equal(a, b) for a, b in zip(images, kept, strict=True)), "images must be left as they are"
    assert np.array_equal(scores, scorer.score(images, prompts), equal_nan=True), "the same images get the same scores"
    assert not np.isnan(scores).all(), "some of the images can be scored"
    assert not np.isinf(scores).any(), "a score is finite, or NaN"
    _check_bounds(scorer.card, scores)
    _check_rows(scorer, images, prompts, scores, tolerance)
    _check_use_of_prompt(scorer, images, prompts, scores, tolerance)


def check_card(card: ScorerCard) -> None:
    """Check that a card says everything that it has to say."""
    for name in ("name", "version", "summary", "scale", "licence", "citation"):
        assert str(getattr(card, name)).strip(), f"the card's {name} is empty"
    scale = card.bradley_terry_scale
    assert math.isfinite(scale), f"the Bradley-Terry scale is finite, found {scale}"
    assert scale > 0, f"the Bradley-Terry scale is above 0 (higher scores are better), found {scale}"
    if card.low is not None and card.high is not None:
        assert card.low < card.high, f"low {card.low} is below high {card.high}"


def _check_bounds(card: ScorerCard, scores: np.ndarray) -> None:
    known = scores[~np.isnan(scores)]
    assert card.low is None or (known >= card.low).all(), f"a score {known.min()} is below the card's low {card.low}"
    assert card.high is None or (known <= card.high).all(), f"a score {known.max()} is above the card's {card.high}"


def _check_rows(
    scorer: Scorer, images: Sequence[np.ndarray], prompts: Sequence[str], scores: np.ndarray, tolerance: float
) -> None:
    alone = np.concatenate([scorer.score([image], [text]) for image, text in zip(images, prompts, strict=True)])
    assert _are_close(alone, scores, tolerance), f"a score depends on the batch: {alone} alone, {scores} together"
    backwards = scorer.score(list(images)[::-1], list(prompts)[::-1])[::-1]
    assert _are_close(backwards, scores, tolerance), f"a score depends on its place: {backwards}, not {scores}"


def _check_use_of_prompt(
    scorer: Scorer, images: Sequence[np.ndarray], prompts: Sequence[str], scores: np.ndarray, tolerance: float
) -> None:
    """The card says whether the prompt matters: give every image its neighbour's prompt."""
    others = scorer.score(images, [*prompts[1:], prompts[0]])
    if scorer.card.uses_prompt:
        assert not _are_close(others, scores, tolerance), "the card says that the prompt is used, but no score changed"
    else:
        assert _are_close(others, scores, tolerance), "the card says that the prompt is not used, but a score changed"


def _are_close(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    return np.allclose(a, b, rtol=0, atol=tolerance, equal_nan=True)
