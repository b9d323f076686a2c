"""Evaluation images of base and tuned model, side by side, for prompts spread evenly over the list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from accord.errors import ArtifactError
from accord.files import read_table
from accord.images import ImageRow
from accord.report.pictures import longest_side, missing_picture, picture
from accord.report.read_evaluation import number
from accord.report.read_images import evenly_spaced, images_by_id
from accord.report.records import Duel, Picture
from accord.tables import read_prompts
from accord.types import Prompt

KEYS = ("model", "prompt_id", "index", "image_id")
SHOWN_INDEX = 0  # the first seed of each prompt: chosen before anyone saw the images


def read_duels(run: Path, num_prompts_shown: int) -> tuple[Duel, ...]:
    """Return one duel per shown prompt. Raises MissingArtifact if evaluation's tables are not there."""
    prompts = read_prompts(run / "evaluate" / "base" / "prompts.parquet")
    shown = [prompts[i] for i in evenly_spaced(len(prompts), num_prompts_shown)]
    scores = _scores(run / "evaluate" / "metrics" / "scores.parquet", [prompt.id for prompt in shown])
    ids = {row["image_id"] for row in scores.values()}
    images = {model: images_by_id(run / "evaluate" / model, ids) for model in ("base", "tuned")}
    return tuple(_duel(prompt, scores, images, longest_side(2 * len(shown))) for prompt in shown)


def _scores(path: Path, prompt_ids: list[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return (model, prompt id) -> row of the shown image."""
    table = read_table(path)
    is_shown = pc.and_(
        pc.is_in(table["prompt_id"], value_set=pa.array(prompt_ids, pa.string())),
        pc.equal(table["index"], SHOWN_INDEX),
    )
    return {(row["model"], row["prompt_id"]): row for row in table.filter(is_shown).to_pylist()}


def _duel(
    prompt: Prompt, scores: dict[tuple[str, str], dict[str, Any]], images: dict[str, dict[str, ImageRow]], side: int
) -> Duel:
    try:
        base, tuned = scores["base", prompt.id], scores["tuned", prompt.id]
    except KeyError as error:
        raise ArtifactError(
            f"evaluate/metrics/scores.parquet has no image of prompt {prompt.id}; run `accord evaluate` again"
        ) from error
    scorers = [name for name in base if name not in KEYS]
    return Duel(
        prompt.text,
        prompt.tags,
        images["base"][base["image_id"]].seed if base["image_id"] in images["base"] else None,
        _picture(images["base"], base["image_id"], side),
        _picture(images["tuned"], tuned["image_id"], side),
        tuple((name, number(base[name]), number(tuned[name])) for name in scorers),
    )


def _picture(images: dict[str, ImageRow], image_id: str, side: int) -> Picture:
    row = images.get(image_id)
    return missing_picture(image_id) if row is None else picture(row.content, side)
