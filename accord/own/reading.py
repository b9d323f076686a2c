"""Rows -> captions, images and verdicts with ids, and a count of everything that is left out and why."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar

from accord.own.buckets import Size, shared_bucket
from accord.own.fitting import image_bytes, upright_size
from accord.own.record import Layout, Record, Row, Source
from accord.types import Prompt

T = TypeVar("T")
SOURCE = "imported"  # the source of every imported prompt, so that a caption has one id wherever it was found
NO_CAPTION = "no caption"
NOT_TEXT = "the caption is not valid text"
SAME = "both images are the same"
WITHOUT = "an image of the pair is missing or damaged"
UNSURE = "the confidence is too low"
FEW = "fewer than two images"


@dataclass(frozen=True)
class Judged:
    """A verdict on two different images that are both there. `share`: of people who prefer `first`."""

    prompt_id: str
    first: str
    second: str
    share: float
    confidence: float | None
    row: int


@dataclass(frozen=True)
class Seen(Generic[T]):
    """What was read of one row. `images`: image id -> what was made of it. `lost`: why rows, images, pairs went."""

    number: int
    where: str
    prompt: Prompt | None
    images: dict[str, T]
    verdicts: tuple[Judged, ...]
    lost: tuple[tuple[str, str], ...]  # (row, image or pair, reason)
    has_several_shapes: bool = False  # its images belong into different buckets, and share one


@dataclass
class _Begun:
    """A row on its way: first its images are fetched, then made, as their bucket depends on them all."""

    number: int
    row: Row
    record: Record | None = None
    prompt: Prompt | None = None
    problem: str = ""
    found: list[Any] = field(default_factory=list)  # futures of (content, upright size or None, reason)
    made: list[Any] = field(default_factory=list)  # futures of (image id, what was made, reason)
    has_several_shapes: bool = False


@dataclass(frozen=True)
class Reader(Generic[T]):
    """Reads a source by a layout, `make`ing something of each image, several at a time.

    make(content, bucket): called once for each image of a row; raises ValueError with the reason for an image that
    cannot be used. is_known(image id): what this returns instead, if not None, because the image was met before.
    side: of the square that buckets are as large as; then all images of a row share one, and equal captions of
    different buckets are different prompts, so that the images of a prompt have one size. None: there are no buckets.
    """

    source: Source
    layout: Layout
    make: Callable[[bytes, Size | None], T]
    pool: Executor
    is_known: Callable[[str], T | None] = lambda _: None
    min_confidence: float = 0.0
    side: int | None = None

    def read(self, start: int, at_once: int) -> Iterator[list[Seen[T]]]:
        """Yield what each row says, `at_once` rows at a time, from row `start` on."""
        rows, number = self.source.rows(start), start
        while block := list(islice(rows, at_once)):
            begun = [self._begin(number + i, row) for i, row in enumerate(block)]
            for each in begun:
                self._make(each)
            yield [self._end(each) for each in begun]
            number += len(block)

    def _begin(self, number: int, row: Row) -> _Begun:
        """Return the row with its record, or why it has none, and its images being fetched."""
        try:
            if row.values is None:
                raise ValueError(row.problem)
            record = self.layout(row.values)
            prompt = caption(record.caption)
        except KeyError as error:
            return _Begun(number, row, problem=f"the row has no column {error}")
        except ValueError as error:
            return _Begun(number, row, problem=str(error))
        fetch = partial(_fetched, self.source.roots, self.side is not None)
        return _Begun(number, row, record, prompt, found=[self.pool.submit(fetch, value) for value in record.images])

    def _make(self, begun: _Begun) -> None:
        """Choose the bucket, and begin to make something of each image."""
        if begun.prompt is None:
            return
        found, bucket = [future.result() for future in begun.found], None
        sizes = [size for _, size, _ in found if size is not None]
        if self.side is not None and sizes:
            bucket = shared_bucket(sizes, self.side)
            begun.prompt = in_bucket(begun.prompt, bucket)
            begun.has_several_shapes = len({shared_bucket([size], self.side) for size in sizes}) > 1
        make = partial(_made, begun.prompt.id, lambda content: self.make(content, bucket), self.is_known)
        begun.made = [self.pool.submit(make, content, reason) for content, _, reason in found]
        begun.found = []

    def _end(self, begun: _Begun) -> Seen[T]:
        number, where, record, prompt = begun.number, begun.row.where, begun.record, begun.prompt
        if record is None or prompt is None:
            return Seen(number, where, None, {}, (), (("row", begun.problem),))
        made = [future.result() for future in begun.made]
        ids = [identity for identity, _, _ in made]
        lost = [("image", reason) for _, _, reason in made if reason]
        if record.unlabelled:
            lost.append(("pair", record.unlabelled))
        elif len(record.images) < 2 and not record.verdicts:
            lost.append(("pair", FEW))
        verdicts = []
        for verdict in record.verdicts:
            judged = Judged(
                prompt.id, ids[verdict.first], ids[verdict.second], verdict.share, verdict.confidence, number
            )
            reason = self._why_not(judged)
            if reason:
                lost.append(("pair", reason))
            else:
                verdicts.append(judged)
        images = {identity: value for identity, value, reason in made if not reason}
        return Seen(number, where, prompt, images, tuple(verdicts), tuple(lost), begun.has_several_shapes)

    def _why_not(self, judged: Judged) -> str:
        """Return why a verdict cannot be used, or nothing."""
        if not judged.first or not judged.second:
            return WITHOUT
        if judged.first == judged.second:
            return SAME
        sure = max(judged.share, 1 - judged.share) if judged.confidence is None else judged.confidence
        is_tie = judged.share == 0.5 and judged.confidence is None
        return UNSURE if sure < self.min_confidence and not is_tie else ""


def caption(value: Any) -> Prompt:
    """Return the prompt of a caption, without white space around it. Raises ValueError with the reason for none."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(NO_CAPTION)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(NOT_TEXT) from None
    return Prompt.make(value.strip(), SOURCE)


def in_bucket(prompt: Prompt, bucket: Size) -> Prompt:
    """Return the prompt for images of this size, which its tags tell."""
    width, height = bucket
    return Prompt.make(prompt.text, f"{SOURCE} {width}x{height}", (f"height:{height}", f"width:{width}"))


def content_id(prompt_id: str, content: bytes) -> str:
    """Return the id of an image of a prompt: from its bytes, so that the same image has one id wherever it is met."""
    return f"{prompt_id}-{hashlib.blake2b(content, digest_size=8).hexdigest()}"


def number_of(image_id: str) -> int:
    """Return 64 bits that stand for an image of a prompt in memory.

    >>> number_of("0f-10") == number_of("0f-10") != number_of("0e-10")
    True
    """
    return int.from_bytes(hashlib.blake2b(image_id.encode(), digest_size=8).digest(), "little")


def _fetched(roots: Sequence[str], needs_size: bool, value: Any) -> tuple[bytes, Size | None, str]:
    """Return (encoded image, its upright size if that is needed, "") of what a row holds, or (b"", None, reason)."""
    try:
        content = image_bytes(value, roots)
        return content, upright_size(content) if needs_size else None, ""
    except ValueError as error:
        return b"", None, str(error)


def _made(
    prompt_id: str, make: Callable[[bytes], T], is_known: Callable[[str], T | None], content: bytes, reason: str
) -> tuple[str, T | None, str]:
    """Return (id, what was made, "") of an image, or ("", None, reason)."""
    if reason:
        return "", None, reason
    try:
        identity = content_id(prompt_id, content)
        known = is_known(identity)
        return identity, make(content) if known is None else known, ""
    except ValueError as error:
        return "", None, str(error)
