"""HPDv2: train.json with `file_path` and `human_preference`, test.json with `image_path` and `rank` (arXiv 2306.09341).

`human_preference` has a 1 for the preferred one of two images; two equal numbers are a tie. `rank` has a place for
each image, the lowest best: every two images make a pair, and equal places are a tie.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from accord.own.record import Record, Verdict, first_of


def hpdv2(row: Mapping[str, Any]) -> Record:
    """Return a row's images and the verdicts of every two of them."""
    caption = first_of(row, "prompt", "caption", "text")
    if "file_path" in row:
        images, told, sign = _list(row["file_path"]), _list(row.get("human_preference")), 1
    else:
        images, told, sign = _list(row.get("image_path")), _list(row.get("rank")), -1
    places = [_number(value) for value in told]
    if len(places) != len(images) or None in places:
        return Record(caption, images, unlabelled="not one number of preference or rank per image")
    order = [sign * place for place in places if place is not None]
    verdicts = [Verdict(a, b, _share(order[a], order[b])) for a, b in combinations(range(len(order)), 2)]
    return Record(caption, images, tuple(verdicts))


def _share(first: float, second: float) -> float:
    return 0.5 if first == second else float(first > second)


def _list(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else ()


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value == value else None


hpdv2.columns = ({"file_path", "human_preference"}, {"image_path", "rank"})  # type: ignore[attr-defined]
