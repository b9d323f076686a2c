"""Prompts longer than a text encoder reads: diffusers cuts them off, which whoever trains on them should know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from accord.manifest import Manifest
from accord.types import Prompt
from accord.wording import counted

if TYPE_CHECKING:
    from accord.models.interface import DiffusionModel

COUNT = "prompts_cut"  # among a stage's counts, and beside its facts: which tokenizer cuts how many
EXAMPLE_CHARACTERS = 60


def long_prompts(model: DiffusionModel, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """Return what is to be kept of these prompts: how many are cut, by tokenizer, and the one that loses most.

    `tokenizers`: name -> {limit, cut}. `example`, `tokens`: the text that is longest beyond a limit, and its length in
    tokens there; only if some prompt is cut.
    """
    lengths = model.text_lengths([prompt.text for prompt in prompts])
    beyond = [max(each.tokens[i] - each.limit for each in lengths.values()) for i in range(len(prompts))]
    found: dict[str, Any] = {
        "prompts": sum(excess > 0 for excess in beyond),
        "tokenizers": {
            name: {"limit": each.limit, "cut": sum(tokens > each.limit for tokens in each.tokens)}
            for name, each in lengths.items()
        },
    }
    if found["prompts"]:
        worst = beyond.index(max(beyond))
        found |= {"example": prompts[worst].text, "tokens": max(each.tokens[worst] for each in lengths.values())}
    return found


def long_prompts_note(manifest: Manifest) -> str:
    """Return one line about the prompts that a stage's model does not read to their end, '' if there are none."""
    found: Mapping[str, Any] = manifest.facts.get(COUNT, {})
    if not found.get("prompts"):
        return ""
    by_name = ", ".join(f"{name} reads {each['limit']} tokens and cuts {each['cut']}" for name, each in _told(found))
    example = found["example"]
    shown = example if len(example) <= EXAMPLE_CHARACTERS else example[:EXAMPLE_CHARACTERS].rstrip() + "..."
    is_one = found["prompts"] == 1
    are, ends = ("is", "its end decides") if is_one else ("are", "their ends decide")
    of = counted(manifest.counts["prompts"], "prompts")
    return (
        f"{found['prompts']} of {of} {are} longer than the model reads, and "
        f"{ends} nothing: {by_name}; the longest has {found['tokens']} tokens: '{' '.join(shown.split())}'"
    )


def _told(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, int]]]:
    return sorted(found["tokenizers"].items())
