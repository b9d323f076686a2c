"""Prompts from files: .txt with one prompt a line, or .csv, .jsonl and .parquet with a column `text`.

Every other column becomes a tag `column:value`; a column `tags` may hold a list of ready tags. Empty lines are
skipped, a text that occurs twice is kept once, and both are counted. Files are UTF-8, with or without the mark that
some editors put at the beginning.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.errors import ConfigError
from accord.types import Prompt

COLUMN = "text"
OTHER_NAMES = ("prompt", "caption")  # what others call the column
ENCODING = "utf-8-sig"  # without the mark, which would be part of the first prompt


@dataclass(frozen=True)
class PromptList:
    """Prompts in the order of their source, and how many rows were left out and why."""

    prompts: tuple[Prompt, ...]
    dropped: dict[str, int]


def read_prompt_file(path: Path) -> PromptList:
    """Return the prompts of a file. Raises ConfigError if it is missing, of an unknown kind, damaged or empty."""
    readers: dict[str, Callable[[Path], Iterable[dict[str, Any]]]] = {
        ".txt": _lines,
        ".csv": _csv,
        ".jsonl": _jsonl,
        ".parquet": _parquet,
    }
    if path.suffix not in readers:
        raise ConfigError(f"prompts file {path}: needs one of {', '.join(readers)}, found '{path.suffix}'")
    try:
        rows = list(readers[path.suffix](existing(path)))
    except UnicodeError as error:
        raise ConfigError(f"prompts file {path} cannot be read: it needs to be saved as UTF-8 ({error})") from error
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(f"prompts file {path} cannot be read: {error}") from error
    return make_prompts(rows, path.name, str(path))


def existing(path: Path) -> Path:
    """Return the path of a prompts file. Raises ConfigError if it is not there."""
    if not path.is_file():
        raise ConfigError(f"no prompts file {path}; set prompts.train and prompts.evaluate to files that exist")
    return path


def make_prompts(rows: Sequence[dict[str, Any]], source: str, origin: str) -> PromptList:
    """Return the prompts of rows with a key `text` (or `prompt`, `caption`); the other keys become tags."""
    prompts: dict[str, Prompt] = {}
    dropped = {"empty": 0, "duplicate": 0}
    for number, row in enumerate(rows, 1):
        column = next((name for name in (COLUMN, *OTHER_NAMES) if name in row), None)
        if column is None:
            raise ConfigError(f"{origin}, row {number}: needs a column '{COLUMN}', found {', '.join(map(str, row))}")
        text = str(row[column] or "").strip()
        prompt = Prompt.make(text, source, _tags(row, column))
        if not text:
            dropped["empty"] += 1
        elif prompt.id in prompts:
            dropped["duplicate"] += 1
        else:
            prompts[prompt.id] = prompt
    if not prompts:
        raise ConfigError(f"{origin} holds no prompts")
    return PromptList(tuple(prompts.values()), dropped)


def _tags(row: dict[str, Any], column: str) -> list[str]:
    ready = row.get("tags") or []
    others = [f"{key}:{value}" for key, value in row.items() if key not in (column, "tags") and value not in (None, "")]
    return [str(tag) for tag in (ready if isinstance(ready, list) else [ready])] + others


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    return ({COLUMN: line} for line in _text_lines(path))


def _text_lines(path: Path) -> list[str]:
    """Return the lines of a text file. Other separators, such as U+2028, may stand within a line of JSON."""
    return path.read_text(encoding=ENCODING).removesuffix("\n").split("\n")


def _csv(path: Path) -> Iterable[dict[str, Any]]:
    with path.open(encoding=ENCODING, newline="") as file:
        reader = csv.DictReader(file, strict=True)
        for row in reader:
            if None in row:
                raise ValueError(
                    f"line {reader.line_num} has more fields than the {len(reader.fieldnames or ())} of the first "
                    "line; a text with a comma needs quotation marks around it"
                )
            yield row


def _jsonl(path: Path) -> Iterable[dict[str, Any]]:
    for number, line in enumerate(_text_lines(path), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number} is not JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is not a JSON object")
            yield row


def _parquet(path: Path) -> Iterable[dict[str, Any]]:
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()
