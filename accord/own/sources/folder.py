"""Rows of a folder: `chosen/NAME.png` and `rejected/NAME.png` with a caption for each NAME.

The caption of NAME is the text of `captions/NAME.txt`, `chosen/NAME.txt` or `NAME.txt`, or the row of `captions.csv`
(columns `name` and `caption`). NAME may hold subfolders.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from accord.errors import DataError
from accord.own.record import Row, Source

SIDES = ("chosen", "rejected")
TEXT = ".txt"
TABLE = "captions.csv"


def is_folder_of_pairs(path: Path) -> bool:
    """Say whether the path is a folder with both kinds of images."""
    return all((path / side).is_dir() for side in SIDES)


def folder_source(path: Path) -> Source:
    """Return one row per name of an image, in the order of names. Raises DataError if there is none."""
    files = {side: _images(path / side) for side in SIDES}
    names = sorted(files["chosen"].keys() | files["rejected"].keys())
    if not names:
        raise DataError(f"{path} holds no images; needs {path.name}/chosen/NAME.png and {path.name}/rejected/NAME.png")
    rows = partial(_rows, path, names, files, _table(path / TABLE))
    return Source(frozenset({"prompt", *SIDES}), len(names), {"files": _listing(path)}, rows, (str(path),))


def _rows(
    path: Path, names: list[str], files: dict[str, dict[str, list[str]]], table: dict[str, str], start: int
) -> Iterator[Row]:
    for name in names[start:]:
        several = [side for side in SIDES if len(files[side].get(name, [])) > 1]
        if several:
            yield Row(name, None, "several images of one name")
            continue
        values: dict[str, Any] = {side: next(iter(files[side].get(name, [])), None) for side in SIDES}
        yield Row(name, {**values, "prompt": table.get(name, _caption(path, name))})


def _caption(path: Path, name: str) -> str | None:
    for place in (path / "captions", path / "chosen", path):
        file = place / f"{name}{TEXT}"
        if file.is_file():
            try:
                return file.read_text(encoding="utf-8-sig")
            except (OSError, UnicodeError):
                return None
    return None


def _images(folder: Path) -> dict[str, list[str]]:
    """Return name -> images of this name, as paths relative to the folder above; by their suffixes, or without any."""
    found: dict[str, list[str]] = defaultdict(list)
    suffixes = {"", *Image.registered_extensions()}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix.lower() in suffixes and not file.name.startswith("."):
            found[str(file.relative_to(folder).with_suffix(""))].append(str(file.relative_to(folder.parent)))
    return found


def _table(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return {row["name"]: row["caption"] for row in csv.DictReader(file, strict=True)}
    except (OSError, UnicodeError, csv.Error, KeyError) as error:
        raise DataError(f"{path} cannot be read ({error}); it needs the columns name and caption") from error


def _listing(path: Path) -> str:
    """Return a hash of the names and sizes of all files."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listed = [(str(file.relative_to(path)), file.stat().st_size) for file in files]
    return hashlib.sha256(json.dumps(listed).encode("utf-8", "surrogateescape")).hexdigest()
