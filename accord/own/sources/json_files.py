"""Rows of JSON files: one array of objects (.json), or one object a line (.jsonl); read bit by bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from accord.errors import DataError
from accord.files import sha256
from accord.own.record import Row, Source

CHARACTERS_AT_ONCE = 2**20
NO_OBJECT = "the row is not a JSON object"


def json_source(files: Sequence[Path], root: str = "") -> Source:
    """Return the objects of these files, one file after another.

    Raises DataError for a file that cannot be read, and if no row of any file can be.

    The files are read once to count rows. Paths of images are relative to `root`; by default to the first file's
    folder, or to the folder beside it that has the file's name, as HPDv2 has train/ beside train.json.
    """
    columns: set[str] = set()
    total, first_problem = 0, ""
    try:
        for path in files:
            for row in _file_rows(path):
                total += 1
                first_problem = first_problem or (f"{row.where}: {row.problem}" if row.problem else "")
                if not columns and row.values is not None:
                    columns |= row.values.keys()
        identity = {path.name: sha256(path) for path in files}
    except (OSError, UnicodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path.name} cannot be read: {error}; mend it or leave it out") from error
    if not columns:
        names = ", ".join(path.name for path in files)
        raise DataError(f"{names} holds no rows" if not total else f"{names} has no row to read ({first_problem})")
    return Source(frozenset(columns), total, {"files": identity}, partial(_rows, files), _roots(files[0], root))


def _roots(first: Path, root: str) -> tuple[str, ...]:
    return (root,) if root else (str(first.parent), str(first.with_suffix("")))


def _rows(files: Sequence[Path], start: int) -> Iterator[Row]:
    return islice((row for path in files for row in _file_rows(path)), start, None)


def _file_rows(path: Path) -> Iterator[Row]:
    read: Callable[[TextIO], Iterator[tuple[Any, str]]] = _lines if path.suffix == ".jsonl" else _array
    with path.open(encoding="utf-8-sig") as file:
        for number, (value, problem) in enumerate(read(file)):
            where = f"{path.name} row {number}"
            if not problem and not isinstance(value, Mapping):
                problem = NO_OBJECT
            yield Row(where, None if problem else value, problem)


def _lines(file: TextIO) -> Iterator[tuple[Any, str]]:
    for line in file:
        if line.strip():
            try:
                yield json.loads(line), ""
            except (json.JSONDecodeError, RecursionError):
                yield None, "the line is not JSON"


def _array(file: TextIO) -> Iterator[tuple[Any, str]]:
    """Yield the elements of one array, holding little more than one of them. Raises JSONDecodeError where it breaks."""
    decoder, text, is_last = json.JSONDecoder(), "", False
    text = file.read(CHARACTERS_AT_ONCE).lstrip()
    if not text.startswith("["):
        raise json.JSONDecodeError(
            "needs an array of objects, or the suffix .jsonl for one object a line", text[:20], 0
        )
    text = text[1:]
    while True:
        text = text.lstrip().removeprefix(",").lstrip()
        if text.startswith("]"):
            return
        try:
            value, end = decoder.raw_decode(text)
            if end == len(text) and not is_last:  # a number could go on in what is not read yet
                raise json.JSONDecodeError("more is needed", text[-20:], 0)
        except json.JSONDecodeError:
            more = file.read(max(CHARACTERS_AT_ONCE, len(text)))
            if not more:
                if is_last:
                    raise
                is_last = True
            text += more
            continue
        yield value, ""
        text = text[end:]
