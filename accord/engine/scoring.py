"""Score stored images with several scorers at once: every image decoded once, one table per scorer.

What cannot be scored is NaN with a reason, never 0: a corrupt image, a scorer that fails on this row, a number that is
not finite. A scorer that fails on every image of a shard is broken, and stops the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accord import registry
from accord.engine.pool import run_shards
from accord.errors import ScoringError
from accord.images import ImageRow, decode_image, read_images
from accord.tables import read_scores, write_scores
from accord.types import Scorer, ScorerCard


@dataclass(frozen=True)
class ScoreShard:
    """One shard of images, and where each scorer's scores of it go."""

    images: Path
    outputs: dict[str, Path]  # scorer -> file


def open_scorer(name: str, device: str = "cpu") -> Scorer:
    """Return the scorer registered under this name, on this device if it takes one."""
    make = registry.load("scorers", name)
    return make(device=device) if "device" in registry.options_of(make) else make()


def score_images(
    shards: Sequence[ScoreShard], texts: dict[str, str], batch_size: int, devices: Sequence[str]
) -> Iterator[int]:
    """Write every score file that is not there yet; yield the number of images of each shard as it is done.

    `texts` gives the text of each prompt id.
    """
    missing = []
    for shard in shards:
        outputs = {name: path for name, path in shard.outputs.items() if not path.is_file()}
        if outputs:
            missing.append(ScoreShard(shard.images, outputs))
    if missing:
        names = sorted({name for shard in missing for name in shard.outputs})
        arguments = {"names": names, "texts": texts, "batch_size": batch_size}
        yield from run_shards("accord.engine.scoring:ScoreWorker", arguments, missing, devices)


class ScoreWorker:
    """One process's scorers."""

    def __init__(self, device: str, names: Sequence[str], texts: dict[str, str], batch_size: int) -> None:
        self.scorers = {name: open_scorer(name, device) for name in names}
        self.texts = texts
        self.batch_size = batch_size

    def __call__(self, shard: ScoreShard) -> int:
        """Score one shard; return its number of images."""
        rows = read_images(shard.images)
        images, reasons = _decode(rows)
        for name, path in shard.outputs.items():
            scores, why = self._score(name, rows, images, reasons)
            write_scores(path, [r.image_id for r in rows], [r.prompt_id for r in rows], scores, why)
        return len(rows)

    def _score(
        self, name: str, rows: Sequence[ImageRow], images: Sequence[np.ndarray | None], reasons: Sequence[str]
    ) -> tuple[np.ndarray, list[str]]:
        """Return scores (B,) with NaN, and the reason of each NaN."""
        scores, why = np.full(len(rows), np.nan), list(reasons)
        usable = [i for i, image in enumerate(images) if image is not None]
        failures: list[Exception] = []
        for start in range(0, len(usable), self.batch_size):
            batch = usable[start : start + self.batch_size]
            for group in self._groups_that_work(name, batch, rows, images, why, failures):
                scores[group[0]] = group[1]
        if failures and len(failures) == len(usable):
            raise ScoringError(f"scorer '{name}' fails on every image; the first error: {failures[0]}") from failures[0]
        odd = ~np.isfinite(scores)
        for i in np.nonzero(odd)[0]:
            why[i] = why[i] or f"the scorer returned {scores[i]}"
        scores[odd] = np.nan
        return scores, why

    def _groups_that_work(
        self,
        name: str,
        batch: Sequence[int],
        rows: Sequence[ImageRow],
        images: Sequence[np.ndarray | None],
        why: list[str],
        failures: list[Exception],
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        """Yield (rows, scores) of the batch, or, where the batch fails as a whole, of each row that can be scored."""
        try:
            yield list(batch), self._call(name, batch, rows, images)
        except Exception as error:  # a plug-in may raise anything
            if len(batch) == 1:
                why[batch[0]] = f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
                failures.append(error)
                return
            for i in batch:
                yield from self._groups_that_work(name, [i], rows, images, why, failures)

    def _call(
        self, name: str, batch: Sequence[int], rows: Sequence[ImageRow], images: Sequence[np.ndarray | None]
    ) -> np.ndarray:
        pixels = [image for image in (images[i] for i in batch) if image is not None]
        scores = np.asarray(
            self.scorers[name].score(pixels, [self.texts[rows[i].prompt_id] for i in batch]), dtype=np.float64
        )
        if scores.shape != (len(batch),):
            raise ScoringError(f"scorer '{name}' must return shape ({len(batch)},), found {scores.shape}")
        return scores


def _decode(rows: Sequence[ImageRow]) -> tuple[list[np.ndarray | None], list[str]]:
    """Return each image's pixels, or None with the reason."""
    images: list[np.ndarray | None] = []
    reasons = []
    for row in rows:
        try:
            images.append(decode_image(row.content))
            reasons.append("")
        except ValueError as error:
            images.append(None)
            reasons.append(str(error))
    return images, reasons


def score_counts(folder: Path) -> dict[str, Any]:
    """Return how many images a finished table scores, and how many it does not, by reason."""
    reasons = Counter(reason for _, _, reason in read_scores(folder).values() if reason)
    return {"images": len(read_scores(folder)), "unscored": reasons.total(), "reasons": dict(reasons)}


def scorer_card(name: str) -> ScorerCard:
    """Return a scorer's card, without opening its weights where the class itself carries the card."""
    found = registry.load("scorers", name)
    return found.card if hasattr(found, "card") else open_scorer(name).card


def scorer_facts(name: str) -> dict[str, Any]:
    """Return the scorer's card as plain values, for the manifest."""
    return asdict(scorer_card(name))
