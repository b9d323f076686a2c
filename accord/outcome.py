"""What a stage tells its caller: what it wrote, and whether there was anything to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from accord.files import write_json
from accord.manifest import Manifest, load_manifest


@dataclass(frozen=True)
class Outcome:
    """A finished stage. `was_reused`: it had finished before, and nothing was computed."""

    manifest: Manifest
    folder: Path
    was_reused: bool


def reused(folder: Path) -> Outcome:
    """Return the outcome of a stage that had finished before."""
    manifest = load_manifest(folder)
    assert manifest is not None, f"{folder} has not finished"
    return Outcome(manifest, folder, was_reused=True)


@contextmanager
def timed(folder: Path, device: str = "cpu") -> Iterator[None]:
    """Record the seconds a block takes in `folder/.timing.json`, added to those of earlier, interrupted tries.

    Kept apart from the manifest: two equal runs have equal manifests, but not equal times.
    """
    start = time.perf_counter()
    try:
        yield
    finally:
        path = folder / ".timing.json"
        seconds = time.perf_counter() - start + read_seconds(folder)
        write_json(path, {"seconds": round(seconds, 3), "device": device})


def read_seconds(folder: Path) -> float:
    """Return how long a stage took so far, 0 if that is not known."""
    import json

    try:
        return float(json.loads((folder / ".timing.json").read_text())["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
