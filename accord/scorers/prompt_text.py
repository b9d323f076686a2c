"""A prompt inside a model's own text: it must read as words, not as the marks that divide speaker, picture and text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.errors import ScoringError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def plain(prompt: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the prompt. Raises ScoringError if the tokenizer would read a special token in it, such as <|im_end|>."""
    for token in sorted({str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}):
        if token in prompt:
            raise ScoringError(
                f"the prompt holds {token}, which is a mark of the model and not a word: {prompt[:80]!r}"
            )
    return prompt


def put_into(template: str, prompt: str) -> str:
    """Return the template with the prompt at its `{}`; other braces of both stay as they are."""
    if "{}" not in template:
        raise ScoringError(f"a question must hold {{}} where the prompt goes, found {template!r}")
    before, _, after = template.partition("{}")
    return f"{before}{prompt}{after}"
