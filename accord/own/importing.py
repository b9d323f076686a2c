"""Somebody's data -> a pool: images, prompts and labels, as a run's generate stage would leave them.

Written in shards of rows: a killed import goes on at the next shard and ends with the same bytes. One image of one
prompt is stored once, however many rows show it.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path

import pyarrow.parquet as pq

from accord.artifacts import locked
from accord.errors import DataError
from accord.files import replacing
from accord.images import SCHEMA, ImageFormat, ImageRow, image_table, part_path
from accord.outcome import Outcome, reused, timed
from accord.own.buckets import Size, bucket_sizes, share_lost
from accord.own.fitting import Fitted, fit
from accord.own.folders import POOL, open_own, require_apart
from accord.own.imported import Imported
from accord.own.layouts.choose import choose_layout
from accord.own.reading import Reader, Seen
from accord.own.sources.opening import SourceOptions, open_source
from accord.types import Progress, Prompt, no_progress

ROWS_AT_ONCE = 16  # held in memory, and one row group of the output
KNOWN = Fitted(b"", 0, 0, is_original=True)  # stands for an image that is stored already
THREADS = 8
MUCH = 1 / 3  # of an image, cut off: worth telling


@dataclass(frozen=True)
class ImportSettings:
    """What the pool is to hold."""

    width: int
    height: int
    buckets: bool = False  # sizes of as many pixels as the square of this side, each image in the one of its shape
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
    make = _maker(settings)
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
            is_known = lambda image: KNOWN if image in imported else None  # noqa: E731
            side = settings.width if settings.buckets else None
            reader = Reader(source, layout, make, pool, is_known, settings.min_confidence, side)
            _import_rows(reader, imported, settings, progress)
            imported.finish()
        if not imported.counts["images"]:
            why = ", ".join(f"{count} x {reason}" for reason, count in imported.left_out.items()) or "no rows"
            shutil.rmtree(stage.folder)
            raise DataError(f"nothing can be imported from {', '.join(names)} ({why})")
        outcome = Outcome(stage.finish(imported.all_counts()), stage.folder, was_reused=False)
        imported.clean_up()
        return outcome


def _maker(settings: ImportSettings) -> Callable[[bytes, Size | None], Fitted]:
    """Return what makes an image of the bucket's size, or of the size of all. Raises DataError for odd settings."""
    if settings.rows_per_shard % ROWS_AT_ONCE:
        raise DataError(f"rows_per_shard must be a multiple of {ROWS_AT_ONCE}, not {settings.rows_per_shard}")
    if settings.buckets and settings.width != settings.height:
        raise DataError(f"buckets are as large as a square, not as {settings.width} x {settings.height}")
    if settings.buckets:
        bucket_sizes(settings.width)
    one_size = (settings.width, settings.height)
    return lambda content, bucket: fit(content, *(bucket or one_size), settings.image_format)


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
        imported.counts.update(["rows_of_several_shapes"] * seen.has_several_shapes)
        for identity, image in seen.images.items():
            assert seen.prompt is not None  # a row without one has no images
            if identity in imported:
                continue
            size = size_of(seen.prompt, settings)
            index = imported.add(seen.prompt, identity, size, _what_was_done(image, size))
            found.append(ImageRow(identity, seen.prompt.id, index, None, image.content, *size))
        imported.judge(seen.verdicts)
    return found


def size_of(prompt: Prompt, settings: ImportSettings) -> Size:
    """Return width and height of the prompt's images: of its bucket, or of all."""
    width, height = prompt.tag("width"), prompt.tag("height")
    return (int(width), int(height)) if width and height else (settings.width, settings.height)


def _what_was_done(image: Fitted, size: Size) -> list[str]:
    """Return which counts this image adds to."""
    if image.is_original:
        return ["images_kept_as_found"]
    scale = max(size[0] / image.width, size[1] / image.height)
    done = ["images_made_anew"]
    if scale > 1:
        done.append("images_enlarged")
    covered = size[0] / scale, size[1] / scale  # of the original
    if image.width - covered[0] >= 1 or image.height - covered[1] >= 1:
        done.append("images_cropped")
    if share_lost((image.width, image.height), size) > MUCH:
        done.append("images_that_lost_a_third")
    return done
