"""What the evaluation images look like, one row of pixel statistics per prompt (`evaluate/look/MODEL`).

Kept apart from the metrics, which are made again whenever a setting of theirs changes: these decode every image.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa

from accord.artifacts import open_stage
from accord.files import read_table, write_table
from accord.images import ImageRow, decode_image, iterate_images
from accord.stats.image_statistics import DIVERSITY, STATISTICS, VERSION, diversity, image_statistics
from accord.types import Progress, Prompt, no_progress

TABLE = "statistics.parquet"
NAMES = (*STATISTICS, DIVERSITY)
SCHEMA = pa.schema([("prompt_id", pa.string()), *((name, pa.float64()) for name in NAMES)])


def look(
    run: Path, model: str, prompts: list[Prompt], redo: bool = False, progress: Progress = no_progress
) -> dict[str, np.ndarray]:
    """Return statistic -> (P,) mean over a prompt's images of `run/evaluate/MODEL`, computing what is not kept yet.

    NaN: no image can be read; for the diversity, fewer than two. A damaged image is left out here; as it has no score
    either, it is counted there.
    """
    images = f"evaluate/{model}"
    stage = open_stage(run, f"evaluate/look/{model}", {"version": VERSION}, (images,), redo, is_cheap=True)
    path = stage.folder / TABLE
    if not stage.is_finished:
        rows = []
        for prompt, group in groupby(iterate_images(run / images), key=lambda row: row.prompt_id):
            rows.append({"prompt_id": prompt, **_of_prompt([_decoded(row) for row in group])})
            progress(len(rows), len(prompts), f"looks of the {model} model")
        write_table(path, pa.Table.from_pylist(rows, schema=SCHEMA))
        stage.finish({"prompts": len(rows)})
    found = {row["prompt_id"]: row for row in read_table(path).to_pylist()}
    return {name: np.array([found[prompt.id][name] for prompt in prompts], dtype=np.float64) for name in NAMES}


def _of_prompt(images: list[np.ndarray | None]) -> dict[str, float | None]:
    """Return the statistics of a prompt's images; None, which reads back as NaN, where there is nothing to see."""
    seen = [image for image in images if image is not None]
    rows = [image_statistics(image) for image in seen]
    found: dict[str, float | None] = {name: float(np.mean([row[name] for row in rows])) for name in STATISTICS if rows}
    if len(seen) > 1:
        found[DIVERSITY] = diversity(seen)
    return found


def _decoded(row: ImageRow) -> np.ndarray | None:
    try:
        return decode_image(row.content)
    except ValueError:
        return None
