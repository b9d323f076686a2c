"""The card itself, in the model hub's style: what it is, how to load it, what became better and worse, how it was made.

Equal runs have equal cards: no date, no place on this machine, no clock.
"""

from __future__ import annotations

from accord.card import data, results
from accord.card.data import CardData
from accord.card.markdown import code, front_matter, literal, text
from accord.card.papers import reference
from accord.card.use import Use, base_name, is_public, use_code

TITLES = {
    "adapter": "LoRA adapter for",
    "comfyui": "LoRA adapter for",
    "denoiser": "Tuned denoiser of",
    "pipeline": "Aligned",
}


def model_card(found: CardData, use: Use) -> str:
    """Return the card of what a run trained, as Markdown with YAML in front. `use` says what lies beside it."""
    sections = [
        _front(found, use),
        f"# {TITLES[use.kind]} {text(base_name(found.model))}, aligned with {len(found.rewards)} "
        f"reward{'s' if len(found.rewards) != 1 else ''}",
        _summary(found, use),
        "## Use\n\n```python\n" + use_code(use, found.model, found.drawing, _opened_in(found, use)) + "\n```",
        *([COMFYUI.format(file=code(use.weights))] if use.kind == "comfyui" else []),
        "## Results\n\n" + results.section(found.evaluation, found.why_no_results),
        "## Method\n\n" + data.method_section(found),
        "## Data\n\n" + data.data_section(found),
        "## Rewards\n\n" + data.rewards_section(found),
        "## Training\n\n" + data.training_section(found),
        "## Limits and licence\n\n" + _limits(found),
        "## Papers\n\nPlease cite those whose ideas you use.\n\n"
        + "\n".join(f"- {reference(number)}" for number in found.papers),
    ]
    return "\n\n".join(sections) + "\n"


COMFYUI = (
    "In ComfyUI, copy {file} to `models/loras` and put a `LoraLoaderModelOnly` node between checkpoint and sampler, "
    "strength 1. In the web UIs, copy it to `models/Lora` and name it in the prompt: `<lora:NAME:1>`."
)


def _front(found: CardData, use: Use) -> str:
    is_lora = use.kind in ("adapter", "comfyui")
    tags = ["accord", "preference-alignment", str(found.model["family"]), *(["lora"] if is_lora else [])]
    values: list[tuple[str, str | list[str]]] = [("library_name", "diffusers"), ("pipeline_tag", "text-to-image")]
    if is_public(found.model) and not str(found.model["path"]).startswith("world:"):
        values += [("base_model", str(found.model["path"]))]
        values += [("base_model_relation", "adapter" if is_lora else "finetune")]
    return front_matter([*values, ("tags", ["text-to-image", *tags])])


def _summary(found: CardData, use: Use) -> str:
    what = {"adapter": "A LoRA adapter", "comfyui": "A LoRA adapter in the layout of ComfyUI and the web UIs"}
    what |= {"denoiser": "The denoiser alone, all of its weights tuned", "pipeline": "A complete pipeline"}
    kept = found.settings.get("ema_decay")
    averaged = (
        f" The weights are the moving average of those of all steps (decay {literal(kept)})."
        if kept
        else " The weights are those of the last step."
    )
    version = text(found.versions.get("accord", ""))
    return (
        f"{what[use.kind]}, trained by Accord {version} on {_pairs(found)}.{averaged} Its numbers are stored as "
        f"{use.dtype}."
    )


def _pairs(found: CardData) -> str:
    """Return what kind of pairs the run was trained on."""
    names = ", ".join(code(reward["name"]) for reward in found.rewards)
    drawn = "images that the base model drew itself" if found.drawing and not data.is_imported(found) else "images"
    if "pairs" in found.choices and found.choices["pairs"].name == "labelled":
        return f"preference pairs of {drawn}, labelled by people"
    return f"preference pairs of {drawn}, chosen by {names}" if names else f"preference pairs of {drawn}"


def _opened_in(found: CardData, use: Use) -> str:
    """Return the type to open the result in: that of training, or that of the file where it is all there is."""
    return use.dtype if use.kind == "pipeline" else str(found.model.get("dtype") or "float32")


def _limits(found: CardData) -> str:
    forbidding = [code(card["name"]) for card in found.rewards if card.get("is_commercial_use_allowed") is False]
    lines = [
        "- Rewards stand for what people like, and are wrong in ways of their own. What they do not look at may have "
        "become worse.",
        f"- It is derived from {code(base_name(found.model))}, whose licence holds for it.",
    ]
    if forbidding:
        lines.append(f"- It was trained on scores of {', '.join(forbidding)}, whose licence forbids commercial use.")
    return "\n".join(lines)
