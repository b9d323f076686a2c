"""Somebody's data -> a pool: images of one size, prompts and labels, as a run's generate stage would leave them.

Written in shards of rows: a killed import goes on at the next shard and ends with the same bytes. One image of one
prompt is stored once, however many rows show it.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

import pyarrow.parquet as pq

from accord.artifacts import locked
from accord.errors import DataError
from accord.files import replacing
from accord.images import SCHEMA, ImageFormat, ImageRow, image_table, part_path
from accord.outcome import Outcome, reused, timed
from accord.own.fitting import Fitted, fit
from accord.own.folders import POOL, open_own, require_apart
from accord.own.imported import Imported
from accord.own.layouts.choose import choose_layout
from accord.own.reading import Reader, Seen
from accord.own.sources.opening import SourceOptions, open_source
from accord.types import Progress, no_progress

ROWS_AT_ONCE = 16  # held in memory, and one row group of the output
KNOWN = Fitted(b"", 0, 0, is_original=True)  # stands for an image that is stored already
THREADS = 8


@dataclass(frozen=True)
class ImportSettings:
    """What the pool is to hold."""

    width: int
    height: int
    image_format: ImageFormat = "png"  # of images that are resized; others keep their bytes
    min_confidence: float = 0.0  # verdicts that are less sure are left out
    rows_per_shard: int = 64  # the unit that a killed import may lose; a multiple of 16


def import_pool(
    names: Sequence[str],
    folder: Path,
    settings: ImportSettings,
    options: SourceOptions,
    redo: bool = False,
    progress: Progress = no_progress,
) -> Outcome:
    """Write `folder/pool`: image shards, `prompts.parquet`, `labels.parquet` and the manifest with all counts.

    names: files of one kind, one folder, or one dataset repository. Raises DataError if they cannot be read or hold no
    image with a caption, StaleArtifact if the folder was filled from other data or with other settings.
    """
    if settings.rows_per_shard % ROWS_AT_ONCE:
        raise DataError(f"rows_per_shard must be a multiple of {ROWS_AT_ONCE}, not {settings.rows_per_shard}")
    require_apart(folder, names)
    source = open_source(names, options)
    layout_name, layout = choose_layout(source.columns)
    told = {"source": dict(source.identity), "layout": layout_name, **asdict(settings)}
    with locked(folder):
        stage = open_own(folder, POOL, told, redo)
        if stage.is_finished:
            return reused(stage.folder)
        imported = Imported.resume(stage.folder)
        with timed(stage.folder), ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
            make = partial(fit, width=settings.width, height=settings.height, image_format=settings.image_format)
            is_known = lambda image: KNOWN if image in imported else None  # noqa: E731
            reader = Reader(source, layout, make, pool, is_known, settings.min_confidence)
            _import_rows(reader, imported, settings, progress)
            imported.finish()
        if not imported.counts["images"]:
            why = ", ".join(f"{count} x {reason}" for reason, count in imported.left_out.items()) or "no rows"
            shutil.rmtree(stage.folder)
            raise DataError(f"nothing can be imported from {', '.join(names)} ({why})")
        outcome = Outcome(stage.finish(imported.all_counts()), stage.folder, was_reused=False)
        imported.clean_up()
        return outcome


def _import_rows(reader: Reader[Fitted], imported: Imported, settings: ImportSettings, progress: Progress) -> None:
    """Write shard after shard until the source has no more rows."""
    total, done = reader.source.total or 0, imported.num_rows
    progress(done, total, "rows")
    blocks = reader.read(done, ROWS_AT_ONCE)
    for first in blocks:
        lost: Counter[str] = Counter()
        with (
            replacing(part_path(imported.folder, imported.num_shards)) as temporary,
            pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer,
        ):
            for block in chain([first], islice(blocks, settings.rows_per_shard // ROWS_AT_ONCE - 1)):
                writer.write_table(image_table(_new_images(block, imported, settings, lost)))
                done += len(block)
                progress(done, total, "rows")
        imported.close_shard(done, lost)


def _new_images(
    block: Sequence[Seen[Fitted]], imported: Imported, settings: ImportSettings, lost: Counter[str]
) -> list[ImageRow]:
    """Take in what these rows say, and return the images that are to be stored."""
    found = []
    for seen in block:
        lost.update(f"{what}: {why}" for what, why in seen.lost)
        for identity, image in seen.images.items():
            assert seen.prompt is not None  # a row without one has no images
            if identity in imported:
                continue
            index = imported.add(seen.prompt, identity, _what_was_done(image, settings))
            width, height = settings.width, settings.height
            found.append(ImageRow(identity, seen.prompt.id, index, None, image.content, width, height))
        imported.judge(seen.verdicts)
    return found


def _what_was_done(image: Fitted, settings: ImportSettings) -> list[str]:
    """Return which counts this image adds to."""
    if image.is_original:
        return ["images_kept_as_found"]
    scale = max(settings.width / image.width, settings.height / image.height)
    done = ["images_made_anew"]
    if scale > 1:
        done.append("images_enlarged")
    covered = settings.width / scale, settings.height / scale  # of the original
    if image.width - covered[0] >= 1 or image.height - covered[1] >= 1:
        done.append("images_cropped")
    return done
