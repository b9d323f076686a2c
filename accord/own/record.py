"""What one row of somebody's data says, whatever it is stored in: a caption, images, and who prefers which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Verdict(NamedTuple):
    """A comparison of two images of a record, by their places in it."""

    first: int
    second: int
    share: float  # of people who prefer the first: 1, 0, or between; 0.5 is a tie
    confidence: float | None = None  # in [0, 1], where the data tells one


@dataclass(frozen=True)
class Record:
    """A caption, its images and their verdicts. `unlabelled` says why there are none, where there should be some.

    An image is the encoded image, the path of a file, or `{"bytes": ..., "path": ...}` as the `datasets` library stores
    it; None: there is none.
    """

    caption: Any
    images: tuple[Any, ...]
    verdicts: tuple[Verdict, ...] = ()
    unlabelled: str = ""


class Row(NamedTuple):
    """A row as it is stored. `values` is None where the row itself cannot be read, for the reason `problem`."""

    where: str
    values: Mapping[str, Any] | None
    problem: str = ""


Layout = Callable[[Mapping[str, Any]], Record]
"""`layout(row)` returns what a row says. Its attribute `columns` holds alternatives: sets of columns, any one of which
tells that a row is laid out so. Raises ValueError with the reason for a row that says nothing."""


@dataclass(frozen=True)
class Source:
    """Rows that can be read again from any number on.

    `identity` decides the rows: equal data has an equal identity wherever it lies. `total` is None where nobody knows.
    """

    columns: frozenset[str]
    total: int | None
    identity: Mapping[str, Any]
    rows: Callable[[int], Iterator[Row]]
    roots: tuple[str, ...] = ()  # the folders that relative paths of images are looked for in, in this order
    damaged: Mapping[str, str] | None = None  # file -> why it cannot be opened, where damage is allowed


def first_of(row: Mapping[str, Any], *names: str) -> Any:
    """Return the value of the first of these columns that the row has; None if it has none of them."""
    return next((row[name] for name in names if name in row), None)
