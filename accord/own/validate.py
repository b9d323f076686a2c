"""What is wrong with somebody's data, before a GPU is booked: every row read, every image decoded, nothing written.

What is found wrong here is what `accord import` leaves out.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from accord.own.fitting import open_image
from accord.own.layouts.choose import choose_layout
from accord.own.reading import UNSURE, Reader, Seen, number_of
from accord.own.sources.opening import SourceOptions, open_source
from accord.own.tally import PairTally
from accord.types import Progress, no_progress

ROWS_AT_ONCE = 64
THREADS = 8
Size = tuple[int, int]


@dataclass
class Findings:
    """Counts of what is there and of what is wrong. `left_out` and `first`: "row", "image" or "pair", and why."""

    layout: str
    rows: int = 0
    prompts: int = 0
    prompts_with_one_image: int = 0
    images: int = 0  # different ones, per prompt
    images_of_several_prompts: int = 0
    pairs: Mapping[str, int] = field(default_factory=dict)  # see PairTally.counts
    pairs_of_different_sizes: int = 0  # verdicts on two images of different width or height
    sizes: Counter[str] = field(default_factory=Counter)  # "WIDTHxHEIGHT" -> images
    left_out: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)  # where each fault is met first
    damaged_files: Mapping[str, str] = field(default_factory=dict)

    @property
    def usable(self) -> int:
        """The pairs that remain: different ones, ties not counted."""
        return self.pairs.get("decided", 0)

    @property
    def status(self) -> Literal["clean", "faults", "unusable"]:
        """`unusable`: no pair remains. `faults`: something is damaged, missing or without a valid label."""
        if not self.usable:
            return "unusable"
        chosen = {f"pair: {UNSURE}"}  # left out because the user wants it so
        return "faults" if self.damaged_files or set(self.left_out) - chosen else "clean"

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        values = {name: dict(value) if isinstance(value, Mapping) else value for name, value in vars(self).items()}
        return {**values, "usable_pairs": self.usable, "status": self.status}


def validate(
    names: Sequence[str], options: SourceOptions, min_confidence: float = 0.0, progress: Progress = no_progress
) -> Findings:
    """Read everything, decode every image once, and count what is wrong.

    names: as for `import_pool`. Raises DataError if nothing of it can be opened.
    """
    source = open_source(names, options)
    layout_name, layout = choose_layout(source.columns)
    check = _Check(Findings(layout_name, damaged_files=dict(source.damaged or {})))
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        reader = Reader(source, layout, _size, pool, check.size_of, min_confidence)
        for block in reader.read(0, ROWS_AT_ONCE):
            for seen in block:
                check.add(seen)
            progress(check.findings.rows, source.total or 0, "rows")
    return check.finished()


def _size(content: bytes, bucket: Size | None) -> Size:
    return open_image(content).size


class _Check:
    """What was met so far: a few dozen bytes per image."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self._tally = PairTally()
        self._sizes: dict[int, Size] = {}  # by image of a prompt
        self._contents: dict[str, int] = {}  # by content: how many prompts show it
        self._per_prompt: Counter[str] = Counter()
        self._same: dict[Size, Size] = {}  # one object per size, however many images have it

    def size_of(self, image_id: str) -> Size | None:
        """Return the size of an image that was decoded before."""
        return self._sizes.get(number_of(image_id))

    def add(self, seen: Seen[Size]) -> None:
        """Count what a row says."""
        found = self.findings
        found.rows += 1
        for what, why in seen.lost:
            found.left_out[f"{what}: {why}"] += 1
            found.first.setdefault(f"{what}: {why}", seen.where)
        for image, size in seen.images.items():
            if number_of(image) not in self._sizes:
                self._sizes[number_of(image)] = self._same.setdefault(size, size)
                found.sizes[f"{size[0]}x{size[1]}"] += 1
                prompt, _, content = image.partition("-")
                self._per_prompt[prompt] += 1
                self._contents[content] = self._contents.get(content, 0) + 1
        for verdict in seen.verdicts:
            self._tally.add(number_of(verdict.first), number_of(verdict.second), verdict.share)
            if self.size_of(verdict.first) != self.size_of(verdict.second):
                found.pairs_of_different_sizes += 1
                found.first.setdefault("pair: two sizes", seen.where)

    def finished(self) -> Findings:
        """Return the findings with what is known only at the end."""
        found = self.findings
        found.prompts, found.images = len(self._per_prompt), len(self._sizes)
        found.prompts_with_one_image = sum(count == 1 for count in self._per_prompt.values())
        found.images_of_several_prompts = sum(count > 1 for count in self._contents.values())
        found.pairs = self._tally.counts()
        return found
