"""A judge that compares two images: asked in both orders, because models prefer a place as well as an image."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np

from accord.images import encode_image
from accord.scorers.judge.answer import Unreadable
from accord.scorers.judge.endpoint import Endpoint, NoAnswer
from accord.scorers.judge.rubrics import PAIR_ANSWER_TOKENS, PAIR_QUESTION, read_verdict
from accord.scorers.judge.scorer import smaller


@dataclass(frozen=True)
class Verdicts:
    """M comparisons. Each number is 1 for the first image, 0 for the second, 1/2 for neither; NaN: no verdict."""

    shown_first: np.ndarray  # (M,) the first image shown first
    shown_second: np.ndarray  # (M,) the first image shown second
    reasons: tuple[str, ...]  # (M,) why there is no verdict, else ""

    @property
    def preference(self) -> np.ndarray:
        """(M,) the mean of both orders: a judge that goes by the place alone gives 1/2."""
        return (self.shown_first + self.shown_second) / 2

    @property
    def labels(self) -> tuple[str, ...]:
        """(M,) a, b or tie, as the selector `labelled` reads them; "" without a verdict."""
        known = {1: "a", 0: "tie", -1: "b"}
        return tuple("" if np.isnan(p) else known[int(np.sign(p - 0.5))] for p in self.preference)

    @property
    def share_of_place(self) -> float:
        """The share of comparisons in which both orders name another image: how far the place decides."""
        known = ~np.isnan(self.preference)
        return float(np.mean(self.shown_first[known] != self.shown_second[known])) if known.any() else np.nan


def compare_images(
    endpoint: Endpoint, first: Sequence[np.ndarray], second: Sequence[np.ndarray], prompts: Sequence[str]
) -> Verdicts:
    """Return M verdicts on pairs of images (uint8 RGB, H W 3) of one prompt each: UnifiedReward's pairwise rubric.

    Two questions per pair. Raises ScorerStopped if the endpoint cannot go on.
    """
    orders = list(chain.from_iterable(((a, b, p), (b, a, p)) for a, b, p in zip(first, second, prompts, strict=True)))
    with ThreadPoolExecutor(endpoint.settings.concurrency) as pool:
        try:
            found = list(pool.map(lambda order: _verdict(endpoint, *order), orders))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    values = np.array([value for value, _ in found], dtype=np.float64).reshape(-1, 2)
    reasons = tuple(a or b for (_, a), (_, b) in zip(found[::2], found[1::2], strict=True))
    return Verdicts(values[:, 0], 1.0 - values[:, 1], reasons)


def _verdict(endpoint: Endpoint, left: np.ndarray, right: np.ndarray, prompt: str) -> tuple[float, str]:
    """Return the verdict for the left image, or NaN with the reason."""
    pngs = [encode_image(smaller(image, endpoint.settings.longest_side), "png") for image in (left, right)]
    try:
        answer = endpoint.ask(PAIR_QUESTION.replace("{prompt}", prompt), pngs, PAIR_ANSWER_TOKENS, False)
        return read_verdict(answer), ""
    except (NoAnswer, Unreadable) as error:
        return np.nan, str(error)
