"""Rows of Parquet files, read a few at a time, so that memory does not grow with files or with their row groups."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from accord.errors import DataError
from accord.own.record import Row, Source

ROWS_AT_ONCE = 16
FOOTER = 65536  # bytes at the end of a file: its statistics and offsets, which other content would change


def parquet_source(files: Sequence[Path], allow_damage: bool = False) -> Source:
    """Return the rows of these files, one file after another.

    Raises DataError for a file that cannot be opened, or with `allow_damage` names it in the source's `damaged`.
    """
    found: dict[Path, pq.FileMetaData] = {}
    damaged: dict[str, str] = {}
    for path in files:
        try:
            found[path] = pq.read_metadata(path)
        except (OSError, pa.ArrowException) as error:
            damaged[path.name] = str(error).split("\n")[0][:200]
    if damaged and not (allow_damage and found):
        name, why = next(iter(damaged.items()))
        raise DataError(
            f"{name} cannot be read, one of {len(damaged)} such file(s): {why}; fetch it again or leave it out"
        )
    columns = frozenset.intersection(*(frozenset(meta.schema.to_arrow_schema().names) for meta in found.values()))
    total = sum(meta.num_rows for meta in found.values())
    identity = {path.name: _fingerprint(path) for path in found}
    return Source(columns, total, {"files": identity}, partial(_rows, found), damaged=damaged)


def _rows(files: dict[Path, pq.FileMetaData], start: int) -> Iterator[Row]:
    """Yield rows from number `start` on; row groups before it are not read."""
    for path, meta in files.items():
        if start >= meta.num_rows:
            start -= meta.num_rows
            continue
        with pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            first = 0
            for group in range(meta.num_row_groups):
                size = meta.row_group(group).num_rows
                if start < size:
                    yield from _group(file, path.name, group, first, size, start)
                start, first = max(0, start - size), first + size


def _group(file: pq.ParquetFile, name: str, group: int, first: int, size: int, start: int) -> Iterator[Row]:
    """Yield the rows of a row group from its row `start` on. What cannot be read is one bad row for each."""
    done = 0
    try:
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, row_groups=[group], use_threads=False):
            rows = batch.slice(max(0, start - done)).to_pylist() if start < done + batch.num_rows else []
            skipped = batch.num_rows - len(rows)
            for row, values in enumerate(rows, done + skipped):
                yield Row(f"{name} row {first + row}", values)
            done += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        why = f"this part of the file is damaged: {str(error).splitlines()[0][:100]}"
        for row in range(max(done, start), size):
            yield Row(f"{name} row {first + row}", None, why)


def _fingerprint(path: Path) -> dict[str, str | int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - FOOTER))
        return {"bytes": size, "footer": hashlib.sha256(file.read()).hexdigest()}
