"""The noun phrases of a prompt, as T2I-CompBench finds them: spaCy's small English model, without four idle phrases."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

from accord.errors import MissingDependency

MODEL = "en_core_web_sm"
HOW = f"noun phrases need spaCy and its small English model: pip install spacy && python -m spacy download {MODEL}"
SKIPPED = {"top", "the side", "the left", "the right"}  # parts of "on top of", "on the left of"; nothing to look for
MOST = 8


def noun_chunks(text: str) -> list[str]:
    """Return up to 8 noun phrases of an English text in their order, such as "a red car" and "two dogs".

    Raises MissingDependency with the commands that install spaCy and its model.
    """
    return kept([chunk.text for chunk in _parser()(text).noun_chunks])


def kept(phrases: list[str]) -> list[str]:
    """Return the phrases that are asked about: not an idle one, and the first eight."""
    return [phrase for phrase in phrases if phrase not in SKIPPED][:MOST]


def require_parser() -> None:
    """Raise MissingDependency unless spaCy and its model are installed. Neither is imported."""
    if find_spec("spacy") is None or find_spec(MODEL) is None:
        raise MissingDependency(HOW)


@cache
def _parser() -> Callable[[str], Any]:
    try:
        import spacy

        return spacy.load(MODEL)
    except (ImportError, OSError) as error:  # OSError: spaCy is there, its model is not
        raise MissingDependency(HOW) from error
