"""Files that are either whole or absent: written under a temporary name, then renamed.

A process killed at any moment leaves at most a temporary file, which the next run removes. A full disk is one clear
line, and nothing that was finished is lost.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from accord.errors import ArtifactError, MissingArtifact

TEMPORARY = ".tmp"
T = TypeVar("T")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, it becomes `path` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _explained(error, path) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write the whole file or nothing."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, so that equal values give equal bytes. NaN is refused: JSON has no such number."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Return the JSON value of the file. Raises ArtifactError if it is missing or damaged."""
    return _read(path, lambda: json.loads(path.read_text(encoding="utf-8")))


def write_table(path: Path, table: pa.Table, row_group_size: int | None = None) -> None:
    """Write a Parquet file; equal tables give equal bytes."""
    with replacing(path) as temporary:
        pq.write_table(table, temporary, row_group_size=row_group_size or max(table.num_rows, 1), compression="zstd")


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Return the table of a Parquet file. Raises ArtifactError if it is missing or damaged."""
    return _read(path, lambda: pq.read_table(path, columns=columns, partitioning=None))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_temporary(folder: Path) -> None:
    """Remove what a killed process left half written below this folder."""
    for path in folder.rglob(f".*{TEMPORARY}"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _read(path: Path, read: Callable[[], T]) -> T:
    if not path.is_file():
        raise MissingArtifact(f"{path} is missing; run the stage that writes it ({path.parent.name}) again")
    try:
        return read()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ArtifactError(
            f"{path} is damaged ({error}); delete it and run its stage again: only what is missing is made again"
        ) from error


def _explained(error: OSError, path: Path) -> ArtifactError:
    """Return the error a user can act on."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(path.parent).free / 2**20
        return ArtifactError(
            f"the disk is full: {path} could not be written ({free:.0f} MiB free); "
            "what was finished is kept: free some space and run the same command again"
        )
    return ArtifactError(f"{path} could not be written: {error.strerror or error}")
