"""A run's tuned model as a complete pipeline folder: no adapter to remember, nothing of Accord needed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from accord.card.use import Use, absent_parts
from accord.card.write import write_card
from accord.engine.models import local_hash, model_path
from accord.errors import ModelError
from accord.models.export import export_pipeline
from accord.models.interface import ModelSettings
from accord.models.soup import Ingredient, find
from accord.runfile import read_toml

Dtype = Literal["float32", "bfloat16", "float16"]


def export_model(run: Path | str, out: Path | str, dtype: Dtype = "float32", base: str = "") -> None:
    """Write the base model of a run (or soup) with what was trained merged into it, as a diffusers pipeline folder.

    The adapter is merged in float32 and the sum is rounded once, to `dtype`. `base` is where the base model is now, if
    it is no longer where the run found it. Raises ModelError or MissingArtifact if nothing was trained, if the base
    model is not known or is another one than training began with, or if `out` is not empty.
    """
    trained = find(run)
    model = base_model(trained, base)
    export_pipeline(model, trained.folder, Path(out), dtype)
    add_card(run, Path(out), Use("pipeline", dtype=dtype, absent=absent_parts(Path(out), model.family)))


def add_card(run: Path | str, out: Path, use: Use) -> None:
    """Write the model card with the results of a run beside what was exported; of no run, nothing is known to tell."""
    run = Path(run)
    if (run / "train").is_dir():
        kept = run / "run.toml"
        recipe = read_toml(kept).get("method", {}).get("recipe", "") if kept.is_file() else ""
        write_card(run, out, use, recipe=recipe)


def base_model(trained: Ingredient, moved_to: str = "") -> ModelSettings:
    """Return the model that training began with, to be opened in float32. Raises ModelError if it cannot be that."""
    if trained.base is None:
        raise ModelError(
            f"nothing in '{trained.name}' says which model it was trained from: give the run folder, or a soup of runs"
        )
    path = model_path(moved_to or trained.base["path"])
    expected = trained.base.get("weights")
    if expected and Path(path).exists() and local_hash(Path(path)) != expected:
        raise ModelError(
            f"'{trained.name}' was trained from other weights than those now in '{path}': name its own base"
        )
    told = trained.base.get("config")  # a single file's
    config = model_path(told) if told and Path(path).is_file() else None
    return ModelSettings(trained.base["family"], path, trained.base.get("revision"), config=config)
