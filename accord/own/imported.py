"""What an import has taken in so far: kept in one small file per shard, so that a killed import knows it again."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from accord.files import read_json, read_table, replacing, write_json
from accord.images import part_path
from accord.own.buckets import Size
from accord.own.reading import Judged, number_of
from accord.own.tally import PairTally
from accord.tables import LABEL_SCHEMA, LABELS, write_prompts
from accord.types import Prompt

SHARDS = ".shards"  # hidden, so that the manifest does not promise it; gone when the import is finished


class Imported:
    """Prompts, images, labels and counts. An image takes about a hundred bytes in memory, its image none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.num_shards = 0
        self.num_rows = 0
        self.counts: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.tally = PairTally()
        self._images: set[int] = set()
        self._per_prompt: dict[str, int] = {}
        self.sizes: Counter[str] = Counter()  # "WIDTHxHEIGHT" -> images
        self._prompts: dict[str, Prompt] = {}  # new ones of this shard
        self._labels: list[Judged] = []  # of this shard

    @classmethod
    def resume(cls, folder: Path) -> Imported:
        """Return what the finished shards of this folder hold."""
        found = cls(folder)
        while found._shard_path().is_file() and part_path(folder, found.num_shards).is_file():
            shard = read_json(found._shard_path())
            columns = ["image_id", "prompt_id", "width", "height"]
            images = read_table(part_path(folder, found.num_shards), columns=columns).to_pydict()
            for image, prompt, width, height in zip(*(images[name] for name in columns), strict=True):
                found.sizes[f"{width}x{height}"] += 1
                found._images.add(number_of(image))
                found._per_prompt[prompt] = found._per_prompt.get(prompt, 0) + 1
            for label in shard["labels"]:
                found._tally(label["image_a"], label["image_b"], label["label"])
            found.counts, found.left_out = Counter(shard["counts"]), Counter(shard["left_out"])
            found.num_rows, found.num_shards = shard["rows"], found.num_shards + 1
        return found

    def __contains__(self, image_id: str) -> bool:
        return number_of(image_id) in self._images

    def add(self, prompt: Prompt, image_id: str, size: Size, done: Sequence[str]) -> int:
        """Take in a new image, its size and what was done to it; return its index within the prompt."""
        if prompt.id not in self._per_prompt:
            self._prompts[prompt.id] = prompt
        self.sizes[f"{size[0]}x{size[1]}"] += 1
        index = self._per_prompt.get(prompt.id, 0)
        self._per_prompt[prompt.id] = index + 1
        self._images.add(number_of(image_id))
        self.counts.update(["images", *done])
        return index

    def judge(self, verdicts: Sequence[Judged]) -> None:
        """Take in verdicts on images that are there."""
        for verdict in verdicts:
            self._labels.append(verdict)
            self._tally(verdict.first, verdict.second, verdict.share)

    def close_shard(self, num_rows: int, lost: Counter[str]) -> None:
        """Write down the shard's part of everything, after its images; `num_rows` were read so far."""
        self.left_out.update(lost)
        self.num_rows = num_rows
        labels = [dict(zip(LABEL_SCHEMA.names, vars(label).values(), strict=True)) for label in self._labels]
        shard = {"rows": num_rows, "counts": self.counts, "left_out": self.left_out, "labels": labels}
        write_json(self._shard_path(), {**shard, "prompts": [asdict(prompt) for prompt in self._prompts.values()]})
        self.num_shards += 1
        self._prompts, self._labels = {}, []

    def finish(self) -> None:
        """Write the tables of all prompts and of all labels, in the order of the rows."""
        prompts: list[Prompt] = []
        with (
            replacing(self.folder / LABELS) as path,
            pq.ParquetWriter(path, LABEL_SCHEMA, compression="zstd") as writer,
        ):
            for shard in self._shards():
                prompts += [Prompt(**{**told, "tags": tuple(told["tags"])}) for told in shard["prompts"]]
                writer.write_table(pa.Table.from_pylist(shard["labels"], schema=LABEL_SCHEMA))
        write_prompts(self.folder / "prompts.parquet", prompts)

    def all_counts(self) -> dict[str, Any]:
        """Return every number a user should see."""
        single = sum(count == 1 for count in self._per_prompt.values())
        return {
            "rows": self.num_rows,
            "prompts": len(self._per_prompt),
            "prompts_with_one_image": single,
            **self.counts,
            **self.tally.counts(),
            "sizes": dict(self.sizes),
            "left_out": dict(self.left_out),
        }

    def clean_up(self) -> None:
        """Remove what only an unfinished import needs."""
        shutil.rmtree(self.folder / SHARDS, ignore_errors=True)

    def _shard_path(self) -> Path:
        return self.folder / SHARDS / f"{self.num_shards:05d}.json"

    def _shards(self) -> Iterator[dict[str, Any]]:
        for number in range(self.num_shards):
            yield read_json(self.folder / SHARDS / f"{number:05d}.json")

    def _tally(self, first: str, second: str, share: float) -> None:
        self.tally.add(number_of(first), number_of(second), share)
