"""A scorer in a process of its own: asked for its card, given images in batches, started again when it dies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from accord.errors import ScorerStopped, ScoringError, did_you_mean
from accord.outside import ExternalConfig
from accord.scorers.external.child import Child, ChildFailed
from accord.scorers.external.protocol import (
    VERSION,
    Message,
    encode_png,
    hello_request,
    load_request,
    score_request,
)
from accord.types import RowScore, ScorerCard


class ExternalScorer:
    """An executable that speaks the protocol (see `protocol.py`), as a scorer named `name`."""

    def __init__(self, name: str, settings: ExternalConfig, log: Path, device: str = "cpu") -> None:
        """Start it and read its card; its model is loaded with the first image. log: where its stderr goes.

        Raises ScoringError if it cannot be started, does not answer in time, or has no complete card.
        """
        self.name, self.settings, self.log, self.device = name, settings, log, device
        self.child: Child | None = None
        self.is_loaded = False
        self.requests = self.failures = 0
        try:
            self.card = self._start()
        except ChildFailed as error:
            raise ScoringError(f"scorer '{name}' gave no card: {error}; its command by hand says more") from error

    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Return (B,) float64, NaN where there is no score."""
        scores = np.full(len(images), np.nan)
        for found in self.score_rows(images, prompts):
            scores[found.row] = found.score
        return scores

    def score_rows(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> Iterator[RowScore]:
        """Yield every row once, as soon as it is known. images: uint8 RGB (H, W, 3), one prompt each.

        Where the process dies, the rows it has not answered are sent once more, one by one, so that one bad image costs
        no other. Raises ScorerStopped when it dies more often than `max_restarts` without a score between.
        """
        size = self.settings.batch_size
        for start in range(0, len(images), size):
            rows = range(start, min(start + size, len(images)))
            yield from self._score_batch(images, prompts, rows)

    def close(self) -> None:
        """End the process."""
        if self.child is not None:
            self.child.stop()
        self.child, self.is_loaded = None, False

    def _score_batch(
        self, images: Sequence[np.ndarray], prompts: Sequence[str], rows: Sequence[int], is_second_try: bool = False
    ) -> Iterator[RowScore]:
        answered: set[int] = set()
        try:
            for found in self._ask_scores(images, prompts, rows):
                answered.add(found.row)
                self.failures = 0 if not found.reason else self.failures
                yield found
        except ChildFailed as error:
            self._count_failure(error)
            left = [row for row in rows if row not in answered]
            if is_second_try:
                yield RowScore(rows[0], math.nan, f"no score: {error}")
                return
            for row in left:
                yield from self._score_batch(images, prompts, [row], is_second_try=True)

    def _ask_scores(
        self, images: Sequence[np.ndarray], prompts: Sequence[str], rows: Sequence[int]
    ) -> Iterator[RowScore]:
        child = self._loaded_child()
        self.requests += 1
        pngs = [encode_png(images[row]) for row in rows]
        request = score_request(self.requests, pngs, [prompts[row] for row in rows])
        waiting = set(range(len(rows)))
        for reply in child.ask(request, self.settings.silence_seconds):
            position = self._position(reply, waiting)
            waiting.remove(position)
            yield self._row(rows[position], reply)
            if not waiting:
                return

    def _position(self, reply: Message, waiting: set[int]) -> int:
        if reply.get("type") == "failed":
            raise self._stopped(f"it says: {reply.get('error')}")
        row = reply.get("row")
        if reply.get("type") != "score" or reply.get("id") != self.requests or row not in waiting:
            raise self._stopped(f"it answered {reply}, where a score of request {self.requests} was due")
        return int(row)

    def _row(self, row: int, reply: Message) -> RowScore:
        score, low, high = reply.get("score"), self.card.low, self.card.high
        if not isinstance(score, int | float) or isinstance(score, bool):
            return RowScore(row, math.nan, str(reply.get("error") or f"it answered {score!r} instead of a number"))
        if not math.isfinite(score):
            return RowScore(row, math.nan, f"the scorer returned {score}")
        if (low is not None and score < low) or (high is not None and score > high):
            return RowScore(row, math.nan, f"score {score:g} is outside the range of its card, {low} to {high}")
        return RowScore(row, float(score))

    def _loaded_child(self) -> Child:
        if self.child is None:
            card = self._start()
            if card != self.card:
                raise self._stopped("after its restart it announced another card")
        assert self.child is not None
        if not self.is_loaded:
            try:
                reply = next(self.child.ask(load_request(), self.settings.load_seconds))
            except ChildFailed as error:  # a model that cannot be loaded once is not loaded four times
                raise self._stopped(f"it could not load its model: {error}") from error
            if reply.get("type") != "ready":
                raise self._stopped(f"it could not load its model: {reply.get('error') or reply}")
            self.is_loaded = True
        return self.child

    def _start(self) -> ScorerCard:
        self.child = Child(self.settings.command, self.settings.environment, self.log)
        reply = next(self.child.ask(hello_request(self.device), self.settings.start_seconds))
        if reply.get("type") != "hello" or reply.get("protocol") != VERSION:
            self.close()
            raise ScoringError(
                f"scorer '{self.name}' must answer hello with protocol {VERSION}, found "
                f"{reply.get('type')!r} with protocol {reply.get('protocol')!r}; copy a newer accord_serve.py beside it"
            )
        return _card(self.name, reply.get("card"))

    def _count_failure(self, error: ChildFailed) -> None:
        self.close()
        self.failures += 1
        if self.failures > self.settings.max_restarts:
            raise self._stopped(
                f"it failed {self.failures} times without a score between; the last time {error}"
            ) from error

    def _stopped(self, what: str) -> ScorerStopped:
        self.close()
        return ScorerStopped(
            f"scorer '{self.name}' cannot go on: {what} (log: {self.log}); finished rows are kept: run the same "
            "command again"
        )


def _card(name: str, told: Any) -> ScorerCard:
    """Return the card that a child announced, under the name of the run file. Raises ScoringError if not whole."""
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(told, Mapping):
        raise ScoringError(f"scorer '{name}' must announce its card as an object, found {told!r}")
    known = [field.name for field in fields(ScorerCard)]
    for key in told:
        if key not in known:
            raise ScoringError(f"the card of scorer '{name}' has no field '{key}'{did_you_mean(str(key), known)}")
    try:
        card = TypeAdapter(ScorerCard).validate_python(dict(told))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ScoringError(f"the card of scorer '{name}' is not complete: {where}: {first['msg']}") from error
    if not math.isfinite(card.bradley_terry_scale) or card.bradley_terry_scale <= 0:
        raise ScoringError(
            f"the card of scorer '{name}' needs a Bradley-Terry scale above 0, found {card.bradley_terry_scale}"
        )
    return replace(card, name=name, version=f"{card.name} {card.version}")
