"""Write a page per family: what is trained, how, and how much memory its weights need at real size.

    python docs/generate_families.py

Parameters are counted on torch's meta device from the published configurations in docs/families.toml; nothing is
downloaded and nothing measured. A test compares the committed pages with what this script makes.
"""

from __future__ import annotations

import textwrap
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from accord import registry

FOLDER = Path(__file__).parent / "guide" / "families"
TOLD: dict[str, Any] = tomllib.loads((Path(__file__).parent / "families.toml").read_text(encoding="utf-8"))
FAMILIES = tuple(name for name in TOLD if name != "parts")
HEADER = "<!-- Written by docs/generate_families.py. Do not edit; run `make docs`. -->\n"
RANK = 16
GIB = 2**30
BF16, TRAINED = 2, 16  # bytes: a weight; a float32 weight with its gradient and Adam's two moments


@cache
def model(class_name: str, config: str) -> Any:
    """Return a model without values. `config` is what repr writes of a dictionary, which can be a cache's key."""
    import ast

    import diffusers
    import torch
    import transformers

    values = ast.literal_eval(config)
    with torch.device("meta"):
        if hasattr(diffusers, class_name):
            return getattr(diffusers, class_name)(**values)
        found = getattr(transformers, class_name)
        return found(found.config_class(**values))


def count(part: dict[str, Any]) -> int:
    """Return how many parameters a part has."""
    return sum(weights.numel() for weights in model(part["class"], repr(part["config"])).parameters())


def lora_count(variant: dict[str, Any], targets: tuple[str, ...]) -> int:
    """Return how many parameters a LoRA of rank RANK adds to these layers."""
    layers = model(variant["class"], repr(variant["config"])).named_modules()
    found = [layer for name, layer in layers if any(f".{name}".endswith(f".{target}") for target in targets)]
    return sum(RANK * (layer.in_features + layer.out_features) for layer in found)


def page(name: str) -> str:
    """Return a family's page."""
    told, family = TOLD[name], registry.load("families", name)
    targets = ", ".join(f"`{target}`" for target in family.lora_targets)
    points = [
        f'**Trained**: LoRA changes {targets} of the {family.denoiser_part}, or `adapter.mode = "full"` all of it. '
        "Text encoders and autoencoder never change.",
        f"**Predicts**: {told['predicts']}",
        f"**Time shift**: {told['shift']}",
        f"**Text**: {told['text']}",
        f"**Sizes**: {told['sizes']}",
        *told["notes"],
    ]
    lines = [HEADER, f"# {told['title']}\n", *_wrapped(told["about"]), ""]
    lines += [f"The family `{name}`, for folders and checkpoints of a `{family.pipeline_class}`.\n"]
    lines += [line for point in points for line in _wrapped(point, "- ")]
    lines += ["\n## A recipe to start from\n", "```console", f"$ accord init {name} --recipe capo > run.toml", "```\n"]
    lines += _wrapped(
        "It names hub id, sizes and batch, with comments; `accord list recipes` has the other methods. Steps and "
        "learning rate are where to start, not results."
    )
    lines += ["\n## Memory at real size\n", *_wrapped(MEMORY), "", *_memory_table(name, family.lora_targets), ""]
    lines += [*_wrapped(_stored(told)), ""]
    return "\n".join(lines)


MEMORY = (
    "Arithmetic from the published configurations, not a measurement: weights only, counted without loading any. "
    "Activations come on top; they grow with pictures per forward pass and with their size, and "
    "`adapter.uses_gradient_checkpointing` makes them far smaller. A GiB is 2^30 bytes."
)


def weights_gib(name: str) -> float:
    """Return the memory of all weights in bfloat16 that the largest listed variant of a family draws with, in GiB."""
    told = TOLD[name]
    others = sum(count(TOLD["parts"][part]) for part in (*told["text_encoders"], told["vae"]))
    return BF16 * (others + count(told["variants"][0])) / GIB


def _memory_table(name: str, targets: tuple[str, ...]) -> list[str]:
    told = TOLD[name]
    others = {TOLD["parts"][part]["name"]: count(TOLD["parts"][part]) for part in (*told["text_encoders"], told["vae"])}
    heads = [variant["name"] for variant in told["variants"]]
    rows: dict[str, list[str]] = {f"parameters of the denoiser, {told['variants'][0]['class']}": []}
    rows |= {part: [_millions(number)] * len(heads) for part, number in others.items()}
    for variant in told["variants"]:
        number, adapter = count(variant), lora_count(variant, targets)
        values = {
            f"parameters of the denoiser, {variant['class']}": _millions(number),
            f"parameters of a LoRA of rank {RANK}": _millions(adapter),
            "drawing: all of these in bfloat16": _gib(BF16 * (number + sum(others.values()))),
            "training a LoRA: denoiser in bfloat16; adapter, gradients and Adam in float32": _gib(
                BF16 * number + TRAINED * adapter
            ),
            "training all weights: float32 with gradients and Adam": _gib(TRAINED * number),
            "and the reference's copy, unless `train.cache_reference`": _gib(4 * number),
        }
        for row, value in values.items():
            rows.setdefault(row, []).append(value)
    lines = [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    return lines + [f"| {row} | {' | '.join(values)} |" for row, values in rows.items()]


def _stored(told: dict[str, Any]) -> str:
    """Return a sentence on what the training cache holds."""
    vae, (tokens, width, pooled) = TOLD["parts"][told["vae"]], told["tokens"]
    side = told["size"] // vae["pixels"]
    latents = 2 * vae["channels"] * side**2 / 1024
    text = 2 * (tokens * width + pooled) / 1024
    return (
        f"The training cache holds {latents:.0f} KiB per picture of {told['size']} x {told['size']} (latents of "
        f"{vae['channels']} x {side} x {side} in float16) and {text:.0f} KiB per prompt (in bfloat16). Training loads "
        "neither text encoders nor autoencoder."
    )


def _millions(number: int) -> str:
    return f"{number / 1e6:,.1f} M"


def _gib(number: float) -> str:
    return f"{number / GIB:.1f} GiB"


def _wrapped(text: str, bullet: str = "") -> list[str]:
    return textwrap.wrap(
        text, 118, initial_indent=bullet, subsequent_indent=" " * len(bullet), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def main() -> None:
    """Write all pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in FAMILIES:
        (FOLDER / f"{name}.md").write_text(page(name), encoding="utf-8")


if __name__ == "__main__":
    main()
