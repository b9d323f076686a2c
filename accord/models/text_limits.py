"""How much of a text a pipeline's text encoders read: diffusers cuts off the rest."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TEXTS_AT_ONCE = 1024


@dataclass(frozen=True)
class TextLimit:
    """Of one tokenizer: the most tokens it gives its encoder, special ones included."""

    tokens: int
    prepared: Callable[[str], str] = str  # what the pipeline makes of a text before it is tokenized


@dataclass(frozen=True)
class TextLengths:
    """Of one tokenizer: its limit, and the tokens of each text as if there were none."""

    limit: int
    tokens: tuple[int, ...]


def text_lengths(pipe: Any, limits: Mapping[str, TextLimit], texts: Sequence[str]) -> dict[str, TextLengths]:
    """Return tokenizer -> lengths of these texts, of the tokenizers that the pipeline has."""
    found = {}
    for name, limit in limits.items():
        tokenizer: Any = getattr(pipe, name, None)
        if tokenizer is None:  # Stable Diffusion 3 without T5
            continue
        tokens: list[int] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = [limit.prepared(text) for text in texts[start : start + TEXTS_AT_ONCE]]
            tokens += [len(ids) for ids in tokenizer(part, padding=False, truncation=False).input_ids]
        found[name] = TextLengths(limit.tokens, tuple(tokens))
    return found


def longest_sequence(pipe: Any) -> int:
    """Return the `max_sequence_length` that the pipeline's `encode_prompt` has unless it is told another."""
    return int(inspect.signature(pipe.encode_prompt).parameters["max_sequence_length"].default)
