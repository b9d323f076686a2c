"""All images of some training prompts with their calibrated rewards, frontiers and pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from accord.errors import ArtifactError
from accord.files import read_table
from accord.images import ImageRow
from accord.report.pictures import longest_side, missing_picture, picture
from accord.report.read_images import evenly_spaced, images_by_id
from accord.report.records import Group, GroupImage
from accord.select.dominance import dominates
from accord.tables import read_prompts
from accord.types import Prompt

REWARD = "reward:"


def read_groups(run: Path, num_groups: int) -> tuple[Group, ...]:
    """Return groups spread evenly over the prompts that have pairs; none without rewards to draw them by.

    Raises MissingArtifact if a table is not there.
    """
    pairs = read_table(run / "select" / "pairs.parquet", columns=["prompt_id", "chosen_id", "rejected_id", "target"])
    with_pairs = set(pairs["prompt_id"].to_pylist())
    prompts = [prompt for prompt in read_prompts(run / "generate" / "prompts.parquet") if prompt.id in with_pairs]
    drawn = [prompts[i] for i in evenly_spaced(len(prompts), num_groups)]
    rewards = _of_prompts(read_table(run / "select" / "rewards.parquet"), drawn)
    if not any(name.startswith(REWARD) for name in rewards.column_names):
        return ()
    pairs = _of_prompts(pairs, drawn)
    images = images_by_id(run / "generate", rewards["image_id"].to_pylist())
    side = min(longest_side(rewards.num_rows), 160)
    return tuple(
        _group(prompt, _of_prompts(rewards, [prompt]), _of_prompts(pairs, [prompt]), images, side) for prompt in drawn
    )


def _of_prompts(table: pa.Table, prompts: list[Prompt]) -> pa.Table:
    ids = pa.array([prompt.id for prompt in prompts], pa.string())
    return table.filter(pc.is_in(table["prompt_id"], value_set=ids))


def _group(prompt: Prompt, rows: pa.Table, pairs: pa.Table, images: dict[str, ImageRow], side: int) -> Group:
    scorers = tuple(name.removeprefix(REWARD) for name in rows.column_names if name.startswith(REWARD))
    values = np.array([rows[REWARD + name].to_pylist() for name in scorers], dtype=np.float64).T  # (N, K), null is NaN
    values, ids = _best_first(values, rows["image_id"].to_pylist())
    is_upper, is_lower = frontiers(values)
    drawn = tuple(
        GroupImage(
            picture(images[image].content, side) if image in images else missing_picture(image),
            tuple(values[n].tolist()),
            bool(is_upper[n]),
            bool(is_lower[n]),
        )
        for n, image in enumerate(ids)
    )
    return Group(prompt.text, scorers, drawn, _positions(pairs, ids, prompt))


def frontiers(rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which images are on the upper and which on the lower frontier, (N,) bool each.

    rewards: (N, K). An image with any NaN is on neither. Upper: dominated by none; lower: dominates none.

    >>> frontiers(np.array([[0.9, 0.1], [0.6, 0.6], [0.1, 0.0]]))
    (array([ True,  True, False]), array([False, False,  True]))
    """
    wins = dominates(rewards[None])[0]
    is_scored = ~np.isnan(rewards).any(axis=1)
    return is_scored & ~wins.any(axis=0), is_scored & ~wins.any(axis=1)


def _best_first(rewards: np.ndarray, image_ids: list[str]) -> tuple[np.ndarray, list[str]]:
    """Return both sorted by mean reward, downwards; images without one last, equal ones by id."""
    mean = rewards.mean(axis=1)
    order = sorted(range(len(image_ids)), key=lambda n: (np.isnan(mean[n]), -np.nan_to_num(mean[n]), image_ids[n]))
    return rewards[order], [image_ids[n] for n in order]


def _positions(pairs: pa.Table, image_ids: list[str], prompt: Prompt) -> tuple[tuple[int, int, float], ...]:
    place = {image: n for n, image in enumerate(image_ids)}
    try:
        return tuple(
            (place[row["chosen_id"]], place[row["rejected_id"]], float(row["target"])) for row in pairs.to_pylist()
        )
    except KeyError as error:
        raise ArtifactError(
            f"select/pairs.parquet pairs image {error} of prompt {prompt.id}, which select/rewards.parquet does not "
            "have; run `accord select --redo`"
        ) from error
