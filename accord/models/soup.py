"""A soup: the weighted average of what several runs of one base model trained (Wortsman et al., arXiv 2203.05482).

One run per reward and a soup of them is a baseline that training on all rewards at once has to beat: SOUP in CaPO
(arXiv 2502.02588). What is averaged are weights as the denoiser uses them: for LoRA the products of the factors, never
the factors themselves.

    OUT/pytorch_lora_weights.safetensors, or the files of a denoiser
    OUT/soup.json                           ingredients, their weights and hashes; written last
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from accord.errors import MissingArtifact, ModelError
from accord.files import sha256, write_json
from accord.manifest import FILE, load_manifest
from accord.models.adapters import LORA_FILE
from accord.models.folders import read_json
from accord.models.soup_full import CONFIG, average_full, weight_files
from accord.models.soup_lora import average_lora
from accord.version import __version__

RECORD = "soup.json"
BASE = ("family", "path", "revision", "weights")
"""What of a run's model settings says which weights it began with."""


@dataclass(frozen=True)
class Ingredient:
    """What one run trained."""

    name: str  # as the user gave it
    folder: Path  # that holds the adapter or the tuned denoiser
    kind: Literal["lora", "full"]
    base: dict[str, Any] | None  # the model that training began with; None where nothing beside the adapter says it


def soup(folders: Sequence[Path | str], out: Path | str, weights: Sequence[float] | None = None) -> dict[str, Any]:
    """Write the weighted average of these runs to the folder `out`; return its record, which is also `out/soup.json`.

    `folders` are run folders, or folders of adapters, tuned denoisers or soups. `weights` sum to 1; None: all equal.
    Raises ModelError or MissingArtifact if anything is missing, or was not trained from the same model in the same way.
    """
    out = Path(out)
    ingredients = [find(folder) for folder in folders]
    shares = check_weights(weights, len(ingredients))
    base = same_base(ingredients)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError(f"'{out}' is there and not empty: choose a new folder for the soup")
    names = [ingredient.name for ingredient in ingredients]
    average = average_lora if ingredients[0].kind == "lora" else average_full
    facts = average([ingredient.folder for ingredient in ingredients], names, shares, out)
    record = {
        "kind": ingredients[0].kind,
        "base": base,
        "ingredients": [_described(each, share) for each, share in zip(ingredients, shares, strict=True)],
        "files": {path.name: sha256(path) for path in sorted(out.iterdir())},
        **facts,
        "accord": __version__,
    }
    write_json(out / RECORD, record)
    return record


def find(folder: Path | str) -> Ingredient:
    """Return what a run folder or an adapter's folder holds. Raises if it holds nothing trained to the end."""
    given = Path(folder)
    if not given.is_dir():
        raise ModelError(f"there is no folder '{folder}': give a run folder, or a folder that holds an adapter")
    is_run = (given / "train").is_dir()
    adapter = given / "train" / "adapter" if is_run else given
    if is_run and load_manifest(given / "train") is None:
        raise MissingArtifact(f"'{folder}' has not finished training; run `accord train` on its run file first")
    kind: Literal["lora", "full"]
    if (adapter / LORA_FILE).is_file():
        kind = "lora"
    elif (adapter / CONFIG).is_file():
        kind = "full"
    else:
        raise ModelError(
            f"'{adapter}' holds no adapter: neither {LORA_FILE} nor a denoiser's {CONFIG}; "
            "give a run folder, or a folder that holds one"
        )
    return Ingredient(str(folder), adapter, kind, _base(adapter))


def check_weights(weights: Sequence[float] | None, count: int) -> list[float]:
    """Return one weight per run. Raises ModelError unless they are as many as the runs and make an average."""
    if count == 0:
        raise ModelError("a soup needs at least one run, found none")
    if weights is None:
        return [1 / count] * count
    if len(weights) != count:
        raise ModelError(f"a soup of {count} run(s) needs {count} weight(s), found {len(weights)}")
    if not all(weight >= 0 for weight in weights) or not math.isclose(math.fsum(weights), 1, abs_tol=1e-6):
        told = ", ".join(f"{weight:g}" for weight in weights)
        raise ModelError(f"weights must be at least 0 and sum to 1, found {told}: divide them by their sum")
    return [float(weight) for weight in weights]


def same_base(ingredients: Sequence[Ingredient]) -> dict[str, Any] | None:
    """Return the model that all began with, None if none says it. Raises ModelError if kinds or models differ."""
    first = ingredients[0]
    other = next((each for each in ingredients if each.kind != first.kind), None)
    if other is not None:
        lora, full = (first, other) if first.kind == "lora" else (other, first)
        raise ModelError(
            f"LoRA and fully tuned weights cannot be averaged: '{lora.name}' holds an adapter and '{full.name}' a "
            "whole denoiser; take runs of one adapter.mode"
        )
    told = [each for each in ingredients if each.base is not None]
    for each in told[1:]:
        if _identity(each.base) != _identity(told[0].base):
            raise ModelError(
                f"a soup needs runs of one base model, but '{told[0].name}' began with {_words(told[0].base)} and "
                f"'{each.name}' with {_words(each.base)}"
            )
    return told[0].base if told else None


def _base(adapter: Path) -> dict[str, Any] | None:
    """Return the base model of an adapter, from the soup's record or the manifest of the stage that trained it."""
    if (adapter / RECORD).is_file():
        return read_json(adapter / RECORD).get("base")
    manifest = load_manifest(adapter.resolve().parent) if _is_trained(adapter.resolve().parent / FILE) else None
    if manifest is None or "model" not in manifest.settings:
        return None
    told = manifest.settings["model"]
    single_file = {"config": told["config"]} if told.get("config") else {}
    return {name: told.get(name) for name in BASE} | single_file


def _is_trained(manifest: Path) -> bool:
    return manifest.is_file() and read_json(manifest).get("stage") == "train"


def _identity(base: Mapping[str, Any] | None) -> tuple[Any, ...]:
    """Return what two equal base models have in common: the hash of a folder's files, for hub models their name."""
    assert base is not None
    if base.get("weights"):
        return base["family"], base["weights"]
    return tuple(base.get(name) for name in BASE)


def _words(base: Mapping[str, Any] | None) -> str:
    assert base is not None
    held = base.get("weights") or base.get("revision")
    return f"{base['family']} '{base['path']}'" + (f" ({str(held)[:12]})" if held else "")


def _described(ingredient: Ingredient, share: float) -> dict[str, Any]:
    files = [LORA_FILE] if ingredient.kind == "lora" else weight_files(ingredient.folder)
    hashes = {name: sha256(ingredient.folder / name) for name in files}
    return {"path": ingredient.name, "weight": share, "sha256": hashes}
