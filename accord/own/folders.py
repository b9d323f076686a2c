"""Folders that hold what was imported or exported: opened like a stage, and never one that holds something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accord.artifacts import BEGUN, Stage, open_stage
from accord.errors import ArtifactError, DataError
from accord.manifest import FILE

POOL = "pool"
PAIRS = "pairs"


def open_own(folder: Path, name: str, settings: Mapping[str, Any], redo: bool) -> Stage:
    """Open `folder/name` as a stage. Raises ArtifactError if something is in it that was not made this way."""
    inside = folder / name
    if inside.exists() and not any((inside / file).is_file() for file in (FILE, BEGUN)):
        raise ArtifactError(f"{inside} is there already and holds something else; give another folder")
    return open_stage(folder, name, settings, redo=redo)


def require_apart(folder: Path, sources: Sequence[str]) -> None:
    """Raise DataError if the folder lies in one of the sources, or one of them in what the folder will hold."""
    inside = folder.resolve()
    for source in sources:
        path = Path(source).expanduser().resolve()
        if path.is_dir() and inside.is_relative_to(path):
            raise DataError(f"{folder} lies inside {source}, which is read; give a folder elsewhere")
        if path.is_relative_to(inside / POOL):
            raise DataError(f"{source} lies inside {folder}, which is written; give a folder elsewhere")
