"""A run's pairs in the layout of Pick-a-Pic, which most trainers of this field read.

One row per pair: `jpg_0`, `jpg_1` (the images as they are stored, whatever their format), `label_0`, `label_1`,
`caption` and the layout's other columns. On which side the chosen image stands is drawn from the ids, so that the side
tells nothing. `target` is beyond the layout: what the run would train towards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from accord.artifacts import input_digest, locked
from accord.errors import ArtifactError
from accord.files import read_table, replacing
from accord.images import part_paths
from accord.manifest import load_manifest
from accord.outcome import Outcome, reused
from accord.own.folders import PAIRS, open_own
from accord.seeding import address
from accord.tables import read_pairs, read_prompts
from accord.types import Pair, Progress, no_progress

PAIRS_PER_FILE = 1024
PAIRS_PER_GROUP = 16
GROUPS_HELD = 16  # row groups of images in memory
SCHEMA = pa.schema(
    [
        ("are_different", pa.bool_()),
        ("best_image_uid", pa.string()),
        ("caption", pa.string()),
        ("created_at", pa.timestamp("ns")),
        ("has_label", pa.bool_()),
        ("image_0_uid", pa.string()),
        ("image_0_url", pa.string()),
        ("image_1_uid", pa.string()),
        ("image_1_url", pa.string()),
        ("jpg_0", pa.binary()),
        ("jpg_1", pa.binary()),
        ("label_0", pa.float64()),
        ("label_1", pa.float64()),
        ("model_0", pa.string()),
        ("model_1", pa.string()),
        ("ranking_id", pa.int64()),
        ("user_id", pa.int64()),
        ("num_example_per_prompt", pa.int64()),
        ("target", pa.float64()),
    ]
)


def export_pairs(run: Path, folder: Path, redo: bool = False, progress: Progress = no_progress) -> Outcome:
    """Write the pairs of `run/select` to `folder/pairs/train-*.parquet`, one file after another.

    Goes on after an interruption. Raises MissingArtifact if pairs were not selected yet.
    """
    settings = {stage: input_digest(run, stage) for stage in ("generate", "select")}
    with locked(folder):
        stage = open_own(folder, PAIRS, settings, redo)
        if stage.is_finished:
            return reused(stage.folder)
        pairs = read_pairs(run / "select" / "pairs.parquet")
        texts = {prompt.id: prompt.text for prompt in read_prompts(run / "generate" / "prompts.parquet")}
        rows = _Rows(run, texts, Counter(pair.prompt_id for pair in pairs))
        ordered = sorted(enumerate(pairs), key=lambda item: (rows.place[item[1].chosen_id], item[0]))
        num_files = max(1, -(-len(pairs) // PAIRS_PER_FILE))
        for number in range(num_files):
            path = stage.folder / f"train-{number:05d}-of-{num_files:05d}.parquet"
            wanted = ordered[number * PAIRS_PER_FILE : (number + 1) * PAIRS_PER_FILE]
            if not path.is_file():
                _write(path, rows, wanted)
            progress(number * PAIRS_PER_FILE + len(wanted), len(pairs), "pairs")
        return Outcome(stage.finish({"pairs": len(pairs), "prompts": len(rows.per_prompt)}), stage.folder, False)


def _write(path: Path, rows: _Rows, pairs: Sequence[tuple[int, Pair]]) -> None:
    with replacing(path) as temporary, pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
        for start in range(0, len(pairs), PAIRS_PER_GROUP):
            group = [rows.row(number, pair) for number, pair in pairs[start : start + PAIRS_PER_GROUP]]
            writer.write_table(pa.Table.from_pylist(group, schema=SCHEMA))


class _Rows:
    """Makes rows of pairs, reading each image where it lies."""

    def __init__(self, run: Path, texts: dict[str, str], per_prompt: Counter[str]) -> None:
        self.texts = texts
        self.per_prompt = per_prompt
        self.place = dict(_places(run / "generate"))
        model = load_manifest(run / "generate")
        self.model = str(model.settings.get("model", {}).get("path", "")) or None if model else None

    def row(self, number: int, pair: Pair) -> dict[str, object]:
        """Return one row of SCHEMA."""
        is_first = address(0, "side", pair.chosen_id, pair.rejected_id) % 2 == 0
        first, second = (pair.chosen_id, pair.rejected_id) if is_first else (pair.rejected_id, pair.chosen_id)
        label = float(is_first)
        return {
            "are_different": True,
            "best_image_uid": pair.chosen_id,
            "caption": self.texts[pair.prompt_id],
            "has_label": True,
            "image_0_uid": first,
            "image_1_uid": second,
            "jpg_0": self._content(first),
            "jpg_1": self._content(second),
            "label_0": label,
            "label_1": 1.0 - label,
            "model_0": self.model,
            "model_1": self.model,
            "ranking_id": number,
            "num_example_per_prompt": self.per_prompt[pair.prompt_id],
            "target": pair.target,
        }

    def _content(self, image_id: str) -> bytes:
        if image_id not in self.place:
            raise ArtifactError(f"image {image_id} of a pair is not in generate/; run `accord select --redo`")
        path, group = self.place[image_id]
        return _group(path, group)[image_id]


@lru_cache(maxsize=GROUPS_HELD)
def _group(path: str, group: int) -> dict[str, bytes]:
    """Return image id -> encoded image of one row group."""
    with pq.ParquetFile(path) as file:
        table = file.read_row_group(group, columns=["image_id", "image"]).to_pydict()
    return {image: struct["bytes"] for image, struct in zip(table["image_id"], table["image"], strict=True)}


def _places(folder: Path) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield (image id, (file, row group)) of every image."""
    for path in part_paths(folder):
        ids = read_table(path, columns=["image_id"])["image_id"].to_pylist()
        meta, first = pq.read_metadata(path), 0
        for group in range(meta.num_row_groups):
            size = meta.row_group(group).num_rows
            yield from ((image, (str(path), group)) for image in ids[first : first + size])
            first += size
