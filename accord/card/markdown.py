"""Texts from outside, so that a Markdown page shows them as they are: no markup, no HTML, no broken table."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable

SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$!&])")
NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")
BULLET = re.compile(r"^([-+=])")


def text(value: object) -> str:
    r"""Return a value as plain text on one line: characters that mean something in Markdown or HTML lose their meaning.

    >>> text("a|b <script>\n# [x](javascript:y)")
    'a\\|b \\<script\\> \\# \\[x\\](javascript:y)'
    """
    line = one_line(value)
    return BULLET.sub(r"\\\1", NUMBERED.sub(r"\1\\\2", SPECIAL.sub(r"\\\1", line)))


def code(value: object) -> str:
    """Return a value as a code span: its backticks become apostrophes, because a span cannot hold them plainly.

    >>> code("a`b"), code("")
    ("`a'b`", '–')
    """
    line = one_line(value).replace("`", "'").replace("|", "\\|")
    return f"`{line}`" if line else "–"


def literal(value: str | int | float | None) -> str:
    r"""Return a value as a Python literal on one line, with nothing in it that Markdown could end a block with.

    >>> literal('a"\n```'), literal(None)
    ('"a\\"\\n```"', 'None')
    """
    return "None" if value is None else json.dumps(value)


def front_matter(values: Iterable[tuple[str, str | list[str]]]) -> str:
    """Return YAML between its two lines of dashes. Texts are quoted as JSON, which YAML reads as it is.

    >>> print(front_matter([("library_name", "diffusers"), ("tags", ["lora"])]))
    ---
    library_name: "diffusers"
    tags: ["lora"]
    ---
    """
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in values), "---"])


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; its cells are Markdown already.

    >>> print(table(("a", "b"), [("1", "2")]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    names = list(head)
    lines = [names, ["---"] * len(names), *map(list, rows)]
    return "\n".join(
        "|" + "|".join(line) + "|" if line[0] == "---" else "| " + " | ".join(line) + " |" for line in lines
    )


def one_line(value: object) -> str:
    """Return a text without line ends, control characters or repeated spaces."""
    kept = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in str(value))
    return " ".join(kept.split())
