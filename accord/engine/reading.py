"""Read stored images ahead: threads decode and prepare the next images while a network works on the present ones.

Each image is decoded once for all scorers, and prepared once per preprocessing. One shard is held besides the present.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from accord.images import ImageRow, decode_image, read_images
from accord.scorers.batch import Preprocessing


@dataclass(frozen=True)
class ReadyImage:
    """One stored image, ready for scorers. `reason` says why it cannot be scored at all, '' if it can."""

    image_id: str
    prompt_id: str
    pixels: np.ndarray | None  # uint8 (H, W, 3), or None where no scorer asks for it
    reason: str = ""
    prepared: dict[Preprocessing, Any] = field(default_factory=dict)  # an array, or the exception that was raised


class ReadAhead:
    """Shards of images, decoded and prepared by `threads` threads."""

    def __init__(self, preprocessings: Sequence[Preprocessing], keeps_pixels: bool, threads: int) -> None:
        self.preprocessings = tuple(dict.fromkeys(preprocessings))
        self.keeps_pixels = keeps_pixels
        self._opener = ThreadPoolExecutor(1, "open-shard")
        self._workers = ThreadPoolExecutor(threads, "decode-image")
        self._begun: dict[Path, Future[list[Future[ReadyImage]]]] = {}

    def begin(self, path: Path) -> None:
        """Start to read a shard, unless that has begun."""
        if path not in self._begun:
            self._begun[path] = self._opener.submit(self._open, path)

    def images(self, path: Path) -> Iterator[ReadyImage]:
        """Yield the shard's images in order, each as soon as it is ready."""
        self.begin(path)
        for future in self._begun.pop(path).result():
            yield future.result()

    def _open(self, path: Path) -> list[Future[ReadyImage]]:
        return [self._workers.submit(self._ready, row) for row in read_images(path)]

    def _ready(self, row: ImageRow) -> ReadyImage:
        try:
            pixels = decode_image(row.content)
        except ValueError as error:
            return ReadyImage(row.image_id, row.prompt_id, None, str(error))
        prepared = {how: _prepare(how, pixels) for how in self.preprocessings}
        return ReadyImage(row.image_id, row.prompt_id, pixels if self.keeps_pixels else None, "", prepared)


def _prepare(preprocessing: Preprocessing, pixels: np.ndarray) -> np.ndarray | Exception:
    try:
        return preprocessing(pixels)
    except Exception as error:  # a plug-in may raise anything: the row that it was raised for has no score
        return error
