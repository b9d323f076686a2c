"""A judge as a scorer: one question per image, several at a time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from PIL import Image

from accord.errors import ScorerStopped
from accord.images import encode_image
from accord.outside import JudgeConfig
from accord.scorers.judge.answer import Unreadable
from accord.scorers.judge.budget import Budget
from accord.scorers.judge.endpoint import Endpoint, NoAnswer
from accord.scorers.judge.rubrics import RUBRICS
from accord.types import RowScore, ScorerCard

MAX_UNANSWERED = 20  # images in a row, after all retries: then the endpoint is down, not the image at fault


def judge_card(name: str, settings: JudgeConfig) -> ScorerCard:
    """Return the card of a judge. It follows from the run file alone; nothing is asked."""
    rubric = RUBRICS[settings.rubric]
    return ScorerCard(
        name=name,
        version=judge_version(settings),
        summary=rubric.summary if not settings.question else f"{settings.model}: {settings.question}",
        scale=rubric.scale,
        bradley_terry_scale=rubric.bradley_terry_scale,
        uses_prompt="{prompt}" in question_of(settings),
        licence=f"that of {settings.model}; see its card",
        citation=rubric.citation,
        low=rubric.low,
        high=rubric.high,
        note="" if settings.is_local else f"the judge '{name}' sends images and prompts to {settings.host}",
    )


def question_of(settings: JudgeConfig) -> str:
    """Return what is asked, with `{prompt}` where the prompt goes."""
    return settings.question or RUBRICS[settings.rubric].question


def judge_version(settings: JudgeConfig) -> str:
    """Return everything that decides a score: model, revision, rubric, question and image size."""
    digest = hashlib.sha256(f"{question_of(settings)}\x1f{settings.longest_side}".encode()).hexdigest()[:8]
    return " ".join(part for part in (settings.model, settings.revision, settings.rubric, digest) if part)


def smaller(pixels: np.ndarray, longest_side: int | None) -> np.ndarray:
    """Return the image (H, W, 3), made smaller so that no side is longer (bicubic, with antialias); never larger."""
    height, width = pixels.shape[:2]
    if longest_side is None or max(height, width) <= longest_side:
        return pixels
    factor = longest_side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


class JudgeScorer:
    """A served model with a rubric, as a scorer named `name`."""

    def __init__(
        self, name: str, settings: JudgeConfig, spent: Path, sleep: Callable[[float], object] | None = None
    ) -> None:
        """spent: the file in which requests and tokens are counted. Raises ScoringError if the key is not set."""
        self.card = judge_card(name, settings)
        self.settings, self.rubric = settings, RUBRICS[settings.rubric]
        budget = Budget(name, spent, settings.max_requests, settings.max_tokens)
        self.endpoint = Endpoint(name, settings, budget, sleep)
        self.unanswered = 0

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return (B,) float64, NaN where there is no score."""
        scores = np.full(len(images), np.nan)
        for found in self.score_rows(images, prompts):
            scores[found.row] = found.score
        return scores

    def score_rows(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> Iterator[RowScore]:
        """Yield every row once, as it is answered. images: uint8 RGB (H, W, 3), one prompt each.

        Raises ScorerStopped when the endpoint cannot go on or the budget is spent, after the last answer that came.
        """
        pool = ThreadPoolExecutor(self.settings.concurrency)
        stopped: list[ScorerStopped] = []  # the first reason to ask nothing more
        try:
            rows = zip(range(len(images)), images, prompts, strict=True)
            futures = [pool.submit(self._row, stopped, *row) for row in rows]
            for future in as_completed(futures):
                if (answered := future.result()) is None:
                    continue
                found, is_there = answered
                self.unanswered = 0 if is_there else self.unanswered + 1
                yield found
                if self.unanswered >= MAX_UNANSWERED:
                    stopped.append(self._unanswered(found.reason))
        except BaseException:  # also Ctrl-C, and a caller that wants no more
            self.endpoint.halted.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if stopped:
            raise stopped[0]

    def _row(
        self, stopped: list[ScorerStopped], row: int, pixels: np.ndarray, prompt: str
    ) -> tuple[RowScore, bool] | None:
        """Return the row and whether the endpoint was there to answer, or None where nothing is asked any more."""
        if stopped:
            return None
        try:
            return self._ask(row, pixels, prompt)
        except ScorerStopped as error:
            stopped.append(error)
            return None

    def _ask(self, row: int, pixels: np.ndarray, prompt: str) -> tuple[RowScore, bool]:
        png = encode_image(smaller(pixels, self.settings.longest_side), "png")
        question = question_of(self.settings).replace("{prompt}", prompt)
        try:
            answer = self.endpoint.ask(question, [png], self.rubric.answer_tokens, self.rubric.wants_logprobs)
        except NoAnswer as error:
            return RowScore(row, math.nan, str(error), error.reply), error.is_refused
        try:
            return RowScore(row, self.rubric.read(answer)), True
        except Unreadable as error:
            return RowScore(row, math.nan, str(error), answer.text or repr(answer.first)), True

    def _unanswered(self, reason: str) -> ScorerStopped:
        return ScorerStopped(
            f"judge '{self.card.name}' gave no answer to {self.unanswered} images in a row, the last time: {reason}; "
            "what it scored is kept: run the same command to go on"
        )
